"""Files of a repository besides its objects: GetConfig, GetCustomHooks, SetCustomHooks and their old names."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from praefect.domain.errors import InternalError, NotFoundError, PraefectError
from praefect.node.custom_hooks import DIRECTORY, set_custom_hooks
from praefect.node.services.repository.part import RepositoryPart
from praefect.node.services.streaming import byte_chunks
from praefect.node.storage.tar_writer import tar_stream, tree_members
from praefect.proto.repository_pb2 import (
    BackupCustomHooksRequest,
    BackupCustomHooksResponse,
    GetConfigRequest,
    GetConfigResponse,
    GetCustomHooksRequest,
    GetCustomHooksResponse,
    RestoreCustomHooksRequest,
    RestoreCustomHooksResponse,
    SetCustomHooksRequest,
    SetCustomHooksResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_HooksRequest = TypeVar("_HooksRequest", SetCustomHooksRequest, RestoreCustomHooksRequest)


class FilesPart(RepositoryPart):
    """RPCs about configuration and custom hooks."""

    async def get_config(self, request: GetConfigRequest, call: ServerCall) -> AsyncGenerator[GetConfigResponse, None]:
        """Yield the bytes of the repository's configuration file."""
        del call
        repository = self._storages.open(request.repository)
        try:
            content = (repository.path / "config").read_bytes()
        except FileNotFoundError as exc:
            raise NotFoundError(f"opening gitconfig: open {repository.path}/config: no such file or directory") from exc
        for chunk in byte_chunks(content):
            yield GetConfigResponse(data=chunk)

    async def get_custom_hooks(
        self, request: GetCustomHooksRequest, call: ServerCall
    ) -> AsyncGenerator[GetCustomHooksResponse, None]:
        """Yield an archive of the custom hooks, nothing if there are none."""
        del call
        repository = self._storages.open(request.repository)
        async with aclosing(_hooks_archive(repository)) as archive:
            async for chunk in archive:
                yield GetCustomHooksResponse(data=chunk)

    async def backup_custom_hooks(
        self, request: BackupCustomHooksRequest, call: ServerCall
    ) -> AsyncGenerator[BackupCustomHooksResponse, None]:
        """Yield an archive of the custom hooks, nothing if there are none."""
        del call
        repository = self._storages.open(request.repository)
        async with aclosing(_hooks_archive(repository)) as archive:
            async for chunk in archive:
                yield BackupCustomHooksResponse(data=chunk)

    async def set_custom_hooks(
        self, requests: AsyncIterator[SetCustomHooksRequest], call: ServerCall
    ) -> SetCustomHooksResponse:
        """Replace the custom hooks by those of an archive."""
        await self._set_hooks(requests, call)
        return SetCustomHooksResponse()

    async def restore_custom_hooks(
        self, requests: AsyncIterator[RestoreCustomHooksRequest], call: ServerCall
    ) -> RestoreCustomHooksResponse:
        """Replace the custom hooks by those of an archive."""
        await self._set_hooks(requests, call)
        return RestoreCustomHooksResponse()

    async def _set_hooks(self, requests: AsyncIterator[_HooksRequest], call: ServerCall) -> None:
        first = await anext(requests, None)
        if first is None:
            raise InternalError("first request failed EOF")
        repository = self._storages.open(first.repository)
        try:
            await set_custom_hooks(self._context, repository, _archive(first.data, requests), self._context.voter(call))
        except PraefectError as exc:
            raise wrap("setting custom hooks", exc) from exc


async def _archive(first: bytes, requests: AsyncIterator[_HooksRequest]) -> AsyncGenerator[bytes, None]:
    if first:
        yield first
    async for request in requests:
        if request.data:
            yield request.data


def _hooks_archive(repository: LocalRepository) -> AsyncGenerator[bytes, None]:
    directory = repository.path / DIRECTORY
    return tar_stream(tree_members(directory, DIRECTORY) if directory.is_dir() else ())
