"""Who waits for what on a connection: its state, a free stream, the answer to a PING."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Bell:
    """Rings once; whoever comes later need not wait."""

    __slots__ = ("_waiters", "rung")

    def __init__(self) -> None:
        self.rung = False
        self._waiters: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """Wake everybody."""
        self.rung = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the ring."""
        if self.rung:
            return
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)


class Slots:
    """The queue for streams that the peer does not allow yet; first come, first served."""

    __slots__ = ("queue",)

    def __init__(self) -> None:
        self.queue: deque[asyncio.Future[None]] = deque()

    async def wait(self, loop: asyncio.AbstractEventLoop, may_go: Callable[[], bool]) -> None:
        """Wait until it is this caller's turn and ``may_go`` holds."""
        waiter: asyncio.Future[None] = loop.create_future()
        self.queue.append(waiter)
        try:
            await waiter
            while not may_go():
                waiter = loop.create_future()
                self.queue.appendleft(waiter)
                await waiter
        except asyncio.CancelledError:
            if waiter in self.queue:
                self.queue.remove(waiter)
            else:
                self.wake()  # the turn was this one's; the next gets it
            raise

    def wake(self) -> None:
        """Let the first one look."""
        while self.queue:
            waiter = self.queue.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def wake_all(self) -> None:
        """Let everyone look."""
        queue, self.queue = self.queue, deque()
        for waiter in queue:
            if not waiter.done():
                waiter.set_result(None)


class Pings:
    """The PINGs of ``ping``, each with its own payload, never that of the keep-alive."""

    __slots__ = ("_number", "_waiters")

    def __init__(self) -> None:
        self._number = 0
        self._waiters: dict[bytes, asyncio.Future[bool]] = {}

    def begin(self, loop: asyncio.AbstractEventLoop) -> tuple[bytes, asyncio.Future[bool]]:
        """Return a payload and the future of its answer: ``False`` if the connection ended first."""
        self._number += 1
        payload = self._number.to_bytes(8, "big")
        waiter = self._waiters[payload] = loop.create_future()
        return payload, waiter

    def forget(self, payload: bytes) -> None:
        """Nobody waits for this one any more."""
        self._waiters.pop(payload, None)

    def answered(self, payload: bytes) -> None:
        """An answer arrived; others than ours are ignored."""
        waiter = self._waiters.get(payload)
        if waiter is not None and not waiter.done():
            waiter.set_result(True)

    def fail(self) -> None:
        """No answer will come."""
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_result(False)
