"""Clean: finds repositories on disks that no record knows. It reports them and deletes nothing.

Source: the Praefect reference on the repository cleaner.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from praefect.domain.errors import PraefectError
from praefect.domain.replication import StorageCleanup
from praefect.domain.repository import ReplicaPath, Storage, VirtualStorage
from praefect.observability.log import Logger, get_logger
from praefect.runtime.ticker import Ticker
from praefect.transport.grpc.status import leading_error

GRACE_PERIOD = timedelta(hours=24)
LIVENESS_SECONDS = 30.0

_log = get_logger("repocleaner.repository_existence")
_actions = get_logger("repocleaner.log_warn_action")


class RepositoryWalker(Protocol):
    """Lists what is on a node's disk."""

    def walk(
        self, virtual_storage: VirtualStorage, storage: Storage, *, older_than: timedelta
    ) -> AsyncIterator[ReplicaPath]:
        """Yield repositories that have not been modified within ``older_than``."""


class CleanupRecords(Protocol):
    """Which storage is to be looked at, by whom."""

    async def populate(self, nodes: Mapping[VirtualStorage, Sequence[Storage]]) -> None:
        """Make sure each storage has a row."""

    async def acquire(self, run_interval: timedelta) -> StorageCleanup | None:
        """Take the storage that was looked at longest ago, if one is due."""

    async def refresh(self, cleanup: StorageCleanup) -> None:
        """Say that the storage is still being looked at."""

    async def release(self, cleanup: StorageCleanup) -> None:
        """Say that the storage has been looked at now."""

    async def find_unknown(
        self, virtual_storage: VirtualStorage, storage: Storage, replica_paths: Sequence[ReplicaPath]
    ) -> Sequence[ReplicaPath]:
        """Return those paths that are no recorded replica of this storage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanReport:
    """What one pass found; ``cleanup`` is ``None`` if no storage was due."""

    cleanup: StorageCleanup | None
    unknown: tuple[ReplicaPath, ...] = ()


@dataclass(slots=True, kw_only=True)
class RepositoryCleaner:
    """Reports repositories that Praefect does not manage."""

    nodes: Mapping[VirtualStorage, Sequence[Storage]]
    records: CleanupRecords
    walker: RepositoryWalker
    run_interval: timedelta
    batch_size: int

    async def run_once(self) -> CleanReport:
        """Look at one storage that is due; what fails is logged, and left to the next time."""
        try:
            cleanup = await self.records.acquire(self.run_interval)
        except PraefectError as exc:
            _log.error("unable to acquire next storage to verify", error=str(exc))
            return CleanReport(cleanup=None)
        if cleanup is None:
            return CleanReport(cleanup=None)
        log = _log.bind(virtual_storage=cleanup.virtual_storage, storage=cleanup.storage)
        unknown: list[ReplicaPath] = []
        try:
            async with self._kept_alive(cleanup):
                async for batch in self._batches(cleanup):
                    unknown += await self._check(cleanup, batch, log)
        except PraefectError as exc:
            log.error("failed to exec action on repositories", error=str(exc))
        finally:
            try:
                await self.records.release(cleanup)
            except PraefectError as exc:
                log.error("failed to release storage acquired to verify", error=str(exc))
        return CleanReport(cleanup=cleanup, unknown=tuple(unknown))

    async def run(self, ticker: Ticker) -> None:
        """Do a pass at once and then per tick, until cancelled."""
        _log.info("started")
        is_populated = False
        try:
            while True:
                try:
                    if not is_populated:
                        await self.records.populate(self.nodes)
                        is_populated = True
                    await self.run_once()
                except PraefectError as exc:
                    _log.error("unable to acquire next storage to verify", error=str(exc))
                await ticker.wait()
        finally:
            _log.info("completed")

    async def _check(self, cleanup: StorageCleanup, batch: Sequence[ReplicaPath], log: Logger) -> Sequence[ReplicaPath]:
        """Report those of a batch that no record knows; a batch that cannot be looked up does not end the walk."""
        try:
            unknown = await self.records.find_unknown(cleanup.virtual_storage, cleanup.storage, batch)
        except PraefectError as exc:
            log.error("failed to check existence", error=str(exc))
            return ()
        self._report(cleanup, unknown)
        return unknown

    async def _batches(self, cleanup: StorageCleanup) -> AsyncIterator[list[ReplicaPath]]:
        batch: list[ReplicaPath] = []
        async for path in self.walker.walk(cleanup.virtual_storage, cleanup.storage, older_than=GRACE_PERIOD):
            batch.append(path)
            if len(batch) >= self.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _report(self, cleanup: StorageCleanup, unknown: Sequence[ReplicaPath]) -> None:
        for path in unknown:
            _actions.warning(
                "repository is not managed by praefect",
                virtual_storage=cleanup.virtual_storage,
                storage=cleanup.storage,
                relative_replica_path=path,
            )

    @asynccontextmanager
    async def _kept_alive(self, cleanup: StorageCleanup) -> AsyncIterator[None]:
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(self._keep_alive(cleanup), name=f"keep cleanup of {cleanup.storage}")
                yield
                keeper.cancel()
        except ExceptionGroup as errors:
            raise leading_error(errors) from errors

    async def _keep_alive(self, cleanup: StorageCleanup) -> None:
        while True:
            await asyncio.sleep(LIVENESS_SECONDS)
            await self.records.refresh(cleanup)
