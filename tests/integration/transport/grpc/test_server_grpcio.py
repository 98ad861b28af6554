"""Our server, called by grpcio's client."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BytesValue
from grpc_health.v1 import health_pb2 as stock_health_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from praefect.domain.errors import NotFoundError, ResourceExhaustedError
from praefect.observability.correlation import correlation_id
from praefect.proto import errors_pb2, lint_pb2
from praefect.transport.grpc.health import add_health
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.reflection import add_reflection
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.server_call import Interruption, MessageOptions
from praefect.transport.grpc.status import Status, StatusCode, StatusError, decode_trailers
from praefect.transport.grpc.token import check_token, make_token
from tests.support.grpc_echo import (
    BOTH,
    DOWN,
    ECHO,
    UNARY,
    UP,
    Echo,
    by_key,
    calling,
    refused,
    serve,
    stock_channel,
    stream_stream,
    stream_unary,
    unary_stream,
    unary_unary,
    until,
    value,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from praefect.transport.grpc.server_call import ServerCall
    from tests.support.grpc_echo import Endpoint

Pairs = tuple[tuple[str, str | bytes], ...]

METADATA: Pairs = (("x-text", "value"), ("x-bytes-bin", bytes(range(256))), ("x-text", "again"))
TRAILERS: Pairs = (
    ("x-trailing-text", "value"),
    ("x-trailing-bytes-bin", bytes(range(256))),
    ("x-trailing-text", "again"),
)


@asynccontextmanager
async def echo_server(engine_name: str, server: Server | None = None) -> AsyncIterator[Endpoint]:
    async with server or Server() as running:
        running.add_service(ECHO, Echo())
        async with serve(running, engine_name) as endpoint:
            yield endpoint


def unary(channel: grpc.Channel, data: bytes = b"x", method: str = UNARY, metadata: Pairs = ()) -> bytes:
    return unary_unary(channel, method)(value(data).SerializeToString(), timeout=10, metadata=metadata)


# --- the four kinds, metadata, sizes ---


async def test_unary(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        response, call = unary_unary(channel, UNARY).with_call(value(b"ping").SerializeToString(), metadata=METADATA)
        assert response == value(b"ping").SerializeToString()
        assert by_key(call.initial_metadata()) == by_key(METADATA)
        assert by_key(call.trailing_metadata()) == by_key(TRAILERS)

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client)


async def test_server_streaming(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        call = unary_stream(channel, DOWN)(value(b"300:7000").SerializeToString(), metadata=METADATA)
        messages = list(call)
        assert messages == [value(bytes([index % 256]) * 7000).SerializeToString() for index in range(300)]
        assert by_key(call.initial_metadata()) == by_key(METADATA)
        assert by_key(call.trailing_metadata()) == by_key(TRAILERS)

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client)


async def test_server_streaming_of_nothing(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        assert list(unary_stream(channel, DOWN)(value(b"0:0").SerializeToString())) == []

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client)


async def test_client_streaming(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        pieces = [bytes([index]) * 5000 for index in range(200)]
        requests = (value(piece).SerializeToString() for piece in pieces)
        assert stream_unary(channel, UP)(requests, timeout=10) == value(b"".join(pieces)).SerializeToString()
        assert stream_unary(channel, UP)(iter(()), timeout=10) == b""

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client)


async def test_bidirectional_streaming_in_lockstep(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        requests: list[bytes] = []

        def produce() -> Iterator[bytes]:
            for index in range(50):
                requests.append(value(b"%d" % index).SerializeToString())
                yield requests[-1]

        responses = stream_stream(channel, BOTH)(produce(), timeout=10)
        assert list(responses) == requests

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client)


async def test_big_messages_pass_both_ways(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        data = bytes(range(256)) * (14 << 10)
        assert unary(channel, data) == value(data).SerializeToString()

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client)


async def test_a_request_above_the_limit_is_refused(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        call = refused(lambda: unary(channel, b"x" * (5 << 20)))
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        size = len(value(b"x" * (5 << 20)).SerializeToString())
        assert call.details() == f"grpc: received message larger than max ({size} vs. 4194304)"
        assert unary(channel, b"still there") == value(b"still there").SerializeToString()

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client)


async def test_many_calls_at_once(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        pending = [
            unary_unary(channel, UNARY).future(value(b"%d" % index * 500).SerializeToString(), timeout=20)
            for index in range(300)
        ]
        for index, call in enumerate(pending):
            assert call.result() == value(b"%d" % index * 500).SerializeToString()

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client)


# --- compression ---


async def test_gzip_requests_are_accepted(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        assert unary(channel, b"a" * 100_000) == value(b"a" * 100_000).SerializeToString()

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client, compression=grpc.Compression.Gzip)


async def test_the_limit_counts_the_decompressed_size(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        call = refused(lambda: unary(channel, b"a" * (5 << 20)))
        assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "after decompression larger than max 4194304" in (call.details() or "")

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client, compression=grpc.Compression.Gzip)


@pytest.mark.parametrize(
    ("options", "compression"),
    [
        (MessageOptions(), grpc.Compression.Deflate),
        (MessageOptions(gzip=False), grpc.Compression.Gzip),
    ],
)
async def test_an_encoding_that_is_not_offered_is_unimplemented(
    engine_name: str, options: MessageOptions, compression: grpc.Compression
) -> None:
    def client(channel: grpc.Channel) -> None:
        call = refused(lambda: unary(channel, b"a" * 1000))
        assert call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "Decompressor is not installed for grpc-encoding" in (call.details() or "")

    async with echo_server(engine_name, Server(messages=options)) as endpoint:
        await calling(endpoint, client, compression=compression)


# --- errors ---


class Failing(Echo):
    def __init__(self, error: Exception) -> None:
        self.error = error

    async def unary(self, request: object, call: ServerCall) -> None:  # type: ignore[override]
        call.trailing_metadata.append("x-trailing", "kept")
        raise self.error

    async def down(self, request: object, call: ServerCall) -> AsyncIterator[object]:  # type: ignore[override]
        yield value(b"first")
        raise self.error


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (NotFoundError("repository not found"), grpc.StatusCode.NOT_FOUND, "repository not found"),
        (NotFoundError("größer\n100 %"), grpc.StatusCode.NOT_FOUND, "größer\n100 %"),
        (KeyError("x"), grpc.StatusCode.INTERNAL, "panic: 'x'"),
        (StatusError(StatusCode.ABORTED, "again"), grpc.StatusCode.ABORTED, "again"),
        (ExceptionGroup("tasks", [ResourceExhaustedError("full")]), grpc.StatusCode.RESOURCE_EXHAUSTED, "full"),
    ],
)
async def test_what_a_handler_raises_becomes_the_status(
    engine_name: str, error: Exception, code: grpc.StatusCode, details: str
) -> None:
    def client(channel: grpc.Channel) -> None:
        for _ in range(2):
            call = refused(lambda: unary(channel))
            assert (call.code(), call.details()) == (code, details)
            assert tuple(call.trailing_metadata()) == (("x-trailing", "kept"),)

        stream = unary_stream(channel, DOWN)(value(b"").SerializeToString())
        assert next(stream) == value(b"first").SerializeToString()
        call = refused(lambda: next(stream))
        assert (call.code(), call.details()) == (code, details)

    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, Failing(error))
        await calling(endpoint, client)


async def test_details_reach_the_client(engine_name: str) -> None:
    detail = errors_pb2.LimitError(error_message="full", retry_after=Duration())

    def client(channel: grpc.Channel) -> None:
        status = rpc_status.from_call(refused(lambda: unary(channel)))
        assert (status.code, status.message) == (8, "full")
        assert status.details[0].type_url == "type.googleapis.com/gitaly.LimitError"
        assert errors_pb2.LimitError.FromString(status.details[0].value) == detail

    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, Failing(StatusError(StatusCode.RESOURCE_EXHAUSTED, "full", [detail])))
        await calling(endpoint, client)


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ("/foo.Bar/Baz", "unknown service foo.Bar"),
        ("/praefect.test.Echo/Nope", "unknown method Nope for service praefect.test.Echo"),
        ("/praefect.test.Echo/Missing", "method Missing not implemented"),
        ("/x", 'malformed method name: "/x"'),
    ],
)
async def test_methods_that_do_not_exist(engine_name: str, method: str, text: str) -> None:
    def client(channel: grpc.Channel) -> None:
        call = refused(lambda: unary(channel, method=method))
        assert (call.code(), call.details()) == (grpc.StatusCode.UNIMPLEMENTED, text)

    async with echo_server(engine_name) as endpoint:
        await calling(endpoint, client)


async def test_a_fallback_takes_all_well_formed_methods(engine_name: str) -> None:
    async def fallback(call: ServerCall) -> None:
        await call.send(call.method.encode() + (await call.receive() or b""))
        call.finish(Status(StatusCode.NOT_FOUND, "after all"), Metadata([("x-a", "b")]))

    def client(channel: grpc.Channel) -> None:
        stream = unary_stream(channel, "/foo.Bar/Baz")(b"abc")
        assert next(stream) == b"/foo.Bar/Bazabc"
        call = refused(lambda: next(stream))
        assert (call.code(), call.details()) == (grpc.StatusCode.NOT_FOUND, "after all")
        assert tuple(call.trailing_metadata()) == (("x-a", "b"),)
        assert refused(lambda: unary(channel, method="/x")).code() is grpc.StatusCode.UNIMPLEMENTED
        assert unary(channel, b"known") == value(b"known").SerializeToString()

    async with echo_server(engine_name, Server(fallback=fallback)) as endpoint:
        await calling(endpoint, client)


# --- authentication ---


async def test_authentication_precedes_everything_but_health_and_unknown_methods(engine_name: str) -> None:
    def authenticate(call: ServerCall) -> None:
        check_token(call.metadata.first("authorization"), b"secret", 1000).raise_if_refused()

    def client(channel: grpc.Channel) -> None:
        call = refused(lambda: unary(channel))
        assert (call.code(), call.details()) == (grpc.StatusCode.UNAUTHENTICATED, "authentication required")
        wrong = (("authorization", make_token(b"wrong", 1000)), ("authorization", make_token(b"secret", 1000)))
        call = refused(lambda: unary(channel, metadata=wrong))
        assert (call.code(), call.details()) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "permission denied: wrong hmac signature",
        )
        right = (("authorization", make_token(b"secret", 1000)),)
        assert unary(channel, metadata=right) == value(b"x").SerializeToString()
        assert refused(lambda: unary(channel, method="/foo.Bar/Baz")).code() is grpc.StatusCode.UNIMPLEMENTED
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(stock_health_pb2.HealthCheckRequest()).status == 1

    server = Server(authenticate=authenticate)
    add_health(server)
    async with echo_server(engine_name, server) as endpoint:
        await calling(endpoint, client)


async def test_with_a_fallback_unknown_methods_need_authentication(engine_name: str) -> None:
    def authenticate(call: ServerCall) -> None:
        raise NotFoundError(f"no {call.name}")

    async def fallback(call: ServerCall) -> None:
        await call.send(b"never")

    def client(channel: grpc.Channel) -> None:
        assert refused(lambda: unary(channel, method="/foo.Bar/Baz")).details() == "no Baz"

    async with echo_server(engine_name, Server(authenticate=authenticate, fallback=fallback)) as endpoint:
        await calling(endpoint, client)


# --- observers and limiters ---


async def test_observers_see_the_status_and_limiters_the_error(engine_name: str) -> None:
    seen: list[str] = []

    def observing(name: str) -> Callable[[ServerCall], Callable[[], None]]:
        def observe(call: ServerCall) -> Callable[[], None]:
            def ended() -> None:
                assert call.status is not None
                seen.append(f"{name} out {call.status.code.label}")

            seen.append(f"{name} in")
            return ended

        return observe

    @asynccontextmanager
    async def limit(call: ServerCall) -> AsyncIterator[None]:
        if call.metadata.first("x-refuse"):
            raise ResourceExhaustedError("maximum queue size reached")
        try:
            yield
        except NotFoundError:
            seen.append("limiter saw the error")
            raise

    def authenticate(call: ServerCall) -> None:
        seen.append("authenticated")

    def client(channel: grpc.Channel) -> None:
        refused(lambda: unary(channel))
        call = refused(lambda: unary(channel, metadata=(("x-refuse", "1"),)))
        assert call.details() == "maximum queue size reached"

    server = Server(authenticate=authenticate, observers=(observing("outer"), observing("inner")), limiters=(limit,))
    async with server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, Failing(NotFoundError("gone")))
        await calling(endpoint, client)
    first = ["outer in", "inner in", "authenticated", "limiter saw the error"]
    assert seen == [
        *first,
        "inner out NotFound",
        "outer out NotFound",
        *first[:3],
        "inner out ResourceExhausted",
        "outer out ResourceExhausted",
    ]


async def test_a_crashing_observer_fails_the_call_and_not_the_server(engine_name: str) -> None:
    def observe(_call: ServerCall) -> Callable[[], None]:
        def ended() -> None:
            raise KeyError("broken")

        return ended

    def client(channel: grpc.Channel) -> None:
        for _ in range(2):
            call = refused(lambda: list(unary_stream(channel, DOWN)(value(b"1:1").SerializeToString())))
            assert (call.code(), call.details()) == (grpc.StatusCode.INTERNAL, "panic: 'broken'")

    async with echo_server(engine_name, Server(observers=(observe,))) as endpoint:
        await calling(endpoint, client)


async def test_the_correlation_id_is_the_clients_or_a_new_one(engine_name: str) -> None:
    seen: list[tuple[str, str | None]] = []

    class Correlated(Echo):
        async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
            seen.append((call.correlation_id, correlation_id.get()))
            return request

    def client(channel: grpc.Channel) -> None:
        unary(channel, metadata=(("x-gitlab-correlation-id", "abc"),))
        unary(channel)

    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, Correlated())
        await calling(endpoint, client)
    assert seen[0] == ("abc", "abc")
    assert seen[1][0] == seen[1][1]
    assert seen[1][0] not in ("", "abc")


# --- ends before their time ---


class Waiting(Echo):
    """Handlers that wait until they are interrupted, and tell how it was."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.interrupted: asyncio.Future[Interruption | None] = asyncio.get_running_loop().create_future()

    async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.interrupted.set_result(call.interruption)
        return request

    async def both(self, requests: AsyncIterator[BytesValue], call: ServerCall) -> AsyncIterator[BytesValue]:
        self.started.set()
        try:
            async for request in requests:
                yield request
        finally:
            self.interrupted.set_result(call.interruption)


