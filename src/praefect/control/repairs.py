"""Queueing copies to replicas that were found to be wrong, at once; what is missed here the reconciler finds."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from praefect.domain.doubts import CurrentReplicas
from praefect.domain.errors import PraefectError
from praefect.domain.replication import Change, DuplicateReplicationEventError, ReplicationJob
from praefect.domain.repository import Storage
from praefect.observability.correlation import new_correlation_id
from praefect.observability.log import get_logger

_log = get_logger("doubts")


class JobQueue(Protocol):
    """The replication queue."""

    async def enqueue(self, job: ReplicationJob, *, correlation_id: str) -> object:
        """Store a job; raise DuplicateReplicationEventError where a like one is waiting."""


async def queue_repairs(
    queue: JobQueue, current: CurrentReplicas, sources: Collection[Storage], targets: Collection[Storage]
) -> None:
    """Queue a copy to each target, from the primary if it is one of the sources."""
    source = current.primary if current.primary in sources else min(sources)
    correlation_id = new_correlation_id()
    for target in targets:
        job = ReplicationJob(
            repository_id=current.repository_id,
            change=Change.UPDATE,
            virtual_storage=current.virtual_storage,
            relative_path=current.relative_path,
            source_node_storage=source,
            target_node_storage=target,
        )
        try:
            await queue.enqueue(job, correlation_id=correlation_id)
        except DuplicateReplicationEventError:
            continue
        except PraefectError as exc:
            _log.error("repair was not queued", target=target, error=str(exc))
