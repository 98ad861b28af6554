"""A service with all four kinds of calls, served by our server or by grpcio's, and ways to reach either."""

from __future__ import annotations

import asyncio
from concurrent import futures
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.wrappers_pb2 import BytesValue

from praefect.transport.grpc.channel import DEFAULT_OPTIONS, Channel, ChannelOptions
from praefect.transport.http2 import engine
from praefect.transport.http2.interface import Limits
from praefect.transport.peer import Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from google.protobuf.descriptor import ServiceDescriptor

    from praefect.transport.grpc.server import Server
    from praefect.transport.grpc.server_call import ServerCall
    from praefect.transport.http2.interface import Connection, ConnectionProtocol

UNARY = "/praefect.test.Echo/Unary"
DOWN = "/praefect.test.Echo/Down"
UP = "/praefect.test.Echo/Up"
BOTH = "/praefect.test.Echo/Both"


def _build_descriptor() -> ServiceDescriptor:
    file = descriptor_pb2.FileDescriptorProto(
        name="praefect/test/echo.proto",
        package="praefect.test",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    service = file.service.add(name="Echo")
    for name, up, down in (
        ("Unary", False, False),
        ("Down", False, True),
        ("Up", True, False),
        ("Both", True, True),
        ("Missing", False, False),
    ):
        service.method.add(
            name=name,
            input_type=".google.protobuf.BytesValue",
            output_type=".google.protobuf.BytesValue",
            client_streaming=up,
            server_streaming=down,
        )
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("praefect.test.Echo")


ECHO: ServiceDescriptor = _build_descriptor()


def value(data: bytes) -> BytesValue:
    return BytesValue(value=data)


class Echo:
    """Sends back what it gets, and the metadata whose names begin with ``x-``.

    ``Down`` reads its request as ``<count>:<size>`` and sends so many messages of that size.
    """

    async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
        _echo_metadata(call)
        return request

    async def down(self, request: BytesValue, call: ServerCall) -> AsyncIterator[BytesValue]:
        _echo_metadata(call)
        count, size = map(int, request.value.split(b":"))
        for index in range(count):
            yield value(bytes([index % 256]) * size)

    async def up(self, requests: AsyncIterator[BytesValue], call: ServerCall) -> BytesValue:
        _echo_metadata(call)
        return value(b"".join([request.value async for request in requests]))

    async def both(self, requests: AsyncIterator[BytesValue], call: ServerCall) -> AsyncIterator[BytesValue]:
        _echo_metadata(call)
        async for request in requests:
            yield request


def _echo_metadata(call: ServerCall) -> None:
    for key, item in call.metadata:
        if key.startswith("x-") and key != "x-gitlab-correlation-id":
            call.initial_metadata.append(key, item)
            call.trailing_metadata.append(f"x-trailing-{key.removeprefix('x-')}", item)


# --- our server on a socket ---


@dataclass(slots=True)
class Endpoint:
    """A server on a port of this machine."""

    port: int
    engine_name: str
    connections: list[ConnectionProtocol] = field(default_factory=list)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def connect(self) -> Callable[[], Awaitable[Connection]]:
        return connector(self.port, self.engine_name)

    def channel(self, *, token: str | None = None, options: ChannelOptions = DEFAULT_OPTIONS) -> Channel:
        return Channel(self.connect(), token=token, options=options)


def as_protocol(connection: ConnectionProtocol) -> asyncio.Protocol:
    """Engines' connections are protocols by their methods, not by inheritance."""
    return cast("asyncio.Protocol", connection)


@asynccontextmanager
async def serve(server: Server, engine_name: str, *, limits: Limits | None = None) -> AsyncIterator[Endpoint]:
    """Accept connections for an entered server on a free port."""
    endpoint = Endpoint(0, engine_name)

    def accept() -> asyncio.Protocol:
        context = Peer(address="127.0.0.1")
        protocol = server.protocol(engine(engine_name), limits=limits or Limits(), context=context)
        endpoint.connections.append(protocol)
        return as_protocol(protocol)

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(accept, "127.0.0.1", 0)
    endpoint.port = listener.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        listener.close()


def connector(port: int, engine_name: str, *, limits: Limits | None = None) -> Callable[[], Awaitable[Connection]]:
    async def connect() -> Connection:
        protocol = engine(engine_name).client(limits=limits or Limits(), context=None)
        await asyncio.get_running_loop().create_connection(lambda: as_protocol(protocol), "127.0.0.1", port)
        return protocol

    return connect


# --- grpcio's server ---


class StockEcho:
    """The same service for grpcio."""

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        _echo_stock_metadata(context)
        return request

    def down(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        _echo_stock_metadata(context)
        count, size = map(int, BytesValue.FromString(request).value.split(b":"))
        for index in range(count):
            yield value(bytes([index % 256]) * size).SerializeToString()

    def up(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        _echo_stock_metadata(context)
        return value(b"".join(BytesValue.FromString(request).value for request in requests)).SerializeToString()

    def both(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        _echo_stock_metadata(context)
        yield from requests


def _echo_stock_metadata(context: grpc.ServicerContext) -> None:
    echoed = tuple(
        (key, item)
        for key, item in context.invocation_metadata()
        if key.startswith("x-") and key != "x-gitlab-correlation-id"
    )
    context.send_initial_metadata(echoed)
    context.set_trailing_metadata(tuple((f"x-trailing-{key.removeprefix('x-')}", item) for key, item in echoed))


class _StockHandlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        return self._handlers.get(handler_call_details.method)


def stock_handlers(implementation: StockEcho) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
    return {
        UNARY: grpc.unary_unary_rpc_method_handler(implementation.unary),
        DOWN: grpc.unary_stream_rpc_method_handler(implementation.down),
        UP: grpc.stream_unary_rpc_method_handler(implementation.up),
        BOTH: grpc.stream_stream_rpc_method_handler(implementation.both),
    }


@contextmanager
def serve_stock(
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] | None = None,
    *,
    port: int = 0,
    compression: grpc.Compression | None = None,
    options: list[tuple[str, object]] | None = None,
) -> Iterator[int]:
    """Run grpcio's server on a port."""
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8),
        handlers=[_StockHandlers(handlers or stock_handlers(StockEcho()))],
        compression=compression,
        options=[("grpc.so_reuseport", 0), *(options or [])],
    )
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(grace=None).wait()


@contextmanager
def stock_channel(target: str, **options: object) -> Iterator[grpc.Channel]:
    """Open grpcio's client; its calls block, so tests run them in threads."""
    channel = grpc.insecure_channel(
        target,
        options=[("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)],
        **options,  # type: ignore[arg-type]  # compression only
    )
    try:
        yield channel
    finally:
        channel.close()


def _same(data: bytes) -> bytes:
    return data


def unary_unary(channel: grpc.Channel, method: str) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    return channel.unary_unary(method, _same, _same)


def unary_stream(channel: grpc.Channel, method: str) -> grpc.UnaryStreamMultiCallable[bytes, bytes]:
    return channel.unary_stream(method, _same, _same)


def stream_unary(channel: grpc.Channel, method: str) -> grpc.StreamUnaryMultiCallable[bytes, bytes]:
    return channel.stream_unary(method, _same, _same)


def stream_stream(channel: grpc.Channel, method: str) -> grpc.StreamStreamMultiCallable[bytes, bytes]:
    return channel.stream_stream(method, _same, _same)


def by_key(pairs: Iterable[tuple[str, str | bytes]]) -> list[tuple[str, str | bytes]]:
    """Order pairs by key; the order of the values of one key is kept, that of different keys means nothing."""
    return sorted(((key, item) for key, item in pairs), key=lambda pair: pair[0])


async def calling(endpoint: Endpoint, function: Callable[[grpc.Channel], object], **options: object) -> None:
    """Run blocking client code beside the server."""

    def run() -> None:
        with stock_channel(endpoint.target, **options) as channel:
            function(channel)

    await asyncio.to_thread(run)


def refused(call: Callable[[], object]) -> grpc.Call:
    """Make a call that must fail and return what is known of it."""
    try:
        call()
    except grpc.RpcError as error:
        return cast("grpc.Call", error)
    raise AssertionError


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that no event announces."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)
