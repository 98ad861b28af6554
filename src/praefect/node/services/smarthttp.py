"""SmartHTTPService: fetches and pushes of git clients that speak HTTP to whoever calls here.

Source: node.md 12, wire.md 5 and 6.8.
"""

from __future__ import annotations

from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InternalError, InvalidArgumentError, PraefectError
from praefect.node.git.command import NO_HOOKS
from praefect.node.git.errors import GitCommandError
from praefect.node.git.relay import Ends, relay
from praefect.node.hooks.payload import UserDetails
from praefect.node.pktline import FLUSH, NegotiationParser, encode
from praefect.node.services.duplex import Sender, rest_of, self_sending
from praefect.node.services.packs import (
    ProcessFailedError,
    cast_final_vote,
    clearing_after_a_kill,
    open_sidechannel,
    pack_command,
    sidechannel_chunks,
    statistics_message,
)
from praefect.node.services.streaming import output_chunks
from praefect.proto.smarthttp_pb2 import (
    InfoRefsRequest,
    InfoRefsResponse,
    PostReceivePackRequest,
    PostReceivePackResponse,
    PostUploadPackWithSidechannelRequest,
    PostUploadPackWithSidechannelResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.message import Message

    from praefect.node.context import NodeContext
    from praefect.node.git.command import Command
    from praefect.node.hooks.setup import HookSetups
    from praefect.transport.grpc.server_call import ServerCall

_ADVERTISE = ("--stateless-rpc", "--advertise-refs")
_EXCHANGE = ("--stateless-rpc",)


class SmartHttpService:
    """Serves gitaly.SmartHTTPService.

    Args:
        setups: makes the hooks of pushes.
    """

    def __init__(self, context: NodeContext, setups: HookSetups) -> None:
        self._context = context
        self._setups = setups

    async def info_refs_upload_pack(
        self, request: InfoRefsRequest, call: ServerCall
    ) -> AsyncGenerator[InfoRefsResponse, None]:
        """Say which references a fetch can have."""
        del call
        async for response in self._advertise("upload-pack", request):
            yield response

    async def info_refs_receive_pack(
        self, request: InfoRefsRequest, call: ServerCall
    ) -> AsyncGenerator[InfoRefsResponse, None]:
        """Say which references a push can change."""
        del call
        async for response in self._advertise("receive-pack", request):
            yield response

    async def post_upload_pack_with_sidechannel(
        self, request: PostUploadPackWithSidechannelRequest, call: ServerCall
    ) -> PostUploadPackWithSidechannelResponse:
        """Answer one request of a fetch; request and answer travel over the sidechannel."""
        repository = self._context.storages.open(request.repository)
        command = pack_command(
            "upload-pack",
            repository,
            flags=_EXCHANGE,
            config_options=request.git_config_options,
            git_protocol=request.git_protocol,
        )
        parser = NegotiationParser()
        async with AsyncExitStack() as stack:
            try:
                sidechannel = await stack.enter_async_context(open_sidechannel(call))
            except PraefectError as error:
                raise wrap("open sidechannel", error) from error
            ends = Ends(stdin=sidechannel_chunks(sidechannel), stdout=sidechannel.write, watches=(parser,))
            async with self._context.git.start(repository, command, stdin=PIPE) as process:
                returncode = await relay(process, ends)
        # A shallow client closes early, on purpose, once it knows the new boundary.
        if returncode != 0 and not parser.statistics.deepen:
            failure = wrap("waiting for upload-pack", ProcessFailedError(returncode))
            raise FailedPreconditionError(f"running upload-pack: {failure}")
        return PostUploadPackWithSidechannelResponse(
            packfile_negotiation_statistics=statistics_message(parser.statistics)
        )

    def post_receive_pack(
        self, requests: AsyncIterator[PostReceivePackRequest], call: ServerCall
    ) -> AsyncGenerator[Message, None]:
        """Take a push."""
        return self_sending(self._receive(requests, call))

    async def _advertise(self, name: str, request: InfoRefsRequest) -> AsyncGenerator[InfoRefsResponse, None]:
        repository = self._context.storages.open(request.repository)
        command = pack_command(
            name,
            repository,
            flags=_ADVERTISE,
            config_options=request.git_config_options,
            git_protocol=request.git_protocol,
            hooks=NO_HOOKS if name == "receive-pack" else None,
        )
        yield InfoRefsResponse(data=encode(b"# service=git-%b\n" % name.encode()))
        yield InfoRefsResponse(data=FLUSH)
        try:
            async for data in output_chunks(self._context.git, repository, command):
                yield InfoRefsResponse(data=data)
        except GitCommandError as error:
            raise wrap("get info refs: cmd wait", error) from error

    async def _receive(self, requests: AsyncIterator[PostReceivePackRequest], call: ServerCall) -> None:
        first = await anext(requests, None)
        if first is None:
            raise InternalError("EOF")
        if not first.gl_id:
            raise InvalidArgumentError("empty GlId")
        if first.data:
            raise InvalidArgumentError("non-empty Data")
        repository = self._context.storages.open(first.repository)
        command, voter = self._receive_command(first, call), self._context.voter(call)
        sender = Sender[PostReceivePackResponse](call)

        async def deliver(data: bytes) -> None:
            await sender.send(PostReceivePackResponse(data=data))

        ends = Ends(stdin=rest_of(requests, lambda request: request.data), stdout=deliver)
        async with (
            clearing_after_a_kill(self._context, repository),
            self._context.git.start(repository, command, stdin=PIPE) as process,
        ):
            returncode = await relay(process, ends)
        if returncode != 0:
            raise FailedPreconditionError(f"waiting for receive-pack: {ProcessFailedError(returncode)}")
        await cast_final_vote(voter)

    def _receive_command(self, request: PostReceivePackRequest, call: ServerCall) -> Command:
        repository = self._context.storages.open(request.repository)
        user = UserDetails(
            userid=request.gl_id,
            username=request.gl_username,
            protocol="http",
            remote_ip=call.metadata.first("remote_ip") or "",
        )
        transaction = self._context.voter(call).transaction
        return pack_command(
            "receive-pack",
            repository,
            flags=_EXCHANGE,
            config_options=request.git_config_options,
            git_protocol=request.git_protocol,
            hooks=self._setups.for_push(repository, user, transaction, call.metadata),
        )
