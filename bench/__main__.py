"""The benchmark table: the proxy beside the node itself and beside a plain grpcio proxy, all in one run.

CPU is that of the proxy's process; with "direct" there is none. Rates depend on the machine and on what else runs on
it; the ratios of one run are what to look at.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.pushes import TAGS, push_tags
from bench.writes import PATTERNS, prepare_writes, statements_per_write, write_for
from praefect.app.cluster import VIRTUAL_STORAGE, Cluster, ClusterOptions, run_cluster
from praefect.app.layout import free_ports
from praefect.app.processes import Child
from praefect.proto import blob_pb2, ref_pb2, shared_pb2
from praefect.transport.dial import open_channel
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.status import StatusError
from tests.support.cluster import ClusterClient, relative_path
from tests.support.git_client import git

SECONDS = float(os.environ.get("BENCH_SECONDS", "4"))
BLOB_BYTES = int(os.environ.get("BENCH_BLOB_MIB", "256")) << 20
SLOW_READERS = 200
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One way to reach the repository."""

    name: str
    address: str
    token: str
    repository: shared_pb2.Repository
    pid: int | None  # of the proxy's process


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run came to."""

    rate: float
    cpu: float | None


def cpu_seconds(pid: int) -> float:
    """Return the processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    """Return the memory a process occupies."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / (1 << 20)


async def read_reference(channel: Channel, target: Target) -> None:
    """A small read."""
    await channel.unary(
        "/gitaly.RefService/RefExists",
        ref_pb2.RefExistsRequest(repository=target.repository, ref=b"refs/heads/main"),
        ref_pb2.RefExistsResponse,
    )


async def small_reads(target: Target, callers: int) -> Measured:
    """Read as often as possible with some callers at once; CPU in µs per call."""
    done = 0
    async with open_channel(target.address, token=target.token) as channel:
        await read_reference(channel, target)
        before = cpu_seconds(target.pid) if target.pid else 0.0
        began = time.perf_counter()

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() - began < SECONDS:
                await read_reference(channel, target)
                done += 1

        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(caller(), name=f"caller {number}")
        seconds = time.perf_counter() - began
        used = cpu_seconds(target.pid) - before if target.pid else None
    return Measured(rate=done / seconds, cpu=None if used is None else used / done * 1e6)


async def download(target: Target, oid: str) -> Measured:
    """Read a large blob; rate in MiB/s, CPU in ms per MiB."""
    size = 0
    async with open_channel(target.address, token=target.token) as channel:
        before = cpu_seconds(target.pid) if target.pid else 0.0
        began = time.perf_counter()
        async with channel.call("/gitaly.BlobService/GetBlob") as call:
            request = blob_pb2.GetBlobRequest(repository=target.repository, oid=oid, limit=-1)
            await call.send(request.SerializeToString(), last=True)
            while (message := await call.receive()) is not None:
                size += len(message)
        seconds = time.perf_counter() - began
        used = cpu_seconds(target.pid) - before if target.pid else None
    mib = size / (1 << 20)
    return Measured(rate=mib / seconds, cpu=None if used is None else used / mib * 1e3)


async def slow_readers(target: Target, oid: str) -> float:
    """Return the proxy's memory while many clients have asked for a large blob and read nothing."""
    assert target.pid is not None
    async with asyncio.TaskGroup() as group:
        release = asyncio.Event()

        async def reader() -> None:
            async with (
                open_channel(target.address, token=target.token) as channel,
                channel.call("/gitaly.BlobService/GetBlob") as call,
            ):
                request = blob_pb2.GetBlobRequest(repository=target.repository, oid=oid, limit=-1)
                await call.send(request.SerializeToString(), last=True)
                await call.response()
                await release.wait()

        for number in range(SLOW_READERS):
            group.create_task(reader(), name=f"slow reader {number}")
        highest = 0.0
        for _ in range(40):
            await asyncio.sleep(0.25)
            highest = max(highest, resident_mib(target.pid))
        release.set()
    return highest


async def start_grpcio_proxy(cluster: Cluster, node: str) -> tuple[Child, int]:
    """Start the peer in front of one node."""
    (port,) = free_ports(1)
    node_port = cluster.ports.nodes[cluster.layout.node_names.index(node)]
    child = Child(
        name="grpcio proxy",
        arguments=(sys.executable, "-m", "bench.grpcio_proxy", str(port), str(node_port)),
        log=cluster.layout.log("grpcio-proxy"),
    )
    await child.start()
    return child, port


async def wait_until_served(target: Target) -> None:
    """Wait until the target answers."""
    async with asyncio.timeout(20), open_channel(target.address, token=target.token) as channel:
        while True:
            try:
                await read_reference(channel, target)
                return
            except StatusError:
                channel.retry_now()
                await asyncio.sleep(0.1)


