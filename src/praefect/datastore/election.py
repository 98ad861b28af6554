"""The statement that elects primaries."""

from __future__ import annotations

from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.repository import (
    ElectedPrimary,
    PrimaryMove,
    RepositoryId,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
)

_QUERIES = load_queries("election")


class ElectionStore:
    """Elects primaries, one repository at a time, when somebody asks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def elect_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> ElectedPrimary:  # noqa: ARG002 - ids are unique, other electors need the name
        """Return the primary, having replaced one that is not valid if another is.

        Raises:
            RepositoryNotFoundError: The repository is not recorded.
        """
        row = await self._database.fetch_one(_QUERIES["elect"], repository_id=repository_id)
        if row is None:
            raise RepositoryNotFoundError
        primary, previous = (None if name is None else Storage(name) for name in (row["primary"], row["previous"]))
        return ElectedPrimary(storage=primary, previous=previous, changed=primary != previous)

    async def elect_away(self, move: PrimaryMove) -> Storage | None:
        """Move a primary off a storage that this process cannot reach; return the new one.

        Returns:
            ``None`` if nothing was moved: another Praefect saw the storage since the evidence began, no candidate is
            valid, or the primary is another one by now.
        """
        row = await self._database.fetch_one(
            _QUERIES["elect_away"],
            repository_id=move.repository_id,
            virtual_storage=move.virtual_storage,
            dead=move.dead,
            candidates=list(move.candidates),
            praefect_name=move.praefect_name,
            evidence_seconds=move.evidence_seconds,
        )
        return None if row is None else Storage(row["primary"])
