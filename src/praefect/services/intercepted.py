"""Methods of forwarded services that Praefect answers itself, because the records decide and not a disk.

RepositoryExists, RemoveRepository, DeleteObjectPool, BackupRepository, GetObjectPool and WalkRepos. They are raw
handlers: one message in, one or several out. Source: the Praefect reference on method-level interceptions.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from praefect.domain.errors import InternalError, InvalidArgumentError, NotFoundError, PraefectError
from praefect.domain.repository import (
    RelativePath,
    ReplicaPath,
    RepositoryId,
    RepositoryMetadata,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
    is_praefect_pool_path,
    is_rails_pool_path,
)
from praefect.observability.log import add_request_fields, get_logger
from praefect.proto import internal_pb2, objectpool_pb2, repository_pb2, shared_pb2
from praefect.services.ports import NodeChannels, seconds_left
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import StatusError

REMOVE_LIMIT_SECONDS = 10.0
MAX_REPOSITORY_ID = (1 << 63) - 1

M = TypeVar("M", bound=Message)

_log = get_logger("praefect.StreamServerInterceptor")


class RoutedReplica(Protocol):
    """Where a read of one repository goes."""

    @property
    def storage(self) -> Storage:
        """The chosen node."""

    @property
    def replica_path(self) -> ReplicaPath:
        """The path on its disk."""


class RoutedStorage(Protocol):
    """Where a read of a storage goes."""

    @property
    def storage(self) -> Storage:
        """The chosen node."""


class ReadRouter(Protocol):
    """The router, for reads."""

    async def route_accessor(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath, *, force_primary: bool
    ) -> RoutedReplica:
        """Choose a node; raise RepositoryNotFoundError."""

    def route_storage_accessor(self, virtual_storage: VirtualStorage) -> RoutedStorage:
        """Choose any healthy node."""


class RepositoryRecords(Protocol):
    """The records these methods read and delete."""

    async def repository_exists(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> bool:
        """Return whether the repository has a record."""

    async def delete_repository(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> tuple[ReplicaPath, Sequence[Storage]]:
        """Delete the record; return path and storages of its replicas; raise RepositoryNotFoundError."""

    async def get_metadata(self, repository_id: RepositoryId) -> RepositoryMetadata:
        """Return everything known of a repository; raise RepositoryNotFoundError."""

    def list_paths(self, virtual_storage: VirtualStorage) -> AsyncIterator[RelativePath]:
        """Yield the relative path of every repository of a virtual storage."""


@dataclass(slots=True, kw_only=True)
class InterceptedMethods:
    """The handlers and what they need.

    Attributes:
        forget: drops an entry of this process's read cache.
        wait_readable: returns when no interrupted write stands before a read; raises DoubtsPendingError.
    """

    records: RepositoryRecords
    router: ReadRouter
    nodes: NodeChannels
    forget: Callable[[VirtualStorage, RelativePath], None]
    wait_readable: Callable[[VirtualStorage, RelativePath], Awaitable[None]]

    def register(self, server: Server) -> None:
        """Add the handlers to a server."""
        server.add_raw("/gitaly.RepositoryService/RepositoryExists", self.repository_exists)
        server.add_raw("/gitaly.RepositoryService/RemoveRepository", self.remove_repository)
        server.add_raw("/gitaly.RepositoryService/BackupRepository", self.backup_repository)
        server.add_raw("/gitaly.ObjectPoolService/DeleteObjectPool", self.delete_object_pool)
        server.add_raw("/gitaly.ObjectPoolService/GetObjectPool", self.get_object_pool)
        server.add_raw("/gitaly.InternalGitaly/WalkRepos", self.walk_repos)

    async def repository_exists(self, call: ServerCall) -> None:
        """Answer from the records; no node is asked."""
        request = await _receive(call, repository_pb2.RepositoryExistsRequest)
        virtual_storage, relative_path = _validate(request.HasField("repository"), request.repository)
        try:
            exists = await self.records.repository_exists(virtual_storage, relative_path)
        except PraefectError as exc:
            raise _prefixed("repository exists: ", exc) from exc
        await _answer(call, repository_pb2.RepositoryExistsResponse(exists=exists))

    async def remove_repository(self, call: ServerCall) -> None:
        """Delete the record, then what is on disks; the record decides."""
        request = await _receive(call, repository_pb2.RemoveRepositoryRequest)
        if not request.HasField("repository"):
            raise InvalidArgumentError("repository not set")

        seconds = _removal_seconds(call)

        async def remove(channel: Channel, storage: Storage, replica_path: ReplicaPath) -> None:
            asked = repository_pb2.RemoveRepositoryRequest()
            asked.CopyFrom(request)
            asked.repository.storage_name, asked.repository.relative_path = storage, replica_path
            await channel.unary(
                "/gitaly.RepositoryService/RemoveRepository",
                asked,
                repository_pb2.RemoveRepositoryResponse,
                timeout=seconds,
            )

        try:
            await self._remove(request.repository, remove)
        except RepositoryNotFoundError as exc:
            raise NotFoundError("repository does not exist") from exc
        await _answer(call, repository_pb2.RemoveRepositoryResponse())

    async def delete_object_pool(self, call: ServerCall) -> None:
        """Delete a pool's record, then what is on disks; one without a record is gone already."""
        request = await _receive(call, objectpool_pb2.DeleteObjectPoolRequest)
        if not (request.HasField("object_pool") and request.object_pool.HasField("repository")):
            raise InvalidArgumentError("no object pool repository")
        repository = request.object_pool.repository
        if not is_rails_pool_path(repository.relative_path):
            raise InvalidArgumentError("invalid object pool directory")

        seconds = _removal_seconds(call)

        async def remove(channel: Channel, storage: Storage, replica_path: ReplicaPath) -> None:
            asked = objectpool_pb2.DeleteObjectPoolRequest()
            asked.CopyFrom(request)
            asked.object_pool.repository.storage_name = storage
            asked.object_pool.repository.relative_path = replica_path
            await channel.unary(
                "/gitaly.ObjectPoolService/DeleteObjectPool",
                asked,
                objectpool_pb2.DeleteObjectPoolResponse,
                timeout=seconds,
            )

        with contextlib.suppress(RepositoryNotFoundError):
            await self._remove(repository, remove)
        await _answer(call, objectpool_pb2.DeleteObjectPoolResponse())

    async def _remove(self, repository: shared_pb2.Repository, remove: RemoveOne) -> None:
        virtual_storage = VirtualStorage(repository.storage_name)
        relative_path = RelativePath(repository.relative_path)
        try:
            replica_path, storages = await self.records.delete_repository(virtual_storage, relative_path)
        except RepositoryNotFoundError:
            raise
        except PraefectError as exc:
            raise _prefixed("delete repository: ", exc) from exc
        self.forget(virtual_storage, relative_path)

        async def one(channel: Channel, storage: Storage) -> None:
            try:
                await remove(channel, storage, replica_path)
            except PraefectError as exc:
                _log.error(
                    "failed deleting repository",
                    virtual_storage=virtual_storage,
                    relative_path=relative_path,
                    storage=storage,
                    error=str(exc),
                )

        async with asyncio.TaskGroup() as removals:
            for storage in storages:
                channel = self.nodes.channel(virtual_storage, storage)
                if channel is not None:
                    removals.create_task(one(channel, storage), name=f"remove from {storage}")

    async def backup_repository(self, call: ServerCall) -> None:
        """Have one node back the repository up; a missing one is backed up as missing."""
        request = await _receive(call, repository_pb2.BackupRepositoryRequest)
        if not request.HasField("repository"):
            raise InvalidArgumentError("repository not set")
        virtual_storage = VirtualStorage(request.repository.storage_name)
        relative_path = RelativePath(request.repository.relative_path)
        await self.wait_readable(virtual_storage, relative_path)
        try:
            route = await self.router.route_accessor(virtual_storage, relative_path, force_primary=False)
        except RepositoryNotFoundError:
            request.repository.storage_name = self.router.route_storage_accessor(virtual_storage).storage
        else:
            request.repository.storage_name = route.storage
            request.repository.relative_path = route.replica_path
        channel = self._channel(virtual_storage, Storage(request.repository.storage_name))
        response = await channel.unary(
            "/gitaly.RepositoryService/BackupRepository",
            request,
            repository_pb2.BackupRepositoryResponse,
            timeout=seconds_left(call),
        )
        await _answer(call, response)

    async def get_object_pool(self, call: ServerCall) -> None:
        """Ask a node for a repository's pool and translate the path on disk to the client's."""
        request = await _receive(call, objectpool_pb2.GetObjectPoolRequest)
        repository = request.repository
        if not (repository.storage_name and repository.relative_path):
            raise InvalidArgumentError("repository not set")
        virtual_storage, relative_path = VirtualStorage(repository.storage_name), RelativePath(repository.relative_path)
        await self.wait_readable(virtual_storage, relative_path)
        try:
            route = await self.router.route_accessor(virtual_storage, relative_path, force_primary=False)
        except RepositoryNotFoundError as exc:
            raise NotFoundError("route RPC: consistent storages: repository not found") from exc
        except PraefectError as exc:
            raise _prefixed("route RPC: ", exc) from exc
        try:
            response = await self._channel(virtual_storage, route.storage).unary(
                "/gitaly.ObjectPoolService/GetObjectPool",
                objectpool_pb2.GetObjectPoolRequest(
                    repository=shared_pb2.Repository(storage_name=route.storage, relative_path=route.replica_path)
                ),
                objectpool_pb2.GetObjectPoolResponse,
                timeout=seconds_left(call),
            )
        except PraefectError as exc:
            raise _prefixed("get object pool: ", exc) from exc
        if not response.HasField("object_pool"):
            await _answer(call, objectpool_pb2.GetObjectPoolResponse())
            return
        path = await self._client_path(response.object_pool.repository.relative_path)
        pool = shared_pb2.ObjectPool(repository=shared_pb2.Repository(storage_name=virtual_storage, relative_path=path))
        await _answer(call, objectpool_pb2.GetObjectPoolResponse(object_pool=pool))

    async def _client_path(self, pool_path: str) -> str:
        if not is_praefect_pool_path(pool_path):
            return pool_path
        number = pool_path.rsplit("/", 1)[-1]  # digits, by the path's form
        if int(number) > MAX_REPOSITORY_ID:
            raise InternalError(f'parsing repository ID: strconv.ParseInt: parsing "{number}": value out of range')
        try:
            metadata = await self.records.get_metadata(RepositoryId(int(number)))
        except PraefectError as exc:
            raise InternalError(f"get Praefect repository metadata: {exc}") from exc
        return metadata.relative_path

    async def walk_repos(self, call: ServerCall) -> None:
        """List the records of a virtual storage."""
        request = await _receive(call, internal_pb2.WalkReposRequest)
        if not request.storage_name:
            raise InvalidArgumentError("storage name not set")
        try:
            async for path in self.records.list_paths(VirtualStorage(request.storage_name)):
                await call.send(internal_pb2.WalkReposResponse(relative_path=path).SerializeToString())
        except PraefectError as exc:
            raise _prefixed("list repository paths: ", exc) from exc

    def _channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel:
        channel = self.nodes.channel(virtual_storage, storage)
        if channel is None:
            raise InternalError(f'no connection to node "{virtual_storage}"/"{storage}"')
        return channel


