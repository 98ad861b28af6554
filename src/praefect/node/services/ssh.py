"""SSHService: fetches, pushes and archives of git clients that speak SSH to whoever calls here.

Source: node.md 12, wire.md 5 and 6.8.
"""

from __future__ import annotations

from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.domain.errors import CancelledCallError, InternalError, InvalidArgumentError, PraefectError
from praefect.node.git.command import Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.relay import Ends, NegotiationWatch, relay
from praefect.node.hooks.payload import UserDetails
from praefect.node.pktline import FLUSH, NegotiationParser, encode
from praefect.node.services.duplex import Sender, rest_of, self_sending
from praefect.node.services.packs import (
    HANG_UP,
    ProcessFailedError,
    cast_final_vote,
    clearing_after_a_kill,
    open_sidechannel,
    pack_command,
    sidechannel_chunks,
    statistics_message,
)
from praefect.node.sideband import Band, BandWriter
from praefect.proto.shared_pb2 import ExitStatus
from praefect.proto.ssh_pb2 import (
    SSHReceivePackRequest,
    SSHReceivePackResponse,
    SSHUploadArchiveRequest,
    SSHUploadArchiveResponse,
    SSHUploadPackWithSidechannelRequest,
    SSHUploadPackWithSidechannelResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from datetime import timedelta

    from google.protobuf.message import Message

    from praefect.node.context import NodeContext
    from praefect.node.hooks.setup import HookSetups
    from praefect.transport.grpc.server_call import ServerCall
    from praefect.transport.sidechannel import Sidechannel

_DONE = encode(b"done\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class NegotiationTimeouts:
    """How long clients may take to say what they want."""

    upload_pack: timedelta
    upload_archive: timedelta


class SshService:
    """Serves gitaly.SSHService.

    Args:
        setups: makes the hooks of pushes.
    """

    def __init__(self, context: NodeContext, setups: HookSetups, timeouts: NegotiationTimeouts) -> None:
        self._context = context
        self._setups = setups
        self._timeouts = timeouts

    async def ssh_upload_pack_with_sidechannel(
        self, request: SSHUploadPackWithSidechannelRequest, call: ServerCall
    ) -> SSHUploadPackWithSidechannelResponse:
        """Serve a whole fetch; input and output travel over the sidechannel."""
        async with AsyncExitStack() as stack:
            try:
                sidechannel = await stack.enter_async_context(open_sidechannel(call))
            except PraefectError as error:
                raise InternalError(f"opennig sidechannel: {error}") from error  # upstream's spelling
            try:
                return await self._upload(request, sidechannel)
            except PraefectError as error:
                raise wrap("running upload-pack", error) from error

    def ssh_receive_pack(
        self, requests: AsyncIterator[SSHReceivePackRequest], call: ServerCall
    ) -> AsyncGenerator[Message, None]:
        """Take a push."""
        return self_sending(self._receive(requests, call))

    def ssh_upload_archive(
        self, requests: AsyncIterator[SSHUploadArchiveRequest], call: ServerCall
    ) -> AsyncGenerator[Message, None]:
        """Serve ``git archive --remote``."""
        return self_sending(self._archive(requests, call))

    async def _upload(
        self, request: SSHUploadPackWithSidechannelRequest, sidechannel: Sidechannel
    ) -> SSHUploadPackWithSidechannelResponse:
        repository = self._context.storages.open(request.repository)
        command = pack_command(
            "upload-pack",
            repository,
            config_options=request.git_config_options,
            git_protocol=request.git_protocol,
        )
        parser, negotiation = NegotiationParser(), NegotiationWatch(_DONE)
        ends = Ends(
            stdin=sidechannel_chunks(sidechannel),
            stdout=BandWriter(sidechannel, Band.STDOUT).write,
            stderr=BandWriter(sidechannel, Band.STDERR).write,
            watches=(parser, negotiation),
            negotiation=(negotiation, self._timeouts.upload_pack.total_seconds()),
        )
        async with self._context.git.start(repository, command, stdin=PIPE, stream_stderr=True) as process:
            returncode = await relay(process, ends)
            _check_exit(returncode, process.stderr, "user canceled the request")
        return SSHUploadPackWithSidechannelResponse(
            packfile_negotiation_statistics=statistics_message(parser.statistics)
        )

    async def _receive(self, requests: AsyncIterator[SSHReceivePackRequest], call: ServerCall) -> None:
        first = await anext(requests, None)
        if first is None:
            raise InternalError("EOF")
        if not first.gl_id:
            raise InvalidArgumentError("empty GlId")
        if first.stdin:
            raise InvalidArgumentError("non-empty data in first request")
        repository = self._context.storages.open(first.repository)
        command, voter = self._receive_command(first, call), self._context.voter(call)
        sender = Sender[SSHReceivePackResponse](call)

        async def stdout(data: bytes) -> None:
            await sender.send(SSHReceivePackResponse(stdout=data))

        async def stderr(data: bytes) -> None:
            await sender.send(SSHReceivePackResponse(stderr=data))

        ends = Ends(stdin=rest_of(requests, lambda request: request.stdin), stdout=stdout, stderr=stderr)
        async with (
            clearing_after_a_kill(self._context, repository),
            self._context.git.start(repository, command, stdin=PIPE, stream_stderr=True) as process,
        ):
            returncode = await relay(process, ends)
            if returncode != 0:
                status = ExitStatus(value=_shell_code(returncode))
                await sender.send(SSHReceivePackResponse(exit_status=status))
            _check_exit(returncode, process.stderr, "user canceled the push")
        await cast_final_vote(voter)

    def _receive_command(self, request: SSHReceivePackRequest, call: ServerCall) -> Command:
        repository = self._context.storages.open(request.repository)
        user = UserDetails(
            userid=request.gl_id,
            username=request.gl_username,
            protocol="ssh",
            remote_ip=call.metadata.first("remote_ip") or "",
        )
        transaction = self._context.voter(call).transaction
        return pack_command(
            "receive-pack",
            repository,
            config_options=request.git_config_options,
            git_protocol=request.git_protocol,
            hooks=self._setups.for_push(repository, user, transaction, call.metadata),
        )

    async def _archive(self, requests: AsyncIterator[SSHUploadArchiveRequest], call: ServerCall) -> None:
        first = await anext(requests, None)
        if first is None:
            raise InternalError("EOF")
        if first.stdin:
            raise InvalidArgumentError("non-empty stdin in first request")
        repository = self._context.storages.open(first.repository)
        sender = Sender[SSHUploadArchiveResponse](call)

        async def stdout(data: bytes) -> None:
            await sender.send(SSHUploadArchiveResponse(stdout=data))

        async def stderr(data: bytes) -> None:
            await sender.send(SSHUploadArchiveResponse(stderr=data))

        negotiation = NegotiationWatch(FLUSH)
        ends = Ends(
            stdin=rest_of(requests, lambda request: request.stdin),
            stdout=stdout,
            stderr=stderr,
            watches=(negotiation,),
            negotiation=(negotiation, self._timeouts.upload_archive.total_seconds()),
        )
        command = Command(name="upload-archive", arguments=[str(repository.path)])
        async with self._context.git.start(repository, command, stdin=PIPE, stream_stderr=True) as process:
            returncode = await relay(process, ends)
            stderr_copy = process.stderr
        await sender.send(SSHUploadArchiveResponse(exit_status=ExitStatus(value=_shell_code(returncode))))
        if returncode != 0:
            raise wrap("send: cmd wait", GitCommandError(returncode, stderr_copy))


def _check_exit(returncode: int, stderr: bytes, hang_up_text: str) -> None:
    if returncode == 0:
        return
    if stderr == HANG_UP:
        raise CancelledCallError(hang_up_text)
    raise wrap("cmd wait", ProcessFailedError(returncode))


def _shell_code(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode
