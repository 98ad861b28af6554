"""Replication: jobs and their states, and what the loops hand over to each other.

Source: the Praefect reference on jobs and the queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from praefect.domain.errors import AlreadyExistsError
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage


class Change(StrEnum):
    """What is to be done to a replica."""

    UPDATE = "update"
    CREATE = "create"
    DELETE = "delete"
    DELETE_REPLICA = "delete_replica"


class EventState(StrEnum):
    """Where a job is in its life."""

    READY = "ready"
    IN_PROGRESS = "in_progress"
    FAILED = "failed"
    COMPLETED = "completed"
    DEAD = "dead"
    CANCELLED = "cancelled"


class DuplicateReplicationEventError(AlreadyExistsError):
    """A like job is waiting already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationJob:
    """What to do, to which replica, from which source."""

    repository_id: RepositoryId
    change: Change
    virtual_storage: VirtualStorage
    relative_path: RelativePath
    target_node_storage: Storage
    source_node_storage: Storage | None = None
    replica_path: ReplicaPath | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationEvent:
    """A job in the queue."""

    id: int
    job: ReplicationJob
    state: EventState
    attempt: int
    lock_id: str
    created_at: datetime
    updated_at: datetime | None
    correlation_id: str

    def describe(self) -> dict[str, object]:
        """Return the event as log lines show it."""
        job = self.job
        return {
            "ID": self.id,
            "State": self.state.value,
            "Attempt": self.attempt,
            "LockID": self.lock_id,
            "CreatedAt": self.created_at.isoformat(),
            "UpdatedAt": self.updated_at.isoformat() if self.updated_at else None,
            "Job": {
                "repository_id": job.repository_id,
                "replica_path": job.replica_path or "",
                "change": job.change.value,
                "relative_path": job.relative_path,
                "target_node_storage": job.target_node_storage,
                "source_node_storage": job.source_node_storage or "",
                "virtual_storage": job.virtual_storage,
                "params": None,
            },
            "Meta": {"correlation_id": self.correlation_id},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob:
    """A job that the reconciler made."""

    repository_id: RepositoryId
    change: Change
    correlation_id: str
    virtual_storage: VirtualStorage
    relative_path: RelativePath
    source_storage: Storage | None
    target_storage: Storage

    def describe(self) -> dict[str, object]:
        """Return the job as log lines show it."""
        described: dict[str, object] = {
            "repository_id": self.repository_id,
            "change": self.change.value,
            "correlation_id": self.correlation_id,
            "virtual_storage": self.virtual_storage,
            "relative_path": self.relative_path,
        }
        if self.source_storage is not None:
            described["source_storage"] = self.source_storage
        return {**described, "target_storage": self.target_storage}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaToVerify:
    """A replica whose existence is to be checked."""

    repository_id: RepositoryId
    virtual_storage: VirtualStorage
    relative_path: RelativePath
    replica_path: ReplicaPath
    storage: Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageCleanup:
    """A storage that is being searched for unknown repositories."""

    virtual_storage: VirtualStorage
    storage: Storage
