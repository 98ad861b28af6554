"""Writes whose proxy dies before it has recorded them, and what becomes of their repository."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from praefect.app.proxy import run_proxy
from praefect.app.proxy_parts import Parts
from praefect.control.doubts import Settled
from praefect.domain.doubts import Doubt, Incarnation, OpenResult
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage
from praefect.proto import objectpool_pb2, operations_pb2, ref_pb2, repository_pb2
from praefect.proxy.finalize import Finalizer, Write
from praefect.runtime.signals import Stop
from praefect.transport.grpc.status import StatusCode
from tests.support.scripted_cluster import ALL, G1, G2, G3, VS, Cluster, Repository
from tests.support.scripted_node import COMMIT, NodeCall, ScriptedNode, agree, answering, failing, voting

BRANCH = "/gitaly.OperationService/UserDeleteBranch"
HOOKS = "/gitaly.RepositoryService/SetCustomHooks"
WRITE = "/gitaly.RepositoryService/WriteRef"
READ = "/gitaly.RefService/FindLocalBranches"
CREATE = "/gitaly.RepositoryService/CreateRepository"
BACKUP = "/gitaly.RepositoryService/BackupRepository"
GET_POOL = "/gitaly.ObjectPoolService/GetObjectPool"
UNSETTLED = "an interrupted write to this repository has not been settled yet"
DEAD = Incarnation("dead")


def holds(node: ScriptedNode, checksum: str) -> None:
    node.on("CalculateChecksum", answering(repository_pb2.CalculateChecksumResponse(checksum=checksum)))


def write_request(repository: Repository) -> repository_pb2.WriteRefRequest:
    return repository_pb2.WriteRefRequest(repository=repository.message, ref=b"refs/heads/main", revision=b"1" * 40)


async def doubts(cluster: Cluster) -> int:
    [[count]] = await cluster.rows.run("SELECT count(*) FROM praefect_own.doubts")
    return int(str(count))


async def interrupted(
    cluster: Cluster, repository: Repository, method: str = BRANCH, *, number: int = 1, creates: bool = False
) -> None:
    """Leave the doubt of a write whose process is gone."""
    store = cluster.parts.datastore.doubts
    await cluster.rows.run("DELETE FROM praefect_own.leases WHERE incarnation = 'dead'")
    await store.take_lease(DEAD, "another")
    doubt = Doubt(
        incarnation=DEAD,
        number=number,
        repository_id=repository.id,
        virtual_storage=VS,
        relative_path=RelativePath(repository.relative_path),
        replica_path=repository.replica_path,
        full_method=method,
        creates=creates,
        storages=ALL if creates else (),
    )
    assert await store.open(doubt) is OpenResult.OPENED
    await store.release_lease(DEAD)


@asynccontextmanager
async def another_proxy(cluster: Cluster) -> AsyncIterator[Parts]:
    config = replace(cluster.config, socket_path=f"{cluster.config.socket_path}.2")
    async with run_proxy(config, "test", Stop()) as parts:
        yield parts


async def settle(cluster: Cluster, repository: Repository) -> Settled:
    return await cluster.parts.doubts.settler.settle(repository.id)


# --- a write that is not interrupted ---


async def test_a_write_has_a_doubt_until_it_is_recorded(cluster: Cluster) -> None:
    repository = await cluster.repository()
    seen: list[tuple[object, ...]] = []

    async def look(call: NodeCall) -> None:
        seen.extend(await cluster.rows.run("SELECT method, storages, generation FROM praefect_own.doubts"))
        await agree(call)

    cluster.nodes[G1].on("WriteRef", look)
    assert (await cluster.status(WRITE, write_request(repository))).ok
    assert seen == [(WRITE, [G1, G2, G3], 0)]
    assert await doubts(cluster) == 0


async def test_a_refused_write_is_closed_with_the_next_renewal(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("WriteRef", failing(StatusCode.INVALID_ARGUMENT, "no"))
    assert not (await cluster.status(WRITE, write_request(repository))).ok
    await cluster.parts.doubts.lease.run_once()
    assert await doubts(cluster) == 0
    assert await cluster.generations(repository) == {"": 0, G1: 0, G2: 0, G3: 0}


async def test_nothing_is_left_in_doubt_where_the_primary_could_not_be_reached(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G1].gate.cut()
    assert not (await cluster.status(WRITE, write_request(repository))).ok
    await cluster.parts.doubts.lease.run_once()
    assert await doubts(cluster) == 0


async def test_a_creation_is_recorded_with_its_doubt(cluster: Cluster) -> None:
    request = repository_pb2.CreateRepositoryRequest(
        repository=Repository(
            id=RepositoryId(0), virtual_storage=VS, relative_path="new.git", replica_path=ReplicaPath("")
        ).message
    )
    assert (await cluster.status(CREATE, request)).ok
    assert await doubts(cluster) == 0
    assert len(await cluster.rows.run("SELECT FROM storage_repositories WHERE relative_path = 'new.git'")) == 3


# --- settlement ---


async def test_two_settlers_with_a_doubt_each_do_not_wait_for_each_other(cluster: Cluster) -> None:
    repository = await cluster.repository()
    store = cluster.parts.datastore.doubts
    for node in cluster.nodes.values():
        holds(node, "a")
    other, second = Incarnation("other"), Incarnation("second")
    await store.take_lease(second, "another")
    await cluster.rows.run("DELETE FROM praefect_own.leases WHERE incarnation = 'other'")
    await store.take_lease(other, "another")
    doubt = Doubt(
        incarnation=second,
        number=1,
        repository_id=repository.id,
        virtual_storage=VS,
        relative_path=RelativePath(repository.relative_path),
        replica_path=repository.replica_path,
        full_method=BRANCH,
        creates=False,
    )
    assert await store.open(doubt) is OpenResult.OPENED
    await interrupted(cluster, repository)
    assert [one.owner for one in await store.take_over(repository.id, other) if one.is_lapsed] == [other]
    await store.release_lease(second)

    assert await settle(cluster, repository) is Settled.ELSEWHERE

    assert {one.owner for one in await store.take_over(repository.id, other)} == {other}
    await store.give_back(repository.id, other)
    assert await settle(cluster, repository) is Settled.SETTLED
    assert await doubts(cluster) == 0


@pytest.mark.parametrize(
    ("states", "kept", "method"),
    [
        ({G1: "a", G2: "a", G3: "a"}, {G1, G2, G3}, BRANCH),
        ({G1: "a", G2: "b", G3: "b"}, {G2, G3}, BRANCH),
        ({G1: "b", G2: "b", G3: "a"}, {G1, G2}, BRANCH),
        ({G1: "a", G2: "b", G3: "c"}, {G1}, BRANCH),
        ({G1: "0" * 40, G2: "a", G3: "0" * 40}, {G2}, BRANCH),
        ({G1: "a", G2: "a", G3: "a"}, {G1}, HOOKS),
    ],
    ids=["equal", "primary in the minority", "majority", "tie", "empty", "unseen"],
)
async def test_the_majority_wins_and_in_a_tie_the_primary(
    cluster: Cluster, states: Mapping[Storage, str], kept: set[Storage], method: str
) -> None:
    repository = await cluster.repository()
    for storage, checksum in states.items():
        holds(cluster.nodes[storage], checksum)
    await interrupted(cluster, repository, method)
    assert await settle(cluster, repository) is Settled.SETTLED
    raised = int(len(kept) < 3)
    expected = {"": raised} | {storage: raised if storage in kept else 0 for storage in ALL}
    assert await cluster.generations(repository) == expected
    assert {target for _, target, *_ in await cluster.jobs()} <= set(ALL) - kept
    assert await doubts(cluster) == 0


async def test_a_replica_out_of_reach_falls_behind(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        holds(node, "a")
    await cluster.lose(G3)
    await interrupted(cluster, repository)
    assert await settle(cluster, repository) is Settled.SETTLED
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}
    assert (G1, G3, "update") in await cluster.jobs()


async def test_without_any_replica_in_reach_the_doubt_stays(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 1, G2: 0, G3: 0}, generation=1)
    await cluster.lose(G1)
    await interrupted(cluster, repository)
    assert await settle(cluster, repository) is Settled.OUT_OF_REACH
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 0, G3: 0}
    assert await doubts(cluster) == 1
    await cluster.find(G1)
    holds(cluster.nodes[G1], "a")
    await cluster.parts.nodes.channel(VS, G1).connect()  # type: ignore[union-attr]
    assert await settle(cluster, repository) is Settled.SETTLED
    assert await doubts(cluster) == 0


async def test_what_an_interrupted_creation_left_is_removed(cluster: Cluster) -> None:
    gone = Repository(
        id=RepositoryId(4711), virtual_storage=VS, relative_path="b.git", replica_path=ReplicaPath("disk/4711")
    )
    await interrupted(cluster, gone, CREATE, creates=True)
    assert await settle(cluster, gone) is Settled.SETTLED
    for node in cluster.nodes.values():
        [request] = node.requests("RemoveRepository", repository_pb2.RemoveRepositoryRequest)
        assert request.repository.relative_path == "disk/4711"
    assert await doubts(cluster) == 0
    assert await cluster.rows.run("SELECT FROM repositories WHERE repository_id = 4711") == []


async def test_a_comparison_overtaken_by_another_record_counts_for_nothing(cluster: Cluster) -> None:
    repository = await cluster.repository()
    times = 0

    async def overtaken(call: NodeCall) -> None:
        nonlocal times
        times += 1
        if times == 1:
            await cluster.rows.run("UPDATE storage_repositories SET generation = 1 WHERE storage <> 'gitaly-3'")
            await cluster.rows.run("UPDATE repositories SET generation = 1")
        await call.answer(repository_pb2.CalculateChecksumResponse(checksum="a"))

    cluster.nodes[G1].on("CalculateChecksum", overtaken)
    holds(cluster.nodes[G2], "b")
    holds(cluster.nodes[G3], "b")
    await interrupted(cluster, repository)
    assert await settle(cluster, repository) is Settled.SETTLED
    # Compared anew: without the third, which is behind now, it is a tie.
    assert await cluster.generations(repository) == {"": 2, G1: 2, G2: 1, G3: 0}


# --- who waits meanwhile ---


async def test_a_write_settles_first_and_is_routed_by_what_came_of_it(cluster: Cluster) -> None:
    repository = await cluster.repository()
    holds(cluster.nodes[G1], "a")
    holds(cluster.nodes[G2], "b")
    holds(cluster.nodes[G3], "b")
    await interrupted(cluster, repository)
    assert (await cluster.status(WRITE, write_request(repository))).ok
    assert cluster.nodes[G1].called("WriteRef") == []
    generations = await cluster.generations(repository)
    assert (generations[G2], generations[G3]) == (2, 2)
    assert await doubts(cluster) == 0


async def test_a_write_that_cannot_settle_is_not_forwarded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praefect.app.proxy_doubts.WRITE_PATIENCE_SECONDS", 0.1)
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("CalculateChecksum", failing(StatusCode.UNAVAILABLE, "away"))
    await interrupted(cluster, repository)
    status = await cluster.status(WRITE, write_request(repository))
    assert status.code is StatusCode.UNAVAILABLE
    assert "has not been settled yet" in status.message
    assert all(not node.called("WriteRef") for node in cluster.nodes.values())


async def test_reads_wait_for_the_settlement(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = await cluster.repository()
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    for node in cluster.nodes.values():
        node.on("CalculateChecksum", failing(StatusCode.UNAVAILABLE, "away"))
    await interrupted(cluster, repository)
    assert await settle(cluster, repository) is Settled.OUT_OF_REACH
    monkeypatch.setattr("praefect.control.doubts.READ_PATIENCE_SECONDS", 0.05)
    backup = repository_pb2.BackupRepositoryRequest(repository=repository.message, backup_id="1")
    pool = objectpool_pb2.GetObjectPoolRequest(repository=repository.message)
    for method, message in ((READ, request), (BACKUP, backup), (GET_POOL, pool)):
        status = await cluster.status(method, message)
        assert (status.code, status.message.endswith(UNSETTLED)) == (StatusCode.UNAVAILABLE, True), method
    assert not any(
        node.called(name) for node in cluster.nodes.values() for name in ("BackupRepository", "GetObjectPool")
    )
    monkeypatch.setattr("praefect.control.doubts.READ_PATIENCE_SECONDS", 30.0)
    async with asyncio.TaskGroup() as group:
        read = group.create_task(cluster.status(READ, request), name="read")
        for node in cluster.nodes.values():
            holds(node, "a")
        assert await settle(cluster, repository) is Settled.SETTLED
    assert read.result().ok


async def test_live_doubts_restrict_nobody_but_settlements_wait_for_them(cluster: Cluster) -> None:
    repository = await cluster.repository()
    released = asyncio.Event()

    async def wait(call: NodeCall) -> None:
        await released.wait()
        await voting(b"\x01" * 20)(call)

    for node in cluster.nodes.values():
        holds(node, "a")
        node.on("WriteRef", wait)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(cluster.status(WRITE, write_request(repository)), name="first")
        await cluster.nodes[G1].wait_called("WriteRef", 1)
        second = group.create_task(cluster.status(WRITE, write_request(repository)), name="second")
        await cluster.nodes[G1].wait_called("WriteRef", 2)
        await interrupted(cluster, repository)
        assert await settle(cluster, repository) is Settled.BUSY
        released.set()
    assert first.result().ok
    assert second.result().ok
    await cluster.parts.doubts.lease.run_once()
    assert await settle(cluster, repository) in (Settled.SETTLED, Settled.NOTHING_TO_DO)
    assert await doubts(cluster) == 0


# --- the proxy that dies, and the one that only seemed to ---


async def test_a_proxy_that_dies_before_it_records_is_settled_by_another(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = await cluster.repository()
    died = asyncio.Event()

    async def die(_self: Finalizer, _write: Write) -> None:
        died.set()

    monkeypatch.setattr(Finalizer, "record", die)
    async with another_proxy(cluster) as other:
        # Two nodes commit, the third never gets to hear of it.
        cluster.nodes[G3].on("WriteRef", failing(StatusCode.INTERNAL, "lost"))
        await cluster.status(WRITE, write_request(repository))
        await died.wait()
        for storage, checksum in ((G1, "b"), (G2, "b"), (G3, "a")):
            holds(cluster.nodes[storage], checksum)
        assert await cluster.generations(repository) == {"": 0, G1: 0, G2: 0, G3: 0}
        assert await other.doubts.settler.settle(repository.id) is Settled.NOTHING_TO_DO
        await cluster.rows.run(
            "DELETE FROM praefect_own.leases WHERE incarnation = %s", cluster.parts.doubts.lease.incarnation
        )
        while await doubts(cluster):
            await other.doubts.settler.settle(repository.id)
        assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}


async def test_a_process_that_wakes_up_after_the_settlement_records_nothing(cluster: Cluster) -> None:
    repository = await cluster.repository()
    committed, woken = asyncio.Event(), asyncio.Event()

    async def sleepy(call: NodeCall) -> None:
        await call.vote()
        committed.set()
        await woken.wait()
        await call.answer()

    for node in cluster.nodes.values():
        holds(node, "a")
        node.on("UserDeleteBranch", sleepy)
    request = operations_pb2.UserDeleteBranchRequest(repository=repository.message, branch_name=b"gone")
    async with another_proxy(cluster) as other, asyncio.TaskGroup() as group:
        write = group.create_task(cluster.status(BRANCH, request), name="write")
        await committed.wait()
        incarnation = cluster.parts.doubts.lease.incarnation
        await cluster.rows.run("DELETE FROM praefect_own.leases WHERE incarnation = %s", incarnation)
        assert await other.doubts.settler.settle(repository.id) is Settled.SETTLED
        before = await cluster.generations(repository)
        woken.set()
        status = await write
        assert status.code is StatusCode.ABORTED
        assert status.message.startswith("outcome unknown: ")
        assert await cluster.generations(repository) == before
        # Nodes may have acted since: it is settled once more.
        while await doubts(cluster):
            await other.doubts.settler.settle(repository.id)


async def test_past_its_lease_a_process_commits_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = await cluster.repository()
    lease = cluster.parts.doubts.lease
    arrived, lapsed = asyncio.Event(), asyncio.Event()

    async def late(call: NodeCall) -> None:
        arrived.set()
        await lapsed.wait()
        await voting(b"\x01" * 20)(call)

    cluster.nodes[G1].on("WriteRef", late)
    async with asyncio.TaskGroup() as group:
        write = group.create_task(cluster.status(WRITE, write_request(repository)), name="write")
        await arrived.wait()
        monkeypatch.setattr(type(lease), "may_commit", lambda _self: False)
        monkeypatch.setattr(cluster.parts.transactions, "_may_commit", lambda: False)
        lapsed.set()
    assert not write.result().ok
    assert all(COMMIT not in call.votes for node in cluster.nodes.values() for call in node.calls)


async def test_an_expired_lease_is_renewed_as_long_as_nobody_has_buried_it(cluster: Cluster) -> None:
    lease = cluster.parts.doubts.lease
    incarnation = lease.incarnation
    await cluster.rows.run("UPDATE praefect_own.leases SET expires_at = now() - interval '1 minute'")
    await lease.run_once()
    assert lease.incarnation == incarnation
    await cluster.rows.run("DELETE FROM praefect_own.leases")
    await lease.run_once()
    assert lease.incarnation != incarnation
    assert lease.may_commit()


async def test_a_write_does_not_count_on_replicas_that_were_copied_to_meanwhile(cluster: Cluster) -> None:
    repository = await cluster.repository()
    committed, released = asyncio.Event(), asyncio.Event()

    async def wait(call: NodeCall) -> None:
        await call.vote()
        committed.set()
        await released.wait()
        await call.answer()

    for node in cluster.nodes.values():
        node.on("WriteRef", wait)
    async with asyncio.TaskGroup() as group:
        write = group.create_task(cluster.status(WRITE, write_request(repository)), name="write")
        await committed.wait()
        # Another write has left the third behind, and it was copied from one that had not committed ours yet.
        await cluster.parts.doubts.record_copy(repository.id, G3, RelativePath(repository.relative_path), 0)
        released.set()
    assert write.result().ok
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}


async def test_a_graceful_stop_leaves_neither_lease_nor_doubt(cluster: Cluster) -> None:
    async with another_proxy(cluster) as other:
        incarnation = other.doubts.lease.incarnation
        assert await cluster.rows.run("SELECT FROM praefect_own.leases WHERE incarnation = %s", incarnation)
    assert not await cluster.rows.run("SELECT FROM praefect_own.leases WHERE incarnation = %s", incarnation)
    assert await doubts(cluster) == 0


async def test_upstreams_tables_are_left_alone(cluster: Cluster) -> None:
    tables = await cluster.rows.run("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    assert not {"leases", "doubts", "migrations"} & {str(name) for (name,) in tables}
    owned = await cluster.rows.run(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'praefect_own' ORDER BY 1"
    )
    assert owned == [("disagreements",), ("doubts",), ("leases",), ("migrations",)]