async def test_a_cancelled_call_cancels_its_handler(engine_name: str) -> None:
    waiting = Waiting()
    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, waiting)
        with stock_channel(endpoint.target) as channel:
            call = unary_unary(channel, UNARY).future(b"")
            await waiting.started.wait()
            call.cancel()
            assert await waiting.interrupted is Interruption.CLIENT_GONE
        await until(lambda: server.running_calls == 0)


async def test_a_lost_connection_cancels_its_handlers(engine_name: str) -> None:
    waiting = Waiting()
    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, waiting)
        with stock_channel(endpoint.target) as channel:
            leave = threading.Event()

            def requests() -> Iterator[bytes]:
                yield b""
                leave.wait()

            call = stream_stream(channel, BOTH)(requests())
            assert await asyncio.to_thread(next, call) == b""
            endpoint.connections[0].abort()
            assert await waiting.interrupted is Interruption.CLIENT_GONE
            error = await asyncio.to_thread(refused, lambda: next(call))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            leave.set()


async def test_the_servers_own_clock_ends_a_call_whose_time_is_up(engine_name: str) -> None:
    waiting = Waiting()
    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, waiting)
        connection = await endpoint.connect()()
        await connection.wait_ready()
        headers = [("te", b"trailers"), ("content-type", b"application/grpc"), ("grpc-timeout", b"50m")]
        stream = await connection.open_stream("POST", "http", "localhost", UNARY, headers)
        await stream.send(b"\0\0\0\0\0")
        head = await stream.response()
        assert await waiting.interrupted is Interruption.DEADLINE
        assert decode_trailers(head.headers) == Status(StatusCode.DEADLINE_EXCEEDED, "context deadline exceeded")
        connection.close()
        await connection.wait_closed()


