"""The driver on real transports: TCP, unix sockets, TLS and streams of a yamux session."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

import pytest

from praefect.transport.http2 import (
    ConnectionProtocol,
    Limits,
    SpliceEnd,
    SpliceResult,
    Stream,
    StreamClosedError,
    engine,
)
from praefect.transport.yamux import DIALLER_SETTINGS, LISTENER_SETTINGS, YamuxConnection
from tests.support.http2_pair import PING, PREFACE, as_protocol, frame, headers, receive_all, reset, settings
from tests.support.tls_certificates import make_authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    Handler = Callable[[Stream], None]

DEFAULT = Limits()
TRANSPORTS = ("tcp", "unix", "tls", "yamux")


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    assert isinstance(request.param, str)
    return request.param


class Wiring:
    """Listens with one engine and dials with the other, on one kind of transport."""

    def __init__(self, transport: str, directory: Path, engines: tuple[str, str]) -> None:
        self._transport = transport
        self._directory = directory
        self._client, self._server = engines
        self.connections: list[ConnectionProtocol] = []
        self.sessions: list[YamuxConnection] = []

    async def close(self) -> None:
        for connection in self.connections:
            connection.close()
            await connection.wait_closed()
        for session in self.sessions:
            session.close()
            await session.wait_closed()

    def _session(self, *, client: bool, accept: Callable[[], asyncio.Protocol]) -> YamuxConnection:
        role = DIALLER_SETTINGS if client else LISTENER_SETTINGS
        session = YamuxConnection(client=client, settings=role, accept=accept)
        self.sessions.append(session)
        return session

    @asynccontextmanager
    async def listening(self, handler: Handler, limits: Limits) -> AsyncIterator[str | int]:
        loop = asyncio.get_running_loop()

        def accept() -> asyncio.Protocol:
            connection = engine(self._server).server(handler, limits=limits, context=None)
            self.connections.append(connection)
            return as_protocol(connection)

        address: str | int
        match self._transport:
            case "unix":
                address = str(self._directory / f"{len(list(self._directory.iterdir()))}.sock")
                listener = await loop.create_unix_server(accept, address)
            case "tls":
                pair = make_authority(self._directory).issue("127.0.0.1")
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(pair.certificate_path, pair.key_path)
                listener = await loop.create_server(accept, "127.0.0.1", 0, ssl=context)
                address = int(listener.sockets[0].getsockname()[1])
            case _:
                factory: Callable[[], asyncio.Protocol] = accept
                if self._transport == "yamux":
                    factory = partial(self._session, client=False, accept=accept)
                listener = await loop.create_server(factory, "127.0.0.1", 0)
                address = int(listener.sockets[0].getsockname()[1])
        async with listener:
            yield address

    async def dial(self, address: str | int, limits: Limits) -> ConnectionProtocol:
        loop = asyncio.get_running_loop()
        connection = engine(self._client).client(limits=limits, context=None)
        self.connections.append(connection)
        match self._transport:
            case "unix":
                await loop.create_unix_connection(lambda: as_protocol(connection), str(address))
            case "tls":
                context = ssl.create_default_context(cafile=self._directory / "authority.crt")
                await loop.create_connection(lambda: as_protocol(connection), "127.0.0.1", int(address), ssl=context)
            case "yamux":
                factory = partial(self._session, client=True, accept=asyncio.Protocol)
                _, session = await loop.create_connection(factory, "127.0.0.1", int(address))
                await session.open_stream(lambda: as_protocol(connection))
            case _:
                await loop.create_connection(lambda: as_protocol(connection), "127.0.0.1", int(address))
        await connection.wait_ready()
        return connection


class Serving:
    """Runs a coroutine per stream."""

    def __init__(self, tasks: asyncio.TaskGroup, function: Callable[[Stream], object]) -> None:
        self._tasks = tasks
        self._function = function

    def __call__(self, stream: Stream) -> None:
        self._tasks.create_task(self._function(stream))  # type: ignore[arg-type]  # a coroutine


@asynccontextmanager
async def calling(
    wiring: Wiring, function: Callable[[Stream], object], limits: Limits = DEFAULT
) -> AsyncIterator[ConnectionProtocol]:
    """Serve a function and connect to it."""
    async with asyncio.TaskGroup() as tasks, wiring.listening(Serving(tasks, function), limits) as address:
        connection = await wiring.dial(address, limits)
        yield connection
        await wiring.close()


async def echo(stream: Stream) -> None:
    stream.send_head(200, [("x-path", stream.request.path.encode())])
    while data := await stream.receive():
        await stream.send(data)
    stream.send_trailers([("grpc-status", b"0")])


async def _exchange(connection: ConnectionProtocol, path: str, payload: bytes) -> None:
    stream = await connection.open_stream("POST", "http", "test", path, [])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.send(payload, end_stream=True))
        received = tasks.create_task(receive_all(stream))
    assert received.result() == payload
    assert (await stream.response()).headers == [("x-path", path.encode())]
    assert stream.trailers == [("grpc-status", b"0")]


async def test_calls_at_once(transport: str, tmp_path: Path, engines: tuple[str, str]) -> None:
    async with calling(Wiring(transport, tmp_path, engines), echo) as connection, asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(_exchange(connection, f"/{number}", bytes([number]) * (number * 20_000)))


async def test_a_spliced_bulk(transport: str, tmp_path: Path, engines: tuple[str, str]) -> None:
    """A proxy with another engine on each side."""
    (tmp_path / "front").mkdir()
    (tmp_path / "back").mkdir()
    payload = bytes(range(256)) * 16384
    front = Wiring(transport, tmp_path / "front", engines)
    back = Wiring("tcp", tmp_path / "back", engines[::-1])
    results: list[SpliceResult] = []
    async with calling(back, echo) as node:

        async def relay(stream: Stream) -> None:
            request = stream.request
            upstream = await node.open_stream("POST", "http", "node", request.path, request.headers)
            ended: asyncio.Future[SpliceResult] = asyncio.get_running_loop().create_future()
            stream.splice_to(upstream, results.append)
            head = await upstream.response()
            upstream.splice_to(stream, ended.set_result, first=lambda: stream.send_head(head.status, head.headers))
            result = await ended
            results.append(result)
            stream.send_trailers(result.trailers or [])

        async with calling(front, relay) as connection:
            await _exchange(connection, "/bulk", payload)
    assert [result.end for result in results] == [SpliceEnd.END_STREAM, SpliceEnd.TRAILERS]
    assert [result.spliced_bytes for result in results] == [len(payload)] * 2


async def test_a_peer_that_stops_reading_its_socket_is_not_buffered_for(
    transport: str, tmp_path: Path, engines: tuple[str, str]
) -> None:
    sent = 0

    async def blast(stream: Stream) -> None:
        nonlocal sent
        stream.send_head(200, [])
        try:
            while True:
                await stream.send(bytes(1 << 16))
                sent += 1 << 16
        except StreamClosedError:
            return

    limits = replace(Limits(), initial_window_size=(1 << 31) - 1, connection_window=(1 << 31) - 1)
    async with calling(Wiring(transport, tmp_path, engines), blast, limits) as connection:
        stream = await connection.open_stream("POST", "http", "test", "/blast", [])
        await stream.response()
        _transport_of(connection).pause_reading()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 32 << 20
        _transport_of(connection).resume_reading()
        received = 0
        while received < before:
            received += len(await stream.receive())
        stream.reset()


def _transport_of(connection: ConnectionProtocol) -> asyncio.Transport:
    return cast("asyncio.Transport", connection._transport)  # type: ignore[attr-defined]  # the test is the network


async def test_a_reset_socket_cuts_everything_off(tmp_path: Path, engines: tuple[str, str]) -> None:
    gone = asyncio.Event()

    async def wait(stream: Stream) -> None:
        stream.on_close(gone.set)
        stream.send_head(200, [])
        with pytest.raises(StreamClosedError):
            await stream.receive()

    async with calling(Wiring("tcp", tmp_path, engines), wait) as connection:
        stream = await connection.open_stream("POST", "http", "test", "/", [])
        await stream.response()
        raw = _transport_of(connection).get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        _transport_of(connection).abort()
        await gone.wait()
        with pytest.raises(StreamClosedError) as raised:
            await stream.receive()
        assert (raised.value.code, raised.value.remote) == (None, True)
        await connection.wait_closed()


@pytest.mark.parametrize("attack", ["pings", "resets", "garbage", "silence"])
async def test_hostile_connections_do_not_block_the_others(
    tmp_path: Path, engines: tuple[str, str], attack: str
) -> None:
    greeting = PREFACE + settings()
    floods = {
        "pings": greeting + frame(PING, bytes(8)) * 50_000,
        "resets": greeting + b"".join(headers(number) + reset(number) for number in range(1, 6000, 2)),
        "garbage": bytes(range(256)) * 100,
        "silence": b"",
    }
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        wiring = Wiring("tcp", tmp_path, engines)

        async def serve(stream: Stream) -> None:
            try:
                await echo(stream)
            except StreamClosedError:
                return

        address = await stack.enter_async_context(wiring.listening(Serving(tasks, serve), Limits()))
        writers = []
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", int(address))
            writer.write(floods[attack])
            writers.append(writer)
        connection = await wiring.dial(address, Limits())
        async with asyncio.timeout(60):
            for number in range(20):
                await _exchange(connection, f"/{number}", bytes(50_000))
        for writer in writers:
            writer.transport.abort()
        await wiring.close()
