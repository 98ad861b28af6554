"""RPCs of features that this node does not have: answered as by a node on which they are switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InternalError, InvalidArgumentError
from praefect.node.services.repository.part import RepositoryPart

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from praefect.proto.backup_pb2 import (
        ReadLatestBackupIDRequest,
        ReadLatestBackupIDResponse,
        WriteBackupIDRequest,
        WriteBackupIDResponse,
    )
    from praefect.proto.cluster_pb2 import (
        GetPartitionsRequest,
        GetPartitionsResponse,
        JoinClusterRequest,
        JoinClusterResponse,
        RaftClusterInfoRequest,
        RaftClusterInfoResponse,
        RaftMessageRequest,
        RaftMessageResponse,
        RaftSnapshotMessageRequest,
        RaftSnapshotMessageResponse,
    )
    from praefect.proto.partition_pb2 import (
        BackupPartitionRequest,
        BackupPartitionResponse,
        ListPartitionsRequest,
        ListPartitionsResponse,
    )
    from praefect.proto.repository_pb2 import (
        BackupRepositoryRequest,
        BackupRepositoryResponse,
        GenerateBundleURIRequest,
        GenerateBundleURIResponse,
        MigrateReferenceBackendRequest,
        MigrateReferenceBackendResponse,
        RestoreRepositoryRequest,
        RestoreRepositoryResponse,
    )
    from praefect.transport.grpc.server_call import ServerCall

_NO_BACKUPS = "server-side backups are not configured"
_NO_RAFT = "node is not Raft-enabled"


class BackupService:
    """Markers of backups."""

    async def write_backup_id(self, request: WriteBackupIDRequest, call: ServerCall) -> WriteBackupIDResponse:
        """Refuse."""
        del request, call
        raise FailedPreconditionError(f"write backup ID: {_NO_BACKUPS}")

    async def read_latest_backup_id(
        self, request: ReadLatestBackupIDRequest, call: ServerCall
    ) -> ReadLatestBackupIDResponse:
        """Refuse."""
        del request, call
        raise FailedPreconditionError(f"read latest backup ID: {_NO_BACKUPS}")


class PartitionService:
    """Partitions of the write-ahead log."""

    async def backup_partition(self, request: BackupPartitionRequest, call: ServerCall) -> BackupPartitionResponse:
        """Refuse."""
        del request, call
        raise FailedPreconditionError(f"backup partition: {_NO_BACKUPS}")

    async def list_partitions(self, request: ListPartitionsRequest, call: ServerCall) -> ListPartitionsResponse:
        """Refuse."""
        del request, call
        raise InternalError("transactions not enabled")


class RaftService:
    """Replication of the write-ahead log between nodes."""

    async def send_message(self, requests: AsyncIterator[RaftMessageRequest], call: ServerCall) -> RaftMessageResponse:
        """Refuse."""
        del requests, call
        raise InternalError(_NO_RAFT)

    async def send_snapshot(
        self, requests: AsyncIterator[RaftSnapshotMessageRequest], call: ServerCall
    ) -> RaftSnapshotMessageResponse:
        """Refuse."""
        del requests, call
        raise InternalError(_NO_RAFT)

    async def join_cluster(self, request: JoinClusterRequest, call: ServerCall) -> JoinClusterResponse:
        """Refuse."""
        del request, call
        raise InternalError(_NO_RAFT)

    async def get_partitions(
        self, request: GetPartitionsRequest, call: ServerCall
    ) -> AsyncGenerator[GetPartitionsResponse, None]:
        """Refuse."""
        del request, call
        nothing: tuple[GetPartitionsResponse, ...] = ()
        for response in nothing:
            yield response
        raise InternalError(_NO_RAFT)

    async def get_cluster_info(self, request: RaftClusterInfoRequest, call: ServerCall) -> RaftClusterInfoResponse:
        """Refuse."""
        del request, call
        raise InternalError(_NO_RAFT)


class SwitchedOffPart(RepositoryPart):
    """RPCs of RepositoryService that need features this node does not have."""

    async def backup_repository(self, request: BackupRepositoryRequest, call: ServerCall) -> BackupRepositoryResponse:
        """Refuse."""
        del call
        self._storages.locate(request.repository)
        raise FailedPreconditionError(f"backup repository: {_NO_BACKUPS}")

    async def restore_repository(
        self, request: RestoreRepositoryRequest, call: ServerCall
    ) -> RestoreRepositoryResponse:
        """Refuse."""
        del call
        self._storages.locate(request.repository)
        raise FailedPreconditionError(f"restore repository: {_NO_BACKUPS}")

    async def generate_bundle_uri(
        self, request: GenerateBundleURIRequest, call: ServerCall
    ) -> GenerateBundleURIResponse:
        """Refuse."""
        del call
        self._storages.open(request.repository)
        raise FailedPreconditionError("no bundle-generation manager available")

    async def migrate_reference_backend(
        self, request: MigrateReferenceBackendRequest, call: ServerCall
    ) -> MigrateReferenceBackendResponse:
        """Refuse."""
        del call
        self._storages.open(request.repository)
        if not request.target_reference_backend:
            raise InvalidArgumentError("target reference backend not set")
        raise InternalError("transaction not found")
