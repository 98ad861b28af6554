"""HookService: the hooks over gRPC, as upstream's hook program calls them; same handlers as for our own program.

Source: node.md 8.2 and 12, wire.md 5.7 and 10.2.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol, TypeVar

from google.protobuf.message import Message

from praefect.domain.errors import (
    AbortedError,
    CancelledCallError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    PraefectError,
    ResourceExhaustedError,
)
from praefect.node.git.command import Command
from praefect.node.git.relay import Ends, relay
from praefect.node.hooks.calls import HookCall, hook_call, parse_environment
from praefect.node.hooks.custom_hooks import CustomHookFailedError
from praefect.node.hooks.handlers import HookHandlers, TransactionState
from praefect.node.services.duplex import Sender, self_sending
from praefect.node.services.packs import ProcessFailedError
from praefect.node.sideband import Band, BandWriter
from praefect.node.voting import TransactionAbortedError, TransactionStoppedError
from praefect.proto.hook_pb2 import (
    PackObjectsHookWithSidechannelRequest,
    PackObjectsHookWithSidechannelResponse,
    PostReceiveHookRequest,
    PostReceiveHookResponse,
    PreReceiveHookRequest,
    PreReceiveHookResponse,
    ProcReceiveHookRequest,
    ReferenceTransactionHookRequest,
    ReferenceTransactionHookResponse,
    UpdateHookRequest,
    UpdateHookResponse,
)
from praefect.proto.shared_pb2 import ExitStatus
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from praefect.node.context import NodeContext
    from praefect.node.hooks.calls import HookOutput
    from praefect.transport.grpc.server_call import ServerCall

_SOCKET_KEY = "gitaly-sidechannel-socket"
_DIAL_SECONDS = 1.0
_STATES = {
    ReferenceTransactionHookRequest.PREPARED: TransactionState.PREPARED,
    ReferenceTransactionHookRequest.COMMITTED: TransactionState.COMMITTED,
    ReferenceTransactionHookRequest.ABORTED: TransactionState.ABORTED,
    ReferenceTransactionHookRequest.PREPARING: TransactionState.PREPARING,
}


class _Response(Protocol):
    def __call__(self, *, stdout: bytes = b"", stderr: bytes = b"", exit_status: ExitStatus | None = None) -> Message:
        """Make an answer of a hook RPC."""


class _Output:
    """Sends a hook's output as answers of its RPC."""

    def __init__(self, call: ServerCall, response: _Response) -> None:
        self._sender = Sender[Message](call)
        self._response = response

    async def stdout(self, data: bytes) -> None:
        await self._sender.send(self._response(stdout=data))

    async def stderr(self, data: bytes) -> None:
        await self._sender.send(self._response(stderr=data))

    async def end(self, code: int, text: str = "") -> None:
        status = ExitStatus(value=code)
        await self._sender.send(self._response(stderr=text.encode("utf-8", "replace"), exit_status=status))


_ReceiveRequest = TypeVar("_ReceiveRequest", PreReceiveHookRequest, PostReceiveHookRequest)


