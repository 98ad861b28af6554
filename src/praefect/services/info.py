"""PraefectInfoService: what operators and their commands ask of the records.

Source: the Praefect reference on PraefectInfoService, data loss and replication factors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

from praefect.domain.errors import InternalError, InvalidArgumentError, PraefectError
from praefect.domain.repository import (
    DatalossRepository,
    RelativePath,
    RepositoryId,
    RepositoryMetadata,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
    dataloss_of,
)
from praefect.proto import praefect_pb2, repository_pb2, shared_pb2
from praefect.services.ports import AssignmentGetter, NodeChannels, PrimaryGetter, seconds_left
from praefect.transport.grpc.server_call import ServerCall

MESSAGE_TARGET_BYTES = 1 << 20


class InfoRecords(Protocol):
    """What the service reads and writes of the records."""

    async def get_repository_id(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> RepositoryId:
        """Return the id; raise RepositoryNotFoundError."""

    async def get_replica_path(self, repository_id: RepositoryId) -> str:
        """Return the path on disk; raise RepositoryNotFoundError."""

    async def get_metadata(self, repository_id: RepositoryId) -> RepositoryMetadata:
        """Return everything known of a repository; raise RepositoryNotFoundError."""

    async def get_metadata_by_path(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> RepositoryMetadata:
        """Return everything known of a repository; raise RepositoryNotFoundError."""

    async def set_authoritative_storage(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath, storage: Storage
    ) -> None:
        """Make one replica the newest; raise RepositoryNotFoundError."""

    def dataloss(
        self, virtual_storage: VirtualStorage, *, include_partially_available: bool
    ) -> AsyncIterator[DatalossRepository]:
        """Yield repositories that are not (fully) available, by id."""


class VerificationMarks(Protocol):
    """Forgetting when replicas were verified."""

    async def mark_repository(self, repository_id: RepositoryId) -> int:
        """Return how many replicas were marked."""

    async def mark_virtual_storage(self, virtual_storage: VirtualStorage) -> int:
        """Return how many replicas were marked."""

    async def mark_storage(self, virtual_storage: VirtualStorage, storage: Storage) -> int:
        """Return how many replicas were marked."""


class Disagreements(Protocol):
    """Repositories that are read-only because their replicas differ."""

    async def list_read_only(self, virtual_storage: VirtualStorage) -> Collection[RepositoryId]:
        """Return their numbers."""


class AssignmentSetter(Protocol):
    """Changing replication factors."""

    async def set_replication_factor(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath, factor: int
    ) -> Sequence[Storage]:
        """Assign or release storages until there are ``factor``; return them sorted."""


class PraefectInfoService:
    """Answers from the records; asks nodes only for checksums."""

    def __init__(  # noqa: PLR0913 - one port per parameter, each of few methods
        self,
        *,
        layouts: Mapping[VirtualStorage, Sequence[Storage]],
        records: InfoRecords,
        verification: VerificationMarks,
        assignments: AssignmentGetter,
        factors: AssignmentSetter,
        primaries: PrimaryGetter,
        nodes: NodeChannels,
        disagreements: Disagreements | None = None,
    ) -> None:
        self._layouts = layouts
        self._records = records
        self._verification = verification
        self._assignments = assignments
        self._factors = factors
        self._primaries = primaries
        self._nodes = nodes
        self._disagreements = disagreements

    async def repository_replicas(
        self, request: praefect_pb2.RepositoryReplicasRequest, call: ServerCall
    ) -> praefect_pb2.RepositoryReplicasResponse:
        """Return primary and other assigned replicas with their checksums."""
        virtual_storage = VirtualStorage(request.repository.storage_name)
        relative_path = RelativePath(request.repository.relative_path)
        try:
            repository_id = await self._records.get_repository_id(virtual_storage, relative_path)
        except RepositoryNotFoundError as exc:
            raise InternalError("get repository id: repository not found") from exc
        try:
            primary = await self._primaries.get_primary(virtual_storage, repository_id)
        except PraefectError as exc:
            raise InternalError(f"get primary: {exc}") from exc
        if virtual_storage not in self._layouts:
            raise InternalError(f'get host assignments: virtual storage "{virtual_storage}" not found')
        assigned = await self._assignments.get_assignments(virtual_storage, repository_id)
        if primary not in assigned:
            raise InternalError(f'primary "{primary}" is not an assigned host')
        replica_path = await self._records.get_replica_path(repository_id)
        storages = [primary, *(storage for storage in assigned if storage != primary)]
        details = await self._checksums(virtual_storage, storages, replica_path, request.repository, seconds_left(call))
        return praefect_pb2.RepositoryReplicasResponse(primary=details[0], replicas=details[1:])

    async def _checksums(
        self,
        virtual_storage: VirtualStorage,
        storages: Sequence[Storage],
        replica_path: str,
        repository: shared_pb2.Repository,
        seconds: float | None,
    ) -> list[praefect_pb2.RepositoryReplicasResponse.RepositoryDetails]:
        async def one(storage: Storage) -> praefect_pb2.RepositoryReplicasResponse.RepositoryDetails:
            channel = self._nodes.channel(virtual_storage, storage)
            if channel is None:
                raise InternalError(f'no connection to "{virtual_storage}"/"{storage}"')
            asked = shared_pb2.Repository()
            asked.CopyFrom(repository)
            asked.storage_name, asked.relative_path = storage, replica_path
            response = await channel.unary(
                "/gitaly.RepositoryService/CalculateChecksum",
                repository_pb2.CalculateChecksumRequest(repository=asked),
                repository_pb2.CalculateChecksumResponse,
                timeout=seconds,
            )
            answered = shared_pb2.Repository()
            answered.CopyFrom(repository)
            answered.storage_name = storage
            return praefect_pb2.RepositoryReplicasResponse.RepositoryDetails(
                repository=answered, checksum=response.checksum
            )

        try:
            async with asyncio.TaskGroup() as questions:
                tasks = [questions.create_task(one(storage), name=f"checksum {storage}") for storage in storages]
        except ExceptionGroup as group:
            raise group.exceptions[0] from group
        return [task.result() for task in tasks]

    async def dataloss(
        self, request: praefect_pb2.DatalossRequest, _call: ServerCall
    ) -> AsyncIterator[praefect_pb2.DatalossResponse]:
        """Stream repositories that are unavailable or read-only or, if asked, partially available.

        Of a read-only one no replica may be primary, although it is not unavailable: both cannot be said otherwise.
        """
        virtual_storage = VirtualStorage(request.virtual_storage)
        if virtual_storage not in self._layouts:
            raise InternalError(f'unknown virtual storage: "{virtual_storage}"')
        response, size = praefect_pb2.DatalossResponse(), 0
        async for repository in self._lost(virtual_storage, partially=request.include_partially_replicated):
            message = _dataloss_message(repository)
            size += message.ByteSize()
            if response.repositories and size > MESSAGE_TARGET_BYTES:
                yield response
                response, size = praefect_pb2.DatalossResponse(), message.ByteSize()
            response.repositories.append(message)
        if response.repositories:
            yield response

    async def _lost(self, virtual_storage: VirtualStorage, *, partially: bool) -> AsyncIterator[DatalossRepository]:
        disagreements = self._disagreements
        read_only = set() if disagreements is None else set(await disagreements.list_read_only(virtual_storage))
        async for repository in self._records.dataloss(virtual_storage, include_partially_available=partially):
            yield _read_only(repository) if repository.repository_id in read_only else repository
            read_only.discard(repository.repository_id)
        for repository_id in sorted(read_only):
            try:
                metadata = await self._records.get_metadata(repository_id)
            except RepositoryNotFoundError:
                continue
            yield _read_only(dataloss_of(metadata))

    async def set_authoritative_storage(
        self, request: praefect_pb2.SetAuthoritativeStorageRequest, _call: ServerCall
    ) -> praefect_pb2.SetAuthoritativeStorageResponse:
        """Accept data loss: declare one replica the newest."""
        virtual_storage = VirtualStorage(request.virtual_storage)
        storage = Storage(request.authoritative_storage)
        if virtual_storage not in self._layouts:
            raise InvalidArgumentError(f'unknown virtual storage: "{virtual_storage}"')
        if storage not in self._layouts[virtual_storage]:
            raise InvalidArgumentError(f'unknown authoritative storage: "{storage}"')
        try:
            await self._records.set_authoritative_storage(virtual_storage, RelativePath(request.relative_path), storage)
        except RepositoryNotFoundError as exc:
            raise InvalidArgumentError("repository does not exist on virtual storage") from exc
        return praefect_pb2.SetAuthoritativeStorageResponse()

    async def mark_unverified(
        self, request: praefect_pb2.MarkUnverifiedRequest, _call: ServerCall
    ) -> praefect_pb2.MarkUnverifiedResponse:
        """Have replicas verified soon."""
        match request.WhichOneof("selector"):
            case "repository_id":
                marked = await self._verification.mark_repository(RepositoryId(request.repository_id))
            case "virtual_storage":
                marked = await self._verification.mark_virtual_storage(VirtualStorage(request.virtual_storage))
            case "storage":
                marked = await self._verification.mark_storage(
                    VirtualStorage(request.storage.virtual_storage), Storage(request.storage.storage)
                )
            case _:
                raise InternalError("unknown selector: <nil>")
        return praefect_pb2.MarkUnverifiedResponse(replicas_marked=marked)

    async def set_replication_factor(
        self, request: praefect_pb2.SetReplicationFactorRequest, _call: ServerCall
    ) -> praefect_pb2.SetReplicationFactorResponse:
        """Set on how many storages a repository shall be."""
        virtual_storage, factor = VirtualStorage(request.virtual_storage), request.replication_factor
        configured = self._layouts.get(virtual_storage)
        problem = None
        if configured is None:
            problem = f'virtual storage "{virtual_storage}" not found'
        elif factor < 1:
            problem = f"attempted to set replication factor {factor} but minimum is 1"
        elif factor > len(configured):
            problem = (
                f"attempted to set replication factor {factor} but virtual storage only contains "
                f"{len(configured)} storages"
            )
        if problem is not None:
            raise InvalidArgumentError(f"set replication factor: {problem}")
        try:
            storages = await self._factors.set_replication_factor(
                virtual_storage, RelativePath(request.relative_path), factor
            )
        except RepositoryNotFoundError as exc:
            raise InvalidArgumentError(
                f'set replication factor: repository "{virtual_storage}"/"{request.relative_path}" not found'
            ) from exc
        return praefect_pb2.SetReplicationFactorResponse(storages=storages)

    async def get_repository_metadata(
        self, request: praefect_pb2.GetRepositoryMetadataRequest, _call: ServerCall
    ) -> praefect_pb2.GetRepositoryMetadataResponse:
        """Return everything known of one repository."""
        match request.WhichOneof("query"):
            case "repository_id":
                metadata = await self._records.get_metadata(RepositoryId(request.repository_id))
            case "path":
                metadata = await self._records.get_metadata_by_path(
                    VirtualStorage(request.path.virtual_storage), RelativePath(request.path.relative_path)
                )
            case _:
                raise InternalError("unknown query type: <nil>")
        return _metadata_message(metadata)


def _read_only(repository: DatalossRepository) -> DatalossRepository:
    return replace(repository, replicas=tuple(replace(replica, valid_primary=False) for replica in repository.replicas))


def _dataloss_message(repository: DatalossRepository) -> praefect_pb2.DatalossResponse.Repository:
    return praefect_pb2.DatalossResponse.Repository(
        relative_path=repository.relative_path,
        primary=repository.primary or "",
        unavailable=repository.unavailable,
        storages=[
            praefect_pb2.DatalossResponse.Repository.Storage(
                name=replica.storage,
                behind_by=replica.behind_by,
                assigned=replica.assigned,
                healthy=replica.healthy,
                valid_primary=replica.valid_primary,
            )
            for replica in repository.replicas
        ],
    )


def _metadata_message(metadata: RepositoryMetadata) -> praefect_pb2.GetRepositoryMetadataResponse:
    return praefect_pb2.GetRepositoryMetadataResponse(
        repository_id=metadata.repository_id,
        virtual_storage=metadata.virtual_storage,
        relative_path=metadata.relative_path,
        replica_path=metadata.replica_path,
        primary=metadata.primary or "",
        generation=metadata.generation,
        replicas=[
            praefect_pb2.GetRepositoryMetadataResponse.Replica(
                storage=replica.storage,
                assigned=replica.assigned,
                generation=replica.generation,
                healthy=replica.healthy,
                valid_primary=replica.valid_primary,
                verified_at=_timestamp(replica.verified_at),
            )
            for replica in metadata.replicas
        ],
    )


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
