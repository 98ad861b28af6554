"""Admission: how many writes of one repository may be in flight at a time, and what becomes of the others.

Writes are not serialised, git's locks on references decide between them; but each holds a transaction, a call to every
node and memory, so that one busy repository must not take all there is. Those beyond the limit wait in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from praefect.domain.repository import RelativePath, VirtualStorage
from praefect.proto import errors_pb2
from praefect.transport.grpc.status import StatusCode, StatusError

LIMIT = 64
QUEUE_LENGTH = 512
WAIT_SECONDS = 30.0


class WriteRefusedError(StatusError):
    """Too many writes of one repository are in flight; this one was not forwarded.

    The texts and the detail are those of a node's own limits, so that clients understand them.
    """

    def __init__(self, message: str) -> None:
        super().__init__(StatusCode.RESOURCE_EXHAUSTED, message, [errors_pb2.LimitError(error_message=message)])


@dataclass(slots=True)
class _Repository:
    in_flight: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class WriteAdmission:
    """Counts the writes in flight of every repository."""

    def __init__(
        self, *, limit: int = LIMIT, queue_length: int = QUEUE_LENGTH, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        """Set the bounds.

        Args:
            limit: writes of one repository in flight at a time.
            queue_length: how many more may wait.
            wait_seconds: how long they may.
        """
        self._limit = limit
        self._queue_length = queue_length
        self._wait_seconds = wait_seconds
        self._repositories: dict[tuple[VirtualStorage, RelativePath], _Repository] = {}

    def __len__(self) -> int:
        """Return how many repositories have writes in flight."""
        return len(self._repositories)

    @asynccontextmanager
    async def admitted(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> AsyncIterator[None]:
        """Hold a place among the repository's writes, waiting for one in order of arrival.

        Raises:
            WriteRefusedError: too many wait already, or none became free in time.
        """
        key = (virtual_storage, relative_path)
        repository = self._repositories.setdefault(key, _Repository())
        if repository.in_flight < self._limit:
            repository.in_flight += 1
        else:
            await self._wait(repository)
        try:
            yield
        finally:
            self._leave(repository)
            if not repository.in_flight:
                del self._repositories[key]

    async def _wait(self, repository: _Repository) -> None:
        if len(repository.waiting) >= self._queue_length:
            raise WriteRefusedError("maximum queue size reached")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        repository.waiting.append(place)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await place
        except BaseException as exc:
            if place.done() and not place.cancelled():
                self._leave(repository)  # it was given to somebody who no longer waits
            else:
                repository.waiting.remove(place)
            if isinstance(exc, TimeoutError):
                raise WriteRefusedError("maximum time in concurrency queue reached") from exc
            raise

    def _leave(self, repository: _Repository) -> None:
        """Hand the place to whoever has waited longest."""
        for place in repository.waiting:
            if not place.done():
                repository.waiting.remove(place)
                place.set_result(None)
                return
        repository.in_flight -= 1
