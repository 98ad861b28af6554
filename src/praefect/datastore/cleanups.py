"""Who searches which storage for unknown repositories, and when that was last done: table ``storage_cleanups``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from praefect.datastore.layout import pairs
from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.replication import StorageCleanup
from praefect.domain.repository import ReplicaPath, Storage, VirtualStorage

_QUERIES = load_queries("cleanups")

LIVENESS: Final = timedelta(seconds=30)
"""How long who looks at a storage may be silent before another may look at it."""


class CleanupStore:
    """Leases of the search and what it asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def populate(self, nodes: Mapping[VirtualStorage, Sequence[Storage]]) -> None:
        """Make sure each storage has a row."""
        virtual_storages, storages = pairs(nodes)
        await self._database.execute(_QUERIES["populate"], virtual_storages=virtual_storages, storages=storages)

    async def acquire(self, run_interval: timedelta) -> StorageCleanup | None:
        """Take the storage that was looked at longest ago, if one is due."""
        row = await self._database.fetch_one(_QUERIES["acquire"], run_interval=run_interval, liveness=LIVENESS)
        if row is None:
            return None
        return StorageCleanup(virtual_storage=VirtualStorage(row["virtual_storage"]), storage=Storage(row["storage"]))

    async def refresh(self, cleanup: StorageCleanup) -> None:
        """Say that the storage is still being looked at."""
        await self._database.execute(
            _QUERIES["refresh"], virtual_storage=cleanup.virtual_storage, storage=cleanup.storage
        )

    async def release(self, cleanup: StorageCleanup) -> None:
        """Say that the storage has been looked at now."""
        await self._database.execute(
            _QUERIES["release"], virtual_storage=cleanup.virtual_storage, storage=cleanup.storage
        )

    async def find_unknown(
        self, virtual_storage: VirtualStorage, storage: Storage, replica_paths: Sequence[ReplicaPath]
    ) -> Sequence[ReplicaPath]:
        """Return those paths that are no recorded replica of this storage, in their order."""
        rows = await self._database.fetch_all(
            _QUERIES["find_unknown"],
            virtual_storage=virtual_storage,
            storage=storage,
            replica_paths=list(replica_paths),
        )
        return [ReplicaPath(row["replica_path"]) for row in rows]
