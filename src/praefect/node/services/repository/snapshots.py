"""GetSnapshot and CreateRepositoryFromSnapshot."""

from __future__ import annotations

import socket
from contextlib import aclosing
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from praefect.domain.errors import InternalError, InvalidArgumentError, PraefectError
from praefect.node.creation import Blueprint, create_repository
from praefect.node.services.repository.part import RepositoryPart
from praefect.node.snapshot import snapshot, unpack_snapshot
from praefect.proto.repository_pb2 import (
    CreateRepositoryFromSnapshotRequest,
    CreateRepositoryFromSnapshotResponse,
    GetSnapshotRequest,
    GetSnapshotResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from aiohttp.abc import ResolveResult

    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_CHUNK_BYTES = 128 * 1024


class SnapshotPart(RepositoryPart):
    """RPCs about whole repositories as archives."""

    async def get_snapshot(
        self, request: GetSnapshotRequest, call: ServerCall
    ) -> AsyncGenerator[GetSnapshotResponse, None]:
        """Yield the repository as an archive."""
        del call
        repository = self._storages.open(request.repository)
        async with aclosing(await snapshot(self._git, repository)) as archive:
            async for chunk in archive:
                yield GetSnapshotResponse(data=chunk)

    async def create_repository_from_snapshot(
        self, request: CreateRepositoryFromSnapshotRequest, call: ServerCall
    ) -> CreateRepositoryFromSnapshotResponse:
        """Create a repository from an archive that a web server has."""
        self._storages.locate(request.repository)
        _check_source(request)

        async def seed(built: LocalRepository) -> None:
            async with aclosing(_download(request)) as archive:
                await unpack_snapshot(built, archive)

        try:
            await create_repository(
                self._context, request.repository, self._context.voter(call), seed=seed, blueprint=Blueprint()
            )
        except PraefectError as exc:
            raise wrap("creating repository", exc) from exc
        return CreateRepositoryFromSnapshotResponse()


def _check_source(request: CreateRepositoryFromSnapshotRequest) -> None:
    try:
        url = urlsplit(request.http_url)
    except ValueError as exc:
        raise InvalidArgumentError(f"bad HTTP URL: {exc}") from exc
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise InvalidArgumentError("bad HTTP URL: unsupported scheme or no host")
    if request.resolved_address and not _is_address(request.resolved_address):
        raise InvalidArgumentError("bad resolved address")


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


class _Pinned(AbstractResolver):
    """Answers every name with one address, so that what was checked is what is called."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        del family
        found = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [{"hostname": host, "host": self._address, "port": port, "family": found, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        """Do nothing."""


async def _download(request: CreateRepositoryFromSnapshotRequest) -> AsyncGenerator[bytes, None]:
    resolver = _Pinned(request.resolved_address) if request.resolved_address else None
    headers = {"Authorization": request.http_auth} if request.http_auth else {}
    connector = aiohttp.TCPConnector(resolver=resolver)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, headers=headers) as session,
            session.get(request.http_url, allow_redirects=False) as response,
        ):
            if response.status >= 300:
                raise InternalError(f"HTTP server: {response.status} {response.reason}")
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                yield chunk
    except aiohttp.ClientError as exc:
        raise InternalError(f"HTTP request: {exc}") from exc
