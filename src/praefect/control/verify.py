"""Verify: asks nodes whether the replicas they are recorded to hold are there, and whether they are equal.

Source: the Praefect reference on the metadata verifier. On purpose more: replicas that are recorded as
equal are compared before one of them counts as verified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from praefect.control.compare import Compared
from praefect.domain.errors import PraefectError
from praefect.domain.replication import ReplicaToVerify
from praefect.domain.repository import RepositoryId, Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.runtime.ticker import Ticker

BATCH_SIZE = 25
RUN_LIMIT_SECONDS = 30.0
COMPARE_LIMIT_SECONDS = 20.0

_log = get_logger("praefect")


class VerificationResult(StrEnum):
    """What a node said of one replica."""

    VALID = "valid"
    INVALID = "invalid"
    ERROR = "error"


class ReplicaProbe(Protocol):
    """Asks one node for one replica."""

    async def exists(self, replica: ReplicaToVerify) -> bool:
        """Return whether the replica is on the node's disk; raise ``PraefectError`` if that cannot be told."""


class VerificationRecords(Protocol):
    """Leases and times of verification."""

    async def acquire(
        self, healthy: Mapping[VirtualStorage, Sequence[Storage]], interval: timedelta, limit: int
    ) -> Sequence[ReplicaToVerify]:
        """Lease up to ``limit`` replicas that are due, never verified ones first."""

    async def complete(
        self,
        *,
        valid: Sequence[ReplicaToVerify],
        invalid: Sequence[ReplicaToVerify],
        failed: Sequence[ReplicaToVerify],
        delete_invalid: bool,
    ) -> None:
        """Record results and give the leases back."""

    async def release_expired(self, limit: int) -> Sequence[ReplicaToVerify]:
        """Give back up to ``limit`` leases whose holder fell silent."""


class HealthyStorages(Protocol):
    """This process's own view of the nodes."""

    def healthy_storages(self, virtual_storage: VirtualStorage) -> Sequence[Storage]:
        """Return the storages that answered their last check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What one pass found.

    Attributes:
        postponed: replicas whose repository was written to, so that it could not be compared.
    """

    results: Mapping[ReplicaToVerify, VerificationResult]
    postponed: Sequence[ReplicaToVerify] = ()


@dataclass(slots=True, kw_only=True)
class Verifier:
    """Checks that recorded replicas exist and are equal.

    Attributes:
        compare: compares the replicas of repositories and sets them right.
    """

    nodes: Mapping[VirtualStorage, Sequence[Storage]]
    health: HealthyStorages
    records: VerificationRecords
    probe: ReplicaProbe
    interval: timedelta
    delete_invalid: bool
    compare: Callable[[Collection[RepositoryId]], Awaitable[Mapping[RepositoryId, Compared]]] | None = None
    dequeued: Callable[[ReplicaToVerify], None] = field(default=lambda _replica: None)
    completed: Callable[[ReplicaToVerify, VerificationResult], None] = field(default=lambda _replica, _result: None)

    async def run_once(self) -> VerifyReport:
        """Verify one batch."""
        healthy = {virtual_storage: self.health.healthy_storages(virtual_storage) for virtual_storage in self.nodes}
        async with asyncio.timeout(RUN_LIMIT_SECONDS + COMPARE_LIMIT_SECONDS):
            batch = await self.records.acquire(healthy, self.interval, BATCH_SIZE)
            if not batch:
                return VerifyReport(results={})
            results: dict[ReplicaToVerify, VerificationResult] = {}
            async with asyncio.TaskGroup() as probes:
                for replica in batch:
                    self.dequeued(replica)
                    probes.create_task(self._verify(replica, results), name=f"verify {replica.replica_path}")
            postponed = await self._compare(results)
            for replica in postponed:
                del results[replica]
            by_result = {
                result: [replica for replica, found in results.items() if found is result]
                for result in VerificationResult
            }
            invalid = by_result[VerificationResult.INVALID]
            if invalid:
                _log.info(
                    "removing metadata records of non-existent replicas",
                    perform_deletions=self.delete_invalid,
                    replicas=_by_path(invalid),
                )
            await self.records.complete(
                valid=by_result[VerificationResult.VALID],
                invalid=invalid,
                failed=[*by_result[VerificationResult.ERROR], *postponed],
                delete_invalid=self.delete_invalid,
            )
        for replica, result in results.items():
            self.completed(replica, result)
        return VerifyReport(results=results, postponed=postponed)

    async def run(self, ticker: Ticker) -> None:
        """Do a pass per tick until cancelled."""
        while True:
            await ticker.wait()
            try:
                await self.run_once()
            except* (PraefectError, TimeoutError) as group:
                _log.error("failed a background verification run", error=str(group.exceptions[0]) or "timed out")

    async def _compare(self, results: Mapping[ReplicaToVerify, VerificationResult]) -> Sequence[ReplicaToVerify]:
        """Compare the repositories of a batch; return the replicas that are to be verified again soon."""
        if self.compare is None:
            return ()
        repository_ids = {
            replica.repository_id for replica, result in results.items() if result is not VerificationResult.ERROR
        }
        try:
            async with asyncio.timeout(COMPARE_LIMIT_SECONDS):
                compared = await self.compare(repository_ids)
        except TimeoutError:
            _log.warning("replicas were not compared", error="timed out", repository_ids=sorted(repository_ids))
            return ()
        return [replica for replica in results if compared.get(replica.repository_id) is Compared.BUSY]

    async def _verify(self, replica: ReplicaToVerify, results: dict[ReplicaToVerify, VerificationResult]) -> None:
        try:
            exists = await self.probe.exists(replica)
        except PraefectError as exc:
            _log.error(
                "failed to verify replica's existence",
                repository_id=replica.repository_id,
                replica_path=replica.replica_path,
                virtual_storage=replica.virtual_storage,
                storage=replica.storage,
                relative_path=replica.relative_path,
                error=str(exc),
            )
            results[replica] = VerificationResult.ERROR
            return
        results[replica] = VerificationResult.VALID if exists else VerificationResult.INVALID


@dataclass(slots=True, kw_only=True)
class ExpiredLeases:
    """Gives back verification leases whose holder fell silent."""

    records: VerificationRecords
    released: Callable[[int], None] = field(default=lambda _count: None)

    async def run_once(self) -> int:
        """Release until fewer than a batch are found; return how many went."""
        total = 0
        while True:
            replicas = await self.records.release_expired(BATCH_SIZE)
            if replicas:
                _log.info("released stale verification leases", leases_released=_by_path(replicas))
                self.released(len(replicas))
            total += len(replicas)
            if len(replicas) < BATCH_SIZE:
                return total

    async def run(self, ticker: Ticker) -> None:
        """Do a pass per tick until cancelled."""
        while True:
            await ticker.wait()
            try:
                await self.run_once()
            except PraefectError as exc:
                _log.error("failed releasing expired leases", error=str(exc))


def _by_path(replicas: Sequence[ReplicaToVerify]) -> dict[str, dict[str, list[str]]]:
    grouped: dict[str, dict[str, list[str]]] = {}
    for replica in replicas:
        grouped.setdefault(replica.virtual_storage, {}).setdefault(replica.relative_path, []).append(replica.storage)
    for paths in grouped.values():
        for storages in paths.values():
            storages.sort()
    return grouped
