"""When a control loop's next pass is due.

A loop awaits ``wait`` before each pass. The interval is counted from that call, hence from the end of the pass before,
so that passes never overlap and a slow one is not followed by a burst.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import timedelta


class Ticker(Protocol):
    """Says when to go on."""

    async def wait(self) -> None:
        """Return when the next pass is due."""


class IntervalTicker:
    """Ticks an interval after the previous pass finished, or sooner when woken.

    Args:
        interval: from the end of a pass to the start of the next.
        immediately: whether the first pass is due at once.
    """

    __slots__ = ("_immediately", "_interval_seconds", "_woken")

    def __init__(self, interval: timedelta, *, immediately: bool = False) -> None:
        self._interval_seconds = interval.total_seconds()
        self._immediately = immediately
        self._woken = asyncio.Event()

    async def wait(self) -> None:
        """Return when the interval is over or ``wake`` was called since the last return."""
        if self._immediately:
            self._immediately = False
            await asyncio.sleep(0)
            return
        try:
            async with asyncio.timeout(self._interval_seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
        self._woken.clear()

    def wake(self) -> None:
        """Make the next pass due at once; several calls before it are one."""
        self._woken.set()


class ManualTicker:
    """Ticks when told to; for tests, one loop per ticker.

    ``await ticker.tick()`` makes one pass due and returns when the loop waits again, that is, after the pass.
    """

    __slots__ = ("_changed", "_due", "_waiters")

    def __init__(self) -> None:
        self._due = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Return once for each tick."""
        if self._due:
            self._due -= 1
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._changed.set()
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def tick(self) -> None:
        """Wait until the loop waits, let it make one pass and return when it waits again."""
        await self.wait_idle()
        self.tick_nowait()
        await self.wait_idle()

    def tick_nowait(self) -> None:
        """Make one pass due and return at once."""
        if self._waiters:
            self._waiters.pop(0).set_result(None)
        else:
            self._due += 1

    async def wait_idle(self) -> None:
        """Return when the loop waits and no tick is due."""
        while not self._waiters:
            self._changed.clear()
            await self._changed.wait()