async def test_the_handler_knows_the_deadline(engine_name: str) -> None:
    remaining: list[float | None] = []

    class Timed(Echo):
        async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
            now = asyncio.get_running_loop().time()
            remaining.append(None if call.deadline is None else call.deadline - now)
            return request

    def client(channel: grpc.Channel) -> None:
        unary_unary(channel, UNARY)(b"", timeout=100)
        unary_unary(channel, UNARY)(b"")

    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, Timed())
        await calling(endpoint, client)
    assert remaining[0] is not None
    assert 50 < remaining[0] <= 101
    assert remaining[1] is None


async def test_an_error_of_an_expired_call_keeps_its_message_and_gets_the_deadlines_code(engine_name: str) -> None:
    class Late(Echo):
        async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise NotFoundError("looked in vain") from None
            return request

    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, Late())
        connection = await endpoint.connect()()
        await connection.wait_ready()
        headers = [("te", b"trailers"), ("content-type", b"application/grpc"), ("grpc-timeout", b"20m")]
        stream = await connection.open_stream("POST", "http", "localhost", UNARY, headers)
        await stream.send(b"\0\0\0\0\0", end_stream=True)
        head = await stream.response()
        assert decode_trailers(head.headers) == Status(StatusCode.DEADLINE_EXCEEDED, "looked in vain")
        connection.close()
        await connection.wait_closed()


