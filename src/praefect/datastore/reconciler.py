"""The statement that queues repairs and removals of replicas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from praefect.datastore.layout import pairs
from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.replication import Change, ScheduledJob
from praefect.domain.repository import RelativePath, RepositoryId, Storage, VirtualStorage

_QUERIES = load_queries("reconciler")


class ReconcilerStore:
    """Compares the stored replicas with the wanted ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def schedule(self, healthy: Mapping[VirtualStorage, Sequence[Storage]]) -> Sequence[ScheduledJob]:
        """Queue the jobs that are missing among healthy storages; return them, none while another does it."""
        virtual_storages, storages = pairs(healthy)
        async with self._database.transaction() as transaction:
            (lock,) = await transaction.fetch_all(_QUERIES["try_lock"])
            if not lock["is_obtained"]:
                return []
            rows = await transaction.fetch_all(
                _QUERIES["schedule"], virtual_storages=virtual_storages, storages=storages
            )
        return [
            ScheduledJob(
                repository_id=RepositoryId(row["repository_id"]),
                change=Change(row["change"]),
                correlation_id=row["correlation_id"],
                virtual_storage=VirtualStorage(row["virtual_storage"]),
                relative_path=RelativePath(row["relative_path"]),
                source_storage=None if row["source"] is None else Storage(row["source"]),
                target_storage=Storage(row["target"]),
            )
            for row in rows
        ]
