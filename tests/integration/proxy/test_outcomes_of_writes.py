"""What is recorded of a write, by how its nodes voted and ended: votes on the wire, rows in PostgreSQL.

Each test is a row of the reference's table of scenarios, or says where its outcome differs on purpose.
"""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from praefect.datastore.cache import ConsistentStoragesCache
from praefect.domain.outcome import Verdict
from praefect.domain.repository import Storage
from praefect.observability.log import capture
from praefect.proto import objectpool_pb2, ref_pb2, repository_pb2, shared_pb2
from praefect.transport.grpc.status import OK, Status, StatusCode
from tests.support.eventually import eventually
from tests.support.scripted_cluster import ALL, G1, G2, G3, Cluster, Repository
from tests.support.scripted_node import (
    ABORT,
    AGREED,
    COMMIT,
    OTHER,
    STOP,
    NodeCall,
    agree,
    answering,
    failing,
    hang,
    voting,
)

WRITE = "/gitaly.RepositoryService/WriteRef"
CREATE = "/gitaly.RepositoryService/CreateRepository"
UNCHANGED = {"": 0, G1: 0, G2: 0, G3: 0}
ALL_CHANGED = {"": 1, G1: 1, G2: 1, G3: 1}
PRIMARY_ALONE = {"": 1, G1: 1, G2: 0, G3: 0}
JOBS_FOR_BOTH = [(G1, G2, "update"), (G1, G3, "update")]
THIRD = b"\x03" * 20
FAILED = Status(StatusCode.INTERNAL, "failed")


@pytest.fixture(autouse=True)
def different(cluster: Cluster) -> None:
    """Comparisons find that the nodes differ, unless a test says otherwise."""
    for storage, node in cluster.nodes.items():
        node.on("CalculateChecksum", answering(repository_pb2.CalculateChecksumResponse(checksum=storage)))


def hold_the_same(cluster: Cluster, *storages: Storage, head: bytes = b"refs/heads/main") -> None:
    for storage in storages:
        node = cluster.nodes[storage]
        node.on("CalculateChecksum", answering(repository_pb2.CalculateChecksumResponse(checksum="a")))
        node.on("FindDefaultBranchName", answering(ref_pb2.FindDefaultBranchNameResponse(name=head)))


