"""What a settlement asks of nodes: what a replica holds, and the removal of what an interrupted creation left."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from praefect.domain.doubts import EMPTY_STATE, Sight, State, Unknown
from praefect.domain.errors import PraefectError
from praefect.domain.repository import ReplicaPath, Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.proto import ref_pb2, repository_pb2, shared_pb2
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.status import StatusCode, StatusError

COMPARE_SECONDS = 20.0
REMOVE_SECONDS = 10.0

_INVALID = frozenset({StatusCode.NOT_FOUND, StatusCode.DATA_LOSS, StatusCode.FAILED_PRECONDITION})

_log = get_logger("doubts")


class NodeChannels(Protocol):
    """Connections to nodes."""

    def channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel | None:
        """Return the channel to a node, ``None`` for one that is not configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaStates:
    """Asks the nodes, all at once."""

    nodes: NodeChannels

    async def read(
        self, virtual_storage: VirtualStorage, replica_path: ReplicaPath, storages: Collection[Storage], sight: Sight
    ) -> Mapping[Storage, State]:
        """Return the state of each replica; equal texts mean equal replicas, as far as the sight asks for."""
        states: dict[Storage, State] = {}

        async def read_one(storage: Storage) -> None:
            states[storage] = await self._read(virtual_storage, storage, replica_path, sight)

        async with asyncio.TaskGroup() as group:
            for storage in storages:
                group.create_task(read_one(storage), name=f"compare {storage}")
        return states

    async def remove(
        self, virtual_storage: VirtualStorage, replica_path: ReplicaPath, storages: Collection[Storage]
    ) -> bool:
        """Remove a directory that no record names; return whether it is gone from every storage."""
        gone: list[Storage] = []

        async def remove_one(storage: Storage) -> None:
            if await self._remove(virtual_storage, storage, replica_path):
                gone.append(storage)

        async with asyncio.TaskGroup() as group:
            for storage in storages:
                group.create_task(remove_one(storage), name=f"remove from {storage}")
        return len(gone) == len(storages)

    async def _read(
        self, virtual_storage: VirtualStorage, storage: Storage, replica_path: ReplicaPath, sight: Sight
    ) -> State:
        channel = self.nodes.channel(virtual_storage, storage)
        if channel is None:
            return Unknown.UNREACHABLE
        repository = shared_pb2.Repository(storage_name=storage, relative_path=replica_path)
        try:
            async with asyncio.timeout(COMPARE_SECONDS):
                return await _read_state(channel, repository, sight)
        except StatusError as exc:
            _log.warning("replica could not be compared", storage=storage, replica_path=replica_path, error=str(exc))
            return Unknown.INVALID if exc.code in _INVALID else Unknown.UNREACHABLE
        except (PraefectError, TimeoutError) as exc:
            _log.warning("replica could not be compared", storage=storage, replica_path=replica_path, error=str(exc))
            return Unknown.UNREACHABLE

    async def _remove(self, virtual_storage: VirtualStorage, storage: Storage, replica_path: ReplicaPath) -> bool:
        channel = self.nodes.channel(virtual_storage, storage)
        if channel is None:
            return True  # it is not part of the cluster any more
        repository = shared_pb2.Repository(storage_name=storage, relative_path=replica_path)
        try:
            async with asyncio.timeout(REMOVE_SECONDS):
                await channel.unary(
                    "/gitaly.RepositoryService/RemoveRepository",
                    repository_pb2.RemoveRepositoryRequest(repository=repository),
                    repository_pb2.RemoveRepositoryResponse,
                )
        except StatusError as exc:
            return exc.code is StatusCode.NOT_FOUND
        except (PraefectError, TimeoutError):
            return False
        return True


async def _read_state(channel: Channel, repository: shared_pb2.Repository, sight: Sight) -> str:
    response = await channel.unary(
        "/gitaly.RepositoryService/CalculateChecksum",
        repository_pb2.CalculateChecksumRequest(repository=repository),
        repository_pb2.CalculateChecksumResponse,
    )
    checksum = response.checksum
    is_empty = not checksum.strip("0")
    if sight is Sight.NOTHING:
        # A state of its own for each replica.
        return EMPTY_STATE if is_empty else f"{repository.storage_name} {checksum}"
    if sight in (Sight.REFERENCES, Sight.HEAD):
        digest = hashlib.sha256()
        count = 0
        async for page in channel.server_stream(
            "/gitaly.RefService/ListRefs",
            ref_pb2.ListRefsRequest(repository=repository, patterns=[b"refs/"], head=True),
            ref_pb2.ListRefsResponse,
        ):
            for reference in page.references:
                count += 1
                digest.update(reference.name + b"\0" + reference.target.encode() + b"\n")
        if count == 0 and is_empty:
            return EMPTY_STATE
        if sight is Sight.HEAD:
            head = await channel.unary(
                "/gitaly.RefService/FindDefaultBranchName",
                ref_pb2.FindDefaultBranchNameRequest(repository=repository, head_only=True),
                ref_pb2.FindDefaultBranchNameResponse,
            )
            digest.update(head.name)
        return f"{checksum} {digest.hexdigest()}"
    return EMPTY_STATE if is_empty else checksum
