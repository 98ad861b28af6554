"""How signals end a process: the first asks for a graceful stop, the second forces it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from praefect.domain.errors import PraefectError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import timedelta

NAMES = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupt", signal.SIGHUP: "hangup"}
"""The signals that stop the process, with the names that messages give them."""


class ShutdownError(PraefectError):
    """The process had to end before everything was done."""


class InterruptedStartError(PraefectError):
    """The process was asked to end while it was starting."""

    def __init__(self) -> None:
        super().__init__("interrupted while starting")


class Stop:
    """The wish that the process end, and the signals that expressed it.

    Attributes:
        signal_name: the name of the first signal, ``None`` before it or when the program itself asked.
        cause: why the program itself asked.
        forced_by: the second signal, which asked not to wait; ``None`` before it.
        hangup: set by SIGHUP when that signal does not stop the process; whoever acts on it clears it.
    """

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self.cause = ""
        self.hangup = asyncio.Event()
        self._requested = asyncio.Event()
        self.forced_by: signal.Signals | None = None
        self._grace: asyncio.Timeout | None = None
        self._start: asyncio.Timeout | None = None

    @property
    def requested(self) -> bool:
        """Whether the process was asked to end."""
        return self._requested.is_set()

    @property
    def forced(self) -> bool:
        """Whether it was asked a second time."""
        return self.forced_by is not None

    async def wait(self) -> None:
        """Return when the process is asked to end."""
        await self._requested.wait()

    def request(self, cause: str = "") -> None:
        """Ask for a graceful stop, as a signal does; more calls change nothing."""
        if not self._requested.is_set():
            self.cause = cause
            self._set()

    def receive(self, number: signal.Signals) -> None:
        """Act on a signal."""
        if not self._requested.is_set():
            self.signal_name = NAMES[number]
            self._set()
            return
        self.forced_by = number
        if self._grace is not None and not self._grace.expired():
            self._grace.reschedule(asyncio.get_running_loop().time())

    def _set(self) -> None:
        self._requested.set()
        if self._start is not None and not self._start.expired():
            self._start.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def interrupting(self) -> AsyncIterator[None]:
        """Give up the block, in which the process starts, when it is asked to end.

        Raises:
            InterruptedStartError: it was; the block was cancelled.
        """
        try:
            async with asyncio.timeout(0 if self.requested else None) as self._start:
                yield
        except TimeoutError:
            if self._start is not None and self._start.expired():
                raise InterruptedStartError from None
            raise
        finally:
            self._start = None

    @asynccontextmanager
    async def grace(self, period: timedelta) -> AsyncIterator[None]:
        """Bound the block, in which everything is brought to its end, by a period and by a second signal.

        Raises:
            ShutdownError: the period passed or the stop was forced; the block was cancelled.
        """
        try:
            async with asyncio.timeout(0 if self.forced else period.total_seconds()) as self._grace:
                yield
        except TimeoutError:
            if not (self._grace and self._grace.expired()):
                raise
            reason = "force shutdown" if self.forced else "grace period expired"
            raise ShutdownError(f"{self._origin()}: {reason}") from None
        finally:
            self._grace = None

    def _origin(self) -> str:
        return f'received signal "{self.signal_name}": wait' if self.signal_name else self.cause or "wait"


@contextmanager
def stop_on_signals(*, hangup_stops: bool = True) -> Iterator[Stop]:
    """Handle SIGTERM, SIGINT and SIGHUP within the block; afterwards they have their default action.

    To be called while the event loop runs, in its thread, which must be the main one.

    Args:
        hangup_stops: whether SIGHUP is such a signal; otherwise it sets ``Stop.hangup``.
    """
    loop = asyncio.get_running_loop()
    stop = Stop()
    for number in NAMES:
        if number is signal.SIGHUP and not hangup_stops:
            loop.add_signal_handler(number, stop.hangup.set)
        else:
            loop.add_signal_handler(number, stop.receive, number)
    try:
        yield stop
    finally:
        for number in NAMES:
            loop.remove_signal_handler(number)
