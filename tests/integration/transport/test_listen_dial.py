"""Real sockets of every kind, plain and multiplexed clients on one listener, and calls the other way round."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, cast

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.detector import BACKCHANNEL_MAGIC
from praefect.transport.dial import Dialer, DialError, DialOptions, open_channel
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.status import StatusCode, StatusError
from praefect.transport.http2 import engine
from praefect.transport.listen import (
    ListenAddress,
    Listener,
    ListenerKind,
    ListenError,
    ListenOptions,
    listen,
)
from praefect.transport.listening_sockets import open_socket
from praefect.transport.peer import Peer
from praefect.transport.yamux.frame import pack
from tests.support.eventually import eventually
from tests.support.grpc_echo import BOTH, DOWN, ECHO, UNARY, Echo, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from praefect.transport.grpc.channel import Channel
    from praefect.transport.grpc.server_call import ServerCall

ENGINES = ["httpunk", "h2"]


class Introducing(Echo):
    """Notes who calls; ``unary`` asks back over the caller's connection if it can."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []

    async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
        self.peers.append(call.peer)
        if not call.peer.multiplexed:
            return request
        return await call.peer.backchannel().unary(UNARY, value(b"vote on " + request.value), BytesValue, timeout=10)


class Voter:
    """What a dialler offers on its backchannel."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []

    async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
        self.peers.append(call.peer)
        return value(b"yes to " + request.value)


class Place:
    """A listener with the echo service."""

    def __init__(self, listener: Listener, service: Introducing, backchannels: BackchannelRegistry) -> None:
        self.listener = listener
        self.service = service
        self.backchannels = backchannels

    @property
    def address(self) -> str:
        return self.listener.address.dial_address


@asynccontextmanager
async def serving(address: str = "127.0.0.1:0", options: ListenOptions | None = None) -> AsyncIterator[Place]:
    service = Introducing()
    backchannels = BackchannelRegistry()
    server = Server()
    server.add_service(ECHO, service)
    async with (
        server,
        listen(ListenAddress.parse(address), server, backchannels=backchannels, options=options) as listener,
    ):
        yield Place(listener, service, backchannels)


@asynccontextmanager
async def voting(address: str, voter: object | None = None, **options: object) -> AsyncIterator[Channel]:
    """A multiplexed channel whose dialler votes."""
    backchannel = Server()
    backchannel.add_service(ECHO, voter or Voter())
    async with (
        backchannel,
        open_channel(address, token=None, multiplex=True, backchannel_server=backchannel, **options) as channel,  # type: ignore[arg-type]
    ):
        yield channel


async def echo(channel: Channel, text: bytes) -> bytes:
    return (await channel.unary(UNARY, value(text), BytesValue, timeout=10)).value


class TestPlainAndMultiplexed:
    @pytest.mark.parametrize("engine_name", ENGINES)
    async def test_both_on_one_listener(self, engine_name: str) -> None:
        async with serving(options=ListenOptions(engine=engine(engine_name))) as place:
            async with (
                open_channel(place.address, token=None, engine=engine(engine_name)) as plain,
                voting(place.address, engine=engine(engine_name)) as multiplexed,
            ):
                assert await echo(plain, b"hello") == b"hello"
                assert await echo(multiplexed, b"hello") == b"yes to vote on hello"
                assert await echo(plain, b"again") == b"again"
                messages = [
                    message.value async for message in multiplexed.server_stream(DOWN, value(b"40:65536"), BytesValue)
                ]
                assert [len(message) for message in messages] == [65536] * 40
            peers = place.service.peers
            assert [peer.multiplexed for peer in peers] == [False, True, False]
            assert [peer.backchannel_id for peer in peers] == [0, 1, 0]
            assert all(peer.address.startswith("127.0.0.1:") for peer in peers)

    async def test_connections_are_numbered_and_forgotten(self) -> None:
        async with serving() as place:
            async with voting(place.address) as first, voting(place.address) as second:
                await echo(first, b"x")
                await echo(second, b"x")
                assert [peer.backchannel_id for peer in place.service.peers] == [1, 2]
                assert len(place.backchannels) == 2
                assert place.backchannels.peer(2) is place.service.peers[1]
                backchannel = place.backchannels.channel(1)
                assert backchannel is place.service.peers[0].backchannel()
            await eventually(_async(lambda: len(place.backchannels) == 0))
            assert backchannel is not None
            with pytest.raises(StatusError) as caught:
                await echo(backchannel, b"too late")
            assert caught.value.code == StatusCode.UNAVAILABLE

    async def test_backchannel_connection_is_reused(self) -> None:
        voter = Voter()
        async with serving() as place, voting(place.address, voter) as channel:
            await echo(channel, b"one")
            connection = place.service.peers[0].backchannel().connection
            async with asyncio.TaskGroup() as tasks:
                for _ in range(20):
                    tasks.create_task(echo(channel, b"more"))
            assert place.service.peers[0].backchannel().connection is connection
            assert {peer.listener for peer in voter.peers} == {ListenerKind.BACKCHANNEL}

    async def test_client_without_services_refuses_calls(self) -> None:
        async with serving() as place, open_channel(place.address, token=None, multiplex=True) as channel:
            with pytest.raises(StatusError) as caught:
                await echo(channel, b"x")
            assert caught.value.code == StatusCode.UNIMPLEMENTED
            assert "unknown service praefect.test.Echo" in str(caught.value)

    async def test_listener_is_told_of_connections(self) -> None:
        kinds: list[ListenerKind] = []
        async with serving(options=ListenOptions(on_connection=kinds.append)) as place:
            async with open_channel(place.address, token=None) as channel:
                await echo(channel, b"x")
            assert kinds == [ListenerKind.TCP]

    async def test_stream_in_progress_when_the_client_dies(self) -> None:
        async with serving() as place:
            connection = await Dialer(place.address, DialOptions(multiplex=True)).connect()
            await connection.wait_ready()
            stream = await connection.open_stream(
                "POST", "http", "x", BOTH, [("content-type", b"application/grpc"), ("te", b"trailers")]
            )
            assert stream.error is None
            await eventually(_async(lambda: len(place.backchannels) == 1))
            connection.abort()
            await eventually(_async(lambda: len(place.backchannels) == 0))

    async def test_server_that_dies_ends_the_calls(self) -> None:
        async with AsyncServer() as place:
            async with voting(place.place.address) as channel, channel.bidi(BOTH, BytesValue, timeout=10) as call:
                await call.send(value(b"x"))
                assert await call.receive() == value(b"x")
                await place.stop()
                with pytest.raises(StatusError) as caught:
                    await call.receive()
            assert caught.value.code in {StatusCode.UNAVAILABLE, StatusCode.CANCELLED}


class AsyncServer:
    """A place that can be stopped before its block is left."""

    def __init__(self) -> None:
        self.place: Place
        self._context = serving()
        self._stopped = False

    async def __aenter__(self) -> Self:
        self.place = await self._context.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            await self._context.__aexit__(None, None, None)


class TestSockets:
    async def test_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "p.socket"
        async with serving(f"unix://{path}") as place:
            assert place.address == f"unix:{path}"
            assert stat.S_ISSOCK(path.stat().st_mode)
            async with voting(place.address) as channel, open_channel(place.address, token=None) as plain:
                assert await echo(channel, b"x") == b"yes to vote on x"
                assert await echo(plain, b"x") == b"x"
            assert place.service.peers[0].address == "@"
            assert place.service.peers[0].listener is ListenerKind.UNIX
        assert not path.exists()

    async def test_socket_file_of_a_dead_process_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "p.socket"
        open_socket(ListenAddress.parse(f"unix://{path}")).close()
        assert path.exists()
        async with serving(f"unix://{path}") as place, open_channel(place.address, token=None) as channel:
            assert await echo(channel, b"x") == b"x"

    async def test_socket_file_that_somebody_replaced_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "p.socket"
        async with serving(f"unix://{path}"):
            path.unlink()
            path.write_text("other")
        assert path.read_text() == "other"

    async def test_socket_file_of_a_socket_that_was_handed_over_stays(self, tmp_path: Path) -> None:
        path = tmp_path / "p.socket"
        async with serving(f"unix://{path}") as place:
            place.listener.keep_file()
        assert path.exists()

    async def test_file_that_is_no_socket_is_not_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "p.socket"
        path.write_text("precious")
        with pytest.raises(ListenError, match=f"listen unix {path}: bind: address already in use"):
            async with serving(f"unix://{path}"):
                pass
        assert path.read_text() == "precious"

    async def test_directory_that_does_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ListenError, match="bind: no such file or directory"):
            async with serving(f"unix://{tmp_path}/missing/p.socket"):
                pass

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    async def test_directory_that_cannot_be_written(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(ListenError, match="bind: permission denied"):
            async with serving(f"unix://{tmp_path}/p.socket"):
                pass

    async def test_path_that_is_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(ListenError, match="path too long"):
            async with serving(f"unix://{tmp_path}/{'x' * 200}"):
                pass

    async def test_port_in_use(self) -> None:
        async with serving() as place:
            with pytest.raises(ListenError) as caught:
                async with serving(str(place.listener.address)):
                    pass
            assert str(caught.value) == f"listen tcp {place.listener.address.text}: bind: address already in use"

    async def test_host_that_does_not_exist(self) -> None:
        with pytest.raises(ListenError, match=r"listen tcp nowhere\.invalid:0: "):
            async with serving("nowhere.invalid:0"):
                pass

    async def test_all_interfaces(self) -> None:
        async with serving(":0") as place, open_channel(place.address, token=None) as channel:
            assert await echo(channel, b"x") == b"x"

    async def test_inherited_socket(self) -> None:
        address = ListenAddress.parse("127.0.0.1:0")
        inherited = open_socket(address)
        service = Introducing()
        async with Server() as server:
            server.add_service(ECHO, service)
            async with listen(address, server, backchannels=BackchannelRegistry(), sock=inherited) as listener:
                assert listener.address.port == inherited.getsockname()[1]
                async with open_channel(listener.address.dial_address, token=None) as channel:
                    assert await echo(channel, b"x") == b"x"

    async def test_two_listeners_of_one_port(self) -> None:
        options = ListenOptions(reuse_port=True)
        async with serving(options=options) as place, serving(str(place.listener.address), options) as other:
            assert other.listener.address == place.listener.address

    async def test_socket_options_of_both_sides(self) -> None:
        async with serving() as place:
            loop = asyncio.get_running_loop()
            seen: list[dict[str, int]] = []

            class Looking(asyncio.Protocol):
                def connection_made(self, transport: asyncio.BaseTransport) -> None:
                    place.listener.protocol().connection_made(transport)
                    seen.append(_options(transport.get_extra_info("socket")))

            server = await loop.create_server(Looking, "127.0.0.1", 0)
            async with server:
                port = server.sockets[0].getsockname()[1]
                connection = await Dialer(f"tcp://127.0.0.1:{port}").connect()
                await eventually(_async(lambda: len(seen) == 1))
                connection.abort()
        assert seen == [{"nodelay": 1, "keepalive": 1, "user_timeout": 20_000}]


def _options(sock: socket.socket) -> dict[str, int]:
    return {
        "nodelay": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        "keepalive": sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        "user_timeout": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    }


class TestDialErrors:
    async def test_connection_refused(self) -> None:
        sock = open_socket(ListenAddress.parse("127.0.0.1:0"))
        port = sock.getsockname()[1]
        sock.close()
        with pytest.raises(DialError) as caught:
            await Dialer(f"tcp://127.0.0.1:{port}").connect()
        assert str(caught.value) == f"dial tcp 127.0.0.1:{port}: connect: connection refused"

    async def test_call_to_nobody(self, tmp_path: Path) -> None:
        async with open_channel(f"unix:{tmp_path}/nobody", token=None) as channel:
            with pytest.raises(StatusError) as caught:
                await echo(channel, b"x")
        assert caught.value.code == StatusCode.UNAVAILABLE
        assert str(caught.value) == (
            'connection error: desc = "transport: Error while dialing: '
            f'dial unix {tmp_path}/nobody: connect: no such file or directory"'
        )

    async def test_name_that_does_not_exist(self) -> None:
        with pytest.raises(DialError, match=r"lookup nowhere\.invalid: "):
            await Dialer("dns:nowhere.invalid:1").connect()

    async def test_peer_that_says_nothing_is_given_up(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            async with open_channel(address, token=None, multiplex=True, connect_timeout_seconds=0.05) as channel:
                with pytest.raises(StatusError) as caught:
                    await echo(channel, b"x")
            assert caught.value.code == StatusCode.UNAVAILABLE

    async def test_reconnects_when_the_server_is_back(self) -> None:
        async with serving() as place:
            text = str(place.listener.address)
            channel = open_channel(place.address, token=None, multiplex=True, reconnect_limit_seconds=0.01)
            async with channel:
                with pytest.raises(StatusError):  # it has no services for the vote
                    await echo(channel, b"x")
                await channel.connect()
        async with channel:
            pass
        async with open_channel(place.address, token=None, reconnect_limit_seconds=0.01) as channel:
            with pytest.raises(StatusError):
                await echo(channel, b"x")
            async with serving(text):
                channel.retry_now()
                assert await echo(channel, b"x") == b"x"


class TestNames:
    async def test_addresses_behind_a_name_are_tried_in_turn(self) -> None:
        async with serving("127.0.0.1:0") as place:
            port = place.listener.address.port
            dialer = Dialer(f"dns:localhost:{port}")
            assert (dialer.authority, dialer.scheme) == (f"localhost:{port}", "http")
            for _ in range(3):  # whatever other addresses localhost has, nobody listens there
                connection = await dialer.connect()
                await connection.wait_ready()
                connection.abort()

    async def test_name_server_of_the_address_is_asked(self) -> None:
        async with serving() as place, NameServer() as nameserver:
            port = place.listener.address.port
            connection = await Dialer(f"dns://127.0.0.1:{nameserver.port}/cluster.example:{port}").connect()
            await connection.wait_ready()
            connection.abort()
            assert nameserver.questions == ["cluster.example", "cluster.example"]
            with pytest.raises(DialError, match=r"lookup other\.example: no such host"):
                await Dialer(f"dns://127.0.0.1:{nameserver.port}/other.example:{port}").connect()


class NameServer(asyncio.DatagramProtocol):
    """Knows that ``cluster.example`` is 127.0.0.1."""

    def __init__(self) -> None:
        self.questions: list[str] = []
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._transport is not None
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, position = [], 12
        while size := data[position]:
            labels.append(data[position + 1 : position + 1 + size].decode())
            position += 1 + size
        name, kind = ".".join(labels), data[position + 2]
        self.questions.append(name)
        known = name == "cluster.example"
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if known and kind == 1 else b""
        head = data[:2] + (b"\x81\x80" if known else b"\x81\x83") + b"\0\1" + bytes([0, bool(record)]) + bytes(4)
        assert self._transport is not None
        self._transport.sendto(head + data[12 : position + 5] + record, addr)


class TestHostility:
    async def test_preface_in_pieces(self) -> None:
        async with serving() as place:
            reader, writer = await asyncio.open_connection("127.0.0.1", place.listener.address.port)
            for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]):
                writer.write(bytes([byte]))
                await writer.drain()
            assert (await reader.readexactly(9))[3] == 4  # SETTINGS
            writer.close()

    @pytest.mark.parametrize("sent", [b"", b"backch", b"GET / HTTP/1.1\r\n\r\n", BACKCHANNEL_MAGIC + b"garbage" * 3])
    async def test_others_are_served_whatever_one_connection_sends(self, sent: bytes) -> None:
        async with serving() as place, open_channel(place.address, token=None) as channel:
            reader, writer = await asyncio.open_connection("127.0.0.1", place.listener.address.port)
            writer.write(sent)
            await writer.drain()
            assert await echo(channel, b"x") == b"x"
            writer.write_eof()
            await _drain(reader)
            writer.close()
            assert await echo(channel, b"x") == b"x"

    async def test_silent_connection_is_dropped(self) -> None:
        async with serving(options=ListenOptions(handshake_seconds=0.05)) as place:
            for sent in (b"", b"back", BACKCHANNEL_MAGIC, BACKCHANNEL_MAGIC + pack(1, 1, 1, 0), b"PRI * HTTP/2.0"):
                reader, writer = await asyncio.open_connection("127.0.0.1", place.listener.address.port)
                writer.write(sent)
                await _drain(reader)
                writer.close()
            assert len(place.backchannels) == 0

    async def test_ping_before_the_first_stream_is_answered(self) -> None:
        async with serving() as place:
            reader, writer = await asyncio.open_connection("127.0.0.1", place.listener.address.port)
            writer.write(BACKCHANNEL_MAGIC + pack(2, 1, 0, 0xAA))
            assert await reader.readexactly(12) == pack(2, 2, 0, 0xAA)
            writer.write(pack(1, 1, 1, 0))
            assert await reader.readexactly(12) == pack(1, 2, 1, 0x00FC0000)
            header = await reader.readexactly(12)
            assert header[:8] == pack(0, 0, 1, 0)[:8]  # the server's SETTINGS, without waiting for the client's
            writer.write(pack(1, 4, 1, 0))  # the end of the first stream ends the connection
            await _drain(reader)
            writer.close()

    async def test_flood_of_pings_without_reading_is_cut_off(self) -> None:
        async with serving() as place, open_channel(place.address, token=None) as channel:
            reader, writer = await asyncio.open_connection("127.0.0.1", place.listener.address.port)
            writer.transport.set_write_buffer_limits(high=1 << 30)
            writer.write(BACKCHANNEL_MAGIC)
            transport = cast("asyncio.Transport", writer.transport)
            transport.pause_reading()
            for _ in range(200):
                writer.write(pack(2, 1, 0, 1) * 4096)
            assert await echo(channel, b"x") == b"x"
            await eventually(_async(transport.is_closing))
            writer.close()
            await _drain(reader)

    async def test_leaving_drops_connections_that_showed_nothing(self) -> None:
        async with serving() as place:
            reader, writer = await asyncio.open_connection("127.0.0.1", place.listener.address.port)
            writer.write(b"back")
            async with open_channel(place.address, token=None) as channel:
                await echo(channel, b"x")
        await _drain(reader)
        writer.close()


async def _drain(reader: asyncio.StreamReader) -> None:
    """Read until the other side has closed, however it did."""
    try:
        async with asyncio.timeout(10):
            while await reader.read(65536):
                pass
    except ConnectionError:
        return


def _async(condition: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def check() -> object:
        return condition()

    return check
