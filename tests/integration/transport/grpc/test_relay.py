"""A call relayed between grpcio's client and grpcio's or our own server."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from grpc_status import rpc_status

from praefect.proto import errors_pb2, rpc_status_pb2
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.framing import frame, frame_compressed
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.server_call import Interruption
from praefect.transport.grpc.status import OK, Status, StatusCode
from praefect.transport.http2 import engine
from praefect.transport.http2.interface import ErrorCode, Limits
from tests.support.grpc_echo import (
    BOTH,
    DOWN,
    ECHO,
    UNARY,
    UP,
    Echo,
    StockEcho,
    as_protocol,
    by_key,
    calling,
    connector,
    refused,
    serve,
    serve_stock,
    stock_channel,
    stock_handlers,
    stream_stream,
    stream_unary,
    unary_stream,
    unary_unary,
    until,
    value,
)
from tests.support.grpc_proxy import Relaying, proxying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from praefect.transport.grpc.server_call import ServerCall
    from praefect.transport.http2.interface import ConnectionProtocol, Stream
    from tests.support.grpc_echo import Endpoint

Pairs = tuple[tuple[str, str | bytes], ...]

METADATA: Pairs = (("x-text", "value"), ("x-bytes-bin", bytes(range(256))), ("x-text", "again"))
TRAILERS: Pairs = (
    ("x-trailing-text", "value"),
    ("x-trailing-bytes-bin", bytes(range(256))),
    ("x-trailing-text", "again"),
)


@asynccontextmanager
async def relaying(
    port: int, engine_name: str, *, limits: Limits | None = None
) -> AsyncIterator[tuple[Relaying, Endpoint]]:
    async with Channel(connector(port, engine_name, limits=limits)) as channel:
        handler = Relaying(channel)
        async with proxying(handler, engine_name, limits=limits) as endpoint:
            yield handler, endpoint


def _abort(context: grpc.ServicerContext, status: rpc_status_pb2.Status) -> None:
    details = ("grpc-status-details-bin", status.SerializeToString())
    context.set_trailing_metadata((details, ("x-a", "b")))
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, status.message)


# --- what passes ---


async def test_all_kinds_of_calls_pass_with_metadata_and_trailers(engine_name: str) -> None:
    pieces = [bytes([index]) * 5000 for index in range(200)]

    def client(channel: grpc.Channel) -> None:
        message = value(b"ping").SerializeToString()
        response, call = unary_unary(channel, UNARY).with_call(message, metadata=METADATA)
        assert response == message
        assert by_key(call.initial_metadata()) == by_key(METADATA)
        assert by_key(call.trailing_metadata()) == by_key(TRAILERS)

        stream = unary_stream(channel, DOWN)(value(b"300:7000").SerializeToString(), metadata=METADATA)
        assert list(stream) == [value(bytes([index % 256]) * 7000).SerializeToString() for index in range(300)]
        assert by_key(stream.trailing_metadata()) == by_key(TRAILERS)

        requests = (value(piece).SerializeToString() for piece in pieces)
        assert stream_unary(channel, UP)(requests, timeout=10) == value(b"".join(pieces)).SerializeToString()

        responses = stream_stream(channel, BOTH)((value(piece).SerializeToString() for piece in pieces), timeout=10)
        assert list(responses) == [value(piece).SerializeToString() for piece in pieces]

    with serve_stock() as port:
        async with relaying(port, engine_name) as (handler, endpoint):
            await calling(endpoint, client)
            for _ in range(4):
                outcome = handler.outcomes.get_nowait()
                assert (outcome.status, outcome.response_started) == (OK, True)
                assert (outcome.error, outcome.interruption, outcome.client_error) == (None, None, None)


async def test_lockstep_passes_without_delay(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        answered = threading.Semaphore(1)

        def produce() -> Iterator[bytes]:
            for index in range(100):
                answered.acquire(timeout=10)
                yield b"%d" % index

        count = 0
        for response in stream_stream(channel, BOTH)(produce(), timeout=20):
            assert response == b"%d" % count
            count += 1
            answered.release()
        assert count == 100

    with serve_stock() as port:
        async with relaying(port, engine_name) as (_, endpoint):
            await calling(endpoint, client)


@pytest.mark.parametrize("sizes", [[0, 1, 0], [5, 100_000, 1], [3_000_000, 3_000_000]])
async def test_bytes_read_ahead_of_the_splice_are_not_lost(engine_name: str, sizes: list[int]) -> None:
    """Several messages in one write: the proxy's first read takes more than the first message."""
    messages = [bytes([index]) * size for index, size in enumerate(sizes)]
    with serve_stock() as port:
        async with relaying(port, engine_name) as (_, endpoint):
            connection = await endpoint.connect()()
            await connection.wait_ready()
            headers = [("te", b"trailers"), ("content-type", b"application/grpc")]
            stream = await connection.open_stream("POST", "http", "localhost", BOTH, headers)
            async with asyncio.TaskGroup() as tasks:
                wire = b"".join(map(frame, messages))
                tasks.create_task(stream.send(wire, end_stream=True), name="send")
                received = b""
                while data := await stream.receive():
                    received += data
            assert received == wire
            connection.close()
            await connection.wait_closed()


