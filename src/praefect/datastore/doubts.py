"""Leases and doubts, in our own schema; see docs/consistency.md for what rests on these statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from psycopg.rows import DictRow

from praefect.datastore.errors import QueryError
from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.datastore.repositories import translate_creation_error
from praefect.domain.doubts import (
    LEASE_SECONDS,
    CurrentReplicas,
    Doubt,
    Incarnation,
    OpenResult,
    Settlement,
)
from praefect.domain.repository import (
    NewRepository,
    RelativePath,
    ReplicaPath,
    RepositoryId,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
    WriteToOutdatedNodesError,
)

_QUERIES = load_queries("doubts")
_REPOSITORIES = load_queries("repositories")

PATIENCE_SECONDS: Final = LEASE_SECONDS
"""For how long after a start of PostgreSQL nobody's lease is buried: their holders could not renew them."""


class DoubtStore:
    """Keeps leases and doubts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- leases ---

    async def take_lease(self, incarnation: Incarnation, praefect_name: str) -> None:
        """Begin an incarnation."""
        await self._database.execute(
            _QUERIES["take_lease"], incarnation=incarnation, praefect_name=praefect_name, seconds=LEASE_SECONDS
        )

    async def renew_lease(self, incarnation: Incarnation, *, closed: Sequence[int]) -> bool:
        """Prolong a lease and drop doubts of writes without effect; return whether the lease still exists."""
        row = await self._database.fetch_one(
            _QUERIES["renew_lease"],
            incarnation=incarnation,
            seconds=LEASE_SECONDS,
            closed=list(closed),
        )
        return row is not None

    async def release_lease(self, incarnation: Incarnation) -> None:
        """End an incarnation; what doubts it leaves have lapsed."""
        await self._database.execute(_QUERIES["release_lease"], incarnation=incarnation)

    async def bury_leases(self) -> int:
        """Delete expired leases; return how many."""
        return await self._database.execute(_QUERIES["bury_leases"], patience_seconds=PATIENCE_SECONDS)

    # --- a write ---

    async def open(self, doubt: Doubt) -> OpenResult:
        """Store a doubt before its write is forwarded; replicas and generation are filled in, except of a creation."""
        row = await self._database.fetch_one(
            _QUERIES["open"],
            incarnation=doubt.incarnation,
            number=doubt.number,
            repository_id=doubt.repository_id,
            virtual_storage=doubt.virtual_storage,
            relative_path=doubt.relative_path,
            replica_path=doubt.replica_path,
            method=doubt.full_method,
            creates=doubt.creates,
            storages=list(doubt.storages),
        )
        if row is not None and row["is_opened"]:
            return OpenResult.OPENED
        return OpenResult.BLOCKED if row is not None and row["has_lease"] else OpenResult.NO_LEASE

    async def reopen(self, doubt: Doubt) -> None:
        """Store a doubt that is nobody's, so that it is settled."""
        await self._database.execute(
            _QUERIES["reopen"],
            incarnation=doubt.incarnation,
            number=doubt.number,
            repository_id=doubt.repository_id,
            virtual_storage=doubt.virtual_storage,
            relative_path=doubt.relative_path,
            replica_path=doubt.replica_path,
            method=doubt.full_method,
            creates=doubt.creates,
            storages=list(doubt.storages),
            generation=doubt.generation,
        )

    async def record_increment(self, doubt: Doubt, primary: Storage, secondaries: Sequence[Storage]) -> bool:
        """Record a write and delete its doubt; return False, having done nothing, if the doubt is not ours any more.

        Raises:
            RepositoryNotFoundError: The repository is not recorded.
            WriteToOutdatedNodesError: None of the given replicas was at the repository's generation.
        """
        row = await self._database.fetch_one(
            _QUERIES["record_increment"],
            incarnation=doubt.incarnation,
            number=doubt.number,
            repository_id=doubt.repository_id,
            storages=[primary, *secondaries],
        )
        if row is None or not row["is_mine"]:
            return False
        if not row["repository_exists"]:
            raise RepositoryNotFoundError
        if not row["is_updated"]:
            raise WriteToOutdatedNodesError
        return True

    async def record_creation(self, doubt: Doubt, new: NewRepository) -> bool:
        """Record a creation and delete its doubt; return False, having done nothing, if it is not ours any more.

        Raises:
            RepositoryExistsError: The path was taken meanwhile.
            RepositoryIdInUseError: The number was used meanwhile.
        """
        updated = [new.primary, *new.updated]
        try:
            row = await self._database.fetch_one(
                _QUERIES["record_creation"],
                incarnation=doubt.incarnation,
                number=doubt.number,
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
        return row is not None and bool(row["is_mine"])

    async def record_copy(
        self, repository_id: RepositoryId, storage: Storage, relative_path: RelativePath, generation: int
    ) -> None:
        """Record what a replica holds after it was copied; writes that are under way do not count on it any more."""
        async with self._database.transaction() as transaction:
            await transaction.execute(_QUERIES["exclude_copied"], repository_id=repository_id, storage=storage)
            await transaction.execute(
                _REPOSITORIES["set_generation"],
                repository_id=repository_id,
                storage=storage,
                relative_path=relative_path,
                generation=generation,
            )

    # --- settlement ---

    async def list(self, *, only_lapsed: bool) -> Sequence[Doubt]:
        """Return doubts, oldest first."""
        return [_doubt(row) for row in await self._database.fetch_all(_QUERIES["list_doubts"], only_lapsed=only_lapsed)]

    async def count(self) -> Mapping[VirtualStorage, tuple[int, int]]:
        """Return how many doubts there are, live and lapsed, by virtual storage."""
        rows = await self._database.fetch_all(_QUERIES["count_doubts"])
        return {VirtualStorage(row["virtual_storage"]): (row["total"] - row["lapsed"], row["lapsed"]) for row in rows}

    async def list_of(self, repository_id: RepositoryId) -> Sequence[Doubt]:
        """Return a repository's doubts, oldest first."""
        rows = await self._database.fetch_all(_QUERIES["list_of_repository"], repository_id=repository_id)
        return [_doubt(row) for row in rows]

    async def take_over(self, repository_id: RepositoryId, settler: Incarnation) -> Sequence[Doubt]:
        """Take over a repository's doubts whose owner holds no lease; return all its doubts."""
        await self._database.execute(_QUERIES["take_over"], repository_id=repository_id, incarnation=settler)
        return await self.list_of(repository_id)

    async def give_back(self, repository_id: RepositoryId, settler: Incarnation) -> None:
        """Let others settle the doubts of a repository that the settler has taken over."""
        await self._database.execute(_QUERIES["give_back"], repository_id=repository_id, incarnation=settler)

    async def read_current(self, repository_id: RepositoryId) -> CurrentReplicas | None:
        """Return what a settlement compares, ``None`` for a repository without a record."""
        row = await self._database.fetch_one(_QUERIES["read_current"], repository_id=repository_id)
        if row is None or row["generation"] is None:
            return None
        return CurrentReplicas(
            repository_id=repository_id,
            virtual_storage=VirtualStorage(row["virtual_storage"]),
            relative_path=RelativePath(row["relative_path"]),
            replica_path=ReplicaPath(row["replica_path"]),
            generation=row["generation"],
            primary=None if row["primary"] is None else Storage(row["primary"]),
            storages=frozenset(Storage(storage) for storage in row["storages"]),
        )

    async def settle(
        self,
        current: CurrentReplicas,
        settlement: Settlement,
        *,
        settler: Incarnation,
        doubts: Sequence[Doubt],
    ) -> bool:
        """Record a comparison and delete the doubts; return False, having done nothing, if anything has changed."""
        async with self._database.transaction() as transaction:
            await transaction.execute(_QUERIES["lock_repository"], repository_id=current.repository_id)
            rows = await transaction.fetch_all(
                _QUERIES["settle"],
                repository_id=current.repository_id,
                generation=current.generation,
                storages=sorted(current.storages),
                incarnation=settler,
                incarnations=[doubt.incarnation for doubt in doubts],
                numbers=[doubt.number for doubt in doubts],
                differs=bool(settlement.losers),
                winners=list(settlement.winners),
            )
        return bool(rows)

    async def forget(self, repository_id: RepositoryId, settler: Incarnation) -> None:
        """Delete the doubts the settler owns of a repository without a record."""
        await self._database.execute(_QUERIES["forget"], repository_id=repository_id, incarnation=settler)


def _doubt(row: DictRow) -> Doubt:
    return Doubt(
        incarnation=Incarnation(row["incarnation"]),
        number=row["number"],
        repository_id=RepositoryId(row["repository_id"]),
        virtual_storage=VirtualStorage(row["virtual_storage"]),
        relative_path=RelativePath(row["relative_path"]),
        replica_path=ReplicaPath(row["replica_path"]),
        full_method=row["method"],
        creates=row["creates"],
        storages=tuple(Storage(storage) for storage in row["storages"]),
        generation=row["generation"],
        opened_at=row["opened_at"],
        owner=Incarnation(row["owner"]),
        is_lapsed=row["is_lapsed"],
    )
