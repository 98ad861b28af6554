"""Bundles: CreateBundle, CreateBundleFromRefList, FetchBundle, CreateRepositoryFromBundle; and FastExport."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from contextlib import aclosing, asynccontextmanager
from typing import IO, TYPE_CHECKING, TypeVar

from praefect.domain.errors import FailedPreconditionError, InternalError, InvalidArgumentError, PraefectError
from praefect.node.creation import Blueprint, create_repository
from praefect.node.default_branch import set_default_branch
from praefect.node.git.command import NO_HOOKS, Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.names import check_pseudo_revision
from praefect.node.services.repository.part import RepositoryPart
from praefect.node.services.streaming import CHUNK_BYTES, output_chunks
from praefect.node.storage.temporary import discard_in_thread
from praefect.proto.repository_pb2 import (
    CreateBundleFromRefListRequest,
    CreateBundleFromRefListResponse,
    CreateBundleRequest,
    CreateBundleResponse,
    CreateRepositoryFromBundleRequest,
    CreateRepositoryFromBundleResponse,
    FastExportRequest,
    FastExportResponse,
    FetchBundleRequest,
    FetchBundleResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from praefect.node.storage.repository import LocalRepository
    from praefect.node.storage.roots import StorageRoot
    from praefect.transport.grpc.server_call import ServerCall

_Upload = TypeVar("_Upload", CreateRepositoryFromBundleRequest, FetchBundleRequest)
_EMPTY_BUNDLE = b"Refusing to create empty bundle"


class BundlesPart(RepositoryPart):
    """RPCs about bundles."""

    async def create_bundle(
        self, request: CreateBundleRequest, call: ServerCall
    ) -> AsyncGenerator[CreateBundleResponse, None]:
        """Yield a bundle of everything."""
        del call
        repository = self._storages.open(request.repository)
        command = Command(name="bundle", action="create", flags=["--quiet", "-", "--all"])
        async with aclosing(output_chunks(self._git, repository, command)) as chunks:
            async for chunk in chunks:
                yield CreateBundleResponse(data=chunk)

    async def create_bundle_from_ref_list(
        self, requests: AsyncIterator[CreateBundleFromRefListRequest], call: ServerCall
    ) -> AsyncGenerator[CreateBundleFromRefListResponse, None]:
        """Yield a bundle of the named references."""
        del call
        first = await anext(requests, None)
        if first is None:
            raise InternalError("receiving initial request: EOF")
        repository = self._storages.open(first.repository)
        patterns = list(first.patterns)
        async for request in requests:
            patterns += request.patterns
        for pattern in patterns:
            check_pseudo_revision(pattern)
        flags = ["--quiet", "-", "--ignore-missing"]
        pseudo = [pattern for pattern in patterns if pattern.startswith(b"--")]
        if pseudo and not self._git.features.stdin_pseudo_revisions:
            command = Command(name="bundle", action="create", flags=flags, revisions=patterns)
            lines = b""
        else:
            command = Command(name="bundle", action="create", flags=[*flags, "--stdin"])
            lines = b"".join(pattern + b"\n" for pattern in patterns)
        async with self._git.start(repository, command, stdin=PIPE) as process:
            await process.write(lines)
            process.close_stdin()
            while chunk := await process.read(CHUNK_BYTES):
                yield CreateBundleFromRefListResponse(data=chunk)
            try:
                await process.check()
            except GitCommandError as exc:
                if _EMPTY_BUNDLE in exc.stderr:
                    raise FailedPreconditionError("create bundle: refusing to create empty bundle") from exc
                raise wrap("create bundle", exc) from exc

    async def create_repository_from_bundle(
        self, requests: AsyncIterator[CreateRepositoryFromBundleRequest], call: ServerCall
    ) -> CreateRepositoryFromBundleResponse:
        """Create a repository as a clone of a bundle."""
        first = await anext(requests, None)
        if first is None:
            raise InternalError("first request failed: EOF")
        target = self._storages.locate(first.repository)
        async with self._spooled(target.root, first, requests) as file:

            async def seed(built: LocalRepository) -> None:
                await self._clone_bundle(file, built)

            try:
                await create_repository(
                    self._context,
                    first.repository,
                    self._context.voter(call),
                    seed=seed,
                    blueprint=Blueprint(initialise=False),
                )
            except PraefectError as exc:
                raise wrap("creating repository", exc) from exc
        return CreateRepositoryFromBundleResponse()

    async def _clone_bundle(self, file: Path, built: LocalRepository) -> None:
        command = Command(
            name="clone",
            flags=["--quiet", "--mirror"],
            arguments=[str(file), str(built.path)],
            config=[("transfer.fsckObjects", "false")],
            hooks=NO_HOOKS,
        )
        completed = await self._git.run(None, command)
        if completed.returncode != 0:
            raise InternalError(f"cloning bundle: waiting for git-clone: exit status {completed.returncode}")
        await self._git.output(built, Command(name="remote", action="remove", arguments=["origin"], hooks=NO_HOOKS))

    async def fetch_bundle(self, requests: AsyncIterator[FetchBundleRequest], call: ServerCall) -> FetchBundleResponse:
        """Fetch everything in a bundle, perhaps HEAD too."""
        first = await anext(requests, None)
        if first is None:
            raise InternalError("first request failed: EOF")
        repository = self._storages.open(first.repository)
        async with self._spooled(repository.root, first, requests) as file:
            command = Command(
                name="fetch",
                flags=["--no-write-fetch-head", "--quiet", "--atomic"],
                arguments=[str(file), "+refs/*:refs/*"],
                config=[("fetch.fsckObjects", "false")],
                hooks=self._context.reference_hooks(repository, call),
            )
            try:
                await self._git.output(repository, command)
            except GitCommandError as exc:
                raise wrap("fetch bundle", exc) from exc
            if first.update_head:
                await self._update_head(repository, file, call)
        return FetchBundleResponse()

    async def _update_head(self, repository: LocalRepository, file: Path, call: ServerCall) -> None:
        command = Command(name="ls-remote", flags=["--quiet", "--symref"], arguments=[str(file)])
        listing = (await self._git.output(repository, command)).splitlines()
        target = _head_of(listing)
        if target:
            await set_default_branch(repository, target, self._context.voter(call))

    @asynccontextmanager
    async def _spooled(
        self, root: StorageRoot, first: _Upload, requests: AsyncIterator[_Upload]
    ) -> AsyncIterator[Path]:
        """Write an upload into a file that lives as long as the block."""
        directory = self._context.temporary.create(root, "bundle")
        try:
            file = directory / "upload.bundle"
            with file.open("wb") as opened:
                await _spool(opened, first, requests)
            yield file
        finally:
            await discard_in_thread(directory)

    async def fast_export(
        self, request: FastExportRequest, call: ServerCall
    ) -> AsyncGenerator[FastExportResponse, None]:
        """Yield everything in the form of fast-export."""
        del call
        if not request.repository.ByteSize():
            raise InvalidArgumentError("repository is not set")
        repository = self._storages.open(request.repository)
        command = Command(name="fast-export", flags=["--all"])
        async with aclosing(output_chunks(self._git, repository, command)) as chunks:
            async for chunk in chunks:
                yield FastExportResponse(data=chunk)


async def _spool(file: IO[bytes], first: _Upload, requests: AsyncIterator[_Upload]) -> None:
    await asyncio.to_thread(file.write, first.data)
    async for request in requests:
        await asyncio.to_thread(file.write, request.data)


def _head_of(listing: list[bytes]) -> bytes:
    """Return what HEAD of a listing names: as it says, else a branch that is at the same commit."""
    head = b""
    branches: dict[bytes, bytes] = {}
    for line in listing:
        value, _, name = line.partition(b"\t")
        if name == b"HEAD" and value.startswith(b"ref: "):
            return value.removeprefix(b"ref: ")
        if name == b"HEAD":
            head = value
        elif name.startswith(b"refs/heads/"):
            branches[name] = value
    candidates = [name for name, value in branches.items() if value == head]
    for preferred in (b"refs/heads/main", b"refs/heads/master"):
        if preferred in candidates:
            return preferred
    return candidates[0] if candidates else b""
