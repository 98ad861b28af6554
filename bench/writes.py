"""What a write of a reference costs: through praefect to three nodes, and directly to one of them.

The direct writes go to copies of the repositories that praefect does not know. All parts share the machine's cores, so
three nodes at once are slower than they would be on machines of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from praefect.app.cluster import VIRTUAL_STORAGE, Cluster, ClusterOptions, run_cluster
from praefect.proto import repository_pb2, shared_pb2
from praefect.transport.dial import open_channel
from praefect.transport.grpc.channel import Channel
from tests.support.cluster import ClusterClient, relative_path

REPOSITORIES = 8
COUNTED_WRITES = 50
IDLE_SECONDS = 4.0
PATTERNS = ((1, 1), (8, 1), (8, 8))
"""How many write at once, to how many repositories."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteTarget:
    """Where writes go: an address, and the repositories as they are called there."""

    name: str
    address: str
    token: str
    repositories: tuple[shared_pb2.Repository, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteTimes:
    """What a run came to."""

    median_seconds: float
    writes: int
    seconds: float

    @property
    def rate(self) -> float:
        """Writes per second."""
        return self.writes / self.seconds


async def prepare_writes(cluster: Cluster, count: int = REPOSITORIES) -> tuple[WriteTarget, WriteTarget]:
    """Make the repositories; return the direct target and praefect."""
    client = ClusterClient(cluster)
    node = cluster.layout.node_names[0]
    storage = cluster.layout.node_storage(node)
    replicated: list[shared_pb2.Repository] = []
    copies: list[shared_pb2.Repository] = []
    for number in range(count):
        project = await client.create_project(f"writes-{number}")
        path = relative_path(project["id"])
        replicated.append(shared_pb2.Repository(storage_name=VIRTUAL_STORAGE, relative_path=path))
        copy = f"bench/{number}.git"
        shutil.copytree(storage / (await client.metadata(project["id"])).replica_path, storage / copy)
        copies.append(shared_pb2.Repository(storage_name=node, relative_path=copy))
    direct = WriteTarget(
        name="direct",
        address=cluster.node_address(node),
        token=cluster.secrets.internal_token,
        repositories=tuple(copies),
    )
    praefect = WriteTarget(
        name="praefect",
        address=cluster.praefect_address,
        token=cluster.secrets.external_token,
        repositories=tuple(replicated),
    )
    return direct, praefect


async def write_reference(channel: Channel, repository: shared_pb2.Repository, name: str) -> None:
    """Create a branch where the default branch is."""
    request = repository_pb2.WriteRefRequest(
        repository=repository, ref=f"refs/heads/{name}".encode(), revision=b"refs/heads/main"
    )
    await channel.unary("/gitaly.RepositoryService/WriteRef", request, repository_pb2.WriteRefResponse, timeout=60.0)


async def write_while(target: WriteTarget, writers: int, repositories: int, go_on: Callable[[int], bool]) -> WriteTimes:
    """Write with some writers at once as long as ``go_on`` says so, given how many writes were begun."""
    numbers = itertools.count()
    took: list[float] = []
    run = time.time_ns()
    async with open_channel(target.address, token=target.token) as channel:
        await write_reference(channel, target.repositories[0], f"warm-{run}")
        began = time.perf_counter()

        async def writer(repository: shared_pb2.Repository) -> None:
            while go_on(number := next(numbers)):
                start = time.perf_counter()
                await write_reference(channel, repository, f"bench-{run}-{number}")
                took.append(time.perf_counter() - start)

        async with asyncio.TaskGroup() as group:
            for number in range(writers):
                group.create_task(writer(target.repositories[number % repositories]), name=f"writer {number}")
        seconds = time.perf_counter() - began
    return WriteTimes(median_seconds=statistics.median(took), writes=len(took), seconds=seconds)


async def write_for(target: WriteTarget, writers: int, repositories: int, seconds: float) -> WriteTimes:
    """Write for some seconds."""
    end = time.perf_counter() + seconds
    return await write_while(target, writers, repositories, lambda _number: time.perf_counter() < end)


async def statements_per_write(directory: Path) -> float:
    """Return how many statements praefect sends to PostgreSQL for a write, by the server's own log.

    What praefect sends anyway while nothing is written is taken off.
    """
    options = ClusterOptions(directory=directory, postgres_settings={"log_statement": "all"})
    async with run_cluster(options) as cluster:
        _, praefect = await prepare_writes(cluster, 1)
        log = cluster.layout.log("postgres")
        before = _statements(log)
        await asyncio.sleep(IDLE_SECONDS)
        idle_rate = (_statements(log) - before) / IDLE_SECONDS
        before = _statements(log)
        began = time.perf_counter()
        times = await write_while(praefect, 1, 1, lambda number: number < COUNTED_WRITES)
        statements = _statements(log) - before - idle_rate * (time.perf_counter() - began)
        return statements / (times.writes + 1)  # and the one that warms up


def _statements(log: Path) -> int:
    return sum(b"statement: " in line or b"LOG:  execute " in line for line in log.read_bytes().splitlines())