async def test_a_slow_reader_holds_the_handler_back(engine_name: str) -> None:
    produced = 0
    closed = asyncio.Event()

    class Endless(Echo):
        async def down(self, request: BytesValue, call: ServerCall) -> AsyncIterator[BytesValue]:
            nonlocal produced
            try:
                while True:
                    produced += 1
                    yield value(b"x" * (1 << 20))
            finally:
                closed.set()

    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, Endless())
        with stock_channel(endpoint.target) as channel:
            call = unary_stream(channel, DOWN)(b"")
            await asyncio.to_thread(next, call)
            before = -1
            while before != produced:  # until the windows and buffers are full
                before = produced
                await asyncio.sleep(0.3)
            assert produced < 100
            for _ in range(produced + 5):
                await asyncio.to_thread(next, call)
            call.cancel()
            await closed.wait()


async def test_an_answer_before_the_end_of_the_request_stops_the_client(engine_name: str) -> None:
    class Hasty(Echo):
        async def up(self, requests: AsyncIterator[BytesValue], call: ServerCall) -> BytesValue:
            await anext(requests)
            raise NotFoundError("seen enough")

    def client(channel: grpc.Channel) -> None:
        endless = iter(lambda: value(b"x" * 100_000).SerializeToString(), None)
        call = refused(lambda: stream_unary(channel, UP)(endless, timeout=20))
        assert (call.code(), call.details()) == (grpc.StatusCode.NOT_FOUND, "seen enough")

    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, Hasty())
        await calling(endpoint, client)
        await until(lambda: endpoint.connections[0].open_streams == 0)


