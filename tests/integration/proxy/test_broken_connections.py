"""Connections that break or fall silent in the middle of calls, and calls that are sent once more."""

from __future__ import annotations

import asyncio

import pytest

from praefect.control.health import HealthMonitor
from praefect.domain.repository import Storage
from praefect.proto import commit_pb2, ref_pb2, remote_pb2, repository_pb2, shared_pb2
from praefect.proxy.forward import RESENDABLE
from praefect.transport.grpc.status import OK, Status, StatusCode
from praefect.transport.methods import METHODS
from tests.support.eventually import eventually
from tests.support.scripted_cluster import ALL, G1, G2, G3, VS, Cluster, Repository
from tests.support.scripted_node import COMMIT, NodeCall, agree, failing, hang

FIND = "/gitaly.RefService/FindLocalBranches"
WRITE = "/gitaly.RepositoryService/WriteRef"
OUTCOME_UNKNOWN = StatusCode.ABORTED


async def die(call: NodeCall) -> None:
    """Break off as a killed process does."""
    call.node.gate.cut()
    await hang(call)


async def disconnect(call: NodeCall) -> None:
    call.node.gate.disconnect()
    await hang(call)


async def fall_silent(call: NodeCall) -> None:
    """Stop as a process does that is frozen, or a network that swallows all."""
    call.node.gate.silence()
    await hang(call)


