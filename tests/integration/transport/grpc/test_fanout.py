"""One call for several destinations, all of them ours."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from praefect.domain.errors import FailedPreconditionError
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.fanout import FanOutOptions
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.server_call import Interruption
from praefect.transport.grpc.status import OK, Status, StatusCode, StatusError
from praefect.transport.http2 import Limits
from tests.support.grpc_echo import BOTH, ECHO, UNARY, UP, Echo, connector, serve, until, value
from tests.support.grpc_proxy import FanningOut, Forwarder, proxying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.transport.grpc.client_call import ClientCall
    from praefect.transport.grpc.relay import DestinationOutcome
    from praefect.transport.grpc.server_call import ServerCall
    from tests.support.grpc_echo import Endpoint

IMPATIENT = Limits(keepalive_idle_seconds=0.2, keepalive_timeout_seconds=0.5)


class Node(Echo):
    """Keeps what it gets; answers with its own name."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.received: list[bytes] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error: StatusError | FailedPreconditionError | None = None
        self.fail_after: int | None = None
        self.interrupted = asyncio.Event()
        self.hold_reading = asyncio.Event()
        self.hold_reading.set()

    async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
        self.received.append(request.value)
        await self._finish()
        return value(self.name)

    async def up(self, requests: AsyncIterator[BytesValue], call: ServerCall) -> BytesValue:
        await self.hold_reading.wait()
        async for request in requests:
            self.received.append(request.value)
            if self.fail_after is not None and len(self.received) >= self.fail_after:
                break
        await self._finish()
        return value(self.name)

    async def both(self, requests: AsyncIterator[BytesValue], call: ServerCall) -> AsyncIterator[BytesValue]:
        call.trailing_metadata.append("x-node", self.name.decode())
        async for request in requests:
            self.received.append(request.value)
            yield value(self.name + request.value)

    async def _finish(self) -> None:
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.interrupted.set()
            raise
        if self.error is not None:
            raise self.error


@dataclass(slots=True, kw_only=True)
class Cluster:
    """Three nodes behind one proxy, the first of them the primary."""

    nodes: list[Node]
    handler: FanningOut
    proxy: Endpoint
    channel: Channel
    ended: list[tuple[int, DestinationOutcome]] = field(default_factory=list)


@asynccontextmanager
async def running(
    engine_name: str, *, limits: Limits | None = None, forwarders: dict[int, Forwarder] | None = None
) -> AsyncIterator[Cluster]:
    ended: list[tuple[int, DestinationOutcome]] = []
    options = FanOutOptions(on_secondary_end=lambda index, outcome: ended.append((index, outcome)))
    async with AsyncExitStack() as stack:
        nodes = [Node(b"A"), Node(b"B"), Node(b"C")]
        channels = []
        for index, node in enumerate(nodes):
            server = await stack.enter_async_context(Server())
            server.add_service(ECHO, node)
            port = (await stack.enter_async_context(serve(server, engine_name))).port
            if forwarders and index in forwarders:
                forwarders[index].target = port
                port = (await stack.enter_async_context(forwarders[index].running())).port
            channels.append(await stack.enter_async_context(Channel(connector(port, engine_name, limits=limits))))
        handler = FanningOut(channels, options)
        proxy = await stack.enter_async_context(proxying(handler, engine_name))
        channel = await stack.enter_async_context(proxy.channel())
        yield Cluster(nodes=nodes, handler=handler, proxy=proxy, channel=channel, ended=ended)


async def test_a_unary_request_reaches_all_and_the_primary_answers(engine_name: str) -> None:
    async with running(engine_name) as cluster:
        assert await cluster.channel.unary(UNARY, value(b"x"), BytesValue) == value(b"A")
        assert [node.received for node in cluster.nodes] == [[b"x"]] * 3
        outcome = cluster.handler.outcomes.get_nowait()
        assert outcome.primary.status == OK
        assert [secondary.status for secondary in outcome.secondaries] == [OK, OK]
        assert sorted(index for index, _ in cluster.ended) == [0, 1]


async def test_every_message_of_a_stream_reaches_all_in_order(engine_name: str) -> None:
    pieces = [b"%d" % index * 3000 for index in range(300)]
    async with running(engine_name) as cluster:
        assert await cluster.channel.client_stream(UP, map(value, pieces), BytesValue) == value(b"A")
        assert [node.received for node in cluster.nodes] == [pieces] * 3


async def test_only_the_primarys_messages_and_trailers_reach_the_client(engine_name: str) -> None:
    async with running(engine_name) as cluster, cluster.channel.bidi(BOTH, BytesValue) as call:
        for piece in (b"1", b"2", b"3"):
            await call.send(value(piece))
            assert await call.receive() == value(b"A" + piece)
        await call.half_close()
        assert await call.receive() is None
        assert list(call.raw.trailing_metadata) == [("x-node", "A")]
        outcome = cluster.handler.outcomes.get_nowait()
        assert [list(secondary.trailers) for secondary in outcome.secondaries] == [[("x-node", "B")], [("x-node", "C")]]


