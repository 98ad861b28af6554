"""InternalGitaly: walking a storage, and what is known of its object pools."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from praefect.domain.errors import FailedPreconditionError, InvalidArgumentError, PraefectError
from praefect.node.pools import is_pool_path, pool_of
from praefect.node.storage.repository import LocalRepository, is_valid
from praefect.node.storage.roots import STATE_DIRECTORY
from praefect.proto.internal_pb2 import (
    ListPoolMetadataRequest,
    ListPoolMetadataResponse,
    ListPoolUpstreamsRequest,
    ListPoolUpstreamsResponse,
    ScanPoolMetadataRequest,
    ScanPoolMetadataResponse,
    StorePoolMetadataRequest,
    StorePoolMetadataResponse,
    WalkReposRequest,
    WalkReposResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence

    from praefect.node.context import NodeContext
    from praefect.node.storage.roots import StorageRoot
    from praefect.transport.grpc.server_call import ServerCall

_API_BATCH = 500
_NOT_CONFIGURED = "pool metadata store not configured"


class PoolMembers(Protocol):
    """Asks GitLab which projects use a pool."""

    async def upstreams(self, storage: str, pools: Sequence[str]) -> Mapping[str, str]:
        """Return, by pool, the path of its one public member, for those of ``pools`` that have exactly one."""


class InternalService:
    """RPCs for Praefect and operators."""

    def __init__(self, context: NodeContext, members: PoolMembers | None = None) -> None:
        self._storages = context.storages
        self._members = members

    async def walk_repos(self, request: WalkReposRequest, call: ServerCall) -> AsyncGenerator[WalkReposResponse, None]:
        """Yield every repository of a storage."""
        del call
        async for path, modified in _walk_in_thread(self._root(request.storage_name)):
            response = WalkReposResponse(relative_path=path)
            response.modification_time.FromNanoseconds(modified)
            yield response

    async def scan_pool_metadata(
        self, request: ScanPoolMetadataRequest, call: ServerCall
    ) -> AsyncGenerator[ScanPoolMetadataResponse, None]:
        """Yield every repository of a storage that borrows from a pool."""
        del call
        root = self._root(request.storage_name)
        async for path, _ in _walk_in_thread(root):
            if is_pool_path(path):
                continue
            member = LocalRepository(root=root, relative_path=path, path=root.path / path)
            pool = await asyncio.to_thread(pool_of, member)
            if pool is not None:
                yield ScanPoolMetadataResponse(relative_path=path, pool_disk_path=pool.relative_path)

    async def store_pool_metadata(
        self, requests: AsyncIterator[StorePoolMetadataRequest], call: ServerCall
    ) -> StorePoolMetadataResponse:
        """Refuse: this node keeps no such store."""
        del call
        async for request in requests:
            if not request.storage_name:
                raise InvalidArgumentError("storage_name is required")
            break
        raise FailedPreconditionError(_NOT_CONFIGURED)

    async def list_pool_metadata(
        self, request: ListPoolMetadataRequest, call: ServerCall
    ) -> AsyncGenerator[ListPoolMetadataResponse, None]:
        """Refuse: this node keeps no such store."""
        del request, call
        nothing: tuple[ListPoolMetadataResponse, ...] = ()
        for response in nothing:
            yield response
        raise FailedPreconditionError(_NOT_CONFIGURED)

    async def list_pool_upstreams(
        self, requests: AsyncIterator[ListPoolUpstreamsRequest], call: ServerCall
    ) -> AsyncGenerator[ListPoolUpstreamsResponse, None]:
        """Yield the public project of each pool that has exactly one."""
        del call
        storage = ""
        pools: list[str] = []
        async for request in requests:
            storage = storage or request.storage_name
            if not storage:
                raise InvalidArgumentError("storage name is required")
            pools += [path.removesuffix(".git") for path in request.pool_disk_paths]
        if self._members is None:
            raise FailedPreconditionError("internal API not configured")
        found: dict[str, str] = {}
        for start in range(0, len(pools), _API_BATCH):
            found.update(await self._members.upstreams(storage, pools[start : start + _API_BATCH]))
        yield ListPoolUpstreamsResponse(upstreams=found)

    def _root(self, name: str) -> StorageRoot:
        try:
            root = self._storages.root(name)
            root.require_directory()
        except PraefectError as exc:
            raise wrap("looking up storage", exc) from exc
        return root


async def _walk_in_thread(root: StorageRoot) -> AsyncGenerator[tuple[str, int], None]:
    found = walk_repositories(root)
    while batch := await asyncio.to_thread(_take, found):
        for each in batch:
            yield each


def _take(found: Iterator[tuple[str, int]]) -> list[tuple[str, int]]:
    batch = []
    for each in found:
        batch.append(each)
        if len(batch) == 100:
            break
    return batch


def walk_repositories(root: StorageRoot) -> Iterator[tuple[str, int]]:
    """Yield path and modification time, in nanoseconds, of each repository; what vanishes is left out. Blocks."""
    for directory, names, _ in os.walk(root.path):
        place = Path(directory)
        if place == root.path:
            names[:] = [name for name in names if name != STATE_DIRECTORY]
        names.sort()
        if is_valid(place):
            names.clear()
            try:
                modified = place.stat().st_mtime_ns
            except FileNotFoundError:
                continue
            yield str(place.relative_to(root.path)), modified