async def read(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(FIND, ref_pb2.FindLocalBranchesRequest(repository=repository.message))


async def write(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(WRITE, repository_pb2.WriteRefRequest(repository=repository.message))


async def primary_of(cluster: Cluster, repository: Repository) -> object:
    [[name]] = await cluster.rows.run('SELECT "primary" FROM repositories WHERE repository_id = %s', repository.id)
    return name


def healthy(cluster: Cluster) -> tuple[str, ...]:
    return cluster.parts.health.healthy_storages(VS)


# --- evidence ---


async def test_refused_connection_takes_a_node_out_of_the_view(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G2].gate.cut()
    for _ in range(12):
        assert await read(cluster, repository) == OK
    assert healthy(cluster) == (G1, G3)


async def test_answers_of_a_node_are_no_evidence(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("FindLocalBranches", failing(StatusCode.UNAVAILABLE, "busy"))
        node.on("WriteRef", failing(StatusCode.UNAVAILABLE, "busy"))
    assert await read(cluster, repository) == Status(StatusCode.UNAVAILABLE, "busy")
    assert await write(cluster, repository) == Status(StatusCode.UNAVAILABLE, "busy")
    assert healthy(cluster) == ALL


# --- reads ---


async def test_read_is_sent_elsewhere_when_its_node_dies(cluster: Cluster) -> None:
    repository = await cluster.repository()
    died: list[str] = []

    async def die_once(call: NodeCall) -> None:
        if died:
            await call.answer()
            return
        died.append(call.node.name)
        await die(call)

    for node in cluster.nodes.values():
        node.on("FindLocalBranches", die_once)
    assert await read(cluster, repository) == OK
    assert set(healthy(cluster)) == {*ALL} - {*died}


async def test_read_is_sent_elsewhere_only_once(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("FindLocalBranches", disconnect)
    status = await read(cluster, repository)
    assert status.code is StatusCode.UNAVAILABLE
    assert sum(len(node.called("FindLocalBranches")) for node in cluster.nodes.values()) == 2


async def test_read_that_has_begun_to_answer_is_not_sent_again(cluster: Cluster) -> None:
    repository = await cluster.repository()
    received = asyncio.Event()

    async def answer_and_die(call: NodeCall) -> None:
        await call.answer()
        await received.wait()
        await die(call)

    for node in cluster.nodes.values():
        node.on("FindLocalBranches", answer_and_die)
    async with cluster.client.call(FIND) as call:
        request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
        await call.send(request.SerializeToString(), last=True)
        assert await call.receive() == b""
        received.set()
        assert (await call.drain()).code is StatusCode.UNAVAILABLE
    assert sum(len(node.called("FindLocalBranches")) for node in cluster.nodes.values()) == 1


async def test_read_with_side_effects_is_not_sent_again(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("UpdateRemoteMirror", disconnect)
    async with cluster.client.call("/gitaly.RemoteService/UpdateRemoteMirror") as call:
        request = remote_pb2.UpdateRemoteMirrorRequest(repository=repository.message)
        await call.send(request.SerializeToString(), last=True)
        assert (await call.drain()).code is StatusCode.UNAVAILABLE
    assert sum(len(node.called("UpdateRemoteMirror")) for node in cluster.nodes.values()) == 1


async def test_streamed_request_is_not_sent_again(cluster: Cluster) -> None:
    """The first node has had all but the first message."""
    repository = await cluster.repository()

    async def take_and_leave(call: NodeCall) -> None:
        await call.rest()
        await disconnect(call)

    for node in cluster.nodes.values():
        node.on("CheckObjectsExist", take_and_leave)
    async with cluster.client.call("/gitaly.CommitService/CheckObjectsExist") as call:
        for revisions in ([b"a"], [b"b"]):
            request = commit_pb2.CheckObjectsExistRequest(repository=repository.message, revisions=revisions)
            await call.send(request.SerializeToString())
        await call.half_close()
        assert (await call.drain()).code is StatusCode.UNAVAILABLE
    assert sum(len(node.called("CheckObjectsExist")) for node in cluster.nodes.values()) == 1


def test_only_plain_reads_are_sent_again() -> None:
    hooks = {name for name in METHODS if name.startswith("/gitaly.HookService/")}
    assert not hooks & RESENDABLE
    assert "/gitaly.RepositoryService/BackupRepository" not in RESENDABLE
    assert all(not METHODS[name].client_streaming for name in RESENDABLE)
    assert FIND in RESENDABLE


# --- writes ---


async def test_dead_secondary_delays_nobody(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G2].gate.cut()
    assert await write(cluster, repository) == OK
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 0, G3: 1}
    assert await cluster.jobs() == [(G1, G2, "update")]
    assert healthy(cluster) == (G1, G3)


async def test_secondary_that_dies_in_the_middle_gets_a_job(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G2].on("WriteRef", die)
    assert await write(cluster, repository) == OK
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 0, G3: 1}
    assert await cluster.jobs() == [(G1, G2, "update")]


async def test_silent_secondary_is_not_waited_for(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def vote_and_fall_silent(call: NodeCall) -> None:
        await call.vote()
        await call.vote()
        await fall_silent(call)

    cluster.nodes[G3].on("WriteRef", vote_and_fall_silent)
    assert await write(cluster, repository) == OK
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}
    assert (G1, G3, "update") in await cluster.jobs()
    cluster.nodes[G3].gate.speak()


@pytest.mark.parametrize("silent", [G1, G3])
async def test_node_that_stops_before_a_write_is_sent_is_not_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, silent: Storage
) -> None:
    """Its connection is gone, and a new one is accepted by the kernel of a process that has stopped."""
    repository = await cluster.repository()
    channel = cluster.parts.nodes.channel(VS, silent)
    assert channel is not None
    assert channel.connection is not None
    monkeypatch.setattr(HealthMonitor, "healthy_storages", lambda _self, _virtual_storage: ALL)
    cluster.nodes[silent].gate.silence()
    channel.connection.abort()
    status = await write(cluster, repository)
    if silent == G1:
        assert status.code is StatusCode.UNAVAILABLE
        assert await cluster.generations(repository) == {"": 0, G1: 0, G2: 0, G3: 0}
    else:
        assert status == OK
        assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}
    cluster.nodes[silent].gate.speak()


async def test_unreachable_primary_refuses_a_write_for_certain(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G1].gate.cut()
    status = await write(cluster, repository)
    assert status.code is StatusCode.UNAVAILABLE
    assert "connection error" in status.message
    assert [len(node.called("WriteRef")) for node in cluster.nodes.values()] == [0, 0, 0]
    assert await cluster.generations(repository) == {"": 0, G1: 0, G2: 0, G3: 0}
    assert healthy(cluster) == (G2, G3)


async def test_primary_that_dies_in_a_write_leaves_its_outcome_unknown(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def vote_and_die(call: NodeCall) -> None:
        await call.vote()
        await die(call)

    cluster.nodes[G1].on("WriteRef", vote_and_die)
    status = await write(cluster, repository)

    assert status.code is OUTCOME_UNKNOWN
    assert status.message.startswith("outcome unknown: ")
    generations = await cluster.generations(repository)
    assert generations[""] == 1
    assert generations[G1] == 0
    [survivor] = [name for name in (G2, G3) if generations[name] == 1]
    [other] = {G2, G3} - {survivor}
    assert await cluster.jobs() == [(survivor, G1, "update"), (survivor, other, "update")]
    assert await read(cluster, repository) == OK


async def test_primary_that_dies_before_any_vote_changed_nothing_alone(cluster: Cluster) -> None:
    """Whether it changed something before it died is not known, so the survivors' state is what counts."""
    repository = await cluster.repository(replicas={G1: 0})
    cluster.nodes[G1].on("WriteRef", die)
    status = await write(cluster, repository)
    assert status.code is OUTCOME_UNKNOWN
    assert await cluster.generations(repository) == {"": 0, G1: 0}


async def test_primary_that_falls_silent_before_a_vote_is_committed_outdates_nobody(cluster: Cluster) -> None:
    """The others wait for its vote and hold locks, until the silence ends its call and so theirs."""
    repository = await cluster.repository()
    cluster.nodes[G1].on("WriteRef", fall_silent)
    status = await write(cluster, repository)

    assert status.code is OUTCOME_UNKNOWN
    for name in (G2, G3):
        assert (await cluster.nodes[name].wait_ended("WriteRef")).votes != [COMMIT]
    assert await cluster.generations(repository) == {"": 0, G1: 0, G2: 0, G3: 0}
    assert await cluster.jobs() == []
    assert healthy(cluster) == (G2, G3)

    async def works() -> bool:
        return await write(cluster, repository) == OK

    await eventually(works)
    assert await primary_of(cluster, repository) in {G2, G3}
    assert await cluster.generations(repository) == {"": 1, G1: 0, G2: 1, G3: 1}
    cluster.nodes[G1].gate.speak()


@pytest.mark.parametrize("votes", [0, 1])
async def test_proxy_that_hears_from_nobody_judges_nobody(cluster: Cluster, votes: int) -> None:
    """Its own network may be at fault. What committed votes came to is found by a comparison once there is one."""
    repository = await cluster.repository()

    async def cut_off(call: NodeCall) -> None:
        for _ in range(votes):
            await call.vote()
        if call.node.name == G1:
            for node in cluster.nodes.values():
                node.gate.silence()
        await hang(call)

    for node in cluster.nodes.values():
        node.on("WriteRef", cut_off)
    assert (await write(cluster, repository)).code is OUTCOME_UNKNOWN
    assert healthy(cluster) == ()
    refused = await write(cluster, repository)
    assert refused.code is StatusCode.UNAVAILABLE
    assert await cluster.generations(repository) == {"": 0, G1: 0, G2: 0, G3: 0}
    assert await primary_of(cluster, repository) == G1

    for node in cluster.nodes.values():
        node.on("WriteRef", agree)
        node.gate.speak()

    async def works() -> bool:
        return await write(cluster, repository) == OK

    await eventually(works)
    generations = await cluster.generations(repository)
    assert generations[G1] == generations[""] == 1
    assert await primary_of(cluster, repository) == G1


async def test_slow_nodes_are_waited_for_while_a_silent_one_is_given_up(cluster: Cluster) -> None:
    repository = await cluster.repository()
    given_up = asyncio.Event()

    async def take_long(call: NodeCall) -> None:
        await given_up.wait()
        await agree(call)

    cluster.nodes[G1].on("WriteRef", take_long)
    cluster.nodes[G2].on("WriteRef", take_long)
    cluster.nodes[G3].on("WriteRef", fall_silent)
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(write(cluster, repository), name="write")
        await cluster.nodes[G3].wait_called("WriteRef")
        channel = cluster.parts.nodes.channel(VS, G3)
        assert channel is not None
        connection = channel.connection
        assert connection is not None
        await connection.wait_closed()
        given_up.set()
    assert call.result() == OK
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}
    assert (G1, G3, "update") in await cluster.jobs()
    cluster.nodes[G3].gate.speak()


async def test_creation_whose_primary_dies_leaves_no_record(cluster: Cluster) -> None:

    for node in cluster.nodes.values():
        node.on("CreateRepository", _die_if_primary)
    request = repository_pb2.CreateRepositoryRequest(
        repository=shared_pb2.Repository(storage_name="default", relative_path="new.git")
    )
    status = await cluster.status("/gitaly.RepositoryService/CreateRepository", request)
    assert status.code is OUTCOME_UNKNOWN
    assert await cluster.rows.run("SELECT * FROM repositories") == []
    assert await cluster.jobs() == []


async def _die_if_primary(call: NodeCall) -> None:
    assert call.transaction is not None
    await call.vote()
    if call.transaction.primary:
        await die(call)
    await agree(call)
