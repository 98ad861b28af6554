"""ObjectPoolService: repositories that others borrow objects from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.domain.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    PraefectError,
)
from praefect.node.creation import Blueprint, create_repository
from praefect.node.git.command import NO_HOOKS, Command
from praefect.node.git.object_format import object_format_of
from praefect.node.pool_fetch import fetch_into_pool
from praefect.node.pool_links import disconnect, link
from praefect.node.pools import is_pool_path, pool_of
from praefect.node.removal import remove_repository
from praefect.node.storage.repository import is_valid
from praefect.node.voting import SilentVoter
from praefect.proto.objectpool_pb2 import (
    CreateObjectPoolRequest,
    CreateObjectPoolResponse,
    DeleteObjectPoolRequest,
    DeleteObjectPoolResponse,
    DisconnectGitAlternatesRequest,
    DisconnectGitAlternatesResponse,
    FetchIntoObjectPoolRequest,
    FetchIntoObjectPoolResponse,
    GetObjectPoolRequest,
    GetObjectPoolResponse,
    LinkRepositoryToObjectPoolRequest,
    LinkRepositoryToObjectPoolResponse,
)
from praefect.proto.shared_pb2 import ObjectPool
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from praefect.node.context import NodeContext
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall


class ObjectPoolService:
    """RPCs about object pools."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._git = context.git
        self._storages = context.storages

    async def create_object_pool(self, request: CreateObjectPoolRequest, call: ServerCall) -> CreateObjectPoolResponse:
        """Create a pool with everything its first member has."""
        del call
        if not request.HasField("origin"):
            raise InvalidArgumentError("no origin repository")
        if not request.object_pool.HasField("repository"):
            raise InvalidArgumentError("no object pool repository")
        pool = self._locate_pool(request.object_pool)
        if request.origin.storage_name != pool.storage_name:
            raise InvalidArgumentError("origin has different storage than object pool")
        origin = self._storages.open(request.origin)

        async def seed(built: LocalRepository) -> None:
            await self._clone(origin, built)

        try:
            await create_repository(
                self._context,
                request.object_pool.repository,
                SilentVoter(),
                seed=seed,
                blueprint=Blueprint(initialise=False),
            )
        except PraefectError as exc:
            raise wrap("creating object pool", exc) from exc
        return CreateObjectPoolResponse()

    async def delete_object_pool(self, request: DeleteObjectPoolRequest, call: ServerCall) -> DeleteObjectPoolResponse:
        """Delete a pool; one that is missing is no error."""
        del call
        pool = self._locate_pool(request.object_pool)
        if is_valid(pool.path):
            await remove_repository(self._context, pool, SilentVoter())
        return DeleteObjectPoolResponse()

    async def link_repository_to_object_pool(
        self, request: LinkRepositoryToObjectPoolRequest, call: ServerCall
    ) -> LinkRepositoryToObjectPoolResponse:
        """Let a repository borrow the pool's objects."""
        repository = self._storages.open(request.repository)
        pool = self._locate_pool(request.object_pool)
        if not is_valid(pool.path):
            raise FailedPreconditionError("object pool is not a valid git repository")
        await link(repository, pool, self._context.voter(call))
        await self._context.objects.forget(repository)
        return LinkRepositoryToObjectPoolResponse()

    async def disconnect_git_alternates(
        self, request: DisconnectGitAlternatesRequest, call: ServerCall
    ) -> DisconnectGitAlternatesResponse:
        """Give a repository its own copy of everything it borrows."""
        repository = self._storages.open(request.repository)
        await disconnect(self._git, repository, self._context.voter(call))
        await self._context.objects.forget(repository)
        return DisconnectGitAlternatesResponse()

    async def fetch_into_object_pool(
        self, request: FetchIntoObjectPoolRequest, call: ServerCall
    ) -> FetchIntoObjectPoolResponse:
        """Bring the pool up to its first member."""
        if not request.origin.ByteSize():
            raise InvalidArgumentError("origin is empty")
        if not request.object_pool.ByteSize():
            raise InvalidArgumentError("object pool is empty")
        if request.origin.storage_name != request.object_pool.repository.storage_name:
            raise InvalidArgumentError("origin has different storage than object pool")
        origin = self._storages.open(request.origin)
        pool = self._locate_pool(request.object_pool)
        if not is_valid(pool.path):
            raise InvalidArgumentError("object pool invalid: object pool is not a valid git repository")
        await fetch_into_pool(self._context, origin, pool, call)
        return FetchIntoObjectPoolResponse()

    async def get_object_pool(self, request: GetObjectPoolRequest, call: ServerCall) -> GetObjectPoolResponse:
        """Return the pool a repository borrows from, nothing if there is none."""
        del call
        repository = self._storages.open(request.repository)
        pool = await asyncio.to_thread(pool_of, repository)
        if pool is None:
            return GetObjectPoolResponse()
        return GetObjectPoolResponse(object_pool=ObjectPool(repository=pool.message()))

    def _locate_pool(self, message: ObjectPool) -> LocalRepository:
        pool = self._storages.locate(message.repository)
        if not is_pool_path(pool.relative_path):
            raise InvalidArgumentError("invalid object pool directory")
        return pool

    async def _clone(self, origin: LocalRepository, built: LocalRepository) -> None:
        command = Command(
            name="clone",
            flags=["--quiet", "--bare", "--local"],
            arguments=[str(origin.path), str(built.path)],
            environment={"GIT_DEFAULT_HASH": object_format_of(origin.path).value},
            hooks=NO_HOOKS,
        )
        completed = await self._git.run(None, command)
        if completed.returncode != 0:
            raise InternalError(f"cloning to pool: exit status {completed.returncode}, stderr: {completed.stderr!r}")
        section = Command(name="config", flags=["--remove-section"], arguments=["remote.origin"])
        await self._git.run(built, section)
