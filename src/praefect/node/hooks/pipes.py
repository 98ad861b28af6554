"""The quick way from git's hooks to the node: two pipes that a command and all it starts inherit.

For hooks that run once for every reference: a shell can use pipes without starting anything else, and there is nothing
to connect, to prove or to decode. A message is the program's process number, the hook's name and its arguments with
spaces between, LF, the lines of its input, an empty line; the answer the same number and a word. The number tells an
answer from one that its program did not live to read. Programs that end without an answer are refusals to git.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from io import FileIO
from typing import TYPE_CHECKING, Self

from praefect.node.hooks.custom_hooks import Hook
from praefect.node.hooks.handlers import HookHandlers, TransactionState
from praefect.node.hooks.socket_server import HookProtocolError, report_failure
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from praefect.node.hooks.calls import HookCall

_log = get_logger("hooks")

_MAX_MESSAGE_BYTES = 1 << 20
_AGREED, _REFUSED, _SPEAKS = b"agreed", b"refused", b"speaks"


class HookPipes:
    """The pipes of one command and who answers there; an async context manager. See ``git.command.HookConnection``.

    Args:
        call: on whose behalf the command runs.
    """

    def __init__(self, call: HookCall, handlers: HookHandlers) -> None:
        self._call = call
        self._handlers = handlers
        self._tasks = asyncio.TaskGroup()
        self._task: asyncio.Task[None] | None = None
        self._stack = contextlib.ExitStack()
        self._theirs: tuple[FileIO, ...] = ()

    @property
    def descriptors(self) -> Sequence[int]:
        """The command's ends: where its programs write, and where they read."""
        return tuple(end.fileno() for end in self._theirs)

    @property
    def environment(self) -> Mapping[str, str]:
        """Where the programs find them."""
        ask, answer = self.descriptors
        return {"PRAEFECT_HOOK_ASK": f"/proc/self/fd/{ask}", "PRAEFECT_HOOK_ANSWER": f"/proc/self/fd/{answer}"}

    async def __aenter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            questions, ask = _pipe(stack)
            answer, answers = _pipe(stack)
            os.set_blocking(answers.fileno(), False)
            reader = asyncio.StreamReader(limit=_MAX_MESSAGE_BYTES)
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), questions
            )
            stack.callback(transport.close)
            await self._tasks.__aenter__()
            self._task = self._tasks.create_task(self._serve(reader, answers), name="hook-pipes")
            self._theirs = (ask, answer)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        with self._stack:
            if self._task is not None:
                self._task.cancel()
            # The group is not told of an error of the block, which goes its own way and not in a group of errors.
            await self._tasks.__aexit__(None, None, None)

    def started(self) -> None:
        """Leave the command's ends to the command alone, so that each side notices the end of the other."""
        for end in self._theirs:
            end.close()

    async def _serve(self, reader: asyncio.StreamReader, answers: FileIO) -> None:
        with answers:  # who still waits for an answer after the end is refused
            while True:
                try:
                    message = await reader.readuntil(b"\n\n")
                except asyncio.IncompleteReadError:
                    return
                except asyncio.LimitOverrunError:
                    _log.warning("message of a hook program is too long")
                    return
                head, _, changes = message[:-1].partition(b"\n")
                number, *words = head.split(b" ")
                answer = await self._answer(words, changes)
                with contextlib.suppress(BrokenPipeError):
                    answers.write(b"%b %b\n" % (number, answer))

    async def _answer(self, words: Sequence[bytes], changes: bytes) -> bytes:
        try:
            return await self._decide(words, changes)
        except Exception as error:  # noqa: BLE001 - the border: git must get an answer, the node must live on
            report_failure((words or [b""])[0].decode("utf-8", "replace"), error)
            return _REFUSED

    async def _decide(self, words: Sequence[bytes], changes: bytes) -> bytes:
        match words:
            case [b"update", old, new, reference]:
                return await self._update(reference, old, new)
            case [b"reference-transaction", state]:
                phase = TransactionState(state.decode("ascii"))
                await self._handlers.reference_transaction(self._call, phase, changes)
                return _AGREED
            case _:
                raise HookProtocolError("hook program asks what nobody can answer")

    async def _update(self, reference: bytes, old: bytes, new: bytes) -> bytes:
        if await self._handlers.has_custom(Hook.UPDATE, self._call):
            return _SPEAKS
        await self._handlers.update(self._call, reference, old, new, _Silence())
        return _AGREED


class _Silence:
    """Takes output where there is none, as no custom hook runs."""

    async def stdout(self, data: bytes) -> None:
        pass

    async def stderr(self, data: bytes) -> None:
        pass


def _pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    reading, writing = os.pipe()
    return stack.enter_context(FileIO(reading, "rb")), stack.enter_context(FileIO(writing, "wb"))
