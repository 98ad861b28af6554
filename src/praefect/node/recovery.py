"""What a starting node does about its predecessors' deaths, and what it repeats while it lives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.node.housekeeping.dead_locks import clear_dead_locks_in, clear_dead_places
from praefect.node.orphans import end_orphans
from praefect.node.services.internal import walk_repositories
from praefect.node.storage.metadata import ensure_filesystem_id
from praefect.node.storage.roots import STATE_DIRECTORY
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from praefect.node.git.catfile import CatFilePool
    from praefect.node.storage.roots import StorageRoot, Storages
    from praefect.node.storage.temporary import TemporaryDirectories
    from praefect.runtime.ticker import Ticker

_log = get_logger("node.recovery")


def prepare_storage(root: StorageRoot, temporary: TemporaryDirectories) -> None:
    """Name the storage, claim it for this process, and drop what cannot be used again. Blocks.

    Raises:
        OSError: the storage cannot be written.
    """
    ensure_filesystem_id(root)
    end_orphans(root.path)
    temporary.claim(root)
    cache = root.path / STATE_DIRECTORY / "cache"
    if cache.is_dir():
        cache.rename(temporary.name(root, "cache"))


class Recovery:
    """Clears what killed processes left: temporary directories, caches, locks of repositories and of places."""

    def __init__(self, storages: Storages, temporary: TemporaryDirectories) -> None:
        self._storages = storages
        self._temporary = temporary

    async def run_once(self) -> int:
        """Go through all storages once; return how much was cleared."""
        cleared = 0
        for root in self._storages:
            cleared += await asyncio.to_thread(self._temporary.remove_leftovers, root)
            cleared += await asyncio.to_thread(clear_dead_places, root, self._temporary)
            others = self._temporary.others_live(root)
            repositories = walk_repositories(root)
            while (path := await asyncio.to_thread(_next_path, repositories, root)) is not None:
                cleared += await asyncio.to_thread(clear_dead_locks_in, path, others_live=others)
        if cleared:
            _log.info("cleared leftovers of killed processes", count=cleared)
        return cleared

    async def run(self, ticker: Ticker) -> None:
        """Go through all storages at every tick until cancelled."""
        while True:
            await ticker.wait()
            try:
                await self.run_once()
            except OSError as exc:
                _log.warning("clearing leftovers failed", error=str(exc))


def _next_path(repositories: Iterator[tuple[str, int]], root: StorageRoot) -> Path | None:
    found = next(repositories, None)
    return root.path / found[0] if found is not None else None


class CatFileExpiry:
    """Ends idle cat-file processes."""

    def __init__(self, pool: CatFilePool) -> None:
        self._pool = pool

    async def run_once(self) -> None:
        """End those that were idle for too long."""
        await self._pool.expire()

    async def run(self, ticker: Ticker) -> None:
        """Do so at every tick until cancelled."""
        while True:
            await ticker.wait()
            await self.run_once()
