"""Numbers about a repository: RepositorySize, GetObjectDirectorySize, ObjectsSize, Fsck."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, InvalidArgumentError, NotFoundError
from praefect.node.git.command import Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.names import check_pseudo_revision
from praefect.node.git.revisions import rev_list
from praefect.node.services.repository.part import RepositoryPart
from praefect.proto.repository_pb2 import (
    FsckRequest,
    FsckResponse,
    GetObjectDirectorySizeRequest,
    GetObjectDirectorySizeResponse,
    ObjectsSizeRequest,
    ObjectsSizeResponse,
    RepositorySizeRequest,
    RepositorySizeResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container

    from praefect.transport.grpc.server_call import ServerCall

_WORKTREES = frozenset(["worktrees", "gitlab-worktree"])


def directory_size(directory: Path, *, skip: Container[str] = ()) -> int:
    """Return the bytes of all files below ``directory``; what vanishes meanwhile is not counted. Blocks."""
    total = 0
    for place, names, files in os.walk(directory):
        if Path(place) == directory:
            names[:] = [name for name in names if name not in skip]
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += Path(place, name).lstat().st_size
    return total


class InspectionPart(RepositoryPart):
    """RPCs that measure and check."""

    async def repository_size(self, request: RepositorySizeRequest, call: ServerCall) -> RepositorySizeResponse:
        """Return the KiB the repository takes on disk."""
        del call
        repository = self._storages.open(request.repository)
        size = await asyncio.to_thread(directory_size, repository.path, skip=_WORKTREES)
        return RepositorySizeResponse(size=size // 1024)

    async def get_object_directory_size(
        self, request: GetObjectDirectorySizeRequest, call: ServerCall
    ) -> GetObjectDirectorySizeResponse:
        """Return the KiB of the object directory that the request names."""
        del call
        message = request.repository
        repository = self._storages.locate(message)
        if not message.git_object_directory:
            raise InvalidArgumentError("object directory path is not set")
        repository = self._storages.open(message)
        directory = repository.resolve_inside(message.git_object_directory)
        return GetObjectDirectorySizeResponse(size=await asyncio.to_thread(directory_size, directory) // 1024)

    async def objects_size(self, requests: AsyncIterator[ObjectsSizeRequest], call: ServerCall) -> ObjectsSizeResponse:
        """Return the bytes on disk of everything the revisions reach."""
        del call
        first = await anext(requests, None)
        if first is None:
            raise InternalError("receiving initial request: EOF")
        repository = self._storages.open(first.repository)
        if not first.revisions:
            raise InvalidArgumentError("no revisions specified")
        revisions = _revisions(first)
        async for request in requests:
            if request.HasField("repository"):
                raise InvalidArgumentError("subsequent requests must not contain repository")
            revisions += _revisions(request)
        flags = ["--disk-usage", "--objects", "--use-bitmap-index"]
        try:
            output = await rev_list(self._git, repository, flags, revisions)
        except GitCommandError as exc:
            if b"bad revision" in exc.stderr:
                raise NotFoundError("revision not found") from exc
            raise wrap("rev-list", exc) from exc
        return ObjectsSizeResponse(size=int(output.strip() or b"0"))

    async def fsck(self, request: FsckRequest, call: ServerCall) -> FsckResponse:
        """Check the repository; what is wrong is the answer's text."""
        del call
        repository = self._storages.open(request.repository)
        flags = ["--no-progress", "--no-dangling"]
        if request.repo_only:
            flags.append("--no-full")
        completed = await self._git.run(repository, Command(name="fsck", flags=flags))
        return FsckResponse(error=completed.stdout + completed.stderr if completed.returncode else b"")


def _revisions(request: ObjectsSizeRequest) -> list[bytes]:
    return [check_pseudo_revision(revision, allow_path=True) for revision in request.revisions]