async def test_messages_of_all_sizes_pass(engine_name: str) -> None:
    with serve_stock() as port:
        async with relaying(port, engine_name) as (_, endpoint), endpoint.channel() as channel:
            for size in (0, 1, 1 << 14, (4 << 20) - 100):
                data = bytes(size)
                assert (await channel.unary(UNARY, value(data), BytesValue)).value == data


async def test_an_error_passes_unchanged_and_the_headers_before_it_are_dropped(engine_name: str) -> None:
    class Failing(StockEcho):
        def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
            context.send_initial_metadata((("x-head", "lost"),))
            packed = rpc_status_pb2.Status(code=8, message="größer\n100 %")
            packed.details.add().Pack(errors_pb2.LimitError(error_message="full"))
            _abort(context, packed)
            return request

    def client(channel: grpc.Channel) -> None:
        call = refused(lambda: unary_unary(channel, UNARY)(b"", timeout=10))
        assert tuple(call.initial_metadata()) == ()
        assert ("x-a", "b") in tuple(call.trailing_metadata())
        status = rpc_status.from_call(call)
        assert (status.code, status.message) == (8, "größer\n100 %")
        assert errors_pb2.LimitError.FromString(status.details[0].value).error_message == "full"

    with serve_stock(stock_handlers(Failing())) as port:
        async with relaying(port, engine_name) as (handler, endpoint):
            await calling(endpoint, client)
            outcome = handler.outcomes.get_nowait()
            assert outcome.status.code is StatusCode.RESOURCE_EXHAUSTED
            assert not outcome.response_started
            assert outcome.error is None


