"""What one replication job does: copy a repository from one node to another, align its pool, or remove it.

Source: the Praefect reference on what a job does.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from praefect.domain.errors import InternalError, PraefectError
from praefect.domain.replication import Change, ReplicationEvent, ReplicationJob
from praefect.domain.repository import (
    RelativePath,
    ReplicaPath,
    RepositoryId,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
)
from praefect.observability.log import get_logger
from praefect.proto import objectpool_pb2, repository_pb2, shared_pb2
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.status import StatusCode, StatusError

_log = get_logger("replicator")

_DIFFERENT_PARTITIONS = "repositories are in different partitions"


class JobFailedError(InternalError):
    """A job could not be done; the message says why."""


class JobDroppedError(InternalError):
    """A job has lost its object; retrying cannot help and nothing is left to do."""


class NodeChannels(Protocol):
    """Connections to nodes, and how a node reaches another."""

    def channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel | None:
        """Return the channel to a node, ``None`` for one that is not configured."""

    def server_info(self, virtual_storage: VirtualStorage, storage: Storage) -> dict[str, str]:
        """Return ``address`` and ``token`` of a node, for another node to use."""


class ReplicaRecords(Protocol):
    """The records a job reads and writes."""

    async def get_replica_path(self, repository_id: RepositoryId) -> ReplicaPath:
        """Return the path on disk; raise RepositoryNotFoundError."""

    async def get_replica_generations(
        self, repository_id: RepositoryId, source: Storage, target: Storage
    ) -> tuple[int | None, int | None]:
        """Return the generations of both replicas, ``None`` for one without a record."""

    async def set_generation(
        self, repository_id: RepositoryId, storage: Storage, relative_path: RelativePath, generation: int
    ) -> None:
        """Record that a replica is at ``generation`` now."""

    async def delete_replica(self, repository_id: RepositoryId, storage: Storage) -> bool:
        """Delete a replica's record; false if there was none."""

    async def delete_invalid_repository(self, repository_id: RepositoryId, storage: Storage) -> None:
        """Delete a replica's record, and the repository's with the last one."""


@dataclass(slots=True, kw_only=True)
class Replicator:
    """Does jobs, one at a time."""

    nodes: NodeChannels
    records: ReplicaRecords
    wait_copyable: Callable[[VirtualStorage, RelativePath], Awaitable[None]] | None = None  # raises if it may not be
    record_copy: Callable[[RepositoryId, Storage, RelativePath, int], Awaitable[None]] | None = None  # tells writes too
    hold_writes: Callable[[VirtualStorage, RelativePath, RepositoryId], AbstractAsyncContextManager[None]] | None = None

    async def process(self, event: ReplicationEvent) -> None:
        """Do one job.

        Raises:
            JobDroppedError: there is nothing left to do.
            PraefectError: it failed and may be tried again.
        """
        job = event.job
        if self.wait_copyable is not None:
            await self.wait_copyable(job.virtual_storage, job.relative_path)
        try:
            replica_path = await self.records.get_replica_path(job.repository_id)
        except RepositoryNotFoundError as exc:
            text = "choose replica path: get replica path: repository not found"
            if job.change is Change.DELETE_REPLICA:
                raise JobDroppedError(text) from exc
            raise JobFailedError(text) from exc
        target = self.nodes.channel(job.virtual_storage, job.target_node_storage)
        if target is None:
            raise JobFailedError(f'no connection to target storage "{job.target_node_storage}"')
        metadata = [("x-gitlab-correlation-id", event.correlation_id)]
        match job.change:
            case Change.UPDATE | Change.CREATE:
                if await self._update(job, replica_path, target, metadata):
                    await self._catch_up(job, replica_path, target, metadata)
            case Change.DELETE | Change.DELETE_REPLICA:
                await self._delete(job, replica_path, target, metadata)

    async def _catch_up(
        self, job: ReplicationJob, replica_path: ReplicaPath, target: Channel, metadata: list[tuple[str, str]]
    ) -> None:
        """Copy once more, with new writes held back, what was written during the copy; else it would never end."""
        if self.hold_writes is None or job.source_node_storage is None:
            return
        generation, copied = await self.records.get_replica_generations(
            job.repository_id, job.source_node_storage, job.target_node_storage
        )
        if generation is not None and copied is not None and copied < generation:
            async with self.hold_writes(job.virtual_storage, job.relative_path, job.repository_id):
                await self._update(job, replica_path, target, metadata)

    async def _update(
        self, job: ReplicationJob, replica_path: ReplicaPath, target: Channel, metadata: list[tuple[str, str]]
    ) -> bool:
        """Copy what the source holds, if that is newer; return whether it was copied and recorded."""
        source_storage = job.source_node_storage
        source = None if source_storage is None else self.nodes.channel(job.virtual_storage, source_storage)
        if source is None or source_storage is None:
            raise JobFailedError(f'no connection to source node "{job.virtual_storage}"/"{source_storage or ""}"')
        generation, target_generation = await self.records.get_replica_generations(
            job.repository_id, source_storage, job.target_node_storage
        )
        if target_generation is not None and target_generation >= (-1 if generation is None else generation):
            _log.info(
                "target repository already on the same generation, skipping replication job"
                if target_generation == generation
                else "repository downgrade prevented",
                virtual_storage=job.virtual_storage,
                replication_job_source=source_storage,
                replication_job_target=job.target_node_storage,
                error=f'attempted downgrading storage "{job.target_node_storage}" from generation '
                f"{target_generation} to {-1 if generation is None else generation}",
            )
            return False
        server = self.nodes.server_info(job.virtual_storage, source_storage)
        servers = base64.b64encode(json.dumps({source_storage: server}, separators=(",", ":")).encode()).decode()
        metadata = [*metadata, ("gitaly-servers", servers)]
        source_repository = _repository(source_storage, replica_path)
        target_repository = _repository(job.target_node_storage, replica_path)
        try:
            await target.unary(
                "/gitaly.RepositoryService/ReplicateRepository",
                repository_pb2.ReplicateRepositoryRequest(repository=target_repository, source=source_repository),
                repository_pb2.ReplicateRepositoryResponse,
                metadata=metadata,
            )
        except StatusError as exc:
            if _is_invalid_source(exc):
                await self.records.delete_invalid_repository(job.repository_id, source_storage)
                _log.info(
                    "invalid repository record removed",
                    virtual_storage=job.virtual_storage,
                    replication_job_source=source_storage,
                    replication_job_target=job.target_node_storage,
                )
                return False
            raise JobFailedError(f"failed to create repository: {exc.chain_text}") from exc
        await _align_pool(source, source_repository, target, target_repository, metadata)
        if generation is not None:
            record = self.record_copy or self.records.set_generation
            await record(job.repository_id, job.target_node_storage, job.relative_path, generation)
        return generation is not None

    async def _delete(
        self, job: ReplicationJob, replica_path: ReplicaPath, target: Channel, metadata: list[tuple[str, str]]
    ) -> None:
        try:
            await target.unary(
                "/gitaly.RepositoryService/RemoveRepository",
                repository_pb2.RemoveRepositoryRequest(repository=_repository(job.target_node_storage, replica_path)),
                repository_pb2.RemoveRepositoryResponse,
                metadata=metadata,
            )
        except StatusError as exc:
            if exc.code is not StatusCode.NOT_FOUND:
                raise
            # Removed by an attempt whose record was not written; what remains is to record it.
            _log.info("replica was removed already", storage=job.target_node_storage, replica_path=replica_path)
        if not await self.records.delete_replica(job.repository_id, job.target_node_storage):
            _log.info("deleted repository did not have a store entry", storage=job.target_node_storage)


