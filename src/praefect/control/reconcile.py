"""Reconcile: schedules jobs where the stored and the wanted replicas differ.

Source: the Praefect reference on the reconciler. A pass is one statement guarded by an advisory lock, so that two
processes never schedule the same work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from praefect.domain.errors import PraefectError
from praefect.domain.replication import ScheduledJob
from praefect.domain.repository import Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.runtime.ticker import Ticker

LOG_GROUP_SIZE = 25

_log = get_logger("reconciler")


class ReconcilerRecords(Protocol):
    """The one statement that schedules."""

    async def schedule(self, healthy: Mapping[VirtualStorage, Sequence[Storage]]) -> Sequence[ScheduledJob]:
        """Insert the jobs that are missing; return them, nothing while another process schedules."""


class HealthyStorages(Protocol):
    """This process's own view of the nodes."""

    def healthy_storages(self, virtual_storage: VirtualStorage) -> Sequence[Storage]:
        """Return the storages that answered their last check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileReport:
    """What one pass scheduled."""

    jobs: tuple[ScheduledJob, ...]


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Schedules jobs where the stored and the wanted replicas differ."""

    nodes: Mapping[VirtualStorage, Sequence[Storage]]
    health: HealthyStorages
    records: ReconcilerRecords
    scheduled: Callable[[VirtualStorage], None] = field(default=lambda _virtual_storage: None)
    duration: Callable[[float], None] = field(default=lambda _seconds: None)

    async def run_once(self) -> ReconcileReport:
        """Look at all repositories once."""
        began = time.perf_counter()
        healthy: dict[VirtualStorage, Sequence[Storage]] = {}
        for virtual_storage in self.nodes:
            storages = self.health.healthy_storages(virtual_storage)
            if len(storages) < 2:
                _log.info(
                    "reconciliation skipped for virtual storage due to not having enough healthy storages",
                    virtual_storage=virtual_storage,
                )
                continue
            healthy[virtual_storage] = storages
        jobs = tuple(await self.records.schedule(healthy)) if healthy else ()
        remaining = iter(jobs)
        while group := list(islice(remaining, LOG_GROUP_SIZE)):
            _log.info("reconciliation jobs scheduled", scheduled_jobs=[job.describe() for job in group])
        if not jobs:
            _log.debug("reconciliation did not result in any scheduled jobs")
        for virtual_storage in {job.virtual_storage for job in jobs}:
            self.scheduled(virtual_storage)
        self.duration(time.perf_counter() - began)
        return ReconcileReport(jobs=jobs)

    async def run(self, ticker: Ticker) -> None:
        """Do a pass per tick until cancelled."""
        _log.info("automatic reconciler started", storages={vs: list(names) for vs, names in self.nodes.items()})
        try:
            while True:
                await ticker.wait()
                try:
                    await self.run_once()
                except PraefectError as exc:
                    _log.error("automatic reconciliation failed", error=str(exc))
        finally:
            _log.info("automatic reconciler stopped")
