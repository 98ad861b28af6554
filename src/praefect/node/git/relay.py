"""Joining a running git process to a client: input in, output out, each no faster than its receiver."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from praefect.domain.errors import DeadlineExceededError, PraefectError
from praefect.node.git.errors import StdinClosedError
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from praefect.node.git.process import GitProcess

_log = get_logger("node.git")

OUTPUT_CHUNK_BYTES = 128 * 1024
_STDERR_CHUNK_BYTES = 32 * 1024


class Watch(Protocol):
    """Sees a client's bytes pass by."""

    def feed(self, data: bytes) -> None:
        """Look at the next bytes."""


class NegotiationWatch:
    """Notices the end of a client's negotiation, so that one who never comes to it can be turned away.

    Args:
        end: the packet that ends it.
    """

    def __init__(self, end: bytes) -> None:
        self._end = end
        self._tail = b""
        self.done = asyncio.Event()

    def feed(self, data: bytes) -> None:
        """Look at the next bytes."""
        if self.done.is_set():
            return
        seen = self._tail + data
        if self._end in seen:
            self.done.set()
        self._tail = seen[-(len(self._end) - 1) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What a process is joined to.

    Attributes:
        stdin: the client's bytes; a break in the middle reaches git as the end of its input.
        stderr: needs a process started with ``stream_stderr``.
        watches: see the client's bytes before git does.
        negotiation: what must be seen within how many seconds.
    """

    stdin: AsyncGenerator[bytes, None]
    stdout: Callable[[bytes], Awaitable[None]]
    stderr: Callable[[bytes], Awaitable[None]] | None = None
    watches: tuple[Watch, ...] = ()
    negotiation: tuple[NegotiationWatch, float] | None = field(default=None)


async def relay(process: GitProcess, ends: Ends) -> int:
    """Join ``process`` to ``ends`` until it has ended and its output is delivered; return how it ended.

    Raises:
        DeadlineExceededError: the negotiation took too long; the process still runs, its owner ends it.
        PraefectError: the output could not be delivered; likewise.
    """
    with first_error():
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(_feed(process, ends), name="git-stdin")]
            if ends.negotiation is not None:
                beside.append(group.create_task(_guard(*ends.negotiation), name="git-negotiation"))
            output = [group.create_task(_drain(process.read, OUTPUT_CHUNK_BYTES, ends.stdout), name="git-stdout")]
            if ends.stderr is not None:
                draining = _drain(process.read_stderr, _STDERR_CHUNK_BYTES, ends.stderr)
                output.append(group.create_task(draining, name="git-stderr"))
            for task in output:
                await task
            returncode = await process.wait()
            for task in beside:
                task.cancel()
    return returncode


@contextmanager
def first_error() -> Iterator[None]:
    """Raise the first error of a task group as itself: callers want to know what happened, not in how many tasks."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _feed(process: GitProcess, ends: Ends) -> None:
    try:
        async with aclosing(ends.stdin) as chunks:
            async for data in chunks:
                for watch in ends.watches:
                    watch.feed(data)
                await process.write(data)
    except StdinClosedError:
        return  # git has heard enough; what it answers is being delivered
    except (PraefectError, OSError, EOFError) as error:
        _log.debug("client's input broke off", error=str(error))
    with contextlib.suppress(StdinClosedError):
        process.close_stdin()


async def _guard(watch: NegotiationWatch, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await watch.done.wait()
    except TimeoutError as error:
        raise DeadlineExceededError("waiting for negotiation: context deadline exceeded") from error


async def _drain(read: Callable[[int], Awaitable[bytes]], size: int, write: Callable[[bytes], Awaitable[None]]) -> None:
    while data := await read(size):
        await write(data)
