"""When replicas were last seen to exist, and who is looking: two columns of ``storage_repositories``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from psycopg.rows import DictRow

from praefect.datastore.layout import pairs
from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.replication import ReplicaToVerify
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage

_QUERIES = load_queries("verification")

LEASE: Final = timedelta(seconds=30)
PATIENCE: Final = timedelta(seconds=30)
"""How long a lease may have run out before somebody else gives it back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationDepth:
    """How many replicas of one storage wait to be verified."""

    virtual_storage: VirtualStorage
    storage: Storage
    unverified: int
    expired: int


class VerificationStore:
    """Leases of verification and their results."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def acquire(
        self, healthy: Mapping[VirtualStorage, Sequence[Storage]], interval: timedelta, limit: int
    ) -> Sequence[ReplicaToVerify]:
        """Lease up to ``limit`` replicas that were not verified within ``interval``, never verified ones first."""
        virtual_storages, storages = pairs(healthy)
        rows = await self._database.fetch_all(
            _QUERIES["acquire"],
            virtual_storages=virtual_storages,
            storages=storages,
            interval=interval,
            lease=LEASE,
            size=limit,
        )
        return [_replica(row) for row in rows]

    async def complete(
        self,
        *,
        valid: Sequence[ReplicaToVerify],
        invalid: Sequence[ReplicaToVerify],
        failed: Sequence[ReplicaToVerify],
        delete_invalid: bool,
    ) -> None:
        """Record results and give the leases back; the records of invalid replicas are deleted if that is wanted."""
        results = [
            *((replica, True, False) for replica in valid),
            *((replica, True, delete_invalid) for replica in invalid),
            *((replica, False, False) for replica in failed),
        ]
        if results:
            await self._database.execute(
                _QUERIES["complete"],
                ids=[replica.repository_id for replica, _, _ in results],
                storages=[replica.storage for replica, _, _ in results],
                verified=[is_verified for _, is_verified, _ in results],
                removed=[is_removed for _, _, is_removed in results],
            )

    async def release_expired(self, limit: int) -> Sequence[ReplicaToVerify]:
        """Give back up to ``limit`` leases whose holder fell silent; return their replicas."""
        rows = await self._database.fetch_all(_QUERIES["release_expired"], patience=PATIENCE, size=limit)
        return [_replica(row) for row in rows]

    async def mark_repository(self, repository_id: RepositoryId) -> int:
        """Have a repository's replicas verified soon; return how many were marked."""
        return await self._database.execute(_QUERIES["mark_repository"], repository_id=repository_id)

    async def mark_virtual_storage(self, virtual_storage: VirtualStorage) -> int:
        """Have all replicas of a virtual storage verified soon; return how many were marked."""
        rows = await self._database.fetch_all(_QUERIES["storages_of"], virtual_storage=virtual_storage)
        return sum([await self.mark_storage(virtual_storage, Storage(row["storage"])) for row in rows])

    async def mark_storage(self, virtual_storage: VirtualStorage, storage: Storage) -> int:
        """Have all replicas on a storage verified soon; return how many were marked."""
        return await self._database.execute(_QUERIES["mark_storage"], virtual_storage=virtual_storage, storage=storage)

    async def get_depths(self, interval: timedelta) -> Sequence[VerificationDepth]:
        """Return how many replicas were never verified, and how many not within ``interval``, for each storage."""
        return [
            VerificationDepth(
                virtual_storage=VirtualStorage(row["virtual_storage"]),
                storage=Storage(row["storage"]),
                unverified=row["unverified"],
                expired=row["expired"],
            )
            for row in await self._database.fetch_all(_QUERIES["count_due"], interval=interval)
        ]


def _replica(row: DictRow) -> ReplicaToVerify:
    return ReplicaToVerify(
        repository_id=RepositoryId(row["repository_id"]),
        virtual_storage=VirtualStorage(row["virtual_storage"]),
        relative_path=RelativePath(row["relative_path"]),
        replica_path=ReplicaPath(row["replica_path"] or ""),
        storage=Storage(row["storage"]),
    )
