"""Two praefects on one database share the loops' work, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from praefect.app.proxy import run_proxy
from praefect.app.proxy_parts import Parts
from praefect.config.praefect_sections import DatabaseConfig
from praefect.control.clean import RepositoryCleaner
from praefect.control.reconcile import Reconciler
from praefect.control.verify import Verifier
from praefect.domain.replication import Change, ReplicationJob
from praefect.domain.repository import RelativePath
from praefect.proto import internal_pb2, repository_pb2
from praefect.runtime.signals import Stop
from praefect.services.probes import NodeWalker, ReplicaProbe
from tests.support.eventually import eventually
from tests.support.scripted_cluster import ALL, G1, G2, G3, VS, Cluster, Repository, running_cluster
from tests.support.scripted_node import NodeCall, answering, hang

REPOSITORIES = 30  # more than a verifier takes at once


@dataclass(frozen=True, slots=True)
class Pair:
    """A cluster, and the insides of both praefects before it."""

    cluster: Cluster
    both: tuple[Parts, Parts]

    async def repositories(self, *, outdated: bool = False) -> list[Repository]:
        """Record repositories, with a replica behind if asked."""
        replicas = {G1: 1, G2: 0, G3: 1} if outdated else {G1: 1, G2: 1, G3: 1}
        return [
            await self.cluster.repository(f"{number}.git", generation=1, replicas=replicas)
            for number in range(REPOSITORIES)
        ]


@pytest.fixture
async def pair(database: DatabaseConfig) -> AsyncIterator[Pair]:
    """Two praefects that see all nodes."""
    async with asyncio.timeout(100), running_cluster(database) as cluster:
        config = replace(cluster.config, socket_path=f"{cluster.config.socket_path}-2")
        async with run_proxy(config, "test", Stop()) as second:
            yield Pair(cluster, (cluster.parts, second))


async def at_once(*work: Coroutine[object, object, object]) -> None:
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(_done(one), name="one praefect")


async def _done(work: Coroutine[object, object, object]) -> None:
    await work


async def until_idle(step: Callable[[], Coroutine[object, object, int]]) -> None:
    """Repeat a pass until it finds nothing."""
    while await step():
        pass


def asked(cluster: Cluster, method: str) -> Counter[tuple[str, str]]:
    """Return how often each replica was asked for, by storage and path."""
    return Counter(
        (str(storage), str(call.request.repository.relative_path))
        for storage, node in cluster.nodes.items()
        for call in node.called(method)
    )


async def test_each_replica_is_verified_once(pair: Pair) -> None:
    repositories = await pair.repositories()

    async def exists(call: NodeCall) -> None:
        await asyncio.sleep(0)
        await call.answer(repository_pb2.RepositoryExistsResponse(exists=True))

    for node in pair.cluster.nodes.values():
        node.on("RepositoryExists", exists)

    async def verify(parts: Parts) -> None:
        verifier = Verifier(
            nodes=parts.layouts,
            health=parts.health,
            records=parts.datastore.verification,
            probe=ReplicaProbe(parts.nodes),
            interval=timedelta(days=7),
            delete_invalid=True,
        )

        async def step() -> int:
            return len((await verifier.run_once()).results)

        await until_idle(step)

    await at_once(*map(verify, pair.both))

    assert asked(pair.cluster, "RepositoryExists") == Counter(
        (storage, repository.replica_path) for storage in ALL for repository in repositories
    )
    [[left]] = await pair.cluster.rows.run(
        "SELECT count(*) FROM storage_repositories WHERE verified_at IS NULL OR verification_leased_until IS NOT NULL"
    )
    assert left == 0


async def test_each_job_is_done_once(pair: Pair) -> None:
    repositories = await pair.repositories(outdated=True)
    pair.cluster.nodes[G2].on("ReplicateRepository", answering())
    for node in pair.cluster.nodes.values():
        node.on("GetObjectPool", answering())
    for repository in repositories:
        await pair.cluster.parts.datastore.queue.enqueue(
            ReplicationJob(
                repository_id=repository.id,
                change=Change.UPDATE,
                virtual_storage=VS,
                relative_path=RelativePath(repository.relative_path),
                target_node_storage=G2,
                source_node_storage=G1,
            ),
            correlation_id="shared",
        )
    for parts in pair.both:
        parts.job_enqueued(VS)

    async def all_done() -> bool:
        return not await pair.cluster.jobs()

    await eventually(all_done)
    assert asked(pair.cluster, "ReplicateRepository") == Counter(
        (G2, repository.replica_path) for repository in repositories
    )
    for repository in repositories:
        assert (await pair.cluster.generations(repository))[G2] == 1


async def test_each_repair_is_scheduled_once(pair: Pair) -> None:
    await pair.repositories(outdated=True)
    pair.cluster.nodes[G2].on("ReplicateRepository", hang)
    reconcilers = [
        Reconciler(nodes=parts.layouts, health=parts.health, records=parts.datastore.reconciler) for parts in pair.both
    ]
    scheduled: list[int] = []

    async def schedule(reconciler: Reconciler) -> None:
        scheduled.append(len((await reconciler.run_once()).jobs))

    await at_once(*map(schedule, reconcilers))
    # One that found the other at it leaves all to it; the next pass finds nothing more.
    await at_once(*map(schedule, reconcilers))
    assert sum(scheduled) == REPOSITORIES
    [[queued]] = await pair.cluster.rows.run("SELECT count(*) FROM replication_queue")
    assert queued == REPOSITORIES


async def test_each_storage_is_searched_once(pair: Pair) -> None:
    for node in pair.cluster.nodes.values():
        node.on("WalkRepos", answering(internal_pb2.WalkReposResponse(relative_path="lost")))
    await pair.cluster.parts.datastore.cleanups.populate(pair.cluster.parts.layouts)

    async def clean(parts: Parts) -> None:
        cleaner = RepositoryCleaner(
            nodes=parts.layouts,
            records=parts.datastore.cleanups,
            walker=NodeWalker(parts.nodes),
            run_interval=timedelta(days=1),
            batch_size=10,
        )

        async def step() -> int:
            return int((await cleaner.run_once()).cleanup is not None)

        await until_idle(step)

    await at_once(*map(clean, pair.both))
    assert {storage: len(node.called("WalkRepos")) for storage, node in pair.cluster.nodes.items()} == dict.fromkeys(
        ALL, 1
    )
