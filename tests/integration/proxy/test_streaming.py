"""What passes between a client and the nodes of one call, in both directions, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from praefect.domain.repository import Storage
from praefect.proto import blob_pb2, operations_pb2, repository_pb2, smarthttp_pb2
from praefect.transport.grpc.client_call import ClientCall
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.status import OK, Status, StatusCode, pack_detail
from tests.support.scripted_cluster import ALL, G1, G2, G3, Cluster, Repository
from tests.support.scripted_node import NodeCall, Script, agree, answering, failing, hang

READ = "/gitaly.BlobService/GetBlobs"
WRITE = "/gitaly.SmartHTTPService/PostReceivePack"
OPTIMIZE = "/gitaly.RepositoryService/OptimizeRepository"


def _first_read(repository: Repository) -> bytes:
    return blob_pb2.GetBlobsRequest(repository=repository.message).SerializeToString()


def _first_write(repository: Repository) -> bytes:
    return smarthttp_pb2.PostReceivePackRequest(repository=repository.message).SerializeToString()


def _piece(data: bytes) -> bytes:
    return smarthttp_pb2.PostReceivePackRequest(data=data).SerializeToString()


async def _read(cluster: Cluster, repository: Repository) -> Status:
    async with cluster.client.call(READ) as call:
        await call.send(_first_read(repository), last=True)
        return await call.drain()


async def _write(cluster: Cluster, repository: Repository) -> Status:
    async with cluster.client.call(WRITE) as call:
        await call.send(_first_write(repository), last=True)
        return await call.drain()


def _with_headers(script: Script, *fields: tuple[str, str], trailers: bool = False) -> Script:
    async def scripted(call: NodeCall) -> None:
        for key, value in fields:
            (call.raw.trailing_metadata if trailers else call.raw.initial_metadata).append(key, value)
        await script(call)

    return scripted


async def _no_answer(call: NodeCall) -> None:
    """End OK without a message, headers sent."""
    call.raw.send_initial_metadata()


# --- headers and trailers ---


async def test_headers_come_before_the_first_message(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    release = asyncio.Event()

    async def slow(call: NodeCall) -> None:
        call.raw.initial_metadata.append("greeting", "hello")
        await call.answer(blob_pb2.GetBlobsResponse(oid="1"))
        await release.wait()
        await call.answer(blob_pb2.GetBlobsResponse(oid="2"))

    cluster.nodes[G1].on("GetBlobs", slow)
    async with cluster.client.call(READ) as call:
        await call.send(_first_read(repository), last=True)
        head = await call.response()
        assert Metadata.from_headers(head.headers).get_all("greeting") == ["hello"]
        assert [value for name, value in head.headers if name == "content-type"] == [b"application/grpc"]
        assert await call.receive() == blob_pb2.GetBlobsResponse(oid="1").SerializeToString()
        release.set()
        assert await call.receive() == blob_pb2.GetBlobsResponse(oid="2").SerializeToString()
        assert await call.receive() is None


@pytest.mark.parametrize("first", [_first_read, _first_write])
async def test_headers_without_a_message_are_dropped(cluster: Cluster, first: Callable[[Repository], bytes]) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    for name in ("GetBlobs", "PostReceivePack"):
        cluster.nodes[G1].on(name, _with_headers(_no_answer, ("greeting", "hello")))
    async with cluster.client.call(READ if first is _first_read else WRITE) as call:
        await call.send(first(repository), last=True)
        assert await call.initial_metadata() == Metadata()
        assert await call.drain() == OK


async def test_trailers_and_details_of_the_primary_pass(cluster: Cluster) -> None:
    repository = await cluster.repository()
    detail = pack_detail(operations_pb2.UserCreateBranchError())
    for name, node in cluster.nodes.items():
        refuse = failing(StatusCode.PERMISSION_DENIED, "no\n100 % é", [detail])
        node.on("PostReceivePack", _with_headers(refuse, ("cost", f"of {name}"), trailers=True))
    async with cluster.client.call(WRITE) as call:
        await call.send(_first_write(repository), last=True)
        assert await call.drain() == Status(StatusCode.PERMISSION_DENIED, "no\n100 % é", (detail,))
        assert call.trailing_metadata.get_all("cost") == [f"of {G1}"]


async def test_trailers_of_a_read_pass(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("GetBlobs", _with_headers(agree, ("cost", "7"), trailers=True))
    async with cluster.client.call(READ) as call:
        await call.send(_first_read(repository), last=True)
        assert await call.drain() == OK
        assert call.trailing_metadata.get_all("cost") == ["7"]


@pytest.mark.parametrize("run", [_read, _write])
async def test_unknown_error_of_a_node_is_an_internal_one(
    cluster: Cluster, run: Callable[[Cluster, Repository], Awaitable[Status]]
) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    for name in ("GetBlobs", "PostReceivePack"):
        cluster.nodes[G1].on(name, _unknown)
    assert await run(cluster, repository) == Status(StatusCode.INTERNAL, "what?")


async def _unknown(call: NodeCall) -> None:
    call.raw.finish(Status(StatusCode.UNKNOWN, "what?"))


# --- messages ---


async def test_later_messages_pass_verbatim_to_every_participant(cluster: Cluster) -> None:
    repository = await cluster.repository()
    # Not a message of the method: nobody looks.
    pieces = [b"", b"\xff\xfe", _piece(b"x" * 100_000), b"\x00"]
    received: dict[str, list[bytes]] = {}

    async def collect(call: NodeCall) -> None:
        received[call.node.name] = await call.rest()
        await agree(call)

    for node in cluster.nodes.values():
        node.on("PostReceivePack", collect)
    async with cluster.client.call(WRITE) as call:
        await call.send(_first_write(repository))
        for piece in pieces:
            await call.send(piece)
        await call.half_close()
        assert await call.drain() == OK
    assert received == dict.fromkeys(ALL, pieces)


async def test_conversation_goes_back_and_forth(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})

    async def echo(call: NodeCall) -> None:
        async for message in call.raw.messages():
            await call.raw.send(message)

    cluster.nodes[G1].on("PostReceivePack", echo)
    async with cluster.client.call(WRITE) as call:
        await call.send(_first_write(repository))
        for piece in (b"one", b"two"):
            await call.send(piece)
            assert await call.receive() == piece
        await call.half_close()
        assert await call.receive() is None


async def test_big_upload_reaches_every_participant(cluster: Cluster) -> None:
    repository = await cluster.repository()
    sizes: dict[str, int] = {}
    pieces = 200
    piece = _piece(bytes(range(256)) * 512)

    async def measure(call: NodeCall) -> None:
        count = 0
        async for message in call.raw.messages():
            assert message == piece
            count += 1
        sizes[call.node.name] = count
        await agree(call)

    for node in cluster.nodes.values():
        node.on("PostReceivePack", measure)
    async with cluster.client.call(WRITE) as call:
        await call.send(_first_write(repository))
        for _ in range(pieces):
            await call.send(piece)
        await call.half_close()
        assert await call.drain() == OK
    assert sizes == dict.fromkeys(ALL, pieces)


async def test_big_download_waits_for_a_slow_reader(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    message = blob_pb2.GetBlobsResponse(data=bytes(range(256)) * 4096)
    sent = 0

    async def pour(call: NodeCall) -> None:
        nonlocal sent
        for _ in range(40):
            await call.answer(message)
            sent += 1

    cluster.nodes[G1].on("GetBlobs", pour)
    async with cluster.client.call(READ) as call:
        await call.send(_first_read(repository), last=True)
        await call.receive()
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 40, "the node was let finish although nobody reads"
        for _ in range(39):
            assert await call.receive() == message.SerializeToString()
        assert await call.receive() is None


# --- half-close ---


async def test_answer_may_end_before_the_request_does(cluster: Cluster) -> None:
    repository = await cluster.repository()
    async with cluster.client.call(WRITE) as call:
        await call.send(_first_write(repository))
        assert await call.drain() == OK
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 1}


async def test_call_lasts_until_the_last_participant_has_ended(cluster: Cluster) -> None:
    repository = await cluster.repository()
    release = asyncio.Event()

    async def late(call: NodeCall) -> None:
        await agree(call)
        await release.wait()

    cluster.nodes[G3].on("PostReceivePack", late)
    async with cluster.client.call(WRITE) as call:
        await call.send(_first_write(repository), last=True)
        await cluster.nodes[G1].wait_ended("PostReceivePack")
        await call.receive()
        assert await cluster.generations(repository) == {"": 0, G1: 0, G2: 0, G3: 0}
        release.set()
        assert await call.drain() == OK
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 1}


# --- cancellation and deadlines ---


async def test_client_that_leaves_takes_its_read_along(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    cluster.nodes[G1].on("GetBlobs", hang)
    async with cluster.client.call(READ) as call:
        await call.send(_first_read(repository), last=True)
        seen = await cluster.nodes[G1].wait_called("GetBlobs")
    await cluster.nodes[G1].wait_ended("GetBlobs")
    assert seen.raw.interruption is not None


async def test_client_that_leaves_takes_its_write_along(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        node.on("PostReceivePack", hang)
    async with cluster.client.call(WRITE) as call:
        await call.send(_first_write(repository))
        for node in cluster.nodes.values():
            await node.wait_called("PostReceivePack")
    for node in cluster.nodes.values():
        await node.wait_ended("PostReceivePack")
    assert await cluster.generations(repository) == {"": 0, G1: 0, G2: 0, G3: 0}


async def _stay_silent(cluster: Cluster, method: str, first: bytes) -> tuple[Status, ClientCall]:
    deadline = asyncio.get_running_loop().time() + 0.5
    async with cluster.client.call(method, deadline=deadline) as call:
        await call.send(first, last=True)
        return await call.drain(), call


async def test_time_runs_out_on_all_sides(cluster: Cluster) -> None:
    repository = await cluster.repository()
    for node in cluster.nodes.values():
        for name in ("GetBlobs", "PostReceivePack"):
            node.on(name, hang)
    for method, first in ((READ, _first_read(repository)), (WRITE, _first_write(repository))):
        status, _ = await _stay_silent(cluster, method, first)
        assert status.code is StatusCode.DEADLINE_EXCEEDED
    for node in cluster.nodes.values():
        call = await node.wait_ended("PostReceivePack")
        assert call.raw.interruption is not None


async def test_primary_that_fails_ends_the_others(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G2].on("PostReceivePack", hang)
    cluster.nodes[G3].on("PostReceivePack", hang)

    async def refuse_late(call: NodeCall) -> None:
        await cluster.nodes[G2].wait_called("PostReceivePack")
        await cluster.nodes[G3].wait_called("PostReceivePack")
        await failing(StatusCode.FAILED_PRECONDITION, "refused")(call)

    cluster.nodes[G1].on("PostReceivePack", refuse_late)
    assert await _write(cluster, repository) == Status(StatusCode.FAILED_PRECONDITION, "refused")
    for storage in (G2, G3):
        await cluster.nodes[storage].wait_ended("PostReceivePack")


def _differ(cluster: Cluster) -> None:
    for storage, node in cluster.nodes.items():
        node.on("CalculateChecksum", answering(repository_pb2.CalculateChecksumResponse(checksum=storage)))


async def test_secondary_that_fails_is_nobodys_error(cluster: Cluster) -> None:
    repository = await cluster.repository()
    _differ(cluster)
    cluster.nodes[G3].on("PostReceivePack", failing(StatusCode.RESOURCE_EXHAUSTED, "disk full"))
    assert await _write(cluster, repository) == OK
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}
    assert await cluster.jobs() == [(G1, G3, "update")]


async def test_secondary_that_failed_does_not_stall_a_long_request(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def swallow(call: NodeCall) -> None:
        await call.rest()
        await agree(call)

    for storage in (G1, G2):
        cluster.nodes[storage].on("PostReceivePack", swallow)
    _differ(cluster)
    cluster.nodes[G3].on("PostReceivePack", failing(StatusCode.INTERNAL, "gone"))
    piece = _piece(b"x" * 65536)
    async with cluster.client.call(WRITE) as call:
        await call.send(_first_write(repository))
        await cluster.nodes[G3].wait_ended("PostReceivePack")
        for _ in range(100):
            await call.send(piece)
        await call.half_close()
        assert await call.drain() == OK
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}


# --- maintenance ---


async def _optimize(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(OPTIMIZE, repository_pb2.OptimizeRepositoryRequest(repository=repository.message))


@pytest.mark.parametrize("broken", ALL)
async def test_every_node_finishes_its_housekeeping(cluster: Cluster, broken: str) -> None:
    repository = await cluster.repository()
    finished: set[str] = set()
    release = asyncio.Event()

    async def finish(call: NodeCall) -> None:
        await release.wait()
        finished.add(call.node.name)
        await call.answer()

    for name, node in cluster.nodes.items():
        node.on("OptimizeRepository", failing(StatusCode.DATA_LOSS, "broken") if name == broken else finish)
    async with asyncio.TaskGroup() as tasks:
        optimizing = tasks.create_task(_optimize(cluster, repository))
        for node in cluster.nodes.values():
            await node.wait_called("OptimizeRepository")
        await cluster.nodes[Storage(broken)].wait_ended("OptimizeRepository")
        # What the proxy makes of the failure has reached the nodes when they answer twice more.
        for _ in range(2):
            await cluster.parts.health.run_once()
        release.set()
    assert optimizing.result() == Status(StatusCode.DATA_LOSS, "broken")
    assert finished == {*ALL} - {broken}


async def test_first_failure_in_order_of_names_is_told(cluster: Cluster) -> None:
    repository = await cluster.repository()
    third = asyncio.Event()

    async def fail_first(call: NodeCall) -> None:
        third.set()
        await failing(StatusCode.ABORTED, "third")(call)

    async def fail_later(call: NodeCall) -> None:
        await third.wait()
        await failing(StatusCode.DATA_LOSS, "second")(call)

    cluster.nodes[G3].on("OptimizeRepository", fail_first)
    cluster.nodes[G2].on("OptimizeRepository", fail_later)
    assert await _optimize(cluster, repository) == Status(StatusCode.DATA_LOSS, "second")


async def test_first_node_answers_for_all(cluster: Cluster) -> None:
    repository = await cluster.repository()
    release = asyncio.Event()

    async def slow(call: NodeCall) -> None:
        await release.wait()
        await call.answer()

    cluster.nodes[G3].on("OptimizeRepository", slow)
    async with cluster.client.call(OPTIMIZE) as call:
        request = repository_pb2.OptimizeRepositoryRequest(repository=repository.message)
        await call.send(request.SerializeToString(), last=True)
        assert await call.receive() == b""
        release.set()
        assert await call.receive() is None
