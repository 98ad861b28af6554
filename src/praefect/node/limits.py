"""How many calls of a kind run at once on a repository: first come, first served, in a queue with an end."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.duration_pb2 import Duration

from praefect.proto.errors_pb2 import LimitError
from praefect.transport.grpc.status import StatusCode, StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A limit per key.

    Attributes:
        running: how many run at once; 0 means any number.
        waiting: how many wait; 0 means any number.
        wait_seconds: how long one waits; 0 means for ever.
    """

    running: int
    waiting: int = 0
    wait_seconds: float = 0.0


class LimitExceededError(StatusError):
    """The call was turned away; it had no effect."""

    def __init__(self, message: str) -> None:
        # A retry time of zero, present, tells the client not to retry by itself.
        detail = LimitError(error_message=message, retry_after=Duration())
        super().__init__(StatusCode.RESOURCE_EXHAUSTED, message, [detail])


@dataclass(slots=True)
class _Lane:
    running: int = 0
    queue: deque[asyncio.Future[None]] = field(default_factory=deque)


class ConcurrencyLimiter:
    """Applies one limit to each key."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._lanes: dict[str, _Lane] = {}

    @asynccontextmanager
    async def slot(self, key: str) -> AsyncIterator[None]:
        """Hold one of the key's places; waits for it.

        Raises:
            LimitExceededError: the queue is full, or the wait took too long.
        """
        if not self._limit.running:
            yield
            return
        lane = self._lanes.setdefault(key, _Lane())
        await self._enter(lane)
        try:
            yield
        finally:
            self._leave(key, lane)

    async def _enter(self, lane: _Lane) -> None:
        if lane.running < self._limit.running:
            lane.running += 1
            return
        if self._limit.waiting and len(lane.queue) >= self._limit.waiting:
            raise LimitExceededError("maximum queue size reached")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        lane.queue.append(place)
        try:
            async with asyncio.timeout(self._limit.wait_seconds or None):
                await place
        except BaseException as exc:
            if place.done() and not place.cancelled():
                self._hand_on(lane)  # it was ours already, and nobody uses it
            elif place in lane.queue:
                lane.queue.remove(place)
            if isinstance(exc, TimeoutError):
                raise LimitExceededError("maximum time in concurrency queue reached") from exc
            raise

    def _leave(self, key: str, lane: _Lane) -> None:
        self._hand_on(lane)
        if not lane.running and not lane.queue:
            self._lanes.pop(key, None)

    def _hand_on(self, lane: _Lane) -> None:
        """Give the place to whoever waits longest, or free it."""
        while lane.queue:
            place = lane.queue.popleft()
            if not place.done():
                place.set_result(None)
                return
        lane.running -= 1
