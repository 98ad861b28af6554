"""How soon reads and writes work again after a node died or hangs: rounds on one cluster, median and worst.

``make bench-failover ROUNDS=10``; ``python -m bench.failover 10 "primary hung"`` for some scenarios only. A read every
10 ms and a write every 100 ms, each with a deadline of its own, begin before the fault, so that one that hangs hides no
other. Times count from the signal.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from praefect.app.cluster import VIRTUAL_STORAGE, Cluster, ClusterOptions, run_cluster
from praefect.proto import ref_pb2, repository_pb2, shared_pb2
from praefect.transport.dial import open_channel
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.status import StatusError
from tests.support.cluster import ClusterClient, relative_path
from tests.support.eventually import eventually
from tests.support.git_client import git

ROUNDS = 10
READ_PERIOD = 0.01
WRITE_PERIOD = 0.1
CALL_SECONDS = 15.0
BEFORE_SECONDS = 0.5
QUIET_SECONDS = 2.0
MOST_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens to whom."""

    name: str
    signal: signal.Signals
    primary: bool


SCENARIOS = (
    Scenario(name="primary killed", signal=signal.SIGKILL, primary=True),
    Scenario(name="primary hung (SIGSTOP)", signal=signal.SIGSTOP, primary=True),
    Scenario(name="secondary killed", signal=signal.SIGKILL, primary=False),
    Scenario(name="secondary hung (SIGSTOP)", signal=signal.SIGSTOP, primary=False),
)


