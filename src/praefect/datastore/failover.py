"""Moves of primaries by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Final

from psycopg.rows import DictRow

from praefect.datastore.layout import Layout
from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.failover import Move, ReplicaState, RepositoryState
from praefect.domain.repository import RelativePath, RepositoryId, Storage, VirtualStorage

_QUERIES = load_queries("failover")

PAGE: Final = 500


class FailoverStore:
    """Reads what decides about a move, and moves."""

    def __init__(self, database: Database, layout: Layout) -> None:
        self._database = database
        self._layout = layout

    async def list_states(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath | None = None
    ) -> AsyncIterator[RepositoryState]:
        """Yield the repositories by path: all of the virtual storage, or the one of the path if it is recorded."""
        after = ""
        while True:
            rows = await self._database.fetch_all(
                _QUERIES["list_states"],
                virtual_storage=virtual_storage,
                relative_path=relative_path,
                storages=list(self._layout.storages[virtual_storage]),
                after=after,
                size=PAGE,
            )
            states = [_state(list(group)) for _, group in groupby(rows, key=lambda row: row["repository_id"])]
            for state in states:
                yield state
            if len(states) < PAGE:
                return
            after = states[-1].relative_path

    async def move(self, move: Move) -> bool:
        """Store a new primary; return False, having changed nothing, if what decided about it has changed since."""
        repository = move.repository
        if move.loss is None:
            row = await self._database.fetch_one(
                _QUERIES["move"],
                repository_id=repository.repository_id,
                expected=repository.primary,
                target=move.target,
            )
        else:
            row = await self._database.fetch_one(
                _QUERIES["move_with_loss"],
                repository_id=repository.repository_id,
                expected=repository.primary,
                target=move.target,
                generation=repository.generation,
                target_generation=move.target_generation,
            )
        return row is not None


def _state(rows: Sequence[DictRow]) -> RepositoryState:
    first = rows[0]
    return RepositoryState(
        repository_id=RepositoryId(first["repository_id"]),
        relative_path=RelativePath(first["relative_path"]),
        primary=None if first["primary"] is None else Storage(first["primary"]),
        generation=first["generation"],
        replicas=tuple(
            ReplicaState(
                storage=Storage(row["storage"]),
                generation=row["replica_generation"],
                is_healthy=row["is_healthy"],
                is_assigned=row["is_assigned"],
                is_leaving=row["is_leaving"],
            )
            for row in rows
        ),
    )
