"""What is known of repositories: the rows of one query, put together per repository."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC
from itertools import groupby

from psycopg.rows import DictRow

from praefect.domain.repository import (
    RelativePath,
    ReplicaMetadata,
    ReplicaPath,
    RepositoryId,
    RepositoryMetadata,
    Storage,
    VirtualStorage,
)


def group_metadata(rows: Iterable[DictRow]) -> Iterator[RepositoryMetadata]:
    """Yield a repository for each run of rows with the same id."""
    for repository_id, group in groupby(rows, key=lambda row: RepositoryId(row["repository_id"])):
        members = list(group)
        first = members[0]
        yield RepositoryMetadata(
            repository_id=repository_id,
            virtual_storage=VirtualStorage(first["virtual_storage"]),
            relative_path=RelativePath(first["relative_path"]),
            replica_path=ReplicaPath(first["replica_path"] or ""),
            primary=None if first["primary"] is None else Storage(first["primary"]),
            generation=first["generation"],
            replicas=tuple(_replica(row) for row in members if row["storage"] is not None),
            explicitly_assigned=first["explicitly_assigned"],
        )


def _replica(row: DictRow) -> ReplicaMetadata:
    verified_at = row["verified_at"]
    return ReplicaMetadata(
        storage=Storage(row["storage"]),
        generation=row["replica_generation"],
        assigned=row["assigned"],
        healthy=row["healthy"],
        valid_primary=row["valid_primary"],
        verified_at=None if verified_at is None else verified_at.astimezone(UTC),
    )
