"""ReplicateRepository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError
from praefect.node.remote import ServersMetadataError, server_of
from praefect.node.replication import Replication
from praefect.node.services.repository.part import RepositoryPart
from praefect.proto.repository_pb2 import ReplicateRepositoryRequest, ReplicateRepositoryResponse
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from praefect.transport.grpc.server_call import ServerCall


class ReplicationPart(RepositoryPart):
    """The RPC that makes a repository equal to another."""

    async def replicate_repository(
        self, request: ReplicateRepositoryRequest, call: ServerCall
    ) -> ReplicateRepositoryResponse:
        """Make the repository equal to the source on another storage; may be repeated at will."""
        self._storages.locate(request.repository)
        if not request.source.ByteSize():
            raise InvalidArgumentError("source repository cannot be empty")
        if request.source.storage_name == request.repository.storage_name:
            raise InvalidArgumentError("repository and source have the same storage")
        try:
            server = server_of(call.metadata, request.source.storage_name)
        except ServersMetadataError as exc:
            raise wrap("new client", exc) from exc
        replication = Replication(self._context, call, source=request.source, target=request.repository, server=server)
        await replication.run()
        return ReplicateRepositoryResponse()