# --- stopping ---


async def test_draining_lets_running_calls_end(engine_name: str) -> None:
    go_on = asyncio.Event()
    started = asyncio.Event()

    class Patient(Echo):
        async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
            started.set()
            await go_on.wait()
            return request

    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, Patient())
        with stock_channel(endpoint.target) as channel:
            call = unary_unary(channel, UNARY).future(value(b"last").SerializeToString())
            await started.wait()
            async with asyncio.TaskGroup() as tasks:
                draining = tasks.create_task(server.drain(10), name="drain")
                await asyncio.sleep(0.05)
                assert not draining.done()
                go_on.set()
            assert draining.result()
            assert await asyncio.to_thread(call.result) == value(b"last").SerializeToString()


async def test_stopping_cuts_off_what_does_not_end(engine_name: str) -> None:
    waiting = Waiting()
    async with Server() as server, serve(server, engine_name) as endpoint:
        server.add_service(ECHO, waiting)
        channel = grpc.insecure_channel(endpoint.target)
        call = unary_unary(channel, UNARY).future(b"")
        await waiting.started.wait()
        assert not await server.drain(0.05)
        assert not waiting.interrupted.done()
    assert waiting.interrupted.result() is Interruption.STOPPING
    error = await asyncio.to_thread(call.exception)
    assert isinstance(error, grpc.RpcError)
    assert (error.code(), error.details()) == (grpc.StatusCode.CANCELLED, "server is stopping")
    channel.close()


# --- requests that no handler sees ---


