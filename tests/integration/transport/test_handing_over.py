"""A listening socket goes to another server: whoever the first one accepted is told to go there, and not cut off."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import cast

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.dial import open_channel
from praefect.transport.grpc.server import Server
from praefect.transport.http2 import ConnectionProtocol, Limits, engine
from praefect.transport.listen import ListenAddress, ListenOptions, listen
from praefect.transport.listening_sockets import open_socket
from tests.support.grpc_echo import ECHO, UNARY, Echo, value


class Former:
    """A server that is about to be replaced on a unix socket."""

    def __init__(self, path: Path) -> None:
        self.address = ListenAddress.parse(f"unix://{path}")
        self.sock = open_socket(self.address)
        self.accepted = asyncio.Event()
        self.serving = asyncio.Event()
        self._leave = asyncio.Event()

    async def serve(self) -> None:
        """Serve until ``leave``, then give the socket up and drain."""
        server = Server()
        server.add_service(ECHO, Echo())
        options = ListenOptions(on_connection=lambda _kind: self.accepted.set())
        backchannels = BackchannelRegistry()
        async with server:
            async with listen(
                self.address, server, backchannels=backchannels, sock=self.sock, options=options
            ) as listener:
                self.serving.set()
                await self._leave.wait()
                listener.keep_file()
            assert await server.drain(30.0)

    def leave(self) -> None:
        self._leave.set()


@pytest.mark.parametrize("name", ["httpunk", "h2"])
async def test_accepted_connection_that_has_said_nothing_is_told_to_go_elsewhere(tmp_path: Path, name: str) -> None:
    former = Former(tmp_path / "p.socket")
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(former.serve(), name="former")
        await former.serving.wait()
        silent = socket.socket(socket.AF_UNIX)
        silent.setblocking(False)
        await loop.sock_connect(silent, former.address.path)
        await former.accepted.wait()

        former.leave()
        for _ in range(10):
            await asyncio.sleep(0)
        assert not serving.done()
        protocol = engine(name).client(limits=Limits(), context=None)
        await loop.create_unix_connection(lambda: cast("asyncio.Protocol", protocol), sock=silent)
        # Reset connections never get here.
        await protocol.wait_ready()
        await _wait_refused(protocol)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


@pytest.mark.parametrize("turns", range(6))
async def test_connection_is_not_cut_off_whenever_the_socket_goes(tmp_path: Path, turns: int) -> None:
    """The moments: not accepted yet, accepted by the loop but no connection of ours yet, and those after."""
    address = ListenAddress.parse(f"unix://{tmp_path / 'p.socket'}")
    sock = open_socket(address)
    server = Server()
    with sock.dup() as successor, socket.socket(socket.AF_UNIX) as client:
        async with server:
            async with listen(address, server, backchannels=BackchannelRegistry(), sock=sock) as listener:
                listener.keep_file()
                client.connect(address.path)
                client.sendall(PREFACE)
                for _ in range(turns):
                    await asyncio.sleep(0)
            client.setblocking(False)
            try:
                waiting, _ = successor.accept()
            except BlockingIOError:
                async with asyncio.timeout(30):
                    answer = await asyncio.get_running_loop().sock_recv(client, 9)
                assert answer[3] == 4  # settings
            else:
                waiting.close()


async def test_clients_see_no_change(tmp_path: Path) -> None:
    former = Former(tmp_path / "p.socket")
    latter = Server()
    latter.add_service(ECHO, Echo())
    async with (
        asyncio.TaskGroup() as tasks,
        latter,
        listen(former.address, latter, backchannels=BackchannelRegistry(), sock=former.sock.dup()),
        open_channel(former.address.dial_address, token=None) as channel,
    ):
        serving = tasks.create_task(former.serve(), name="former")
        await former.serving.wait()
        stopped = False

        async def call_on() -> None:
            while not stopped:
                assert (await channel.unary(UNARY, value(b"x"), BytesValue)).value == b"x"
                async with open_channel(former.address.dial_address, token=None) as other:
                    assert (await other.unary(UNARY, value(b"y"), BytesValue)).value == b"y"

        calls = tasks.create_task(call_on(), name="calls")
        await former.accepted.wait()
        former.leave()
        await serving
        stopped = True
        await calls
        assert (await channel.unary(UNARY, value(b"after"), BytesValue)).value == b"after"
        assert Path(former.address.path).is_socket()


async def _wait_refused(protocol: ConnectionProtocol) -> None:
    async with asyncio.timeout(10):
        await protocol.wait_closed()
    assert not protocol.accepts_streams