async def test_an_error_behind_messages_passes(engine_name: str) -> None:
    class Failing(StockEcho):
        def down(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            yield b"first"
            context.abort(grpc.StatusCode.ABORTED, "then not")

    def client(channel: grpc.Channel) -> None:
        stream = unary_stream(channel, DOWN)(b"", timeout=10)
        assert next(stream) == b"first"
        call = refused(lambda: next(stream))
        assert (call.code(), call.details()) == (grpc.StatusCode.ABORTED, "then not")

    with serve_stock(stock_handlers(Failing())) as port:
        async with relaying(port, engine_name) as (handler, endpoint):
            await calling(endpoint, client)
            outcome = handler.outcomes.get_nowait()
            assert outcome.status == Status(StatusCode.ABORTED, "then not")
            assert outcome.response_started


async def test_the_client_learns_the_status_only_from_the_proxy(engine_name: str) -> None:
    """What the proxy decides after the upstream call ended is what the client gets."""
    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as channel:
            handler = Relaying(channel)

            async def overruling(call: ServerCall) -> None:
                await handler(call)
                call.finish(Status(StatusCode.INTERNAL, "could not be recorded"))

            def client(channel: grpc.Channel) -> None:
                stream = unary_stream(channel, DOWN)(value(b"3:10").SerializeToString(), timeout=10)
                for index in range(3):
                    assert next(stream) == value(bytes([index]) * 10).SerializeToString()
                assert refused(lambda: next(stream)).details() == "could not be recorded"

            async with proxying(overruling, engine_name) as endpoint:
                await calling(endpoint, client)


async def test_the_response_is_held_back_until_the_proxy_lets_it_go(engine_name: str) -> None:
    go_on = asyncio.Event()
    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as upstream:

            async def hold() -> None:
                await go_on.wait()

            async with (
                proxying(Relaying(upstream, hold), engine_name) as endpoint,
                endpoint.channel() as channel,
                channel.call(UNARY) as call,
            ):
                await call.send(value(b"x").SerializeToString(), last=True)
                async with asyncio.TaskGroup() as tasks:
                    receiving = tasks.create_task(call.receive(), name="receive")
                    await asyncio.sleep(0.1)
                    assert not receiving.done()
                    go_on.set()
                assert receiving.result() == value(b"x").SerializeToString()


# --- compression: bytes that cannot be passed on as they are ---


async def test_a_compressed_request_reaches_an_upstream_plain(engine_name: str) -> None:
    pieces = [b"a" * 50_000, b"", b"b" * 100]

    def client(channel: grpc.Channel) -> None:
        responses = stream_stream(channel, BOTH)((value(piece).SerializeToString() for piece in pieces), timeout=10)
        assert list(responses) == [value(piece).SerializeToString() for piece in pieces]
        message = value(b"c" * 50_000).SerializeToString()
        assert unary_unary(channel, UNARY)(message, timeout=10) == message

    seen: list[str] = []

    class Plain(Echo):
        async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
            seen.append(call.encoding)
            return request

    async with Server() as node, serve(node, engine_name) as upstream:
        node.add_service(ECHO, Plain())
        async with relaying(upstream.port, engine_name) as (_, endpoint):
            await calling(endpoint, client, compression=grpc.Compression.Gzip)
    assert seen == ["identity"]


async def test_a_compressed_response_reaches_the_client_plain(engine_name: str) -> None:
    async def answer(stream: Stream) -> None:
        while await stream.receive():
            pass
        stream.send_head(200, [("content-type", b"application/grpc"), ("grpc-encoding", b"gzip")])
        await stream.send(frame_compressed(b"a" * 10_000) + frame(b"b"))
        stream.send_trailers([("grpc-status", b"0")])

    async with raw_server(answer, engine_name) as port, relaying(port, engine_name) as (handler, endpoint):
        async with endpoint.channel() as channel, channel.call(DOWN) as call:
            await call.send(b"", last=True)
            assert [message async for message in call.messages()] == [b"a" * 10_000, b"b"]
        assert handler.outcomes.get_nowait().status == OK


@asynccontextmanager
async def raw_server(
    answer: Callable[[Stream], Coroutine[object, object, None]], engine_name: str
) -> AsyncIterator[int]:
    """Serve by code that speaks HTTP/2 itself."""
    async with asyncio.TaskGroup() as tasks:
        made: list[ConnectionProtocol] = []

        def start(stream: Stream) -> None:
            tasks.create_task(answer(stream), name="answer")

        def accept() -> asyncio.Protocol:
            made.append(engine(engine_name).server(start, limits=Limits(), context=None))
            return as_protocol(made[-1])

        listener = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
            for connection in made:
                connection.close()


# --- ends before their time ---


class Waiting(StockEcho):
    """Handlers that wait until their call ends."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()
        self.remaining: float | None = None

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self._wait(context)
        return request

    def both(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield next(requests)
        self._wait(context)

    def _wait(self, context: grpc.ServicerContext) -> None:
        self.remaining = context.time_remaining()
        if not context.add_callback(self.ended.set):
            self.ended.set()
        self.started.set()
        self.ended.wait()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_cancels_cancels_the_upstream_and_is_an_outcome(engine_name: str, *, begun: bool) -> None:
    waiting = Waiting()
    with serve_stock(stock_handlers(waiting)) as port:
        async with relaying(port, engine_name) as (handler, endpoint):
            with stock_channel(endpoint.target) as channel:
                if begun:
                    stream = stream_stream(channel, BOTH)(iter([b"x"]))
                    assert await asyncio.to_thread(next, stream) == b"x"
                    await asyncio.to_thread(waiting.started.wait)
                    stream.cancel()
                else:
                    call = unary_unary(channel, UNARY).future(b"")
                    await asyncio.to_thread(waiting.started.wait)
                    call.cancel()
                outcome = await handler.outcomes.get()
                assert outcome.interruption is Interruption.CLIENT_GONE
                assert outcome.status.code is StatusCode.CANCELLED
                assert outcome.response_started is begun
                assert outcome.error is None
                assert await asyncio.to_thread(waiting.ended.wait, 10)


async def test_a_client_whose_connection_breaks_is_an_outcome(engine_name: str) -> None:
    waiting = Waiting()
    with serve_stock(stock_handlers(waiting)) as port:
        async with relaying(port, engine_name) as (handler, endpoint):
            with stock_channel(endpoint.target) as channel:
                call = unary_unary(channel, UNARY).future(b"")
                await asyncio.to_thread(waiting.started.wait)
                endpoint.connections[0].abort()
                assert (await handler.outcomes.get()).interruption is Interruption.CLIENT_GONE
                assert await asyncio.to_thread(waiting.ended.wait, 10)
                await asyncio.to_thread(call.exception)


async def test_the_deadline_is_passed_on_and_ends_the_call(engine_name: str) -> None:
    waiting = Waiting()

    def client(channel: grpc.Channel) -> None:
        call = refused(lambda: unary_unary(channel, UNARY)(b"", timeout=0.5))
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    with serve_stock(stock_handlers(waiting)) as port:
        async with relaying(port, engine_name) as (handler, endpoint):
            await calling(endpoint, client)
            outcome = await handler.outcomes.get()
            assert outcome.status.code in {StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED}
            assert await asyncio.to_thread(waiting.ended.wait, 10)
            assert waiting.remaining is not None
            assert waiting.remaining < 0.6


@pytest.mark.parametrize("begun", [False, True])
async def test_an_upstream_whose_connection_breaks_is_evidence(engine_name: str, *, begun: bool) -> None:
    async def answer(stream: Stream) -> None:
        if begun:
            stream.send_head(200, [("content-type", b"application/grpc")])
            await stream.send(frame(b"first"))
            await stream.connection.ping()  # abort drops what has not been written
        await stream.receive()
        stream.connection.abort()

    def client(channel: grpc.Channel) -> None:
        stream = unary_stream(channel, DOWN)(b"", timeout=10)
        if begun:
            assert next(stream) == b"first"
        call = refused(lambda: next(stream))
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert (call.details() or "").startswith("error reading from server: ")

    async with raw_server(answer, engine_name) as port, relaying(port, engine_name) as (handler, endpoint):
        await calling(endpoint, client)
        outcome = handler.outcomes.get_nowait()
        assert outcome.error is not None
        assert outcome.error.remote
        assert not outcome.error.unprocessed
        assert outcome.response_started is begun


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (ErrorCode.INTERNAL_ERROR, grpc.StatusCode.INTERNAL),
        (ErrorCode.ENHANCE_YOUR_CALM, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (ErrorCode.CANCEL, grpc.StatusCode.CANCELLED),
    ],
)
async def test_an_upstream_that_resets_gives_the_statuses_of_the_specification(
    engine_name: str, code: ErrorCode, expected: grpc.StatusCode
) -> None:
    async def answer(stream: Stream) -> None:
        await stream.receive()
        stream.reset(code)

    def client(channel: grpc.Channel) -> None:
        call = refused(lambda: unary_unary(channel, UNARY)(b"", timeout=10))
        assert call.code() is expected
        assert call.details() == f"stream terminated by RST_STREAM with error code: {code.name}"

    async with raw_server(answer, engine_name) as port, relaying(port, engine_name) as (_, endpoint):
        await calling(endpoint, client)


async def test_a_request_that_was_certainly_not_looked_at_is_sent_again(engine_name: str) -> None:
    refusals = 0

    async def answer(stream: Stream) -> None:
        nonlocal refusals
        if refusals == 0:
            refusals += 1
            stream.reset(ErrorCode.REFUSED_STREAM)
            return
        received = b""
        while data := await stream.receive():
            received += data
        stream.send_head(200, [("content-type", b"application/grpc")])
        await stream.send(received)
        stream.send_trailers([("grpc-status", b"0")])

    def client(channel: grpc.Channel) -> None:
        assert unary_unary(channel, UNARY)(b"abc", timeout=10) == b"abc"

    async with raw_server(answer, engine_name) as port, relaying(port, engine_name) as (_, endpoint):
        await calling(endpoint, client)
    assert refusals == 1


async def test_an_upstream_that_ends_without_a_status_is_an_error(engine_name: str) -> None:
    async def answer(stream: Stream) -> None:
        await stream.receive()
        stream.send_head(200, [("content-type", b"application/grpc")])
        await stream.send(frame(b"first"), end_stream=True)

    def client(channel: grpc.Channel) -> None:
        stream = unary_stream(channel, DOWN)(b"", timeout=10)
        refused(lambda: list(stream))

    async with raw_server(answer, engine_name) as port, relaying(port, engine_name) as (handler, endpoint):
        await calling(endpoint, client)
        text = "server closed the stream without sending trailers"
        assert (await handler.outcomes.get()).status == Status(StatusCode.INTERNAL, text)


async def test_an_upstream_that_is_not_grpc_is_told_by_its_http_status(engine_name: str) -> None:
    async def answer(stream: Stream) -> None:
        stream.send_head(502, [("content-type", b"text/html")])
        await stream.send(b"<p>bad gateway</p>", end_stream=True)

    def client(channel: grpc.Channel) -> None:
        call = refused(lambda: unary_unary(channel, UNARY)(b"", timeout=10))
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        assert "502 (Bad Gateway)" in (call.details() or "")

    async with raw_server(answer, engine_name) as port, relaying(port, engine_name) as (_, endpoint):
        await calling(endpoint, client)


async def test_an_upstream_that_answers_early_ends_the_request(engine_name: str) -> None:
    async def answer(stream: Stream) -> None:
        await stream.receive()
        stream.send_head(200, [("content-type", b"application/grpc")])
        stream.send_trailers([("grpc-status", b"9"), ("grpc-message", b"seen enough")])

    def client(channel: grpc.Channel) -> None:
        endless = iter(lambda: b"x" * 100_000, None)
        call = refused(lambda: stream_unary(channel, UP)(endless, timeout=20))
        assert (call.code(), call.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "seen enough")

    async with raw_server(answer, engine_name) as port, relaying(port, engine_name) as (handler, endpoint):
        await calling(endpoint, client)
        upstream = handler.channel.connection
        assert upstream is not None
        await until(lambda: upstream.open_streams == 0 and endpoint.connections[0].open_streams == 0)


async def test_a_cancellation_that_is_not_the_clients_is_passed_on(engine_name: str) -> None:
    waiting = Waiting()
    passed_on = asyncio.Event()
    with serve_stock(stock_handlers(waiting)) as port:
        async with Channel(connector(port, engine_name)) as channel:
            handler = Relaying(channel)

            async def bounded(call: ServerCall) -> None:
                try:
                    async with asyncio.timeout(0.2):
                        await handler(call)
                except TimeoutError:
                    passed_on.set()

            def client(channel: grpc.Channel) -> None:
                unary_unary(channel, UNARY).future(b"").exception(timeout=10)

            async with proxying(bounded, engine_name) as endpoint:
                await calling(endpoint, client)
                await passed_on.wait()
                assert await asyncio.to_thread(waiting.ended.wait, 10)
                assert handler.outcomes.empty()


# --- back-pressure ---

SMALL = Limits(initial_window_size=1 << 16, connection_window=1 << 17)


async def test_a_slow_client_holds_the_upstream_back(engine_name: str) -> None:
    produced = 0

    class Endless(Echo):
        async def down(self, request: BytesValue, call: ServerCall) -> AsyncIterator[BytesValue]:
            nonlocal produced
            while True:
                produced += 1
                yield value(b"x" * (1 << 17))

    async with Server() as node, serve(node, engine_name) as upstream:
        node.add_service(ECHO, Endless())
        async with (
            relaying(upstream.port, engine_name, limits=SMALL) as (_, endpoint),
            Channel(connector(endpoint.port, engine_name, limits=SMALL)) as channel,
            channel.call(DOWN) as call,
        ):
            await call.send(b"", last=True)
            await call.receive()
            before = -1
            while before != produced:
                before = produced
                await asyncio.sleep(0.2)
            assert produced < 40
            for _ in range(produced + 20):
                await call.receive()


async def test_a_slow_client_gets_all_of_an_answer_that_ended_before_its_request(engine_name: str) -> None:
    async def answer(stream: Stream) -> None:
        await stream.receive()
        stream.send_head(200, [("content-type", b"application/grpc")])
        for _ in range(3):
            await stream.send(frame(bytes(100_000)))
        stream.send_trailers([("grpc-status", b"0")])

    async with (
        raw_server(answer, engine_name) as port,
        relaying(port, engine_name) as (handler, endpoint),
        Channel(connector(endpoint.port, engine_name, limits=SMALL)) as channel,
        channel.call(BOTH) as call,
    ):
        await call.send(b"x")
        await handler.outcomes.get()
        await asyncio.sleep(0.1)
        assert [message async for message in call.messages()] == [bytes(100_000)] * 3
        assert call.status == OK


async def test_a_slow_upstream_holds_the_client_back(engine_name: str) -> None:
    sent = 0
    go_on = asyncio.Event()

    async def answer(stream: Stream) -> None:
        await go_on.wait()
        while await stream.receive():
            pass
        stream.send_head(200, [("content-type", b"application/grpc")])
        await stream.send(frame(b"done"))
        stream.send_trailers([("grpc-status", b"0")])

    async with (
        raw_server(answer, engine_name) as port,
        relaying(port, engine_name, limits=SMALL) as (_, endpoint),
        Channel(connector(endpoint.port, engine_name, limits=SMALL)) as channel,
        channel.call(UP) as call,
    ):

        async def send() -> None:
            nonlocal sent
            for _ in range(200):
                await call.send(bytes(1 << 17))
                sent += 1
            await call.half_close()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send(), name="send")
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.2)
            assert sent < 100
            go_on.set()
        assert await call.receive() == b"done"
