"""Our channel, calling grpcio's server."""

from __future__ import annotations

import asyncio
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from praefect.observability.correlation import correlation_id
from praefect.proto import errors_pb2, health_pb2, rpc_status_pb2
from praefect.transport.grpc.channel import Channel, ChannelOptions
from praefect.transport.grpc.connector import ConnectOptions
from praefect.transport.grpc.retry import PREVIOUS_ATTEMPTS, RetryPolicy
from praefect.transport.grpc.status import Status, StatusCode, StatusError
from praefect.transport.grpc.token import check_token
from praefect.transport.http2 import Limits
from tests.support.grpc_echo import (
    BOTH,
    DOWN,
    UNARY,
    UP,
    StockEcho,
    by_key,
    connector,
    serve_stock,
    stock_handlers,
    until,
    value,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

METADATA: list[tuple[str, str | bytes]] = [("x-text", "value"), ("x-bytes-bin", bytes(range(256))), ("x-text", "again")]
TRAILERS: list[tuple[str, str | bytes]] = [
    ("x-trailing-text", "value"),
    ("x-trailing-bytes-bin", bytes(range(256))),
    ("x-trailing-text", "again"),
]


async def refused(call: Callable[[], object]) -> StatusError:
    with pytest.raises(StatusError) as caught:
        await call()  # type: ignore[misc]  # every caller gives a coroutine function
    assert caught.value.remote or caught.value.code is StatusCode.UNAVAILABLE
    return caught.value


async def test_unary(engine_name: str) -> None:
    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as channel:
            assert not channel.connected
            response = await channel.unary(UNARY, value(b"ping"), BytesValue, metadata=METADATA)
            assert response == value(b"ping")
            assert channel.connected


async def test_metadata_both_ways(engine_name: str) -> None:
    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as channel, channel.call(UNARY, metadata=METADATA) as call:
            assert await call.send(value(b"ping").SerializeToString(), last=True)
            assert by_key(await call.initial_metadata()) == by_key(METADATA)
            assert await call.receive() == value(b"ping").SerializeToString()
            assert await call.receive() is None
            assert await call.receive() is None
            assert call.status == Status(StatusCode.OK)
            assert by_key(call.trailing_metadata) == by_key(TRAILERS)


async def test_server_streaming(engine_name: str) -> None:
    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as channel:
            messages = [m async for m in channel.server_stream(DOWN, value(b"300:7000"), BytesValue)]
            assert messages == [value(bytes([index % 256]) * 7000) for index in range(300)]
            assert [m async for m in channel.server_stream(DOWN, value(b"0:0"), BytesValue)] == []


async def test_client_streaming(engine_name: str) -> None:
    pieces = [bytes([index]) * 5000 for index in range(200)]

    async def slowly() -> AsyncIterator[BytesValue]:
        for piece in pieces:
            await asyncio.sleep(0)
            yield value(piece)

    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as channel:
            expected = value(b"".join(pieces))
            assert await channel.client_stream(UP, map(value, pieces), BytesValue) == expected
            assert await channel.client_stream(UP, slowly(), BytesValue, metadata=METADATA) == expected
            assert await channel.client_stream(UP, [], BytesValue) == value(b"")


async def test_bidirectional_streaming_in_lockstep(engine_name: str) -> None:
    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as channel, channel.bidi(BOTH, BytesValue) as call:
            for index in range(50):
                assert await call.send(value(b"%d" % index))
                assert await call.receive() == value(b"%d" % index)
            await call.half_close()
            assert [m async for m in call.messages()] == []


async def test_big_messages_pass_both_ways(engine_name: str) -> None:
    data = bytes(range(256)) * (14 << 10)
    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as channel:
            assert await channel.unary(UNARY, value(data), BytesValue) == value(data)


async def test_a_response_above_the_limit_is_refused(engine_name: str) -> None:
    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as channel:
            request = value(b"1:5000000")
            size = len(value(b"x" * 5_000_000).SerializeToString())
            error = await refused(lambda: _collect(channel, request))
            assert error.status == Status(
                StatusCode.RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({size} vs. 4194304)"
            )
            assert await channel.unary(UNARY, value(b"still there"), BytesValue) == value(b"still there")


async def _collect(channel: Channel, request: BytesValue) -> list[BytesValue]:
    return [message async for message in channel.server_stream(DOWN, request, BytesValue)]


async def test_gzip_responses_are_understood(engine_name: str) -> None:
    with serve_stock(compression=grpc.Compression.Gzip) as port:
        async with Channel(connector(port, engine_name)) as channel:
            assert await channel.unary(UNARY, value(b"a" * 100_000), BytesValue) == value(b"a" * 100_000)
            error = await refused(lambda: _collect(channel, value(b"1:5000000")))
            assert error.status == Status(
                StatusCode.RESOURCE_EXHAUSTED, "grpc: received message after decompression larger than max 4194304"
            )


async def test_many_calls_at_once_share_one_connection(engine_name: str) -> None:
    made = 0

    with serve_stock() as port:
        connect = connector(port, engine_name)

        async def counted() -> object:
            nonlocal made
            made += 1
            return await connect()

        async with Channel(counted) as channel:  # type: ignore[arg-type]
            async with asyncio.TaskGroup() as tasks:
                calls = [
                    tasks.create_task(channel.unary(UNARY, value(b"%d" % index), BytesValue), name=f"call {index}")
                    for index in range(300)
                ]
            assert [call.result() for call in calls] == [value(b"%d" % index) for index in range(300)]
    assert made == 1


# --- errors ---


def _abort(context: grpc.ServicerContext, status: rpc_status_pb2.Status) -> None:
    details = ("grpc-status-details-bin", status.SerializeToString())
    context.set_trailing_metadata((details, ("x-a", "b")))
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, status.message)


