"""GetArchive."""

from __future__ import annotations

import posixpath
from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InternalError, InvalidArgumentError
from praefect.node.git.command import Command
from praefect.node.git.names import InvalidRevisionError, check_revision
from praefect.node.git.revisions import resolve_commit
from praefect.node.git.trees import find_entry, parse_tree
from praefect.node.services.repository.part import RepositoryPart
from praefect.node.services.streaming import output_chunks
from praefect.proto.repository_pb2 import GetArchiveRequest, GetArchiveResponse
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from praefect.node.git.catfile import ObjectReader
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_FORMATS = {
    GetArchiveRequest.ZIP: "zip",
    GetArchiveRequest.TAR: "tar",
    GetArchiveRequest.TAR_GZ: "tar.gz",
    GetArchiveRequest.TAR_BZ2: "tar.bz2",
}
_COMPRESSORS = [("tar.tar.gz.command", "gzip -c -n"), ("tar.tar.bz2.command", "bzip2 -c")]


class ArchivePart(RepositoryPart):
    """The RPC that packs a commit's files."""

    async def get_archive(
        self, request: GetArchiveRequest, call: ServerCall
    ) -> AsyncGenerator[GetArchiveResponse, None]:
        """Yield an archive of a commit or a directory of it."""
        del call
        repository = self._storages.open(request.repository)
        path, exclude = _paths(request)
        await self._check(repository, request, path, exclude)
        async with aclosing(self._archive(repository, request, path, exclude)) as chunks:
            async for chunk in chunks:
                yield GetArchiveResponse(data=chunk)

    async def _check(
        self, repository: LocalRepository, request: GetArchiveRequest, path: bytes, exclude: list[bytes]
    ) -> None:
        async with self._context.objects.reader(repository) as reader:
            commit = await resolve_commit(reader, request.commit_id.encode())
            if commit is None:
                raise InternalError("object not found")
            if not await _is_there(reader, commit.encode(), path):
                raise FailedPreconditionError("path doesn't exist")
            for index, each in enumerate(exclude):
                full = posixpath.join(path, each) if request.elide_path else each
                if not await _is_there(reader, commit.encode(), full):
                    raise FailedPreconditionError(f"exclude[{index}] doesn't exist")

    async def _archive(
        self, repository: LocalRepository, request: GetArchiveRequest, path: bytes, exclude: list[bytes]
    ) -> AsyncGenerator[bytes, None]:
        commit = request.commit_id.encode()
        pathspecs = [] if path in (b"", b".") else [path]
        if request.elide_path and pathspecs:
            commit, pathspecs = commit + b":" + path, []
        prefix = request.prefix.rstrip("/")
        command = Command(
            name="archive",
            flags=[f"--format={_FORMATS[request.format]}", f"--prefix={prefix}/" if prefix else "--prefix="],
            arguments=[commit],
            paths=[*(pathspecs or [b"."]), *(b":(exclude)" + each for each in exclude)],
            config=_COMPRESSORS,
        )
        async with aclosing(output_chunks(self._git, repository, command)) as chunks:
            async for chunk in chunks:
                yield chunk


def _paths(request: GetArchiveRequest) -> tuple[bytes, list[bytes]]:
    if request.format not in _FORMATS:
        raise InvalidArgumentError("invalid format")
    try:
        check_revision(request.commit_id.encode())
    except InvalidRevisionError as exc:
        raise wrap("invalid commitId", exc) from exc
    path = _inside(request.path or b".")
    exclude = [_inside(each) for each in request.exclude]
    if not request.elide_path or path == b".":
        return path, exclude
    for each in exclude:
        if not each.startswith(path + b"/"):
            raise InvalidArgumentError(f"invalid exclude: {each.decode(errors='replace')} is not a subdirectory")
    return path, [each.removeprefix(path + b"/") for each in exclude]


def _inside(path: bytes) -> bytes:
    normal = posixpath.normpath(path)
    if normal.startswith((b"/", b"../")) or normal == b"..":
        raise InvalidArgumentError("relative path escapes root directory")
    return normal


async def _is_there(reader: ObjectReader, commit: bytes, path: bytes) -> bool:
    if path == b".":
        root = await reader.read(commit + b"^{tree}")
        return root is not None and bool(parse_tree(root.data, len(root.oid) // 2))
    return await find_entry(reader, commit, path) is not None