async def test_the_call_waits_for_slow_secondaries(engine_name: str) -> None:
    async with running(engine_name) as cluster:
        cluster.nodes[2].go_on.clear()
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(cluster.channel.unary(UNARY, value(b"x"), BytesValue), name="call")
            await until(lambda: [index for index, _ in cluster.ended] == [0])
            assert not call.done()
            cluster.nodes[2].go_on.set()
        assert call.result() == value(b"A")


async def test_a_failing_secondary_is_an_outcome_and_stops_nobody(engine_name: str) -> None:
    async with running(engine_name) as cluster:
        cluster.nodes[1].error = FailedPreconditionError("no")
        assert await cluster.channel.unary(UNARY, value(b"x"), BytesValue) == value(b"A")
        outcome = cluster.handler.outcomes.get_nowait()
        assert outcome.secondaries[0].status == Status(StatusCode.FAILED_PRECONDITION, "no")
        assert outcome.secondaries[0].error is None
        assert outcome.secondaries[1].status == OK


@pytest.mark.parametrize("dead", [1, 2])
async def test_a_secondary_that_ended_has_its_share_of_the_stream_discarded(engine_name: str, dead: int) -> None:
    pieces = [bytes([index % 256]) * 100_000 for index in range(100)]
    async with running(engine_name) as cluster:
        cluster.nodes[dead].fail_after = 2
        cluster.nodes[dead].error = FailedPreconditionError("enough")
        assert await cluster.channel.client_stream(UP, map(value, pieces), BytesValue) == value(b"A")
        assert cluster.nodes[0].received == pieces
        assert cluster.nodes[3 - dead].received == pieces
        assert len(cluster.nodes[dead].received) == 2
        outcome = cluster.handler.outcomes.get_nowait()
        assert outcome.secondaries[dead - 1].status.code is StatusCode.FAILED_PRECONDITION


async def test_a_failing_primary_cancels_the_others(engine_name: str) -> None:
    async with running(engine_name) as cluster:
        cluster.nodes[0].error = FailedPreconditionError("no")
        for node in cluster.nodes[1:]:
            node.go_on.clear()
        with pytest.raises(StatusError) as caught:
            await cluster.channel.unary(UNARY, value(b"x"), BytesValue)
        assert caught.value.status == Status(StatusCode.FAILED_PRECONDITION, "no")
        outcome = cluster.handler.outcomes.get_nowait()
        assert [secondary.status.code for secondary in outcome.secondaries] == [StatusCode.CANCELLED] * 2
        for node in cluster.nodes[1:]:
            await node.interrupted.wait()


async def test_a_client_that_leaves_cancels_all_and_is_an_outcome(engine_name: str) -> None:
    async with running(engine_name) as cluster:
        for node in cluster.nodes:
            node.go_on.clear()
        async with cluster.channel.call(UP) as call:
            await call.send(value(b"x").SerializeToString())
            await until(lambda: all(node.received for node in cluster.nodes))
        outcome = await cluster.handler.outcomes.get()
        assert outcome.primary.interruption is Interruption.CLIENT_GONE
        assert outcome.primary.status.code is StatusCode.CANCELLED
        assert [secondary.status.code for secondary in outcome.secondaries] == [StatusCode.CANCELLED] * 2


async def test_a_slow_destination_sets_the_pace(engine_name: str) -> None:
    sent = 0
    async with running(engine_name) as cluster:
        cluster.nodes[1].hold_reading.clear()

        async def send(call: ClientCall) -> None:
            nonlocal sent
            for _ in range(600):
                await call.send(value(bytes(100_000)).SerializeToString())
                sent += 1
            await call.half_close()

        async with cluster.channel.call(UP) as call, asyncio.TaskGroup() as tasks:
            tasks.create_task(send(call), name="send")
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.3)
            assert sent < 400
            cluster.nodes[1].hold_reading.set()
            assert await call.receive() == value(b"A").SerializeToString()
            assert await call.receive() is None
        assert len(cluster.nodes[1].received) == 600


async def test_a_silent_secondary_is_not_waited_for(engine_name: str) -> None:
    forwarder = Forwarder(0)
    async with running(engine_name, limits=IMPATIENT, forwarders={2: forwarder}) as cluster:
        cluster.nodes[1].go_on.clear()
        cluster.nodes[2].go_on.clear()
        async with asyncio.TaskGroup() as tasks:
            call = tasks.create_task(cluster.channel.unary(UNARY, value(b"x"), BytesValue), name="call")
            await until(lambda: all(node.received for node in cluster.nodes))
            forwarder.silence()
            await until(lambda: [index for index, _ in cluster.ended] == [1])
            assert not call.done()  # the other secondary is slow but answers
            cluster.nodes[1].go_on.set()
        assert call.result() == value(b"A")
        outcome = cluster.handler.outcomes.get_nowait()
        assert outcome.secondaries[0].status == OK
        assert outcome.secondaries[1].status.code is StatusCode.UNAVAILABLE
        assert outcome.secondaries[1].error is not None
