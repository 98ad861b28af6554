"""Hold: keeps new writes of one repository back for a moment, so that a copy of it can catch up with them.

Only this process's writes; what others write meanwhile leaves the copy behind, as any write does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from praefect.domain.doubts import Doubt
from praefect.domain.repository import RelativePath, RepositoryId, VirtualStorage

HOLD_SECONDS = 0.5
DRAIN_SECONDS = 0.2
_LOOK_SECONDS = 0.02


class WritesInFlight(Protocol):
    """Writes that have begun and are not recorded."""

    async def list_of(self, repository_id: RepositoryId) -> Sequence[Doubt]:
        """Return a repository's doubts."""


@dataclass(slots=True, kw_only=True)
class WriteHolds:
    """Which repositories' writes wait."""

    writes: WritesInFlight
    _held: dict[tuple[VirtualStorage, RelativePath], asyncio.Event] = field(default_factory=dict)

    async def wait(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
        """Return when a write may begin; never later than half a second."""
        released = self._held.get((virtual_storage, relative_path))
        if released is not None:
            await released.wait()

    @asynccontextmanager
    async def hold(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath, repository_id: RepositoryId
    ) -> AsyncIterator[None]:
        """Keep new writes back within the block, at most for half a second, those under way having ended or not."""
        key = (virtual_storage, relative_path)
        if key in self._held:
            yield  # another copy of it holds them
            return
        released = self._held[key] = asyncio.Event()

        def release() -> None:
            released.set()
            if self._held.get(key) is released:
                del self._held[key]

        timer = asyncio.get_running_loop().call_later(HOLD_SECONDS, release)
        try:
            await self._drain(repository_id)
            yield
        finally:
            timer.cancel()
            release()

    async def _drain(self, repository_id: RepositoryId) -> None:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + DRAIN_SECONDS
        while loop.time() < give_up and await self.writes.list_of(repository_id):  # noqa: ASYNC110 - rows tell nobody
            await asyncio.sleep(_LOOK_SECONDS)
