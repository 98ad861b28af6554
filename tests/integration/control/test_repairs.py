"""Replication jobs: from the queue to the nodes and back into the records."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping

import pytest

from praefect.config.praefect import ReconciliationConfig
from praefect.config.praefect_sections import DatabaseConfig
from praefect.control.replication import StaleJobs
from praefect.domain.repository import RelativePath
from praefect.observability.log import capture
from praefect.proto import objectpool_pb2, repository_pb2, shared_pb2
from praefect.transport.grpc.status import Status, StatusCode
from tests.support.eventually import eventually
from tests.support.scripted_cluster import G1, G2, G3, NODE_TOKEN, VS, Cluster, Repository, running_cluster
from tests.support.scripted_node import NodeCall, agree, answering, failing, hang

REPLICATE = "ReplicateRepository"
WRITE = "/gitaly.RepositoryService/WriteRef"


async def enqueue(
    cluster: Cluster,
    repository: Repository,
    *,
    change: str = "update",
    source: str = G1,
    target: str = G2,
    attempt: int = 3,
) -> None:
    """Put a job into the queue as any Praefect does, and have it looked at."""
    lock = f"default|{target}|{repository.relative_path}"
    await cluster.rows.run("INSERT INTO replication_queue_lock (id) VALUES (%s) ON CONFLICT DO NOTHING", lock)
    job = {
        "repository_id": repository.id,
        "change": change,
        "relative_path": repository.relative_path,
        "replica_path": "",
        "target_node_storage": target,
        "source_node_storage": source,
        "virtual_storage": "default",
        "params": None,
    }
    await cluster.rows.run(
        "INSERT INTO replication_queue (lock_id, job, meta, attempt) VALUES (%s, %s::jsonb, %s::jsonb, %s)",
        lock,
        json.dumps(job),
        json.dumps({"correlation_id": "of the job"}),
        attempt,
    )
    cluster.parts.job_enqueued(cluster.config.virtual_storages[0].name)  # type: ignore[arg-type]  # a name


async def wait_done(cluster: Cluster) -> None:
    """Return when the queue is empty."""

    async def empty() -> bool:
        return not await cluster.jobs()

    await eventually(empty)


def pool_of(path: str | None) -> objectpool_pb2.GetObjectPoolResponse:
    if path is None:
        return objectpool_pb2.GetObjectPoolResponse()
    pool = shared_pb2.ObjectPool(repository=shared_pb2.Repository(storage_name="x", relative_path=path))
    return objectpool_pb2.GetObjectPoolResponse(object_pool=pool)


def allow_repairs(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.on(REPLICATE, answering())


# --- update ---


async def test_replica_is_copied_and_recorded(cluster: Cluster) -> None:
    allow_repairs(cluster)
    repository = await cluster.repository(generation=2, replicas={G1: 2, G2: 0})
    await enqueue(cluster, repository)
    await wait_done(cluster)

    assert await cluster.generations(repository) == {"": 2, G1: 2, G2: 2}
    [call] = cluster.nodes[G2].called(REPLICATE)
    assert call.request == repository_pb2.ReplicateRepositoryRequest(
        repository=shared_pb2.Repository(storage_name=G2, relative_path=repository.replica_path),
        source=shared_pb2.Repository(storage_name=G1, relative_path=repository.replica_path),
    )
    for one in (call, cluster.nodes[G1].called("GetObjectPool")[0], cluster.nodes[G2].called("GetObjectPool")[0]):
        servers = json.loads(base64.b64decode(str(one.metadata.first("gitaly-servers"))))
        assert servers == {G1: {"address": cluster.nodes[G1].address, "token": NODE_TOKEN}}
        assert one.metadata.get_all("x-gitlab-correlation-id") == ["of the job"]
        assert sorted(key for key, _ in one.metadata) == ["authorization", "gitaly-servers", "x-gitlab-correlation-id"]
        assert one.raw.deadline is None
        assert one.transaction is None


@pytest.mark.parametrize(
    ("replicas", "is_copied"),
    [({G1: 2, G2: 2}, False), ({G1: 1, G2: 2}, False), ({G2: 2}, False), ({G1: 2}, True), ({}, True)],
    ids=["same", "newer", "source unknown", "target unknown", "both unknown"],
)
async def test_replica_is_never_made_older(cluster: Cluster, replicas: Mapping[str, int], *, is_copied: bool) -> None:
    allow_repairs(cluster)
    repository = await cluster.repository(generation=2, replicas=replicas)  # type: ignore[arg-type]  # names
    await enqueue(cluster, repository)
    await wait_done(cluster)
    assert bool(cluster.nodes[G2].called(REPLICATE)) == is_copied


async def test_copy_of_unknown_generation_is_not_recorded(cluster: Cluster) -> None:
    allow_repairs(cluster)
    repository = await cluster.repository(generation=2, replicas={})
    await enqueue(cluster, repository)
    await wait_done(cluster)
    assert await cluster.generations(repository) == {"": 2}


async def test_missing_source_is_forgotten(cluster: Cluster) -> None:
    cluster.nodes[G2].on(REPLICATE, failing(StatusCode.NOT_FOUND, "invalid source repository"))
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
    await enqueue(cluster, repository)
    await wait_done(cluster)
    assert await cluster.generations(repository) == {"": 1, G2: 0}

    last = await cluster.repository("last.git", generation=1, replicas={G1: 1})
    await enqueue(cluster, last)
    await wait_done(cluster)
    assert await cluster.generations(last) == {}


@pytest.mark.parametrize(
    ("code", "message"), [(StatusCode.NOT_FOUND, "something else"), (StatusCode.INTERNAL, "invalid source repository")]
)
async def test_other_failures_are_tried_three_times(cluster: Cluster, code: StatusCode, message: str) -> None:
    cluster.nodes[G2].on(REPLICATE, failing(code, message))
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
    with capture() as lines:
        await enqueue(cluster, repository)
        await wait_done(cluster)
    assert len(cluster.nodes[G2].called(REPLICATE)) == 3
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 0}
    ends = [line for line in lines if line["msg"] == "replication job processing finished"]
    assert [line["new_state"] for line in ends] == ["failed", "failed", "dead"]
    expected = f"failed to create repository: rpc error: code = {code.label} desc = {message}"
    assert {line["error"] for line in ends} == {expected}
    assert {line["correlation_id"] for line in ends} == {"of the job"}
    assert await cluster.rows.run("SELECT acquired FROM replication_queue_lock WHERE id LIKE '%%a.git'") == [(False,)]


async def test_source_must_be_configured(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
    with capture() as lines:
        await enqueue(cluster, repository, source="gone")
        await wait_done(cluster)
    errors = {line["error"] for line in lines if line["msg"] == "replication job processing finished"}
    assert errors == {'no connection to source node "default"/"gone"'}


async def test_job_of_a_removed_repository_dies(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await cluster.rows.run("DELETE FROM repositories")
    with capture() as lines:
        await enqueue(cluster, repository)
        await wait_done(cluster)
    errors = [line["error"] for line in lines if line["msg"] == "replication job processing finished"]
    assert errors == ["choose replica path: get replica path: repository not found"] * 3


# --- object pools ---


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (None, None, []),
        ("pool", "pool", []),
        (None, "pool", ["DisconnectGitAlternates"]),
        ("pool", None, ["LinkRepositoryToObjectPool"]),
        ("pool", "other", ["DisconnectGitAlternates", "LinkRepositoryToObjectPool"]),
    ],
)
async def test_pool_is_aligned(cluster: Cluster, source: str | None, target: str | None, expected: list[str]) -> None:
    allow_repairs(cluster)
    cluster.nodes[G1].on("GetObjectPool", answering(pool_of(source)))
    cluster.nodes[G2].on("GetObjectPool", answering(pool_of(target)))
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
    await enqueue(cluster, repository)
    await wait_done(cluster)

    changes = [call for call in cluster.nodes[G2].calls if "Alternates" in call.method or "Link" in call.method]
    assert [call.method.rpartition("/")[2] for call in changes] == expected
    on_target = shared_pb2.Repository(storage_name=G2, relative_path=repository.replica_path)
    assert all(call.request.repository == on_target for call in changes)
    if "LinkRepositoryToObjectPool" in expected:
        linked = changes[-1].request.object_pool.repository
        assert linked == shared_pb2.Repository(storage_name=G2, relative_path="pool")
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1}


async def test_pool_in_another_partition_is_no_failure(cluster: Cluster) -> None:
    allow_repairs(cluster)
    cluster.nodes[G1].on("GetObjectPool", answering(pool_of("pool")))
    cluster.nodes[G2].on(
        "LinkRepositoryToObjectPool",
        failing(StatusCode.INTERNAL, "begin: repositories are in different partitions: x"),
    )
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
    await enqueue(cluster, repository)
    await wait_done(cluster)
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1}


async def test_pool_that_cannot_be_linked_fails_the_job(cluster: Cluster) -> None:
    allow_repairs(cluster)
    cluster.nodes[G1].on("GetObjectPool", answering(pool_of("pool")))
    cluster.nodes[G2].on("LinkRepositoryToObjectPool", failing(StatusCode.INTERNAL, "no"))
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
    await enqueue(cluster, repository)
    await wait_done(cluster)
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 0}


# --- removal ---


async def test_replica_is_removed_and_forgotten(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await enqueue(cluster, repository, change="delete_replica")
    await wait_done(cluster)
    [call] = cluster.nodes[G2].called("RemoveRepository")
    assert call.request.repository == shared_pb2.Repository(storage_name=G2, relative_path=repository.replica_path)
    assert await cluster.generations(repository) == {"": 0, G1: 0, G3: 0}


async def test_replica_that_is_gone_is_forgotten_too(cluster: Cluster) -> None:
    """The attempt before this one may have died before it was recorded."""
    cluster.nodes[G2].on("RemoveRepository", failing(StatusCode.NOT_FOUND, "repository does not exist"))
    repository = await cluster.repository()
    await enqueue(cluster, repository, change="delete_replica")
    await wait_done(cluster)
    assert await cluster.generations(repository) == {"": 0, G1: 0, G3: 0}


async def test_removal_is_tried_for_ever_and_dropped_with_its_repository(cluster: Cluster) -> None:
    cluster.nodes[G2].on("RemoveRepository", failing(StatusCode.INTERNAL, "busy"))
    repository = await cluster.repository()
    await enqueue(cluster, repository, change="delete_replica")
    await cluster.nodes[G2].wait_called("RemoveRepository", 6)
    await cluster.rows.run("DELETE FROM repositories")
    await wait_done(cluster)


# --- workers ---


async def test_job_of_a_write_and_a_node_that_returns_wake_the_workers(
    database: DatabaseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("praefect.control.replication.IDLE_BACKOFF_SECONDS", (3600.0, 3600.0))
    write = "/gitaly.RepositoryService/WriteRef"
    async with running_cluster(database) as cluster:
        allow_repairs(cluster)
        repository = await cluster.repository()
        request = repository_pb2.WriteRefRequest(repository=repository.message)
        cluster.nodes[G2].on("WriteRef", failing(StatusCode.INTERNAL, "busy"))
        await cluster.call(write, request)
        await wait_done(cluster)
        assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 1}

        cluster.nodes[G2].on("WriteRef", agree)
        await cluster.lose(G3)
        await cluster.call(write, request)
        assert await cluster.generations(repository) == {"": 2, G1: 2, G2: 2, G3: 1}
        await cluster.find(G3)
        await wait_done(cluster)
        assert await cluster.generations(repository) == {"": 2, G1: 2, G2: 2, G3: 2}


async def test_unhealthy_targets_are_left_alone(cluster: Cluster) -> None:
    allow_repairs(cluster)
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0, G3: 0})
    await cluster.lose(G2)
    await enqueue(cluster, repository, target=G2)
    await enqueue(cluster, repository, target=G3)

    async def one_left() -> bool:
        return await cluster.jobs() == [(G1, G2, "update")]

    await eventually(one_left)
    assert await cluster.rows.run("SELECT attempt, state::text FROM replication_queue") == [(3, "ready")]


async def test_job_in_work_does_not_outlive_praefect(database: DatabaseConfig) -> None:
    async with running_cluster(database) as cluster:
        cluster.nodes[G2].on(REPLICATE, hang)
        repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
        await enqueue(cluster, repository)
        await cluster.nodes[G2].wait_called(REPLICATE)
    async with running_cluster(database) as cluster:
        allow_repairs(cluster)
        await wait_done(cluster)
        assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1}


async def test_job_of_a_killed_praefect_is_done_by_another(cluster: Cluster) -> None:
    allow_repairs(cluster)
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
    await cluster.lose(G2)  # so that nobody here takes the job
    await enqueue(cluster, repository)
    assert len(await cluster.parts.datastore.queue.dequeue(VS, G2, 1)) == 1
    await cluster.find(G2)
    assert await cluster.rows.run("SELECT state::text FROM replication_queue") == [("in_progress",)]
    await cluster.rows.run("UPDATE replication_queue_job_lock SET triggered_at = triggered_at - interval '11 seconds'")
    stale_jobs = StaleJobs(queue=cluster.parts.datastore.queue, freed=lambda: cluster.parts.job_enqueued(VS))
    await stale_jobs.run_once()
    await wait_done(cluster)
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1}
    assert len(cluster.nodes[G2].called(REPLICATE)) == 1


async def test_every_job_of_a_batch_is_done(cluster: Cluster) -> None:
    allow_repairs(cluster)
    repositories = [
        await cluster.repository(f"{number}.git", generation=1, replicas={G1: 1, G2: 0}) for number in range(25)
    ]
    for repository in repositories:
        await enqueue(cluster, repository)
    await wait_done(cluster)
    for repository in repositories:
        assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1}


# --- a repository that is being written ---


async def test_copy_catches_up_with_writes_that_wait_for_its_last_step(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("praefect.control.holds.HOLD_SECONDS", 60.0)
    monkeypatch.setattr("praefect.control.holds.DRAIN_SECONDS", 60.0)
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 1, G3: 0})
    request = repository_pb2.WriteRefRequest(repository=repository.message, ref=b"refs/heads/main", revision=b"1" * 40)
    waiting: list[asyncio.Task[Status]] = []
    seen: list[tuple[int, bool]] = []

    async with asyncio.TaskGroup() as group:

        async def write_meanwhile(call: NodeCall) -> None:
            writes = len(cluster.nodes[G1].called("WriteRef"))
            if not waiting:
                # The first copy: the write goes on, and leaves the target behind.
                waiting.append(group.create_task(cluster.status(WRITE, request), name="during the first copy"))
                await waiting[0]
            else:
                waiting.append(group.create_task(cluster.status(WRITE, request), name="during the last"))
                await eventually(is_held)
                seen.append((len(cluster.nodes[G1].called("WriteRef")) - writes, waiting[-1].done()))
            await call.answer()

        async def is_held() -> bool:
            return any(event._waiters for event in cluster.parts.doubts.holds._held.values())

        cluster.nodes[G3].on(REPLICATE, write_meanwhile)
        await enqueue(cluster, repository, target=G3)
        await wait_done(cluster)
    assert seen == [(0, False)]
    assert [task.result().ok for task in waiting] == [True, True]
    assert len(cluster.nodes[G3].called(REPLICATE)) == 2
    # The write that waited counts on the copy.
    assert await cluster.generations(repository) == {"": 3, G1: 3, G2: 3, G3: 3}
    assert len(cluster.nodes[G3].called("WriteRef")) == 1


async def test_writes_do_not_wait_for_a_copy_that_takes_long(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 1, G3: 0})
    holds = cluster.parts.doubts.holds
    async with holds.hold(VS, RelativePath("a.git"), repository.id):
        await holds.wait(VS, RelativePath("a.git"))  # the time is up before the block is over
        await holds.wait(VS, RelativePath("a.git"))


# --- the reconciler ---


async def test_returned_node_is_brought_up_to_date_although_its_jobs_have_died(database: DatabaseConfig) -> None:
    async with running_cluster(database, reconciliation=ReconciliationConfig()) as cluster:
        allow_repairs(cluster)
        repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 1, G3: 0})
        await cluster.lose(G3)
        await cluster.find(G3)

        async def current() -> bool:
            return await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 1}

        await eventually(current)
