"""What loops ask of nodes: whether a replica exists, and what is on a disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from praefect.domain.errors import InternalError
from praefect.domain.replication import ReplicaToVerify
from praefect.domain.repository import ReplicaPath, Storage, VirtualStorage
from praefect.proto import internal_pb2, repository_pb2, shared_pb2
from praefect.services.ports import NodeChannels

PROBE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ReplicaProbe:
    """Asks one node for one replica."""

    nodes: NodeChannels

    async def exists(self, replica: ReplicaToVerify) -> bool:
        """Return whether the replica is on the node's disk.

        Raises:
            PraefectError: that cannot be told.
        """
        channel = self.nodes.channel(replica.virtual_storage, replica.storage)
        if channel is None:
            raise InternalError(f'no connection to "{replica.virtual_storage}"/"{replica.storage}"')
        response = await channel.unary(
            "/gitaly.RepositoryService/RepositoryExists",
            repository_pb2.RepositoryExistsRequest(
                repository=shared_pb2.Repository(storage_name=replica.storage, relative_path=replica.replica_path)
            ),
            repository_pb2.RepositoryExistsResponse,
            timeout=PROBE_SECONDS,
        )
        return response.exists


@dataclass(frozen=True, slots=True)
class NodeWalker:
    """Lists what is on nodes' disks."""

    nodes: NodeChannels

    async def walk(
        self, virtual_storage: VirtualStorage, storage: Storage, *, older_than: timedelta
    ) -> AsyncIterator[ReplicaPath]:
        """Yield repositories that have not been modified within ``older_than``."""
        channel = self.nodes.channel(virtual_storage, storage)
        if channel is None:
            raise InternalError(f'no connection to "{virtual_storage}"/"{storage}"')
        latest = datetime.now(UTC) - older_than
        async for response in channel.server_stream(
            "/gitaly.InternalGitaly/WalkRepos",
            internal_pb2.WalkReposRequest(storage_name=storage),
            internal_pb2.WalkReposResponse,
        ):
            if response.modification_time.ToDatetime(tzinfo=UTC) <= latest:
                yield ReplicaPath(response.relative_path)
