"""Which storages shall hold a repository: table ``repository_assignments``. No rows mean all of them."""

from __future__ import annotations

from collections.abc import Sequence

from praefect.datastore.layout import Layout
from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.errors import InternalError
from praefect.domain.repository import RelativePath, RepositoryId, RepositoryNotFoundError, Storage, VirtualStorage

_QUERIES = load_queries("assignments")


class VirtualStorageNotFoundError(InternalError):
    """The virtual storage is not configured."""

    def __init__(self, virtual_storage: VirtualStorage) -> None:
        super().__init__(f'virtual storage "{virtual_storage}" not found')
        self.virtual_storage = virtual_storage


class AssignmentStore:
    """Reads and changes assignments; those of storages that are not configured are neither seen nor touched."""

    def __init__(self, database: Database, layout: Layout) -> None:
        self._database = database
        self._layout = layout

    async def get_assignments(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Sequence[Storage]:
        """Return the assigned storages in the order of the configuration; all of them if none is assigned.

        Raises:
            VirtualStorageNotFoundError: The virtual storage is not configured.
        """
        configured = self._configured(virtual_storage)
        rows = await self._database.fetch_all(_QUERIES["get"], repository_id=repository_id, storages=configured)
        assigned = {row["storage"] for row in rows}
        return [storage for storage in configured if storage in assigned] or configured

    async def set_replication_factor(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath, factor: int
    ) -> Sequence[Storage]:
        """Assign or release storages until there are ``factor``, which the caller has checked; return them sorted.

        Raises:
            RepositoryNotFoundError: The repository is not recorded.
            VirtualStorageNotFoundError: The virtual storage is not configured.
        """
        configured = self._configured(virtual_storage)
        path = {"virtual_storage": virtual_storage, "relative_path": relative_path}
        async with self._database.transaction() as transaction:
            await transaction.execute(_QUERIES["lock"], **path)
            rows = await transaction.fetch_all(
                _QUERIES["set_replication_factor"], **path, storages=configured, factor=factor
            )
        if not rows:
            raise RepositoryNotFoundError
        return [Storage(row["storage"]) for row in rows]

    def _configured(self, virtual_storage: VirtualStorage) -> list[Storage]:
        try:
            return list(self._layout.storages[virtual_storage])
        except KeyError as exc:
            raise VirtualStorageNotFoundError(virtual_storage) from exc