@pytest.mark.parametrize(
    ("method", "headers", "http_status", "status"),
    [
        (
            "POST",
            [("content-type", b"application/json")],
            415,
            Status(StatusCode.INVALID_ARGUMENT, 'invalid gRPC request content-type "application/json"'),
        ),
        ("POST", [], 415, Status(StatusCode.INVALID_ARGUMENT, 'invalid gRPC request content-type ""')),
        (
            "GET",
            [("content-type", b"application/grpc")],
            405,
            Status(StatusCode.INTERNAL, 'Received a HEADERS frame with :method "GET" which should be POST'),
        ),
        (
            "POST",
            [("content-type", b"application/grpc"), ("grpc-timeout", b"soon")],
            400,
            Status(StatusCode.INTERNAL, "malformed grpc-timeout: 'soon'"),
        ),
    ],
)
async def test_requests_that_are_not_grpc(
    engine_name: str, method: str, headers: list[tuple[str, bytes]], http_status: int, status: Status
) -> None:
    async with echo_server(engine_name) as endpoint:
        connection = await endpoint.connect()()
        await connection.wait_ready()
        stream = await connection.open_stream(method, "http", "localhost", UNARY, headers)
        head = await stream.response()
        assert (head.status, decode_trailers(head.headers), head.end_stream) == (http_status, status, True)
        connection.close()
        await connection.wait_closed()


@pytest.mark.parametrize(
    "content_type", [b"application/grpc", b"application/grpc+proto", b"application/grpc+proxy>proto"]
)
async def test_the_content_type_is_echoed(engine_name: str, content_type: bytes) -> None:
    async with echo_server(engine_name) as endpoint:
        connection = await endpoint.connect()()
        await connection.wait_ready()
        headers = [("te", b"trailers"), ("content-type", content_type)]
        stream = await connection.open_stream("POST", "http", "localhost", UNARY, headers)
        await stream.send(b"\0\0\0\0\0", end_stream=True)
        head = await stream.response()
        assert ("content-type", content_type) in head.headers
        assert ("grpc-accept-encoding", b"identity,gzip") in head.headers
        connection.close()
        await connection.wait_closed()


# --- health and reflection ---


async def test_health(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        health = health_pb2_grpc.HealthStub(channel)
        request = stock_health_pb2.HealthCheckRequest
        assert health.Check(request()).status == stock_health_pb2.HealthCheckResponse.SERVING
        call = refused(lambda: health.Check(request(service="nope")))
        assert (call.code(), call.details()) == (grpc.StatusCode.NOT_FOUND, "unknown service")
        watch = health.Watch(request())
        assert next(watch).status == stock_health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        watch = health.Watch(request(service="nope"))
        assert next(watch).status == stock_health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()

    server = Server()
    add_health(server)
    async with echo_server(engine_name, server) as endpoint:
        await calling(endpoint, client)


async def test_reflection_gives_a_generic_client_all_it_needs(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == {
            "praefect.test.Echo",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("praefect.test.Echo")
        assert service.FindMethodByName("Both").input_type.full_name == "google.protobuf.BytesValue"
        assert pool.FindFileByName("praefect/test/echo.proto").package == "praefect.test"
        with pytest.raises(KeyError):
            pool.FindServiceByName("praefect.test.Nothing")
        operation = lint_pb2.op_type.number
        assert operation in database.FindAllExtensionNumbers("google.protobuf.MethodOptions")
        request = reflection_pb2.ServerReflectionRequest()
        request.file_containing_extension.containing_type = "google.protobuf.MethodOptions"
        request.file_containing_extension.extension_number = operation
        (response,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
        files = map(
            descriptor_pb2.FileDescriptorProto.FromString, response.file_descriptor_response.file_descriptor_proto
        )
        assert {file.name for file in files} == {"lint.proto", "google/protobuf/descriptor.proto"}

    server = Server()
    add_health(server)
    add_reflection(server)
    async with echo_server(engine_name, server) as endpoint:
        await calling(endpoint, client)


async def test_reflection_answers_questions_that_are_none(engine_name: str) -> None:
    def client(channel: grpc.Channel) -> None:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = [
            reflection_pb2.ServerReflectionRequest(host="h"),
            reflection_pb2.ServerReflectionRequest(file_by_filename="nope.proto"),
        ]
        first, second = list(stub.ServerReflectionInfo(iter(requests)))
        assert first.original_request == requests[0]
        assert (first.valid_host, first.error_response.error_code) == ("h", 3)
        assert second.error_response.error_code == 5

    server = Server()
    add_reflection(server)
    async with echo_server(engine_name, server) as endpoint:
        await calling(endpoint, client)