class HookService:
    """Serves gitaly.HookService."""

    def __init__(self, context: NodeContext, handlers: HookHandlers) -> None:
        self._context = context
        self._handlers = handlers

    def pre_receive_hook(
        self, requests: AsyncIterator[PreReceiveHookRequest], call: ServerCall
    ) -> AsyncGenerator[Message, None]:
        """Run the pre-receive hook."""
        output = _Output(call, PreReceiveHookResponse)
        return self_sending(self._receive_hook(requests, output, self._handlers.pre_receive))

    def post_receive_hook(
        self, requests: AsyncIterator[PostReceiveHookRequest], call: ServerCall
    ) -> AsyncGenerator[Message, None]:
        """Run the post-receive hook."""
        output = _Output(call, PostReceiveHookResponse)
        return self_sending(self._receive_hook(requests, output, self._handlers.post_receive))

    def update_hook(self, request: UpdateHookRequest, call: ServerCall) -> AsyncGenerator[Message, None]:
        """Run the update hook."""
        return self_sending(self._update_hook(request, _Output(call, UpdateHookResponse)))

    def reference_transaction_hook(
        self, requests: AsyncIterator[ReferenceTransactionHookRequest], call: ServerCall
    ) -> AsyncGenerator[Message, None]:
        """Run the reference-transaction hook."""
        output = _Output(call, ReferenceTransactionHookResponse)
        return self_sending(self._reference_transaction_hook(requests, output))

    def proc_receive_hook(
        self, requests: AsyncIterator[ProcReceiveHookRequest], call: ServerCall
    ) -> AsyncGenerator[Message, None]:
        """Refuse: this hook belongs to write-ahead transactions, which this node does not have."""
        del requests, call

        async def refuse() -> None:
            raise InternalError("creating handler: transaction not found")

        return self_sending(refuse())

    async def pack_objects_hook_with_sidechannel(
        self, request: PackObjectsHookWithSidechannelRequest, call: ServerCall
    ) -> PackObjectsHookWithSidechannelResponse:
        """Pack objects for an upload-pack that asked this node instead of doing it itself."""
        repository = self._context.storages.open(request.repository)
        command = _pack_objects_command(request.args)
        reader, writer = await _dial_hook(call.metadata.last(_SOCKET_KEY) or "")
        try:
            sink = _StreamSink(writer)
            ends = Ends(
                stdin=_chunks(reader),
                stdout=BandWriter(sink, Band.STDOUT).write,
                stderr=BandWriter(sink, Band.STDERR).write,
            )
            async with self._context.git.start(repository, command, stdin=PIPE, stream_stderr=True) as process:
                returncode = await relay(process, ends)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise CancelledCallError(f"pack objects hook: {error}") from error
        finally:
            writer.close()
        if returncode != 0:
            raise wrap("pack objects hook: git-pack-objects", ProcessFailedError(returncode))
        return PackObjectsHookWithSidechannelResponse()

    async def _receive_hook(
        self,
        requests: AsyncIterator[_ReceiveRequest],
        output: _Output,
        handler: Callable[[HookCall, bytes, HookOutput], Awaitable[None]],
    ) -> None:
        first = await _first(requests)
        self._context.storages.locate(first.repository)
        changes = await _stdin(first, requests)
        try:
            hook = hook_call(self._context.storages, parse_environment(first.environment_variables))
            await handler(replace(hook, push_options=tuple(first.git_push_options)), changes, output)
        except CustomHookFailedError as error:
            await output.end(error.returncode)
        except ResourceExhaustedError:
            raise
        except PraefectError as error:
            await output.end(1, str(error))
        else:
            await output.end(0)

    async def _update_hook(self, request: UpdateHookRequest, output: _Output) -> None:
        self._context.storages.locate(request.repository)
        hook = hook_call(self._context.storages, parse_environment(request.environment_variables))
        old, new = request.old_value.encode(), request.new_value.encode()
        try:
            await self._handlers.update(hook, request.ref, old, new, output)
        except CustomHookFailedError as error:
            await output.end(error.returncode)
        else:
            await output.end(0)

    async def _reference_transaction_hook(
        self, requests: AsyncIterator[ReferenceTransactionHookRequest], output: _Output
    ) -> None:
        first = await _first(requests)
        self._context.storages.locate(first.repository)
        state = _STATES.get(first.state)
        if state is None:
            raise InvalidArgumentError("invalid hook state")
        changes = await _stdin(first, requests)
        try:
            hook = hook_call(self._context.storages, parse_environment(first.environment_variables))
            await self._handlers.reference_transaction(hook, state, changes)
        except PraefectError as error:
            raise _vote_error(error) from error
        await output.end(0)


class _HasStdin(Protocol):
    @property
    def stdin(self) -> bytes:
        """A piece of the hook's input."""


_StdinT = TypeVar("_StdinT", bound=_HasStdin)


async def _first(requests: AsyncIterator[_StdinT]) -> _StdinT:
    first = await anext(requests, None)
    if first is None:
        raise InternalError("EOF")
    return first


async def _stdin(first: _StdinT, requests: AsyncIterator[_StdinT]) -> bytes:
    stdin = bytearray(first.stdin)
    async for request in requests:
        stdin += request.stdin
    return bytes(stdin)


def _vote_error(error: PraefectError) -> PraefectError:
    text = f"reference-transaction hook: {error}"
    cause = error.__cause__
    if isinstance(cause, TransactionAbortedError):
        return AbortedError(text)
    if isinstance(cause, TransactionStoppedError):
        return FailedPreconditionError(text)
    return wrap("reference-transaction hook", error)


def _pack_objects_command(arguments: Sequence[str]) -> Command:
    shown = " ".join(arguments)
    rest = list(arguments)
    environment = {}
    if rest[:2] == ["--shallow-file", ""]:
        environment["GIT_SHALLOW_FILE"] = ""
        rest = rest[2:]
    if rest[:1] != ["pack-objects"]:
        raise InvalidArgumentError(f"invalid pack-objects command: [{shown}]: missing pack-objects")
    flags = rest[1:]
    if any(not flag.startswith("-") for flag in flags):
        raise InvalidArgumentError(f"invalid pack-objects command: [{shown}]: non-flag argument")
    if "--stdout" not in flags:
        raise InvalidArgumentError(f"invalid pack-objects command: [{shown}]: missing --stdout")
    return Command(name="pack-objects", flags=flags, environment=environment)


async def _dial_hook(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if PurePosixPath(path).name != "sidechannel":
        raise InvalidArgumentError(f'invalid side channel address: "{path}"')
    try:
        async with asyncio.timeout(_DIAL_SECONDS):
            return await asyncio.open_unix_connection(path)
    except OSError as error:
        reason = (error.strerror or "i/o timeout").lower()
        raise InternalError(f"get side-channel: dial unix {path}: connect: {reason}") from error


async def _chunks(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    while data := await reader.read(64 * 1024):
        yield data


class _StreamSink:
    """Writes to a stream and waits until it takes more."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()
