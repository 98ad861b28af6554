"""What became of comparing replicas: who was overruled, and repositories whose replicas differ without a majority."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from psycopg.rows import DictRow

from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.comparison import ComparableReplicas, Disagreement
from praefect.domain.doubts import CurrentReplicas
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage

_QUERIES = load_queries("comparisons")
_DOUBTS = load_queries("doubts")


class ComparisonStore:
    """Reads what is compared and records what came of it; needs our own schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, repository_id: RepositoryId) -> ComparableReplicas | None:
        """Return generation, replicas at it and what speaks against comparing them; ``None`` without a record."""
        row = await self._database.fetch_one(_QUERIES["read"], repository_id=repository_id)
        if row is None or row["generation"] is None:
            return None
        current = CurrentReplicas(
            repository_id=repository_id,
            virtual_storage=VirtualStorage(row["virtual_storage"]),
            relative_path=RelativePath(row["relative_path"]),
            replica_path=ReplicaPath(row["replica_path"]),
            generation=row["generation"],
            primary=None if row["primary"] is None else Storage(row["primary"]),
            storages=_storages(row["storages"]),
        )
        witnesses = None if row["witnesses"] is None else _storages(row["witnesses"])
        return ComparableReplicas(current=current, is_doubted=row["is_doubted"], witnesses=witnesses)

    async def overrule(self, current: CurrentReplicas, kept: Collection[Storage]) -> bool:
        """Leave all replicas but ``kept`` behind; return False, having done nothing, if anything has changed."""
        async with self._database.transaction() as transaction:
            await transaction.execute(_DOUBTS["lock_repository"], repository_id=current.repository_id)
            rows = await transaction.fetch_all(
                _QUERIES["overrule"],
                repository_id=current.repository_id,
                generation=current.generation,
                storages=sorted(current.storages),
                kept=sorted(kept),
            )
        return bool(rows)

    async def disagree(self, current: CurrentReplicas) -> bool | None:
        """Make a repository read-only; return whether it was not yet, ``None`` (nothing done) if anything changed."""
        async with self._database.transaction() as transaction:
            await transaction.execute(_DOUBTS["lock_repository"], repository_id=current.repository_id)
            rows = await transaction.fetch_all(
                _QUERIES["disagree"],
                repository_id=current.repository_id,
                generation=current.generation,
                storages=sorted(current.storages),
            )
        return bool(rows[0]["is_new"]) if rows else None

    async def agree(self, repository_id: RepositoryId, generation: int | None) -> bool:
        """End a disagreement found at this generation, ``None`` of a repository that is gone; return whether it was."""
        return (await self._database.execute(_QUERIES["agree"], repository_id=repository_id, generation=generation)) > 0

    async def claim(self, *, patience_seconds: float, limit: int) -> Sequence[RepositoryId]:
        """Choose disagreements that nobody has looked at for a while."""
        rows = await self._database.fetch_all(_QUERIES["claim"], patience_seconds=patience_seconds, size=limit)
        return [RepositoryId(row["repository_id"]) for row in rows]

    async def count(self) -> Mapping[VirtualStorage, int]:
        """Return how many repositories of each virtual storage are read-only."""
        rows = await self._database.fetch_all(_QUERIES["count"])
        return {VirtualStorage(row["virtual_storage"]): row["total"] for row in rows}

    async def list(self, virtual_storage: VirtualStorage | None = None) -> Sequence[Disagreement]:
        """Return disagreements, oldest first."""
        rows = await self._database.fetch_all(_QUERIES["list"], virtual_storage=virtual_storage)
        return [_disagreement(row) for row in rows]

    async def find(self, repository_id: RepositoryId) -> Disagreement | None:
        """Return a repository's disagreement, if there is one."""
        row = await self._database.fetch_one(_QUERIES["find"], repository_id=repository_id)
        return None if row is None else _disagreement(row)


def _disagreement(row: DictRow) -> Disagreement:
    return Disagreement(
        repository_id=RepositoryId(row["repository_id"]),
        virtual_storage=VirtualStorage(row["virtual_storage"]),
        relative_path=RelativePath(row["relative_path"]),
        storages=tuple(Storage(storage) for storage in row["storages"]),
        found_at=row["found_at"],
    )


def _storages(names: Collection[str]) -> frozenset[Storage]:
    return frozenset(Storage(name) for name in names)
