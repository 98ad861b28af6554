"""Where the programs that git starts as hooks call: a unix socket with a small protocol of its own.

The program sends the secret; a block with hook name, number of arguments, arguments and environment, NUL between them;
its standard input in blocks; an empty block. A block is four bytes of length, big endian, and the bytes. Back come
answers: a byte, 1 or 2 for the descriptor or 0 for the exit code, and a block. The program keeps the connection open
until the end, so that its death is noticed and what runs on its behalf is cancelled.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING, Self

from praefect.domain.errors import PraefectError, ResourceExhaustedError
from praefect.node.hooks.calls import hook_call
from praefect.node.hooks.custom_hooks import CustomHookFailedError, Hook
from praefect.node.hooks.handlers import HookHandlers, TransactionState
from praefect.node.hooks.payload import RequestedHooks
from praefect.observability.correlation import correlation_id
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from praefect.node.hooks.calls import HookCall
    from praefect.node.storage.roots import Storages

_log = get_logger("hooks")

_HANDSHAKE_SECONDS = 10.0
_MAX_HEAD_BYTES = 4 << 20
_MAX_STDIN_BYTES = 512 << 20
_FAILURE = b"error executing git hook\n"
_REQUESTS = {
    "reference-transaction": RequestedHooks.REFERENCE_TRANSACTION,
    Hook.UPDATE.value: RequestedHooks.UPDATE,
    Hook.PRE_RECEIVE.value: RequestedHooks.PRE_RECEIVE,
    Hook.POST_RECEIVE.value: RequestedHooks.POST_RECEIVE,
}


class HookProtocolError(PraefectError):
    """Whoever called is none of our programs."""


class _Invocation:
    """What one started program said."""

    def __init__(self, head: bytes) -> None:
        name, count, *words = head.split(b"\0")
        self.name = name.decode("utf-8", "replace")
        self.arguments: Sequence[bytes] = words[: int(count)]
        self.environment: Mapping[str, str] = dict(_variable(word) for word in words[int(count) :])


def _variable(word: bytes) -> tuple[str, str]:
    name, _, value = word.decode("utf-8", "surrogateescape").partition("=")
    return name, value


class _Output:
    """Sends output to the program, whole answers only, as fast as it takes them."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._is_at_line_start = True

    async def stdout(self, data: bytes) -> None:
        await self._send(1, data)

    async def stderr(self, data: bytes) -> None:
        await self._send(2, data)

    async def exit(self, code: int) -> None:
        await self._send(0, bytes([code]))

    async def _send(self, kind: int, data: bytes) -> None:
        self._writer.write(bytes([kind]) + len(data).to_bytes(4, "big") + data)
        await self._writer.drain()


class HookSocketServer:
    """Serves the hook programs of this process; an async context manager.

    Args:
        path: of the socket; its directory must be private.
        secret: what programs say first.
    """

    def __init__(self, path: Path, secret: str, *, storages: Storages, handlers: HookHandlers) -> None:
        self._path = path
        self._secret = secret.encode("ascii")
        self._storages = storages
        self._handlers = handlers
        self._tasks = asyncio.TaskGroup()
        self._running: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        self._server = await asyncio.start_unix_server(self._on_connection, self._path)
        self._path.chmod(0o600)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()
        # The group is not told of an error of the block, which goes its own way and not in a group of errors.
        await self._tasks.__aexit__(None, None, None)

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._tasks.create_task(self._serve(reader, writer), name="hook")
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                invocation = await self._handshake(reader)
            stdin = await _read_stdin(reader)
            async with asyncio.TaskGroup() as group:
                work = group.create_task(self._answer(invocation, stdin, _Output(writer)), name="hook-work")
                watch = group.create_task(_cancel_at_end(reader, work), name="hook-watch")
                work.add_done_callback(lambda _: watch.cancel())
        except* (OSError, EOFError, TimeoutError, ValueError, HookProtocolError) as errors:
            _log.warning("hook program went away", error=str(errors.exceptions[0]))
        finally:
            writer.close()

    async def _handshake(self, reader: asyncio.StreamReader) -> _Invocation:
        secret = await reader.readexactly(len(self._secret))
        if not hmac.compare_digest(secret, self._secret):
            raise HookProtocolError("hook program does not know the secret")
        return _Invocation(await _read_block(reader, _MAX_HEAD_BYTES))

    async def _answer(self, invocation: _Invocation, stdin: bytes, output: _Output) -> None:
        correlation_id.set(invocation.environment.get("CORRELATION_ID", ""))
        try:
            code = await self._run(invocation, stdin, output)
        except CustomHookFailedError as error:
            code = error.returncode
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - the border: git must get an answer, the node must live on
            report_failure(invocation.name, error)
            await output.stderr(_words_for(invocation.name, error))
            code = 1
        await output.exit(code)

    async def _run(self, invocation: _Invocation, stdin: bytes, output: _Output) -> int:
        call = hook_call(self._storages, invocation.environment)
        requested = _REQUESTS.get(invocation.name)
        if requested is None:
            raise HookProtocolError(f'unknown hook "{invocation.name}"')
        if requested in call.payload.requested:
            await self._dispatch(invocation, call, stdin, output)
        return 0

    async def _dispatch(self, invocation: _Invocation, call: HookCall, stdin: bytes, output: _Output) -> None:
        match invocation.name:
            case Hook.PRE_RECEIVE:
                await self._handlers.pre_receive(call, stdin, output)
            case Hook.POST_RECEIVE:
                await self._handlers.post_receive(call, stdin, output)
            case Hook.UPDATE:
                reference, old, new = invocation.arguments
                await self._handlers.update(call, reference, old, new, output)
            case _:
                state = TransactionState(invocation.arguments[0].decode("ascii"))
                await self._handlers.reference_transaction(call, state, stdin)


def report_failure(hook: str, error: Exception) -> None:
    """Log why a hook's answer is no."""
    if isinstance(error, PraefectError):
        _log.warning("hook refused or failed", hook=hook, error=str(error))
    else:
        _log.error("hook crashed", hook=hook, exc_info=error)


def _words_for(hook: str, error: Exception) -> bytes:
    """Return what the user reads. Only pre- and post-receive speak; what is meant for nobody is one fixed line."""
    speaks = hook in {Hook.PRE_RECEIVE, Hook.POST_RECEIVE}
    if not speaks or not isinstance(error, PraefectError) or isinstance(error, ResourceExhaustedError):
        return _FAILURE
    text = str(error)
    return f"{text}\n".encode("utf-8", "replace") if text else b""


async def _cancel_at_end(reader: asyncio.StreamReader, task: asyncio.Task[None]) -> None:
    await reader.read(1)
    task.cancel()


async def _read_stdin(reader: asyncio.StreamReader) -> bytes:
    stdin = bytearray()
    while data := await _read_block(reader, _MAX_HEAD_BYTES):
        stdin += data
        if len(stdin) > _MAX_STDIN_BYTES:
            raise HookProtocolError("input of a hook is too long")
    return bytes(stdin)


async def _read_block(reader: asyncio.StreamReader, limit: int) -> bytes:
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > limit:
        raise HookProtocolError("block of a hook program is too long")
    return await reader.readexactly(length)
