"""Calls whose bulk goes over sidechannels, through all of praefect."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from praefect.domain.errors import PraefectError
from praefect.proto import smarthttp_pb2
from praefect.transport.dial import open_channel
from praefect.transport.grpc.client_call import ClientCall
from praefect.transport.grpc.status import OK, Status, StatusCode
from praefect.transport.sidechannel import SIDECHANNEL_KEY, SidechannelRegistry
from praefect.transport.sidechannel.client import SidechannelClient
from tests.support.scripted_cluster import G1, TOKEN, Cluster, Repository
from tests.support.scripted_node import NodeCall, hang

UPLOAD_PACK = "/gitaly.SmartHTTPService/PostUploadPackWithSidechannel"
Response = smarthttp_pb2.PostUploadPackWithSidechannelResponse


@asynccontextmanager
async def fetching(cluster: Cluster, repository: Repository) -> AsyncIterator[tuple[ClientCall, SidechannelClient]]:
    """Start a call that announces a sidechannel."""
    registry = SidechannelRegistry()
    request = smarthttp_pb2.PostUploadPackWithSidechannelRequest(repository=repository.message)
    async with (
        open_channel(cluster.address, token=TOKEN, multiplex=True, sidechannels=registry) as channel,
        registry.register() as waiter,
        channel.call(UPLOAD_PACK, metadata=[waiter.metadata]) as call,
    ):
        await call.send(request.SerializeToString(), last=True)
        yield call, waiter


async def _serve_pack(call: NodeCall) -> None:
    sidechannel = await call.sidechannel()
    request = b""
    while data := await sidechannel.read():
        request += data
    await sidechannel.write(b"pack for " + request)
    await sidechannel.close()
    await call.answer()


async def test_bulk_bytes_pass_both_ways(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    cluster.nodes[G1].on("PostUploadPackWithSidechannel", _serve_pack)

    async with fetching(cluster, repository) as (call, waiter):
        own = waiter.metadata[1]
        sidechannel = await waiter.accept()
        await sidechannel.write(b"wants")
        await sidechannel.close_write()
        answer = b""
        while data := await sidechannel.read():
            answer += data
        await sidechannel.close()
        assert answer == b"pack for wants"
        assert await call.receive() == Response().SerializeToString()
        assert await call.receive() is None

    [seen] = cluster.nodes[G1].calls
    first, last = seen.metadata.get_all(SIDECHANNEL_KEY)
    assert first == own
    assert last


async def test_call_that_announces_and_breaks_is_not_sent_again(cluster: Cluster) -> None:
    """What the client has sent on its sidechannel went to the node that broke off."""
    repository = await cluster.repository()

    async def open_and_leave(call: NodeCall) -> None:
        await call.sidechannel()
        call.node.gate.disconnect()
        await hang(call)

    for node in cluster.nodes.values():
        node.on("PostUploadPackWithSidechannel", open_and_leave)
    async with fetching(cluster, repository) as (call, _):
        assert (await call.drain()).code is StatusCode.UNAVAILABLE
    assert sum(len(node.calls) for node in cluster.nodes.values()) == 1


async def test_node_that_cannot_be_reached_costs_nothing(cluster: Cluster) -> None:
    """Nothing was sent, so another one may have it all."""
    repository = await cluster.repository()
    for storage, node in cluster.nodes.items():
        if storage == G1:
            node.on("PostUploadPackWithSidechannel", _serve_pack)
        else:
            node.gate.cut()
    async with fetching(cluster, repository) as (call, waiter):
        sidechannel = await waiter.accept()
        await sidechannel.close_write()
        assert await sidechannel.read() == b"pack for "
        assert not await sidechannel.read()
        await sidechannel.close()
        assert await call.drain() == OK


async def test_announced_sidechannel_may_stay_unused(cluster: Cluster) -> None:
    repository = await cluster.repository()
    async with fetching(cluster, repository) as (call, _):
        assert await call.drain() == OK


async def test_sidechannel_needs_a_multiplexed_connection(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def answer_whatever_happens(call: NodeCall) -> None:
        sidechannel = await call.sidechannel()
        with suppress(PraefectError):
            await sidechannel.read()
        sidechannel.abort()
        await call.answer()

    for node in cluster.nodes.values():
        node.on("PostUploadPackWithSidechannel", answer_whatever_happens)
    request = smarthttp_pb2.PostUploadPackWithSidechannelRequest(repository=repository.message)
    status = await cluster.status(UPLOAD_PACK, request, metadata=[(SIDECHANNEL_KEY, "1")])
    assert status == Status(
        StatusCode.INTERNAL, "sidechannel: proxy callback: fail to extract mux session: non-multiplexed connection"
    )