class RemoveOne(Protocol):
    """Removes one replica from one node."""

    async def __call__(self, channel: Channel, storage: Storage, replica_path: ReplicaPath) -> None:
        """Send the request to the node."""


async def _receive(call: ServerCall, message_type: type[M]) -> M:
    raw = await call.receive()
    if raw is None:
        raise InternalError("receive request: EOF")
    message = message_type()
    try:
        message.ParseFromString(raw)
    except DecodeError as exc:
        raise InternalError("receive request: proto: cannot parse invalid wire-format data") from exc
    add_request_fields(_request_fields(message))
    return message


def _request_fields(message: Message) -> dict[str, object]:
    """Return what log lines of the call say of the repository or pool it names."""
    fields: dict[str, object] = {}
    names = message.DESCRIPTOR.fields_by_name
    if "repository" in names and message.HasField("repository"):
        repository: shared_pb2.Repository = message.repository  # type: ignore[attr-defined]  # just looked for
        fields["grpc.request.repoStorage"] = repository.storage_name
        fields["grpc.request.repoPath"] = repository.relative_path
        fields["grpc.request.glRepository"] = repository.gl_repository
        fields["grpc.request.glProjectPath"] = repository.gl_project_path
    if "object_pool" in names and message.HasField("object_pool"):
        pool: shared_pb2.Repository = message.object_pool.repository  # type: ignore[attr-defined]  # just looked for
        fields["grpc.request.pool.storage"] = pool.storage_name
        fields["grpc.request.pool.relativePath"] = pool.relative_path
        fields["grpc.request.pool.sourceProjectPath"] = pool.gl_project_path
    return fields


def _removal_seconds(call: ServerCall) -> float:
    left = seconds_left(call)
    return REMOVE_LIMIT_SECONDS if left is None else min(left, REMOVE_LIMIT_SECONDS)


async def _answer(call: ServerCall, response: Message) -> None:
    await call.send(response.SerializeToString())


def _validate(is_set: bool, repository: shared_pb2.Repository) -> tuple[VirtualStorage, RelativePath]:
    if not is_set:
        raise InvalidArgumentError("repository not set")
    if not repository.storage_name:
        raise InvalidArgumentError("storage name not set")
    if not repository.relative_path:
        raise InvalidArgumentError("repository path not set")
    return VirtualStorage(repository.storage_name), RelativePath(repository.relative_path)


def _prefixed(text: str, exc: PraefectError) -> PraefectError:
    """Return the error with ``text`` in front, its code and details kept."""
    if isinstance(exc, StatusError):
        return StatusError(exc.code, f"{text}{exc.chain_text}", exc.details)
    exc.args = (f"{text}{exc}", *exc.args[1:])
    return exc
