"""The replication queue: tables ``replication_queue``, ``replication_queue_lock`` and ``replication_queue_job_lock``.

An event belongs to a lock ``VIRTUAL STORAGE|TARGET|PATH``. While a worker has events in progress it holds their locks
and says so every few seconds; who falls silent loses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any, Final

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.errors import InternalError
from praefect.domain.replication import (
    Change,
    DuplicateReplicationEventError,
    EventState,
    ReplicationEvent,
    ReplicationJob,
)
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage

_QUERIES = load_queries("queue")
_CHANGES: Final = [change.value for change in Change]

STALE_AFTER: Final = timedelta(seconds=10)
"""Upstream waits for a minute; who works on a job says so every 5 s there, and every 2 s here."""
"""How long a worker may be silent before its jobs are given to others; shared with other Praefects."""

LOCKS_AT_ONCE: Final = 1000


class UnsupportedEventStateError(InternalError):
    """An event cannot be acknowledged with this state."""

    def __init__(self, state: str) -> None:
        super().__init__(f'event state is not supported: "{state}"')
        self.state = state


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """How many events of one state wait for one target."""

    virtual_storage: VirtualStorage
    target_node_storage: Storage
    state: EventState
    events: int


class QueueStore:
    """The replication queue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(self, job: ReplicationJob, *, correlation_id: str) -> ReplicationEvent:
        """Put a job into the queue.

        Raises:
            DuplicateReplicationEventError: A like job is ready; it will bring over what the caller has just written.
        """
        row = await self._database.fetch_one(
            _QUERIES["enqueue"],
            lock_id=f"{job.virtual_storage}|{job.target_node_storage}|{job.relative_path}",
            virtual_storage=job.virtual_storage,
            relative_path=job.relative_path,
            target=job.target_node_storage,
            change=job.change.value,
            job=Jsonb(_document(job)),
            meta=Jsonb({"correlation_id": correlation_id}),
        )
        if row is None:
            # The empty name stands for the state of the event, which never got one.
            raise DuplicateReplicationEventError(
                f'replication event "" -> "{job.virtual_storage}" -> "{job.target_node_storage}" -> '
                f'"{job.relative_path}" already exists'
            )
        return _event(row)

    async def dequeue(self, virtual_storage: VirtualStorage, target: Storage, limit: int) -> Sequence[ReplicationEvent]:
        """Take up to ``limit`` jobs for one target; they are in progress then and must be refreshed."""
        # Committed once the rows have arrived: jobs taken by a statement whose answer is lost would be nobody's.
        async with self._database.transaction() as transaction:
            rows = await transaction.fetch_all(
                _QUERIES["dequeue"], virtual_storage=virtual_storage, target=target, changes=_CHANGES, size=limit
            )
        return [_event(row) for row in rows]

    async def acknowledge(self, state: EventState, event_ids: Sequence[int]) -> Sequence[int]:
        """Say what became of jobs; return those that were still in progress.

        Raises:
            UnsupportedEventStateError: The state is not one a job ends in.
        """
        if state not in {EventState.COMPLETED, EventState.FAILED, EventState.DEAD}:
            raise UnsupportedEventStateError(state.value)
        if not event_ids:
            return []
        if state is EventState.FAILED:
            rows = await self._database.fetch_all(_QUERIES["fail"], ids=list(event_ids))
        else:
            rows = await self._database.fetch_all(
                _QUERIES["finish"], ids=list(event_ids), is_completed=state is EventState.COMPLETED
            )
        return [row["id"] for row in rows]

    async def refresh(self, events: Sequence[ReplicationEvent]) -> bool:
        """Say that the jobs are still worked on; return False if none of them is the caller's any more."""
        refreshed = await self._database.execute(
            _QUERIES["refresh"], ids=[event.id for event in events], lock_ids=[event.lock_id for event in events]
        )
        return refreshed > 0

    async def acknowledge_stale(self, age: timedelta = STALE_AFTER) -> int:
        """Put back the jobs whose worker fell silent; return how many locks that freed."""
        row = await self._database.fetch_one(_QUERIES["release_stale"], age=age)
        return 0 if row is None else row["released"]

    async def remove_unused_locks(self) -> int:
        """Delete up to a thousand locks that nobody refers to; return how many."""
        await self._database.execute(_QUERIES["release_orphans"])
        return await self._database.execute(_QUERIES["remove_unused_locks"], size=LOCKS_AT_ONCE)

    async def get_depths(self) -> Sequence[QueueDepth]:
        """Return how many events there are, by virtual storage, target and state."""
        return [
            QueueDepth(
                virtual_storage=VirtualStorage(row["virtual_storage"] or ""),
                target_node_storage=Storage(row["target"] or ""),
                state=EventState(row["state"]),
                events=row["events"],
            )
            for row in await self._database.fetch_all(_QUERIES["count_events"])
        ]

    async def delete_events(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> bool:
        """Delete a repository's events that nobody works on; return whether some are in progress."""
        row = await self._database.fetch_one(
            _QUERIES["delete_of_repository"], virtual_storage=virtual_storage, relative_path=relative_path
        )
        return row is not None and bool(row["is_in_progress"])

    async def list_of_repository(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> Sequence[ReplicationEvent]:
        """Return a repository's jobs that are not over, oldest first."""
        rows = await self._database.fetch_all(
            _QUERIES["list_of_repository"],
            virtual_storage=virtual_storage,
            relative_path=relative_path,
            changes=_CHANGES,
        )
        return [_event(row) for row in rows]


def _document(job: ReplicationJob) -> Mapping[str, object]:
    """Return a job as all Praefects store it."""
    return {
        "repository_id": job.repository_id,
        "replica_path": job.replica_path or "",
        "change": job.change.value,
        "relative_path": job.relative_path,
        "target_node_storage": job.target_node_storage,
        "source_node_storage": job.source_node_storage or "",
        "virtual_storage": job.virtual_storage,
        "params": None,
    }


def _event(row: DictRow) -> ReplicationEvent:
    """Return an event; others may have left out keys of its documents, or stored null."""
    job: Mapping[str, Any] = row["job"] or {}
    meta: Mapping[str, Any] = row["meta"] or {}
    source, replica_path, updated_at = job.get("source_node_storage"), job.get("replica_path"), row["updated_at"]
    return ReplicationEvent(
        id=row["id"],
        job=ReplicationJob(
            repository_id=RepositoryId(job.get("repository_id") or 0),
            change=Change(job["change"]),
            virtual_storage=VirtualStorage(job["virtual_storage"]),
            relative_path=RelativePath(job.get("relative_path") or ""),
            target_node_storage=Storage(job["target_node_storage"]),
            source_node_storage=Storage(source) if source else None,
            replica_path=ReplicaPath(replica_path) if replica_path else None,
        ),
        state=EventState(row["state"]),
        attempt=row["attempt"],
        lock_id=row["lock_id"] or "",
        created_at=row["created_at"].replace(tzinfo=UTC),
        updated_at=None if updated_at is None else updated_at.replace(tzinfo=UTC),
        correlation_id=meta.get("correlation_id") or "",
    )