async def write(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(WRITE, repository_pb2.WriteRefRequest(repository=repository.message))


async def create(cluster: Cluster) -> Status:
    repository = shared_pb2.Repository(storage_name="default", relative_path="new.git")
    return await cluster.status(CREATE, repository_pb2.CreateRepositoryRequest(repository=repository))


async def has_finished(cluster: Cluster) -> bool:
    """Return whether no write is in flight or being recorded."""
    return not len(cluster.parts.transactions) and not len(cluster.parts.completions)


async def silent(call: NodeCall) -> None:
    await call.answer()


def reasons(cluster: Cluster) -> dict[Verdict, int]:
    counted = {verdict: cluster.parts.metrics.verdicts.labels(verdict.value).value for verdict in Verdict}
    return {verdict: int(count) for verdict, count in counted.items() if count}


async def recorded(cluster: Cluster, repository: Repository) -> tuple[dict[str, int], list[tuple[object, ...]]]:
    """Return what is recorded when nothing is in doubt any more."""

    async def is_settled() -> bool:
        # Doubts about writes that changed nothing go with a renewal of the lease.
        return not await cluster.rows.run("SELECT FROM praefect_own.doubts")

    await eventually(is_settled)
    return await cluster.generations(repository), await cluster.jobs()


# --- agreement ---


async def test_all_agree(cluster: Cluster) -> None:
    repository = await cluster.repository()
    assert await write(cluster, repository) == OK
    assert await recorded(cluster, repository) == (ALL_CHANGED, [])
    assert reasons(cluster) == {Verdict.UPDATED: 2}


async def test_primary_fails_after_all_agreed(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def fail_last(call: NodeCall) -> None:
        for _ in range(2):
            await call.vote()
        for storage in (G2, G3):
            await cluster.nodes[storage].wait_ended("WriteRef")
        await failing(StatusCode.INTERNAL, "failed")(call)

    cluster.nodes[G1].on("WriteRef", fail_last)
    assert await write(cluster, repository) == FAILED
    assert await recorded(cluster, repository) == (PRIMARY_ALONE, JOBS_FOR_BOTH)
    assert reasons(cluster) == {Verdict.NODE_ERROR_STATUS: 2}


async def test_all_fail_alike_after_they_agreed(cluster: Cluster) -> None:
    """Whether they all changed is not known."""
    repository = await cluster.repository()

    async def fail(call: NodeCall) -> None:
        for _ in range(2):
            assert await call.vote() == COMMIT
        if call.node.name == G1:
            await cluster.nodes[G2].wait_ended("WriteRef")
            await cluster.nodes[G3].wait_ended("WriteRef")
        await failing(StatusCode.INTERNAL, "failed")(call)

    for node in cluster.nodes.values():
        node.on("WriteRef", fail)
    assert await write(cluster, repository) == FAILED
    assert await recorded(cluster, repository) == (PRIMARY_ALONE, JOBS_FOR_BOTH)


# --- dissent ---


async def test_three_different_votes(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for storage, vote in zip(ALL, (AGREED, OTHER, THIRD), strict=True):
        cluster.nodes[storage].on("WriteRef", voting(vote))
    status = await write(cluster, repository)
    assert status == Status(StatusCode.FAILED_PRECONDITION, "transaction was aborted")
    assert [node.calls[0].votes for node in cluster.nodes.values()] == [[ABORT], [ABORT], [ABORT]]
    assert await recorded(cluster, repository) == (PRIMARY_ALONE, JOBS_FOR_BOTH)
    assert reasons(cluster) == {Verdict.PRIMARY_NOT_COMMITTED: 2}


async def test_one_secondary_cannot_block(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0, G2: 0}, assigned=(G1, G2))
    cluster.nodes[G2].on("WriteRef", voting(OTHER))
    assert await write(cluster, repository) == OK
    assert [cluster.nodes[storage].calls[0].votes for storage in (G1, G2)] == [[COMMIT, COMMIT], [ABORT]]
    assert await recorded(cluster, repository) == ({"": 1, G1: 1, G2: 0}, [(G1, G2, "update")])


async def test_one_dissenter_of_two(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G3].on("WriteRef", voting(OTHER))
    assert await write(cluster, repository) == OK
    assert cluster.nodes[G3].calls[0].votes == [ABORT]
    assert await recorded(cluster, repository) == ({"": 1, G1: 1, G2: 1, G3: 0}, [(G1, G3, "update")])


async def test_primary_alone_against_both(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G1].on("WriteRef", voting(OTHER))
    assert (await write(cluster, repository)).code is StatusCode.FAILED_PRECONDITION
    assert [node.calls[0].votes for node in cluster.nodes.values()] == [[ABORT], [ABORT], [ABORT]]
    assert await recorded(cluster, repository) == (PRIMARY_ALONE, JOBS_FOR_BOTH)


# --- no votes ---


async def test_nobody_votes_and_the_primary_succeeds(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("WriteRef", silent)
    assert await write(cluster, repository) == OK
    assert await recorded(cluster, repository) == (PRIMARY_ALONE, JOBS_FOR_BOTH)
    assert reasons(cluster) == {Verdict.NO_VOTES: 2}


async def test_nobody_votes_and_the_primary_fails(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("WriteRef", silent)
    cluster.nodes[G1].on("WriteRef", failing(StatusCode.INTERNAL, "failed"))
    await cluster.lose(G3)
    assert await write(cluster, repository) == FAILED
    assert await recorded(cluster, repository) == (UNCHANGED, [])
    assert reasons(cluster) == {}


async def test_secondaries_vote_and_the_primary_fails_before_it_does(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def fail_late(call: NodeCall) -> None:
        for storage in (G2, G3):
            await cluster.nodes[storage].wait_called("WriteRef")
        await failing(StatusCode.INTERNAL, "failed")(call)

    cluster.nodes[G1].on("WriteRef", fail_late)
    assert await write(cluster, repository) == FAILED
    assert await recorded(cluster, repository) == (UNCHANGED, [])


async def test_nobody_votes_and_a_secondary_fails(cluster: Cluster) -> None:
    """Upstream records nothing here, although the primary may have changed (docs/decisions/0003)."""
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("WriteRef", silent)
    cluster.nodes[G3].on("WriteRef", failing(StatusCode.INTERNAL, "failed"))
    assert await write(cluster, repository) == OK
    assert await recorded(cluster, repository) == (PRIMARY_ALONE, JOBS_FOR_BOTH)


async def test_secondary_fails_after_its_last_vote(cluster: Cluster) -> None:
    """Upstream outdates the other one too (docs/decisions/0003)."""
    repository = await cluster.repository()
    cluster.nodes[G3].on("WriteRef", failing(StatusCode.INTERNAL, "failed", votes=(AGREED, AGREED)))
    assert await write(cluster, repository) == OK
    assert await recorded(cluster, repository) == ({"": 1, G1: 1, G2: 1, G3: 0}, [(G1, G3, "update")])
    assert reasons(cluster) == {Verdict.UPDATED: 1, Verdict.NODE_ERROR_STATUS: 1}


async def test_secondary_fails_before_any_vote(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G3].on("WriteRef", failing(StatusCode.INTERNAL, "failed"))

    async def agree_late(call: NodeCall) -> None:
        await cluster.nodes[G3].wait_ended("WriteRef")
        await agree(call)

    for storage in (G1, G2):
        cluster.nodes[storage].on("WriteRef", agree_late)
    assert await write(cluster, repository) == OK
    assert await recorded(cluster, repository) == ({"": 1, G1: 1, G2: 1, G3: 0}, [(G1, G3, "update")])


# --- stops ---


@pytest.mark.parametrize("secondaries_vote_first", [True, False])
async def test_refused_push_records_nothing(cluster: Cluster, *, secondaries_vote_first: bool) -> None:
    """Upstream, by chance, raises the primary's generation (docs/decisions/0003)."""
    repository = await cluster.repository()
    stopped = asyncio.Event()

    async def both_have_voted() -> bool:
        return cluster.parts.metrics.transactions.labels("started").value == 2

    async def refuse(call: NodeCall) -> None:
        if secondaries_vote_first:
            for storage in (G2, G3):
                await cluster.nodes[storage].wait_called("WriteRef")
            await eventually(both_have_voted)
        await call.stop()
        stopped.set()
        assert await call.vote() == STOP
        await call.answer()

    async def wait_for_refusal(call: NodeCall) -> None:
        if not secondaries_vote_first:
            await stopped.wait()
        assert await call.vote() == STOP
        await call.answer()

    cluster.nodes[G1].on("WriteRef", refuse)
    for storage in (G2, G3):
        cluster.nodes[storage].on("WriteRef", wait_for_refusal)
    assert await write(cluster, repository) == OK
    assert await recorded(cluster, repository) == (UNCHANGED, [])


@pytest.mark.parametrize("secondaries_wait", [True, False])
async def test_stop_after_a_committed_round(cluster: Cluster, *, secondaries_wait: bool) -> None:
    """A custom post-receive hook that fails, or an update hook that refuses: only votes in waiting are lost."""
    repository = await cluster.repository()
    committed, stopped = asyncio.Barrier(3), asyncio.Event()

    async def both_wait() -> bool:
        return cluster.parts.metrics.transactions.labels("started").value == 5

    async def stop_then_answer(call: NodeCall) -> None:
        assert await call.vote() == COMMIT
        await committed.wait()
        if secondaries_wait:
            await eventually(both_wait)
        await call.stop()
        stopped.set()
        await call.answer()

    async def go_on(call: NodeCall) -> None:
        assert await call.vote() == COMMIT
        await committed.wait()
        if not secondaries_wait:
            await stopped.wait()
        assert await call.vote() == STOP
        await call.answer()

    cluster.nodes[G1].on("WriteRef", stop_then_answer)
    for storage in (G2, G3):
        cluster.nodes[storage].on("WriteRef", go_on)
    assert await write(cluster, repository) == OK
    expected = (PRIMARY_ALONE, JOBS_FOR_BOTH) if secondaries_wait else (ALL_CHANGED, [])
    assert await recorded(cluster, repository) == expected


async def test_primary_fails_after_a_committed_round(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G1].on("WriteRef", failing(StatusCode.PERMISSION_DENIED, "update hook", votes=(AGREED,)))
    assert await write(cluster, repository) == Status(StatusCode.PERMISSION_DENIED, "update hook")
    assert await recorded(cluster, repository) == (PRIMARY_ALONE, JOBS_FOR_BOTH)


# --- nobody is outdated for nothing ---


async def test_post_receive_hook_that_fails_outdates_nobody(cluster: Cluster) -> None:
    """All nodes have the change when the primary stops the last round."""
    repository = await cluster.repository()
    committed = asyncio.Barrier(3)

    async def both_wait() -> bool:
        return cluster.parts.metrics.transactions.labels("started").value == 5

    async def stop_then_answer(call: NodeCall) -> None:
        assert await call.vote() == COMMIT
        await committed.wait()
        await eventually(both_wait)
        await call.stop()
        await call.answer()

    async def go_on(call: NodeCall) -> None:
        assert await call.vote() == COMMIT
        await committed.wait()
        assert await call.vote() == STOP
        await call.answer()

    cluster.nodes[G1].on("WriteRef", stop_then_answer)
    for storage in (G2, G3):
        cluster.nodes[storage].on("WriteRef", go_on)
    hold_the_same(cluster, *ALL)
    assert await write(cluster, repository) == OK
    assert await recorded(cluster, repository) == (ALL_CHANGED, [])
    assert reasons(cluster) == {Verdict.UPDATED: 2}


async def test_update_hook_that_refuses_outdates_nobody(cluster: Cluster) -> None:
    """Nobody has the change after a committed round of the pre-receive hook; what was cancelled is settled."""
    repository = await cluster.repository()
    refused = Status(StatusCode.PERMISSION_DENIED, "update hook")
    cluster.nodes[G1].on("WriteRef", failing(refused.code, refused.message, votes=(AGREED,)))
    hold_the_same(cluster, *ALL)
    assert await write(cluster, repository) == refused
    assert await recorded(cluster, repository) == (UNCHANGED, [])


async def test_deletion_without_votes_outdates_only_who_differs(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("WriteRef", silent)
    hold_the_same(cluster, G1, G2)
    assert await write(cluster, repository) == OK
    assert await recorded(cluster, repository) == ({"": 1, G1: 1, G2: 1, G3: 0}, [(G1, G3, "update")])
    assert reasons(cluster) == {Verdict.UPDATED: 1, Verdict.NO_VOTES: 1}
    # References may be the same where HEAD is not.
    hold_the_same(cluster, G2, head=b"refs/heads/other")
    assert await write(cluster, repository) == OK
    assert (await cluster.generations(repository))[G2] == 1


async def test_node_that_may_still_be_at_work_is_outdated_whatever_it_holds(cluster: Cluster) -> None:
    repository = await cluster.repository()
    hold_the_same(cluster, *ALL)
    cluster.nodes[G3].on("WriteRef", failing(StatusCode.UNAVAILABLE, "gone", votes=(AGREED, AGREED)))
    assert await write(cluster, repository) == OK
    assert await recorded(cluster, repository) == ({"": 1, G1: 1, G2: 1, G3: 0}, [(G1, G3, "update")])
    assert cluster.nodes[G3].called("CalculateChecksum") == []


async def test_what_no_comparison_sees_outdates(cluster: Cluster) -> None:
    repository = await cluster.repository()
    hold_the_same(cluster, *ALL)
    for node in cluster.nodes.values():
        node.on("SetCustomHooks", silent)
    method = "/gitaly.RepositoryService/SetCustomHooks"
    assert await cluster.status(method, repository_pb2.SetCustomHooksRequest(repository=repository.message)) == OK
    assert await recorded(cluster, repository) == (PRIMARY_ALONE, JOBS_FOR_BOTH)
    assert all(node.called("CalculateChecksum") == [] for node in cluster.nodes.values())


# --- who goes away ---


async def test_primarys_vote_call_is_given_up(cluster: Cluster) -> None:
    """A vote that nobody waits for is no vote."""
    repository = await cluster.repository()
    for storage in (G2, G3):
        cluster.nodes[storage].on("WriteRef", hang)

    async def give_up(call: NodeCall) -> None:
        try:
            async with asyncio.timeout(0.2):
                await call.vote()
        except TimeoutError:
            await failing(StatusCode.DEADLINE_EXCEEDED, "gave up")(call)

    cluster.nodes[G1].on("WriteRef", give_up)
    assert await write(cluster, repository) == Status(StatusCode.DEADLINE_EXCEEDED, "gave up")
    assert await recorded(cluster, repository) == (UNCHANGED, [])


async def test_client_leaves_after_all_agreed(cluster: Cluster) -> None:
    repository = await cluster.repository()
    agreed = asyncio.Barrier(4)

    async def agree_and_linger(call: NodeCall) -> None:
        assert await call.vote() == COMMIT
        assert await call.vote() == COMMIT
        await agreed.wait()
        await hang(call)

    for node in cluster.nodes.values():
        node.on("WriteRef", agree_and_linger)
    async with cluster.client.call(WRITE) as call:
        request = repository_pb2.WriteRefRequest(repository=repository.message)
        await call.send(request.SerializeToString(), last=True)
        await agreed.wait()
    await eventually(partial(has_finished, cluster))
    assert await recorded(cluster, repository) == (PRIMARY_ALONE, JOBS_FOR_BOTH)


async def test_time_runs_out_while_secondaries_wait_for_the_primary(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G1].on("WriteRef", hang)
    deadline = asyncio.get_running_loop().time() + 0.5
    async with cluster.client.call(WRITE, deadline=deadline) as call:
        request = repository_pb2.WriteRefRequest(repository=repository.message)
        await call.send(request.SerializeToString(), last=True)
        assert (await call.drain()).code is StatusCode.DEADLINE_EXCEEDED
    for node in cluster.nodes.values():
        await node.wait_ended("WriteRef")
    await eventually(partial(has_finished, cluster))
    assert await recorded(cluster, repository) == (UNCHANGED, [])


async def test_secondary_is_slower_than_a_failing_primary(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def agree_and_linger(call: NodeCall) -> None:
        await call.vote()
        await hang(call)

    cluster.nodes[G2].on("WriteRef", agree_and_linger)
    for storage in (G1, G3):
        cluster.nodes[storage].on("WriteRef", failing(StatusCode.INTERNAL, "failed", votes=(AGREED,)))
    assert await write(cluster, repository) == FAILED
    generations, jobs = await recorded(cluster, repository)
    assert generations[G1] == 1
    assert generations[G2] == 0
    assert (G1, G2, "update") in jobs


# --- creations ---


async def test_creation_that_is_voted_down_leaves_no_record(cluster: Cluster) -> None:
    """Upstream records it (docs/decisions/0020)."""
    votes = iter((AGREED, OTHER, THIRD))
    for node in cluster.nodes.values():
        node.on("CreateRepository", voting(next(votes)))
    assert (await create(cluster)).code is StatusCode.FAILED_PRECONDITION
    assert await cluster.rows.run("SELECT * FROM repositories") == []
    assert await cluster.jobs() == []


async def test_creation_with_one_node_in_its_way(cluster: Cluster) -> None:
    async def fail_unless_primary(call: NodeCall) -> None:
        assert call.transaction is not None
        if call.node.name == broken(cluster):
            await failing(StatusCode.ALREADY_EXISTS, "repository exists")(call)
        await agree(call)

    for node in cluster.nodes.values():
        node.on("CreateRepository", fail_unless_primary)
    assert await create(cluster) == OK
    lost = broken(cluster)
    [[primary]] = await cluster.rows.run('SELECT "primary" FROM repositories')
    rows = await cluster.rows.run("SELECT storage FROM storage_repositories")
    assert {row[0] for row in rows} == {*ALL} - {lost}
    assert await cluster.jobs() == [(primary, lost, "update")]


def broken(cluster: Cluster) -> str:
    """Return the first secondary in order of names."""
    primaries = {
        name
        for name, node in cluster.nodes.items()
        for call in node.calls
        if call.transaction is not None and call.transaction.primary
    }
    return next(name for name in ALL if name not in primaries) if primaries else ""


async def test_pool_that_could_not_be_created_leaves_no_record(cluster: Cluster) -> None:
    """Upstream records it (docs/decisions/0020)."""
    origin = await cluster.repository()
    cluster.nodes[G1].on("CreateObjectPool", failing(StatusCode.INVALID_ARGUMENT, "no origin repository"))
    pool = shared_pb2.ObjectPool(repository=shared_pb2.Repository(storage_name="default", relative_path="pool.git"))
    request = objectpool_pb2.CreateObjectPoolRequest(object_pool=pool, origin=origin.message)
    method = "/gitaly.ObjectPoolService/CreateObjectPool"

    assert await cluster.status(method, request) == Status(StatusCode.INVALID_ARGUMENT, "no origin repository")
    assert await cluster.rows.run("SELECT relative_path FROM repositories") == [("a.git",)]
    assert await cluster.jobs() == []

    cluster.nodes[G1].on("CreateObjectPool", answering())
    assert await cluster.status(method, request) == OK


# --- recording ---


async def test_existing_job_is_enough(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await cluster.lose(G3)
    for _ in range(2):
        assert await write(cluster, repository) == OK
    assert await cluster.jobs() == [(G1, G3, "update")]


async def test_job_carries_the_calls_correlation_id(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await cluster.lose(G3)
    request = repository_pb2.WriteRefRequest(repository=repository.message)
    await cluster.call(WRITE, request, metadata=[("x-gitlab-correlation-id", "client-chosen")])
    assert await cluster.rows.run("SELECT meta, job FROM replication_queue") == [
        (
            {"correlation_id": "client-chosen"},
            {
                "repository_id": repository.id,
                "replica_path": "",
                "change": "update",
                "relative_path": "a.git",
                "target_node_storage": G3,
                "source_node_storage": G1,
                "virtual_storage": "default",
                "params": None,
            },
        )
    ]


async def test_write_is_not_acknowledged_unless_it_is_recorded(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def lose_record(call: NodeCall) -> None:
        await agree(call)
        await cluster.rows.run("UPDATE repositories SET generation = 7")

    cluster.nodes[G1].on("WriteRef", lose_record)
    assert await write(cluster, repository) == Status(
        StatusCode.INTERNAL, "increment generation: write to outdated nodes"
    )


async def test_repository_that_was_removed_meanwhile(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def lose_record(call: NodeCall) -> None:
        await agree(call)
        await cluster.rows.run("DELETE FROM repositories")

    cluster.nodes[G1].on("WriteRef", lose_record)
    assert await write(cluster, repository) == Status(StatusCode.INTERNAL, "increment generation: repository not found")


async def test_two_creations_of_one_repository(cluster: Cluster) -> None:
    arrived = asyncio.Barrier(6)

    async def together(call: NodeCall) -> None:
        await arrived.wait()
        await agree(call)

    for node in cluster.nodes.values():
        node.on("CreateRepository", together)
    async with asyncio.TaskGroup() as tasks:
        both = [tasks.create_task(create(cluster)) for _ in range(2)]
    assert sorted(task.result().code for task in both) == [StatusCode.OK, StatusCode.ALREADY_EXISTS]
    assert len(await cluster.rows.run("SELECT * FROM repositories")) == 1


async def test_own_writes_are_seen_at_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the database's notification has come back or not."""
    repository = await cluster.repository()
    size = repository_pb2.RepositoryInfoRequest(repository=repository.message)
    await cluster.heard()
    await cluster.call("/gitaly.RepositoryService/RepositoryInfo", size)
    monkeypatch.setattr(ConsistentStoragesCache, "notified", lambda *_: None)
    for storage in (G2, G3):
        cluster.nodes[storage].on("WriteRef", failing(StatusCode.INTERNAL, "failed", votes=(AGREED, AGREED)))
    assert await write(cluster, repository) == OK
    for _ in range(20):
        await cluster.call("/gitaly.RepositoryService/RepositoryInfo", size)
    assert len(cluster.nodes[G1].called("RepositoryInfo")) >= 20


# --- the log ---


async def test_write_tells_its_story(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await cluster.lose(G3)
    with capture() as lines:
        assert await write(cluster, repository) == OK
    story = [line for line in lines if line["level"] in {"info", "error"} and "health" not in str(line["msg"])]
    story = [line for line in story if line.get("grpc.method") in {"WriteRef", "VoteTransaction"}]
    assert [line["msg"] for line in story] == [
        *["VoteTransaction: transaction committed"] * 4,
        "transaction completed",
        "transactional node states",
        "queueing replication jobs",
        "finished streaming call with code OK",
    ]
    assert story[4]["transaction.committed"] == "2/2"
    assert story[4]["transaction.subtransactions"] == 2
    assert story[5]["transaction.primary"] == G1
    assert story[5]["transaction.secondaries"] == {"updated": [G2], "outdated": [G3]}
    expected = {
        "replication.cause": WRITE,
        "replication.change": "update",
        "replication.primary": G1,
        "replication.updated": [G2],
        "replication.outdated": [G3],
    }
    assert {key: value for key, value in story[6].items() if key.startswith("replication.")} == expected
    assert {line["component"] for line in story[:4]} == {"backchannel.PraefectServer"}
    assert {line["component"] for line in story[4:]} == {"praefect.StreamServerInterceptor"}
    assert len({line["correlation_id"] for line in story[4:]}) == 1


async def test_failed_write_tells_of_its_secondaries(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G1].on("WriteRef", failing(StatusCode.INTERNAL, "failed"))
    for storage in (G2, G3):
        cluster.nodes[storage].on("WriteRef", hang)
    with capture() as lines:
        assert await write(cluster, repository) == FAILED
    story = [line for line in lines if line.get("grpc.method") == "WriteRef" and line["level"] != "debug"]
    assert [line["msg"] for line in story] == [
        "proxying to secondary failed",
        "proxying to secondary failed",
        "transaction completed",
        "finished streaming call with code Internal",
    ]
    assert story[0]["error"] == "rpc error: code = Canceled desc = context canceled"
    assert story[2]["transaction.committed"] == "0/3"
    assert story[2]["transaction.subtransactions"] == 1
    assert story[3]["error"] == "failed"