class Failing(StockEcho):
    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        packed = rpc_status_pb2.Status(code=8, message="größer\n100 %")
        packed.details.add().Pack(errors_pb2.LimitError(error_message="full"))
        _abort(context, packed)
        return request

    def down(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield value(b"first").SerializeToString()
        context.abort(grpc.StatusCode.NOT_FOUND, "gone")


async def test_status_message_details_and_trailers(engine_name: str) -> None:
    with serve_stock(stock_handlers(Failing())) as port:
        async with Channel(connector(port, engine_name)) as channel:
            error = await refused(lambda: channel.unary(UNARY, value(b""), BytesValue))
            assert (error.code, error.message) == (StatusCode.RESOURCE_EXHAUSTED, "größer\n100 %")
            assert errors_pb2.LimitError.FromString(error.details[0].value).error_message == "full"

            async with channel.call(UNARY) as call:
                await call.send(b"", last=True)
                with pytest.raises(StatusError):
                    await call.receive()
                with pytest.raises(StatusError):
                    await call.receive()
                assert call.trailing_metadata.first("x-a") == "b"


async def test_an_error_behind_messages(engine_name: str) -> None:
    with serve_stock(stock_handlers(Failing())) as port:
        async with Channel(connector(port, engine_name)) as channel:
            stream = channel.server_stream(DOWN, value(b""), BytesValue)
            assert await anext(stream) == value(b"first")
            assert (await refused(lambda: anext(stream))).status == Status(StatusCode.NOT_FOUND, "gone")


async def test_an_unknown_method(engine_name: str) -> None:
    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as channel:
            error = await refused(lambda: channel.unary("/a.B/C", value(b""), BytesValue))
            assert error.code is StatusCode.UNIMPLEMENTED


async def test_an_early_answer_ends_a_streaming_request(engine_name: str) -> None:
    class Hasty(StockEcho):
        def up(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            next(requests)
            context.abort(grpc.StatusCode.NOT_FOUND, "seen enough")

    async def endless() -> AsyncIterator[BytesValue]:
        while True:
            yield value(b"x" * 100_000)

    with serve_stock(stock_handlers(Hasty())) as port:
        async with Channel(connector(port, engine_name)) as channel:
            error = await refused(lambda: channel.client_stream(UP, endless(), BytesValue))
            assert error.status == Status(StatusCode.NOT_FOUND, "seen enough")


# --- deadlines and cancellation ---


class Waiting(StockEcho):
    """Handlers that wait until their call ends."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()
        self.remaining: float | None = None

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.remaining = context.time_remaining()
        context.add_callback(self.ended.set)
        self.started.set()
        self.ended.wait()
        return request


async def test_a_deadline_ends_the_call_on_both_sides(engine_name: str) -> None:
    waiting = Waiting()
    with serve_stock(stock_handlers(waiting)) as port:
        async with Channel(connector(port, engine_name)) as channel:
            await channel.connect()
            error = await refused(lambda: channel.unary(UNARY, value(b""), BytesValue, timeout=0.5))
            assert error.code is StatusCode.DEADLINE_EXCEEDED
            await asyncio.to_thread(waiting.ended.wait)
            assert waiting.remaining is not None
            assert waiting.remaining < 0.6


async def test_a_deadline_that_has_passed_is_not_sent(engine_name: str) -> None:
    async def never() -> None:
        raise AssertionError

    async with Channel(never) as channel:  # type: ignore[arg-type]
        error = await refused(lambda: channel.unary(UNARY, value(b""), BytesValue, timeout=0))
        assert error.code is StatusCode.DEADLINE_EXCEEDED


async def test_a_deadline_holds_while_connecting() -> None:
    async def connect() -> None:
        await asyncio.Event().wait()

    async with Channel(connect) as channel:  # type: ignore[arg-type]
        error = await refused(lambda: channel.unary(UNARY, value(b""), BytesValue, timeout=0.05))
        assert error.code is StatusCode.DEADLINE_EXCEEDED


async def test_a_cancelled_task_cancels_its_call(engine_name: str) -> None:
    waiting = Waiting()
    with serve_stock(stock_handlers(waiting)) as port:
        async with Channel(connector(port, engine_name)) as channel:
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(channel.unary(UNARY, value(b""), BytesValue), name="call")
                await asyncio.to_thread(waiting.started.wait)
                task.cancel()
            await asyncio.to_thread(waiting.ended.wait)
            connection = channel.connection
            assert connection is not None
            await until(lambda: connection.open_streams == 0)


async def test_leaving_a_stream_early_cancels_its_call(engine_name: str) -> None:
    with serve_stock() as port:
        async with Channel(connector(port, engine_name)) as channel:
            async with aclosing(channel.server_stream(DOWN, value(b"1000:100000"), BytesValue)) as stream:
                assert await anext(stream) == value(bytes(100_000))
            connection = channel.connection
            assert connection is not None
            await until(lambda: connection.open_streams == 0)


async def test_a_slow_reader_holds_the_server_back(engine_name: str) -> None:
    produced = 0

    class Endless(StockEcho):
        def down(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            nonlocal produced
            while True:
                produced += 1
                yield b"x" * (1 << 20)

    with serve_stock(stock_handlers(Endless())) as port:
        async with Channel(connector(port, engine_name)) as channel, channel.call(DOWN) as call:
            await call.send(b"", last=True)
            await call.receive()
            before = -1
            while before != produced:
                before = produced
                await asyncio.sleep(0.3)
            assert produced < 100
            for _ in range(produced + 5):
                await call.receive()


# --- what is sent along ---


class Recording(StockEcho):
    def __init__(self) -> None:
        self.metadata: list[dict[str, list[str | bytes]]] = []

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        fields: dict[str, list[str | bytes]] = {}
        for key, item in context.invocation_metadata():
            fields.setdefault(key, []).append(item)
        self.metadata.append(fields)
        return request


async def test_every_call_carries_a_token_and_the_correlation_id(engine_name: str) -> None:
    recording = Recording()
    with serve_stock(stock_handlers(recording)) as port:
        options = ChannelOptions(user_agent="praefect/1")
        async with Channel(connector(port, engine_name), token="secret", options=options) as channel:
            correlation_id.set("abc")
            await channel.unary(UNARY, value(b""), BytesValue)
            mine = [
                ("x-gitlab-correlation-id", "mine"),
                ("authorization", "client's own"),
            ]
            await channel.unary(UNARY, value(b""), BytesValue, metadata=mine)
    first, second = recording.metadata
    now = int(str(first["authorization"][0]).rpartition(".")[2])
    assert check_token(str(first["authorization"][0]), b"secret", now).ok
    assert first["x-gitlab-correlation-id"] == ["abc"]
    assert first["user-agent"] == ["praefect/1"]
    assert second["x-gitlab-correlation-id"] == ["mine"]
    assert check_token(str(second["authorization"][0]), b"secret", now).ok
    assert second["authorization"][1] == "client's own"


# --- connections ---

FAST = ChannelOptions(connect=ConnectOptions(backoff_initial_seconds=0.01, backoff_max_seconds=0.01))


async def test_a_refused_connection_is_told_as_go_does(engine_name: str, unused_tcp_port: int) -> None:
    async with Channel(connector(unused_tcp_port, engine_name)) as channel:
        error = await refused(lambda: channel.unary(UNARY, value(b""), BytesValue))
        assert error.code is StatusCode.UNAVAILABLE
        assert error.message == 'connection error: desc = "transport: Error while dialing: connection refused"'


async def test_during_the_backoff_calls_fail_at_once_with_the_last_reason() -> None:
    attempts = 0

    async def connect() -> None:
        nonlocal attempts
        attempts += 1
        raise ConnectionRefusedError(111, "Connection refused")

    async with Channel(connect) as channel:  # type: ignore[arg-type]
        for _ in range(3):
            error = await refused(lambda: channel.unary(UNARY, value(b""), BytesValue))
            assert error.message == ('connection error: desc = "transport: Error while dialing: connection refused"')
        assert attempts == 1
        channel.retry_now()
        await refused(lambda: channel.unary(UNARY, value(b""), BytesValue))
        assert attempts == 2


async def test_callers_share_an_attempt_and_none_of_them_owns_it(engine_name: str) -> None:
    attempts = 0
    go_on = asyncio.Event()
    with serve_stock() as port:
        connect = connector(port, engine_name)

        async def slow() -> object:
            nonlocal attempts
            attempts += 1
            await go_on.wait()
            return await connect()

        async with Channel(slow) as channel:  # type: ignore[arg-type]
            async with asyncio.TaskGroup() as tasks:
                impatient = tasks.create_task(channel.unary(UNARY, value(b""), BytesValue), name="impatient")
                patient = tasks.create_task(channel.unary(UNARY, value(b"p"), BytesValue), name="patient")
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                impatient.cancel()
                go_on.set()
            assert patient.result() == value(b"p")
            assert attempts == 1


async def test_a_peer_that_is_silent_is_given_up(engine_name: str) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    options = ChannelOptions(connect=ConnectOptions(timeout_seconds=0.1))
    async with Channel(connector(port, engine_name), options=options) as channel:
        error = await refused(lambda: channel.unary(UNARY, value(b""), BytesValue))
        assert error.status == Status(
            StatusCode.UNAVAILABLE, 'connection error: desc = "transport: Error while dialing: i/o timeout"'
        )
    listener.close()
    await listener.wait_closed()


@pytest.mark.parametrize("interval_seconds", [0.0, 2.0])
async def test_a_server_that_counts_pings_is_asked_soon_but_not_too_often(
    engine_name: str, interval_seconds: float
) -> None:
    waiting = Waiting()
    # The third PING in a row that comes within a second of the one before ends the connection.
    counting: list[tuple[str, object]] = [
        ("grpc.http2.min_ping_interval_without_data_ms", 1000),
        ("grpc.http2.max_ping_strikes", 2),
    ]
    limits = Limits(
        keepalive_idle_seconds=0.1, keepalive_timeout_seconds=30, keepalive_interval_seconds=interval_seconds
    )
    with serve_stock(stock_handlers(waiting), options=counting) as port:
        async with Channel(connector(port, engine_name, limits=limits)) as channel, channel.call(UNARY) as call:
            await call.send(value(b"x").SerializeToString(), last=True)
            await asyncio.to_thread(waiting.started.wait)
            connection = channel.connection
            assert connection is not None
            if interval_seconds:
                await asyncio.sleep(4.5)
                waiting.ended.set()
                assert (await call.drain()).ok
                assert connection.accepts_streams
            else:
                assert await call.drain() == Status(StatusCode.UNAVAILABLE, "Too many pings")
                assert not connection.accepts_streams


async def test_closing_gives_up_an_attempt(engine_name: str) -> None:
    entered = asyncio.Event()

    async def connect() -> None:
        entered.set()
        await asyncio.Event().wait()

    channel = Channel(connect)  # type: ignore[arg-type]
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(refused_cancelled(channel), name="call")
        await entered.wait()
        await channel.close()
    assert call.done()


async def refused_cancelled(channel: Channel) -> None:
    with pytest.raises(StatusError, match="the client connection is closing"):
        await channel.unary(UNARY, value(b""), BytesValue)


async def test_a_restarted_server_is_reached_again(engine_name: str) -> None:
    with serve_stock() as port:
        channel = Channel(connector(port, engine_name), options=FAST)
        assert await channel.unary(UNARY, value(b"1"), BytesValue) == value(b"1")
        first = channel.connection
        assert first is not None
    await until(lambda: not first.accepts_streams)
    with serve_stock(port=port):
        assert await channel.unary(UNARY, value(b"2"), BytesValue) == value(b"2")
        assert channel.connection is not first
        await channel.close()


async def test_a_connection_that_breaks_makes_its_calls_unavailable(engine_name: str) -> None:
    waiting = Waiting()
    with serve_stock(stock_handlers(waiting)) as port:
        async with Channel(connector(port, engine_name)) as channel:
            async with asyncio.TaskGroup() as tasks:
                call = tasks.create_task(refused(lambda: channel.unary(UNARY, value(b""), BytesValue)), name="call")
                await asyncio.to_thread(waiting.started.wait)
                assert channel.connection is not None
                channel.connection.abort()
            error = call.result()
            assert error.code is StatusCode.UNAVAILABLE
            assert error.message.startswith("error reading from server: ")
        await asyncio.to_thread(waiting.ended.wait)


async def test_health_of_a_stock_server_can_be_asked(engine_name: str) -> None:
    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()

    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(check)
    }
    with serve_stock(handlers) as port:
        async with Channel(connector(port, engine_name)) as channel:
            response = await channel.unary(
                "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
            )
            assert response.status == health_pb2.HealthCheckResponse.SERVING


# --- retries ---


class Flaky(StockEcho):
    """Fails so many times, then answers."""

    def __init__(self, failures: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self.failures = failures
        self.code = code
        self.previous: list[str | bytes | None] = []

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.previous.append(dict(context.invocation_metadata()).get(PREVIOUS_ATTEMPTS))
        if len(self.previous) <= self.failures:
            context.abort(self.code, "not now")
        return request


QUICK = RetryPolicy(applies=lambda method: method == UNARY, initial_backoff_seconds=0.001, max_backoff_seconds=0.002)


@pytest.mark.parametrize(
    ("flaky", "policy", "attempts", "code"),
    [
        (Flaky(3), QUICK, 4, None),
        (Flaky(4), QUICK, 4, StatusCode.UNAVAILABLE),
        (Flaky(1, grpc.StatusCode.INTERNAL), QUICK, 1, StatusCode.INTERNAL),
        (Flaky(1), RetryPolicy(), 1, StatusCode.UNAVAILABLE),
    ],
    ids=["heals", "does not heal", "other code", "other method"],
)
async def test_calls_are_sent_again_as_the_policy_says(
    engine_name: str, flaky: Flaky, policy: RetryPolicy, attempts: int, code: StatusCode | None
) -> None:
    flaky.previous.clear()
    with serve_stock(stock_handlers(flaky)) as port:
        async with Channel(connector(port, engine_name), options=ChannelOptions(retry=policy)) as channel:
            if code is None:
                assert await channel.unary(UNARY, value(b"x"), BytesValue) == value(b"x")
            else:
                assert (await refused(lambda: channel.unary(UNARY, value(b"x"), BytesValue))).code is code
    assert flaky.previous == [None, "1", "2", "3"][:attempts]
