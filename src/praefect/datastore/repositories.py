"""The records of repositories and their replicas: tables ``repositories`` and ``storage_repositories``.

A repository's generation and those of its replicas change in one statement, always: a reader never sees one without the
other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from psycopg.rows import DictRow

from praefect.datastore.errors import QueryError
from praefect.datastore.layout import Layout
from praefect.datastore.metadata import group_metadata
from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.errors import InternalError, PraefectError
from praefect.domain.repository import (
    ConsistentStorages,
    DatalossRepository,
    NewRepository,
    RelativePath,
    ReplicaPath,
    RepositoryExistsError,
    RepositoryId,
    RepositoryMetadata,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
    WriteToOutdatedNodesError,
    dataloss_of,
)

_QUERIES = load_queries("repositories")
_METADATA = load_queries("metadata")
_PAGE_SIZE = 1000
_TAKEN_PATH = frozenset({"repository_lookup_index", "storage_repositories_pkey", "storage_repositories_new_pkey"})


class RepositoryIdInUseError(InternalError):
    """Another repository is recorded under the reserved id."""

    def __init__(self, repository_id: RepositoryId) -> None:
        super().__init__(f"repository id {repository_id} already in use")
        self.repository_id = repository_id


class RepositoryStore:
    """Reads and changes records of repositories and replicas."""

    def __init__(self, database: Database, layout: Layout) -> None:
        self._database = database
        self._layout = layout

    async def get_repository_id(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> RepositoryId:
        """Return the repository's id.

        Raises:
            RepositoryNotFoundError: It is not recorded.
        """
        row = await self._database.fetch_one(
            _QUERIES["get_id"], virtual_storage=virtual_storage, relative_path=relative_path
        )
        if row is None:
            raise RepositoryNotFoundError
        return RepositoryId(row["repository_id"])

    async def get_replica_path(self, repository_id: RepositoryId) -> ReplicaPath:
        """Return where the repository lies on the nodes' disks.

        Raises:
            RepositoryNotFoundError: It is not recorded.
        """
        row = await self._database.fetch_one(_QUERIES["get_replica_path"], repository_id=repository_id)
        if row is None:
            raise RepositoryNotFoundError
        return ReplicaPath(row["replica_path"] or "")

    async def get_consistent_storages(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> ConsistentStorages:
        """Return path and storages of the replicas that are up to date.

        Raises:
            RepositoryNotFoundError: It is not recorded, or no replica is up to date.
        """
        return _consistent(
            await self._database.fetch_one(
                _QUERIES["consistent_storages_by_path"], virtual_storage=virtual_storage, relative_path=relative_path
            )
        )

    async def get_consistent_storages_by_id(self, repository_id: RepositoryId) -> ConsistentStorages:
        """Return path and storages of the replicas that are up to date; raises as the look-up by path does."""
        return _consistent(
            await self._database.fetch_one(_QUERIES["consistent_storages_by_id"], repository_id=repository_id)
        )

    async def get_metadata(self, repository_id: RepositoryId) -> RepositoryMetadata:
        """Return all that is known of one repository.

        Raises:
            RepositoryNotFoundError: It is not recorded.
        """
        for metadata in await self._read(keep="all", repository_id=repository_id):
            return metadata
        raise RepositoryNotFoundError

    async def get_metadata_by_path(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> RepositoryMetadata:
        """Return all that is known of one repository.

        Raises:
            RepositoryNotFoundError: It is not recorded.
        """
        # By way of the id, with which the statement finds its rows by indexes alone.
        return await self.get_metadata(await self.get_repository_id(virtual_storage, relative_path))

    async def dataloss(
        self, virtual_storage: VirtualStorage, *, include_partially_available: bool
    ) -> AsyncIterator[DatalossRepository]:
        """Yield the repositories that are not available, or not on all assigned storages, by id."""
        keep = "degraded" if include_partially_available else "unavailable"
        for metadata in await self._read(keep=keep, virtual_storage=virtual_storage):
            yield dataloss_of(metadata)

    async def count_unavailable(self) -> Mapping[VirtualStorage, int]:
        """Return how many repositories of each configured virtual storage are unavailable."""
        rows = await self._database.fetch_all(
            _METADATA["count_unavailable"], virtual_storages=self._layout.virtual_storages
        )
        return {VirtualStorage(row["virtual_storage"]): row["unavailable"] for row in rows}

    async def count_behind(self) -> Mapping[tuple[VirtualStorage, Storage], int]:
        """Return how many replicas of each storage are behind."""
        rows = await self._database.fetch_all(_QUERIES["count_behind"])
        return {(VirtualStorage(row["virtual_storage"]), Storage(row["storage"])): row["behind"] for row in rows}

    async def repository_exists(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> bool:
        """Return whether the repository is recorded."""
        row = await self._database.fetch_one(
            _QUERIES["exists"], virtual_storage=virtual_storage, relative_path=relative_path
        )
        return row is not None and bool(row["found"])

    async def list_paths(self, virtual_storage: VirtualStorage) -> AsyncIterator[RelativePath]:
        """Yield the relative path of every repository of a virtual storage, in order, read page by page."""
        after = ""
        while True:
            rows = await self._database.fetch_all(
                _QUERIES["list_paths"], virtual_storage=virtual_storage, after=after, size=_PAGE_SIZE
            )
            for row in rows:
                yield RelativePath(row["relative_path"])
            if len(rows) < _PAGE_SIZE:
                return
            after = rows[-1]["relative_path"]

    async def list_primaries(self, virtual_storage: VirtualStorage) -> Sequence[Storage]:
        """Return the storages that are the stored primary of some repository, sorted."""
        rows = await self._database.fetch_all(_QUERIES["list_primaries"], virtual_storage=virtual_storage)
        return [Storage(row["primary"]) for row in rows]

    async def get_relative_paths(
        self, virtual_storage: VirtualStorage, replica_paths: Sequence[ReplicaPath]
    ) -> Mapping[ReplicaPath, RelativePath]:
        """Return the clients' path for each path on disks that is known."""
        rows = await self._database.fetch_all(
            _QUERIES["relative_paths_of"], virtual_storage=virtual_storage, replica_paths=list(replica_paths)
        )
        return {ReplicaPath(row["replica_path"]): RelativePath(row["relative_path"]) for row in rows}

    async def reserve_repository_id(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> RepositoryId:
        """Take a number for a new repository.

        Raises:
            RepositoryExistsError: The path is taken.
        """
        row = await self._database.fetch_one(
            _QUERIES["reserve_id"], virtual_storage=virtual_storage, relative_path=relative_path
        )
        if row is None:
            raise RepositoryExistsError
        return RepositoryId(row["repository_id"])

    async def create_repository(self, new: NewRepository) -> None:
        """Record a repository that was created, its replicas at generation 0.

        Raises:
            RepositoryExistsError: The path was taken meanwhile.
            RepositoryIdInUseError: The number was used meanwhile.
        """
        updated = [new.primary, *new.updated]
        try:
            await self._database.execute(
                _QUERIES["create"],
                repository_id=new.repository_id,
                virtual_storage=new.virtual_storage,
                relative_path=new.relative_path,
                replica_path=new.replica_path,
                primary=new.primary,
                updated=updated,
                assigned=[*updated, *new.outdated] if new.store_assignments else [],
            )
        except QueryError as exc:
            raise translate_creation_error(exc, new.repository_id) from exc

    async def delete_repository(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> tuple[ReplicaPath, Sequence[Storage]]:
        """Delete the records of a repository; return where its replicas still lie.

        Raises:
            RepositoryNotFoundError: It is not recorded.
        """
        row = await self._database.fetch_one(
            _QUERIES["delete"], virtual_storage=virtual_storage, relative_path=relative_path
        )
        if row is None:
            raise RepositoryNotFoundError
        return ReplicaPath(row["replica_path"] or ""), [Storage(storage) for storage in row["storages"]]

    async def increment_generation(
        self, repository_id: RepositoryId, primary: Storage, secondaries: Sequence[Storage]
    ) -> None:
        """Record a write: add one to the repository's generation and to those of the given replicas that were at it.

        Raises:
            RepositoryNotFoundError: The repository is not recorded.
            WriteToOutdatedNodesError: None of the given replicas was at the repository's generation.
        """
        row = await self._database.fetch_one(
            _QUERIES["increment_generation"], repository_id=repository_id, storages=[primary, *secondaries]
        )
        if row is None or not row["repository_exists"]:
            raise RepositoryNotFoundError
        if not row["is_updated"]:
            raise WriteToOutdatedNodesError

    async def get_replica_generations(
        self, repository_id: RepositoryId, source: Storage, target: Storage
    ) -> tuple[int | None, int | None]:
        """Return the generations of two replicas, None for one that is not recorded."""
        row = await self._database.fetch_one(
            _QUERIES["get_generations"], repository_id=repository_id, source=source, target=target
        )
        return (None, None) if row is None else (row["source_generation"], row["target_generation"])

    async def set_generation(
        self, repository_id: RepositoryId, storage: Storage, relative_path: RelativePath, generation: int
    ) -> None:
        """Record what a replica holds after it was copied; without effect if the repository is gone."""
        await self._database.execute(
            _QUERIES["set_generation"],
            repository_id=repository_id,
            storage=storage,
            relative_path=relative_path,
            generation=generation,
        )

    async def set_authoritative_storage(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath, storage: Storage
    ) -> None:
        """Make one replica the newest, whether it was recorded or not; every other one is behind then.

        Raises:
            RepositoryNotFoundError: The repository is not recorded.
        """
        row = await self._database.fetch_one(
            _QUERIES["set_authoritative"],
            virtual_storage=virtual_storage,
            relative_path=relative_path,
            storage=storage,
        )
        if row is None:
            raise RepositoryNotFoundError

    async def delete_replica(self, repository_id: RepositoryId, storage: Storage) -> bool:
        """Delete a replica's record; return False if there was none."""
        return (
            await self._database.execute(_QUERIES["delete_replica"], repository_id=repository_id, storage=storage) > 0
        )

    async def delete_invalid_repository(self, repository_id: RepositoryId, storage: Storage) -> None:
        """Delete the record of a replica that is no repository, and the repository's with the last one."""
        async with self._database.transaction() as transaction:
            await transaction.execute(_QUERIES["lock"], repository_id=repository_id)
            await transaction.execute(_QUERIES["delete_invalid"], repository_id=repository_id, storage=storage)

    async def _read(
        self,
        *,
        keep: str,
        repository_id: RepositoryId | None = None,
        virtual_storage: VirtualStorage | None = None,
    ) -> Sequence[RepositoryMetadata]:
        virtual_storages, storages = self._layout.pairs()
        rows = await self._database.fetch_all(
            _METADATA["read"],
            keep=keep,
            repository_id=repository_id,
            virtual_storage=virtual_storage,
            virtual_storages=virtual_storages,
            storages=storages,
        )
        return list(group_metadata(rows))


def translate_creation_error(exc: QueryError, repository_id: RepositoryId) -> PraefectError:
    """Return what it means that a new repository could not be recorded."""
    if exc.constraint in _TAKEN_PATH:
        return RepositoryExistsError()
    if exc.constraint == "repositories_pkey":
        return RepositoryIdInUseError(repository_id)
    return exc


def _consistent(row: DictRow | None) -> ConsistentStorages:
    if row is None:
        raise RepositoryNotFoundError
    return ConsistentStorages(
        replica_path=ReplicaPath(row["replica_path"] or ""),
        storages=frozenset(Storage(storage) for storage in row["storages"]),
    )