@dataclass(slots=True)
class Samples:
    """Calls by when they began and ended, in seconds after the fault, and whether they succeeded."""

    most_waiting: int
    calls: list[tuple[float, float, bool]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def failed(self) -> int:
        """Count failures."""
        return sum(not ok for _, _, ok in self.calls)

    def works_again(self) -> float:
        """Return when the first call succeeded that began after the fault and after the last failure began."""
        last = max((began for began, _, ok in self.calls if not ok), default=0.0)
        return min((end for began, end, ok in self.calls if ok and began >= max(last, 0.0)), default=float("inf"))

    def longest_gap(self) -> float:
        """Return the longest time without the end of a successful call, from the fault on."""
        ends = [0.0, *sorted(end for _, end, ok in self.calls if ok and end > 0)]
        return max((later - earlier for earlier, later in itertools.pairwise(ends)), default=float("inf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round came to."""

    writes_again: float
    write_gap: float
    failed_writes: int
    failed_reads: int
    read_gap: float
    errors: Counter[str]


@dataclass(slots=True, kw_only=True)
class Bench:
    """The cluster and the project that is measured."""

    cluster: Cluster
    client: ClusterClient
    project: int
    commits: list[str]
    number: int = 0

    @property
    def repository(self) -> shared_pb2.Repository:
        """The repository as clients name it."""
        return shared_pb2.Repository(storage_name=VIRTUAL_STORAGE, relative_path=relative_path(self.project))

    async def play(self, scenario: Scenario) -> Round:
        """Play one round and heal."""
        metadata = await self.client.metadata(self.project)
        names = self.cluster.layout.node_names
        victim = metadata.primary if scenario.primary else next(name for name in names if name != metadata.primary)
        child = self.cluster.child(victim)
        loop = asyncio.get_running_loop()
        struck = loop.time() + BEFORE_SECONDS
        reads, writes, stop = Samples(1000), Samples(300), asyncio.Event()
        token = self.cluster.secrets.external_token
        async with (
            open_channel(self.cluster.praefect_address, token=token) as channel,
            asyncio.TaskGroup() as group,
        ):
            await self._read(channel)
            group.create_task(_repeat(lambda: self._read(channel), READ_PERIOD, struck, reads, stop), name="reads")
            group.create_task(_repeat(lambda: self._write(channel), WRITE_PERIOD, struck, writes, stop), name="writes")
            await asyncio.sleep(struck - loop.time())
            os.killpg(child.pid, scenario.signal)
            await _wait_until_quiet(writes, struck)
            stop.set()
        if scenario.signal is signal.SIGKILL:
            await child.wait()
            await self.cluster.start_node(victim)
        else:
            os.killpg(child.pid, signal.SIGCONT)
        await self._healed()
        return Round(
            writes_again=writes.works_again(),
            write_gap=writes.longest_gap(),
            failed_writes=writes.failed(),
            failed_reads=reads.failed(),
            read_gap=reads.longest_gap(),
            errors=reads.errors + writes.errors,
        )

    async def _read(self, channel: Channel) -> None:
        await channel.unary(
            "/gitaly.RefService/RefExists",
            ref_pb2.RefExistsRequest(repository=self.repository, ref=b"refs/heads/main"),
            ref_pb2.RefExistsResponse,
            timeout=CALL_SECONDS,
        )

    async def _write(self, channel: Channel) -> None:
        self.number += 1
        request = repository_pb2.WriteRefRequest(
            repository=self.repository,
            ref=f"refs/heads/w{self.number % 16}".encode(),
            revision=self.commits[self.number // 16 % len(self.commits)].encode(),
        )
        await channel.unary(
            "/gitaly.RepositoryService/WriteRef", request, repository_pb2.WriteRefResponse, timeout=CALL_SECONDS
        )

    async def _healed(self) -> None:
        async def equal() -> bool:
            metadata = await self.client.metadata(self.project)
            return all(replica.generation == metadata.generation for replica in metadata.replicas)

        await eventually(equal, within_seconds=90)
        await asyncio.sleep(QUIET_SECONDS)  # so that the next round begins with every node known as healthy


async def _repeat(
    call: Callable[[], Awaitable[None]], period: float, struck: float, samples: Samples, stop: asyncio.Event
) -> None:
    """Begin a call per period, whatever became of those before; slow machines begin fewer."""
    loop = asyncio.get_running_loop()

    async def one() -> None:
        began = loop.time()
        try:
            await call()
        except StatusError as exc:
            ok = False
            samples.errors[f"{exc.code.name}: {exc.message[:100]}"] += 1
        else:
            ok = True
        samples.calls.append((began - struck, loop.time() - struck, ok))

    waiting: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:
        while not stop.is_set():
            if len(waiting) < samples.most_waiting:
                task = group.create_task(one(), name="call")
                waiting.add(task)
                task.add_done_callback(waiting.discard)
            await asyncio.sleep(period)


async def _wait_until_quiet(writes: Samples, struck: float) -> None:
    """Wait until writes have succeeded for a while."""
    loop = asyncio.get_running_loop()
    while loop.time() < struck + MOST_SECONDS:
        await asyncio.sleep(0.1)
        now = loop.time() - struck
        recent = [ok for _, end, ok in writes.calls if end > now - QUIET_SECONDS]
        if now > QUIET_SECONDS and len(recent) > 10 and all(recent):
            return


async def prepare(cluster: Cluster, directory: Path) -> Bench:
    """Make a project with some commits."""
    client = ClusterClient(cluster)
    project = await client.create_project("bench")
    work = await client.clone("bench", directory)
    commits = []
    for number in range(4):
        (await git(work, "commit", "-q", "--allow-empty", "-m", f"commit {number}")).ok()
        commits.append((await git(work, "rev-parse", "HEAD")).ok().output)
    (await client.push(work)).ok()
    return Bench(cluster=cluster, client=client, project=project["id"], commits=commits)


def _cell(values: Iterable[float], scale: str) -> str:
    numbers = list(values)
    return f"{statistics.median(numbers):{scale}} / {max(numbers):{scale}}"


async def run(rounds: int, wanted: str, console: Console) -> None:
    """Measure the scenarios whose names contain ``wanted`` and print the table."""
    table = Table(
        "scenario",
        "writes work again, s",
        "longest time without a write, s",
        "failed writes",
        "failed reads",
        "longest time without a read, s",
        title=f"failover: median / worst of {rounds} rounds; a read every 10 ms, a write every 100 ms",
    )
    with tempfile.TemporaryDirectory(prefix="praefect-failover-") as name:
        directory = Path(name)
        async with run_cluster(ClusterOptions(directory=directory / "c", reconciliation_interval="1s")) as cluster:
            bench = await prepare(cluster, directory)
            for scenario in (one for one in SCENARIOS if wanted in one.name):
                played: list[Round] = []
                for number in range(rounds):
                    with console.status(f"{scenario.name}, round {number + 1}"):
                        played.append(await bench.play(scenario))
                errors = sum((one.errors for one in played), Counter[str]())
                console.print(scenario.name, dict(errors.most_common(6)))
                table.add_row(
                    scenario.name,
                    _cell((one.writes_again for one in played), ".2f"),
                    _cell((one.write_gap for one in played), ".2f"),
                    _cell((one.failed_writes for one in played), ".0f"),
                    _cell((one.failed_reads for one in played), ".0f"),
                    _cell((one.read_gap for one in played), ".2f"),
                )
    console.print(table)


if __name__ == "__main__":
    given = sys.argv[1:]
    rounds_wanted = int(given[0]) if given else ROUNDS
    asyncio.run(run(rounds_wanted, given[1] if len(given) > 1 else "", Console(width=120)))
