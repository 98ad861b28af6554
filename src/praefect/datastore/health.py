"""What all Praefects saw of the storages: table ``node_status`` and the view ``healthy_storages``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.repository import Storage, VirtualStorage

_QUERIES = load_queries("health")


class HealthStore:
    """Stores one Praefect's observations and reads what they amount to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, praefect_name: str, observations: Sequence[tuple[VirtualStorage, Storage, bool]]) -> None:
        """Store what this process saw; each observation says whether the storage was serving."""
        ordered = sorted(observations)
        await self._database.execute(
            _QUERIES["record"],
            praefect_name=praefect_name,
            virtual_storages=[virtual_storage for virtual_storage, _, _ in ordered],
            storages=[storage for _, storage, _ in ordered],
            active=[is_active for _, _, is_active in ordered],
        )

    async def get_healthy_storages(self) -> Mapping[VirtualStorage, Sequence[Storage]]:
        """Return the storages that at least half of the live Praefects see, by virtual storage, sorted."""
        healthy: dict[VirtualStorage, list[Storage]] = {}
        for row in await self._database.fetch_all(_QUERIES["healthy_storages"]):
            healthy.setdefault(VirtualStorage(row["virtual_storage"]), []).append(Storage(row["storage"]))
        return healthy
