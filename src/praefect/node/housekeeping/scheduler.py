"""Tidying up without being asked: after so many changes of a repository, and once a day for all of them."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from praefect.domain.errors import PraefectError
from praefect.node.housekeeping.guard import MaintenanceRunningError
from praefect.node.housekeeping.optimize import Strategy, optimize, optimize_references
from praefect.node.services.internal import walk_repositories
from praefect.node.storage.repository import LocalRepository, is_valid
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from praefect.node.context import NodeContext
    from praefect.node.storage.roots import StorageRoot
    from praefect.proto.shared_pb2 import Repository

_log = get_logger("node.housekeeping")
_CHANGES_PER_RUN = 20
_CHANGES_PER_REFERENCES_RUN = 10
_MAX_QUEUED = 256


class ChangeCounter:
    """Counts the changes of each repository and tidies it up after so many, one repository at a time."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._changes: dict[tuple[str, str], int] = {}
        self._queue: asyncio.Queue[tuple[LocalRepository, bool]] = asyncio.Queue(_MAX_QUEUED)

    @asynccontextmanager
    async def guard(self, repository: Repository) -> AsyncIterator[None]:
        """Count a call that changes ``repository`` when it has ended well."""
        yield
        key = (repository.storage_name, repository.relative_path)
        count = self._changes.get(key, 0) + 1
        if count % _CHANGES_PER_REFERENCES_RUN == 0 and not self._queue.full():
            located = self._context.storages.locate(repository).without_quarantine()
            self._queue.put_nowait((located, count % _CHANGES_PER_RUN == 0))
        if count % _CHANGES_PER_RUN:
            self._changes[key] = count
        else:
            self._changes.pop(key, None)

    async def run_once(self) -> None:
        """Wait for the next repository that is due and tidy it up."""
        repository, everything = await self._queue.get()
        if not is_valid(repository.path):
            return
        try:
            if everything:
                await optimize(self._context, repository, Strategy.HEURISTICAL)
            else:
                await optimize_references(self._context, repository)
        except MaintenanceRunningError:
            return
        except (PraefectError, OSError) as exc:
            _log.warning("housekeeping failed", relative_path=repository.relative_path, error=str(exc))

    async def run(self) -> None:
        """Tidy up whatever becomes due until cancelled."""
        while True:
            await self.run_once()


@dataclass(frozen=True, slots=True, kw_only=True)
class DailySchedule:
    """When all repositories are tidied up, in local time, and for how long at most."""

    hour: int
    minute: int
    duration: timedelta
    storages: Sequence[str]

    def delay(self, now: datetime) -> timedelta:
        """Return how long it is until the next start."""
        start = now.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0)
        return start - now if start > now else start + timedelta(days=1) - now


class DailyMaintenance:
    """Tidies up the repositories of all storages, in random order, until the time is up."""

    def __init__(self, context: NodeContext, schedule: DailySchedule, clock: Callable[[], datetime]) -> None:
        self._context = context
        self._schedule = schedule
        self._clock = clock

    async def run_once(self) -> int:
        """Go through the storages; return how many repositories were tidied up."""
        count = 0
        try:
            async with asyncio.timeout(self._schedule.duration.total_seconds()):
                for root in self._context.storages:
                    if root.name in self._schedule.storages:
                        count += await self._tidy(root)
        except TimeoutError:
            _log.info("daily maintenance ran out of time", repositories=count)
        return count

    async def run(self) -> None:
        """Do so every day until cancelled."""
        while True:
            await asyncio.sleep(self._schedule.delay(self._clock()).total_seconds())
            await self.run_once()

    async def _tidy(self, root: StorageRoot) -> int:
        paths = await asyncio.to_thread(lambda: [path for path, _ in walk_repositories(root)])
        random.shuffle(paths)
        count = 0
        for path in paths:
            repository = LocalRepository(root=root, relative_path=path, path=root.path / path)
            try:
                await optimize(self._context, repository, Strategy.HEURISTICAL)
                count += 1
            except (PraefectError, OSError) as exc:
                _log.warning("daily maintenance failed", relative_path=path, error=str(exc))
        return count
