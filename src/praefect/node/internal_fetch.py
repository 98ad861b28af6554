"""Fetching from a repository on another node: git speaks to a helper, the node to the other node.

Git starts the helper as its ssh; the helper hands the bytes to this process over a socket in the runtime directory,
and this process calls SSHUploadPackWithSidechannel on the other node.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, PraefectError
from praefect.node.git.command import Command, ConfigPair, HookSetup
from praefect.node.git.relay import first_error
from praefect.node.quoting import quote
from praefect.node.remote import ServerAddress
from praefect.node.sideband import Band
from praefect.node.sideband_reader import BandReader
from praefect.observability.log import get_logger
from praefect.proto.shared_pb2 import Repository
from praefect.proto.ssh_pb2 import SSHUploadPackWithSidechannelRequest, SSHUploadPackWithSidechannelResponse
from praefect.transport.grpc.metadata import Metadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.node.context import NodeContext
    from praefect.node.git.runner import Completed
    from praefect.node.remote import AnnouncedSidechannel
    from praefect.node.storage.repository import LocalRepository

INTERNAL_URL = "ssh://gitaly/internal.git"
_METHOD = "/gitaly.SSHService/SSHUploadPackWithSidechannel"
_SHOW_ALL_REFERENCES = "transfer.hideRefs=!refs"
_CHUNK_BYTES = 64 * 1024
_DRAIN_SECONDS = 30.0
_log = get_logger("node.internal_fetch")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRepository:
    """A repository on another server, and with what options its references are offered."""

    server: ServerAddress
    message: Repository
    config_options: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InternalFetch:
    """What to fetch. ``flags`` come after the usual ones."""

    source: RemoteRepository
    refspecs: Sequence[bytes | str]
    hooks: HookSetup
    flags: Sequence[str] = ()
    config: Sequence[ConfigPair] = ()


async def fetch_internally(context: NodeContext, repository: LocalRepository, fetch: InternalFetch) -> None:
    """Fetch from another node.

    Raises:
        PraefectError: the other node refused, with its code; or git failed.
    """
    command = Command(
        name="fetch",
        flags=["--no-write-fetch-head", "--quiet", *fetch.flags],
        arguments=[INTERNAL_URL, *fetch.refspecs],
        config=[("advice.fetchShowForcedUpdates", "false"), *fetch.config],
        hooks=fetch.hooks,
    )
    completed = await run_with_remote(context, repository, command, fetch.source)
    if completed.returncode != 0:
        raise InternalError(f"fetch: exit status {completed.returncode}, stderr: {quote(completed.stderr)}")


async def run_with_remote(
    context: NodeContext, repository: LocalRepository | None, command: Command, source: RemoteRepository
) -> Completed:
    """Run a git command for which ``INTERNAL_URL`` is the repository ``source`` on another node.

    Raises:
        PraefectError: the other node refused, with its code.
    """
    async with _bridge(context, source) as bridge:
        environment = {**command.environment, **bridge.environment}
        prepared = Command(
            name=command.name,
            flags=command.flags,
            arguments=command.arguments,
            config=command.config,
            environment=environment,
            hooks=command.hooks,
        )
        completed = await context.git.run(repository, prepared)
    if completed.returncode != 0 and bridge.failure is not None:
        raise bridge.failure
    return completed


@dataclass(slots=True)
class _Bridge:
    """Joins helpers that connect to one other repository.

    Attributes:
        environment: makes git start the helper.
        failure: why the other node's call failed, if it did.
    """

    context: NodeContext
    source: RemoteRepository
    environment: dict[str, str]
    failure: PraefectError | None = None

    async def serve(self, listener: socket.socket) -> None:
        """Serve one helper after the other until cancelled; git needs one, or two for an automatic tag fetch."""
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            reader, writer = await asyncio.open_unix_connection(sock=connection)
            try:
                with first_error():
                    await self._join(reader, writer)
            except PraefectError as exc:
                self.failure = exc
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = SSHUploadPackWithSidechannelRequest(
            repository=self.source.message,
            git_config_options=[_SHOW_ALL_REFERENCES, *self.source.config_options],
            git_protocol="version=2",
        )
        async with (
            self.context.remotes.multiplexed(self.source.server) as remote,
            remote.sidechannel() as announced,
            asyncio.TaskGroup() as group,
        ):
            pump = group.create_task(_pump(announced, reader, writer), name="internal-fetch-pump")
            metadata = Metadata([announced.metadata])
            await remote.channel.unary(_METHOD, request, SSHUploadPackWithSidechannelResponse, metadata=metadata)
            # The server has sent everything before it answers; a pump that still waits was never needed.
            async with asyncio.timeout(_DRAIN_SECONDS):
                await pump


async def _pump(announced: AnnouncedSidechannel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sidechannel = await announced.accept()

    async def requests() -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await sidechannel.write(data)
        await sidechannel.close_write()

    async with asyncio.TaskGroup() as group:
        sending = group.create_task(requests(), name="internal-fetch-requests")
        bands = BandReader()
        while data := await sidechannel.read():
            for band, piece in bands.feed(data):
                if band == Band.STDOUT:
                    writer.write(piece)
                else:
                    _log.info("upload-pack says", text=piece.decode("utf-8", "replace").strip())
            await writer.drain()
        writer.write_eof()
        sending.cancel()
    await sidechannel.close()


@asynccontextmanager
async def _bridge(context: NodeContext, source: RemoteRepository) -> AsyncIterator[_Bridge]:
    directory = tempfile.mkdtemp(prefix="fetch-", dir=context.runtime_directory)
    path = f"{directory}/s"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(path)
        listener.listen(4)
        bridge = _Bridge(context, source, _helper_environment(path))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(bridge.serve(listener), name="internal-fetch-bridge")
            try:
                yield bridge
            finally:
                task.cancel()
    finally:
        listener.close()
        shutil.rmtree(directory, ignore_errors=True)


def _helper_environment(path: str) -> dict[str, str]:
    helper = str(resources.files("praefect.node").joinpath("fetch_helper.py"))
    words = [sys.executable, "-I", "-S", helper, path]
    return {"GIT_SSH_COMMAND": shlex.join(words), "GIT_SSH_VARIANT": "simple"}
