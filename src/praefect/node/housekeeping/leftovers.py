"""What killed git processes leave in repositories where others are at work: cleared once those have ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.node.housekeeping.dead_locks import Suspects, clear_suspects, look_for_suspects
from praefect.observability.log import get_logger
from praefect.runtime.backoff import ExponentialBackoff

if TYPE_CHECKING:
    from praefect.node.git.catfile import CatFilePool
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.storage.temporary import TemporaryDirectories

_log = get_logger("node.housekeeping")
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0
_MAX_PENDING = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """Leftovers that may still belong to somebody; after ``until`` (loop time) the hourly clearing has them."""

    repository: LocalRepository
    suspects: Suspects
    until: float


class LeftoverClearing:
    """Clears what a killed process left in a repository: at once, or when those who may own it have ended."""

    def __init__(self, temporary: TemporaryDirectories, objects: CatFilePool) -> None:
        self._temporary = temporary
        self._objects = objects
        self._pending: list[_Pending] = []
        self._added = asyncio.Event()
        self._pauses = ExponentialBackoff(initial=_FIRST_PAUSE_SECONDS, maximum=_LONGEST_PAUSE_SECONDS, multiplier=2.0)

    @property
    def pending(self) -> int:
        """How many times leftovers wait for processes to end."""
        return len(self._pending)

    async def clear(self, repository: LocalRepository) -> None:
        """Clear the leftovers of processes that have just been killed in a repository, now or soon."""
        others = self._temporary.others_live(repository.root)
        suspects = await asyncio.to_thread(look_for_suspects, repository.path, others_live=others)
        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        entry = _Pending(repository=repository, suspects=suspects, until=until)
        if not suspects.files or await self._try(entry) or len(self._pending) >= _MAX_PENDING:
            return
        self._pending.append(entry)
        self._pauses.reset()
        self._added.set()

    async def run_once(self) -> None:
        """Try once for all that are waiting."""
        entries, self._pending = self._pending, []
        for entry in entries:
            try:
                is_done = await self._try(entry)
            except OSError as exc:
                _log.warning("clearing leftovers failed", error=str(exc))
                is_done = False
            if not is_done and asyncio.get_running_loop().time() < entry.until:
                self._pending.append(entry)

    async def run(self) -> None:
        """Try again after every pause, as long as any are waiting, until cancelled."""
        while True:
            await self._added.wait()
            await asyncio.sleep(self._pauses.next_delay())
            await self.run_once()
            if not self._pending:
                self._added.clear()

    async def _try(self, entry: _Pending) -> bool:
        """Return whether nobody can own the leftovers any more, so that they are gone."""
        # Idle readers own nothing, but cannot be told from processes that might.
        await self._objects.forget(entry.repository)
        cleared = await asyncio.to_thread(clear_suspects, entry.suspects)
        if cleared:
            relative_path = entry.repository.relative_path
            _log.warning("cleared leftovers of killed processes", relative_path=relative_path, count=cleared)
        return cleared is not None