async def _align_pool(
    source: Channel,
    source_repository: shared_pb2.Repository,
    target: Channel,
    target_repository: shared_pb2.Repository,
    metadata: list[tuple[str, str]],
) -> None:
    """Link the target to the pool the source is linked to, or unlink it."""
    wanted = await _get_pool(source, source_repository, metadata)
    present = await _get_pool(target, target_repository, metadata)
    if wanted == present:
        return
    if present is not None:
        await target.unary(
            "/gitaly.ObjectPoolService/DisconnectGitAlternates",
            objectpool_pb2.DisconnectGitAlternatesRequest(repository=target_repository),
            objectpool_pb2.DisconnectGitAlternatesResponse,
            metadata=metadata,
        )
    if wanted is None:
        return
    pool = shared_pb2.ObjectPool(
        repository=shared_pb2.Repository(storage_name=target_repository.storage_name, relative_path=wanted)
    )
    try:
        await target.unary(
            "/gitaly.ObjectPoolService/LinkRepositoryToObjectPool",
            objectpool_pb2.LinkRepositoryToObjectPoolRequest(object_pool=pool, repository=target_repository),
            objectpool_pb2.LinkRepositoryToObjectPoolResponse,
            metadata=metadata,
        )
    except PraefectError as exc:
        if _DIFFERENT_PARTITIONS not in str(exc):
            raise


async def _get_pool(channel: Channel, repository: shared_pb2.Repository, metadata: list[tuple[str, str]]) -> str | None:
    response = await channel.unary(
        "/gitaly.ObjectPoolService/GetObjectPool",
        objectpool_pb2.GetObjectPoolRequest(repository=repository),
        objectpool_pb2.GetObjectPoolResponse,
        metadata=metadata,
    )
    return response.object_pool.repository.relative_path or None


def _repository(storage: Storage, replica_path: ReplicaPath) -> shared_pb2.Repository:
    return shared_pb2.Repository(storage_name=storage, relative_path=replica_path)


def _is_invalid_source(exc: StatusError) -> bool:
    return exc.code is StatusCode.NOT_FOUND and exc.message == "invalid source repository" and not exc.details
