"""Real git clients on a node's RPCs: an ssh and an HTTP front end that do what gitlab-shell and Workhorse do."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web
from google.protobuf.message import Message

from praefect.node.git.relay import first_error
from praefect.node.pktline import PacketScanner
from praefect.proto.smarthttp_pb2 import (
    InfoRefsRequest,
    InfoRefsResponse,
    PostReceivePackRequest,
    PostReceivePackResponse,
    PostUploadPackWithSidechannelRequest,
    PostUploadPackWithSidechannelResponse,
)
from praefect.proto.ssh_pb2 import (
    SSHReceivePackRequest,
    SSHReceivePackResponse,
    SSHUploadArchiveRequest,
    SSHUploadArchiveResponse,
    SSHUploadPackWithSidechannelRequest,
    SSHUploadPackWithSidechannelResponse,
)
from praefect.transport.grpc.status import StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from praefect.proto.shared_pb2 import Repository
    from praefect.transport.grpc.channel import Channel, TypedCall
    from praefect.transport.grpc.metadata import Value
    from praefect.transport.sidechannel import ClientSidechannel, SidechannelClient, SidechannelRegistry

MessageT = TypeVar("MessageT", bound=Message)

_SSH = "/gitaly.SSHService/"
_HTTP = "/gitaly.SmartHTTPService/"


@dataclass(slots=True, kw_only=True)
class FrontEnd:
    """What both front ends need, and what became of the calls.

    Attributes:
        metadata: goes with every call that changes something.
        errors: of the calls that failed, in order.
        finished: counts calls that are over.
    """

    channel: Channel
    sidechannels: SidechannelRegistry
    repository: Repository
    metadata: list[tuple[str, Value]] = field(default_factory=list)
    config_options: list[str] = field(default_factory=list)
    errors: list[StatusError] = field(default_factory=list)
    finished: int = 0


class _SshSession:
    """One connection of ``ssh_pipe``."""

    def __init__(self, front_end: FrontEnd, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._front_end = front_end
        self._reader = reader
        self._writer = writer

    async def serve(self) -> None:
        line = await self._reader.readline()
        protocol, _, command = line.decode().rstrip("\n").partition("\0")
        serve = {
            "git-upload-pack": self._upload_pack,
            "git-receive-pack": self._receive_pack,
            "git-upload-archive": self._upload_archive,
        }[command.split()[0]]
        try:
            with first_error():
                code = await serve(protocol)
        except StatusError as error:
            self._front_end.errors.append(error)
            code = 1
        finally:
            self._front_end.finished += 1
        with contextlib.suppress(OSError):
            await self._send(0, bytes([code]))
        self._writer.close()

    async def _upload_pack(self, protocol: str) -> int:
        front_end = self._front_end
        request = SSHUploadPackWithSidechannelRequest(
            repository=front_end.repository, git_protocol=protocol, git_config_options=front_end.config_options
        )
        async with front_end.sidechannels.register() as waiter, asyncio.TaskGroup() as group:
            pumping = group.create_task(self._pump(waiter), name="ssh-pump")
            await front_end.channel.unary(
                _SSH + "SSHUploadPackWithSidechannel",
                request,
                SSHUploadPackWithSidechannelResponse,
                metadata=[waiter.metadata],
            )
            await pumping
        return 0

    async def _pump(self, waiter: SidechannelClient) -> None:
        async with await waiter.accept() as sidechannel, asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(self._reader, sidechannel), name="ssh-feed")
            scanner = PacketScanner()
            while data := await sidechannel.read():
                for packet in scanner.feed(data):
                    assert isinstance(packet, bytes)
                    await self._send(packet[0], packet[1:])
            feeding.cancel()

    async def _receive_pack(self, protocol: str) -> int:
        front_end = self._front_end
        first = SSHReceivePackRequest(
            repository=front_end.repository,
            gl_id="user-7",
            gl_username="jane",
            gl_repository="project-1",
            git_protocol=protocol,
            git_config_options=front_end.config_options,
        )
        method = _SSH + "SSHReceivePack"
        async with front_end.channel.bidi(method, SSHReceivePackResponse, metadata=front_end.metadata) as call:
            await call.send(first)
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(
                    _send_chunks(self._reader, lambda data: call.send(SSHReceivePackRequest(stdin=data)), call),
                    name="ssh-feed",
                )
                code = 0
                async for answer in call.messages():
                    code = await self._deliver(answer, code)
                feeding.cancel()
        return code

    async def _upload_archive(self, protocol: str) -> int:
        del protocol
        method = _SSH + "SSHUploadArchive"
        async with self._front_end.channel.bidi(method, SSHUploadArchiveResponse) as call:
            await call.send(SSHUploadArchiveRequest(repository=self._front_end.repository))
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(
                    _send_chunks(self._reader, lambda data: call.send(SSHUploadArchiveRequest(stdin=data)), call),
                    name="ssh-feed",
                )
                code = 0
                async for answer in call.messages():
                    code = await self._deliver(answer, code)
                feeding.cancel()
        return code

    async def _deliver(self, answer: SSHReceivePackResponse | SSHUploadArchiveResponse, code: int) -> int:
        if answer.stdout:
            await self._send(1, answer.stdout)
        if answer.stderr:
            await self._send(2, answer.stderr)
        return answer.exit_status.value if answer.HasField("exit_status") else code

    async def _send(self, kind: int, data: bytes) -> None:
        self._writer.write(bytes([kind]) + len(data).to_bytes(4, "big") + data)
        await self._writer.drain()


async def _feed(reader: asyncio.StreamReader, sidechannel: ClientSidechannel) -> None:
    while data := await reader.read(65536):
        await sidechannel.write(data)
    await sidechannel.close_write()


async def _send_chunks(
    reader: asyncio.StreamReader, send: Callable[[bytes], Awaitable[bool]], call: TypedCall[MessageT]
) -> None:
    while data := await reader.read(65536):
        await send(data)
    await call.half_close()


@asynccontextmanager
async def serve_ssh(front_end: FrontEnd, socket_path: Path) -> AsyncIterator[dict[str, str]]:
    """Serve git clients; yields the environment that makes git use this instead of ssh, with any host name."""
    async with asyncio.TaskGroup() as group:
        sessions: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            session = _SshSession(front_end, reader, writer)
            task = group.create_task(session.serve(), name="ssh-session")
            sessions.add(task)
            task.add_done_callback(sessions.discard)

        server = await asyncio.start_unix_server(connected, socket_path)
        pipe = Path(__file__).with_name("ssh_pipe.py")
        command = shlex.join([sys.executable, "-I", "-S", str(pipe), str(socket_path)])
        try:
            yield {"GIT_SSH_COMMAND": command, "GIT_SSH_VARIANT": "ssh"}
        finally:
            server.close()
            for task in sessions:
                task.cancel()


class _HttpFrontEnd:
    def __init__(self, front_end: FrontEnd) -> None:
        self._front_end = front_end

    async def info_refs(self, request: web.Request) -> web.StreamResponse:
        service = request.query["service"].removeprefix("git-")
        method = {"upload-pack": "InfoRefsUploadPack", "receive-pack": "InfoRefsReceivePack"}[service]
        message = InfoRefsRequest(
            repository=self._front_end.repository,
            git_protocol=request.headers.get("Git-Protocol", ""),
            git_config_options=self._front_end.config_options,
        )
        response = web.StreamResponse(headers={"Content-Type": f"application/x-git-{service}-advertisement"})
        await response.prepare(request)
        async for answer in self._front_end.channel.server_stream(_HTTP + method, message, InfoRefsResponse):
            await response.write(answer.data)
        return response

    async def upload_pack(self, request: web.Request) -> web.StreamResponse:
        front_end = self._front_end
        message = PostUploadPackWithSidechannelRequest(
            repository=front_end.repository,
            git_protocol=request.headers.get("Git-Protocol", ""),
            git_config_options=front_end.config_options,
        )
        body = await request.read()
        response = web.StreamResponse(headers={"Content-Type": "application/x-git-upload-pack-result"})
        await response.prepare(request)
        async with front_end.sidechannels.register() as waiter, asyncio.TaskGroup() as group:
            group.create_task(self._exchange(waiter, body, response), name="http-exchange")
            await front_end.channel.unary(
                _HTTP + "PostUploadPackWithSidechannel",
                message,
                PostUploadPackWithSidechannelResponse,
                metadata=[waiter.metadata],
            )
        front_end.finished += 1
        return response

    async def _exchange(self, waiter: SidechannelClient, body: bytes, response: web.StreamResponse) -> None:
        async with await waiter.accept() as sidechannel:
            await sidechannel.write(body)
            await sidechannel.close_write()
            while data := await sidechannel.read():
                await response.write(data)

    async def receive_pack(self, request: web.Request) -> web.StreamResponse:
        front_end = self._front_end
        first = PostReceivePackRequest(
            repository=front_end.repository,
            gl_id="user-7",
            gl_username="jane",
            gl_repository="project-1",
            git_protocol=request.headers.get("Git-Protocol", ""),
            git_config_options=front_end.config_options,
        )
        response = web.StreamResponse(headers={"Content-Type": "application/x-git-receive-pack-result"})
        await response.prepare(request)
        method = _HTTP + "PostReceivePack"
        try:
            async with front_end.channel.bidi(method, PostReceivePackResponse, metadata=front_end.metadata) as call:
                await call.send(first)
                async with asyncio.TaskGroup() as group:
                    group.create_task(_send_body(request, call), name="http-feed")
                    async for answer in call.messages():
                        await response.write(answer.data)
        except* StatusError as group_of_errors:
            front_end.errors.extend(error for error in group_of_errors.exceptions if isinstance(error, StatusError))
            request.protocol.force_close()
            raise
        finally:
            front_end.finished += 1
        return response


async def _send_body(request: web.Request, call: TypedCall[PostReceivePackResponse]) -> None:
    async for data in request.content.iter_chunked(65536):
        await call.send(PostReceivePackRequest(data=data))
    await call.half_close()


@asynccontextmanager
async def serve_http(front_end: FrontEnd) -> AsyncIterator[str]:
    """Serve git clients on the loopback address; yields the URL of the repository."""
    handlers = _HttpFrontEnd(front_end)
    app = web.Application()
    app.router.add_get("/project.git/info/refs", handlers.info_refs)
    app.router.add_post("/project.git/git-upload-pack", handlers.upload_pack)
    app.router.add_post("/project.git/git-receive-pack", handlers.receive_pack)
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/project.git"
    finally:
        await runner.cleanup()
