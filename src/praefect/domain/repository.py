"""Repositories and their replicas: names, paths, and what is known of them.

Source: the Praefect reference on replica paths and pool paths, and on repository metadata.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NewType

from praefect.domain.errors import AlreadyExistsError, InternalError, NotFoundError

VirtualStorage = NewType("VirtualStorage", str)
Storage = NewType("Storage", str)
RelativePath = NewType("RelativePath", str)
ReplicaPath = NewType("ReplicaPath", str)
RepositoryId = NewType("RepositoryId", int)

UNKNOWN_GENERATION: Final = -1
"""What stands for the generation of a replica without a record."""

_RAILS_POOL: Final = re.compile(r"@pools/([0-9a-f]{2})/([0-9a-f]{2})/\1\2[0-9a-f]{60}\.git\Z")
_PRAEFECT_POOL: Final = re.compile(r"@cluster/pools/[0-9a-f]{2}/[0-9a-f]{2}/[0-9]+\Z")


class RepositoryNotFoundError(NotFoundError):
    """The repository has no record, or none that could be served."""

    def __init__(self, message: str = "repository not found") -> None:
        super().__init__(message)


class WriteToOutdatedNodesError(InternalError):
    """None of the nodes that took a write held the repository's newest generation."""

    def __init__(self) -> None:
        super().__init__("write to outdated nodes")


class RepositoryExistsError(AlreadyExistsError):
    """The repository has a record already."""

    def __init__(self, message: str = "repository already exists") -> None:
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsistentStorages:
    """Where a repository can be read: its path on disks and the storages whose replica is at its generation."""

    replica_path: ReplicaPath
    storages: frozenset[Storage]
    is_possibly_stale: bool = False  # remembered from before PostgreSQL went away


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectedPrimary:
    """What an election came to; without ``storage`` none is stored and nobody may become one."""

    storage: Storage | None
    previous: Storage | None
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PrimaryMove:
    """A wish to move one repository's primary off a storage, on one process's own evidence."""

    virtual_storage: VirtualStorage
    repository_id: RepositoryId
    dead: Storage
    candidates: tuple[Storage, ...]  # storages this process reaches
    praefect_name: str
    evidence_seconds: float  # for how long the evidence has lasted


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaMetadata:
    """One replica, or a storage that shall have one."""

    storage: Storage
    generation: int  # UNKNOWN_GENERATION without a record
    assigned: bool
    healthy: bool
    valid_primary: bool
    verified_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryMetadata:
    """Everything the records say of one repository; replicas by storage name."""

    repository_id: RepositoryId
    virtual_storage: VirtualStorage
    relative_path: RelativePath
    replica_path: ReplicaPath
    primary: Storage | None
    generation: int
    replicas: tuple[ReplicaMetadata, ...]
    explicitly_assigned: bool = False  # to at least one configured storage


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLoss:
    """How far one replica is behind, for a report on data loss."""

    storage: Storage
    behind_by: int
    assigned: bool
    healthy: bool
    valid_primary: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DatalossRepository:
    """A repository that is not available, or not on all assigned storages."""

    repository_id: RepositoryId
    relative_path: RelativePath
    primary: Storage | None
    unavailable: bool
    replicas: tuple[ReplicaLoss, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRepository:
    """A repository to be recorded."""

    repository_id: RepositoryId
    virtual_storage: VirtualStorage
    relative_path: RelativePath
    replica_path: ReplicaPath
    primary: Storage
    updated: tuple[Storage, ...]
    outdated: tuple[Storage, ...]
    store_assignments: bool


def dataloss_of(metadata: RepositoryMetadata) -> DatalossRepository:
    """Return how far each replica is behind its repository."""
    return DatalossRepository(
        repository_id=metadata.repository_id,
        relative_path=metadata.relative_path,
        primary=metadata.primary,
        unavailable=not any(replica.valid_primary for replica in metadata.replicas),
        replicas=tuple(
            ReplicaLoss(
                storage=replica.storage,
                behind_by=metadata.generation - replica.generation,
                assigned=replica.assigned,
                healthy=replica.healthy,
                valid_primary=replica.valid_primary,
            )
            for replica in metadata.replicas
        ),
    )


def derive_replica_path(relative_path: RelativePath, repository_id: RepositoryId) -> ReplicaPath:
    """Return the path a new repository gets on all disks: by its id, beside the pools if the client calls it one."""
    digest = hashlib.sha256(str(repository_id).encode("ascii")).hexdigest()
    kind = "pools" if is_rails_pool_path(relative_path) else "repositories"
    return ReplicaPath(f"@cluster/{kind}/{digest[:2]}/{digest[2:4]}/{repository_id}")


def is_rails_pool_path(path: str) -> bool:
    """Return whether ``path`` ends as GitLab names object pools, the directories matching the name."""
    return _RAILS_POOL.search(path) is not None


def is_praefect_pool_path(path: str) -> bool:
    """Return whether ``path`` ends as Praefect names object pools on disks."""
    return _PRAEFECT_POOL.search(path) is not None