async def prepare(client: ClusterClient, directory: Path) -> tuple[int, str]:
    """Make a project with a large blob; return its number and the blob's id."""
    project = await client.create_project("bench")
    work = await client.clone("bench", directory)
    with (work / "blob.bin").open("wb") as file:
        for _ in range(BLOB_BYTES >> 20):
            file.write(os.urandom(1 << 20))
    (await git(work, "add", ".")).ok()
    (await git(work, "commit", "-q", "-m", "blob")).ok()
    (await client.push(work)).ok()
    oid = (await git(work, "rev-parse", "HEAD:blob.bin")).ok().output
    return project["id"], oid


async def time_to_healthy(cluster: Cluster) -> float:
    """Stop praefect, start it again, and return the time from exec to its first answer."""
    await cluster.child("praefect").stop()
    began = time.perf_counter()
    await cluster.start_praefect()
    return time.perf_counter() - began


async def add_writes(table: Table, cluster: Cluster, pid: int) -> None:
    """Measure writes of references and add their rows."""
    direct, praefect = await prepare_writes(cluster)
    for writers, repositories in PATTERNS:
        alone = await write_for(direct, writers, repositories, SECONDS)
        before = cpu_seconds(pid)
        through = await write_for(praefect, writers, repositories, SECONDS)
        used = (cpu_seconds(pid) - before) / through.writes
        table.add_row(
            f"write, {writers} at once, {repositories} repositories",
            f"{alone.median_seconds * 1e3:.0f} ms, {alone.rate:.0f} writes/s",
            f"{through.median_seconds * 1e3:.0f} ms, {through.rate:.0f} writes/s, {used * 1e3:.1f} ms CPU/write",
            "",
        )


async def run(console: Console) -> None:
    """Measure everything and print the table."""
    with tempfile.TemporaryDirectory(prefix="praefect-bench-") as directory:
        root = Path(directory)
        async with run_cluster(ClusterOptions(directory=root / "cluster")) as cluster:
            client = ClusterClient(cluster)
            project_id, oid = await prepare(client, root)
            metadata = await client.metadata(project_id)
            node = metadata.primary
            on_node = shared_pb2.Repository(storage_name=node, relative_path=metadata.replica_path)
            peer, port = await start_grpcio_proxy(cluster, node)
            made = cluster.secrets
            healthy = await time_to_healthy(cluster)
            targets = [
                Target(
                    name="direct",
                    address=cluster.node_address(node),
                    token=made.internal_token,
                    repository=on_node,
                    pid=None,
                ),
                Target(
                    name="praefect",
                    address=cluster.praefect_address,
                    token=made.external_token,
                    repository=shared_pb2.Repository(
                        storage_name=VIRTUAL_STORAGE, relative_path=relative_path(project_id)
                    ),
                    pid=cluster.child("praefect").pid,
                ),
                Target(
                    name="grpcio proxy",
                    address=f"tcp://127.0.0.1:{port}",
                    token=made.internal_token,
                    repository=on_node,
                    pid=peer.pid,
                ),
            ]
            memory = resident_mib(targets[1].pid or 0)
            measurements: list[tuple[str, str, str, Callable[[Target], Awaitable[Measured]]]] = [
                ("small read, 1 caller", "calls/s", "µs/call", lambda target: small_reads(target, 1)),
                ("small read, 16 callers", "calls/s", "µs/call", lambda target: small_reads(target, 16)),
                (f"blob of {BLOB_BYTES >> 20} MiB", "MiB/s", "ms/MiB", lambda target: download(target, oid)),
            ]
            table = Table("what", *(target.name for target in targets), title=f"{os.cpu_count()} cores")
            for name, rate_unit, cpu_unit, measure in measurements:
                cells = []
                for target in targets:
                    await wait_until_served(target)
                    measured = await measure(target)
                    cpu = "" if measured.cpu is None else f", {measured.cpu:.1f} {cpu_unit}"
                    cells.append(f"{measured.rate:.0f} {rate_unit}{cpu}")
                table.add_row(name, *cells)
            table.add_row("memory after start", "", f"{memory:.0f} MiB", "")
            table.add_row(
                f"memory, {SLOW_READERS} slow readers", "", f"{await slow_readers(targets[1], oid):.0f} MiB", ""
            )
            table.add_row("exec to healthy", "", f"{healthy:.2f} s", "")
            await add_writes(table, cluster, targets[1].pid or 0)
            pushed = await push_tags(cluster, root)
            table.add_row(
                f"push of {TAGS} tags",
                "",
                f"{pushed.seconds:.0f} s, {pushed.total_cpu / TAGS * 1e3:.0f} ms CPU/tag of all processes",
                "",
            )
            await peer.stop()
        table.add_row("statements per write", "", f"{await statements_per_write(root / 'statements'):.1f}", "")
        console.print(table)


if __name__ == "__main__":
    asyncio.run(run(Console(width=120)))
