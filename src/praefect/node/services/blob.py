"""BlobService: contents of files, and pointers to large ones."""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, InvalidArgumentError
from praefect.node.git.command import Command
from praefect.node.git.names import check_pseudo_revision, check_revision
from praefect.node.git.revisions import rev_list
from praefect.node.git.trees import find_entry
from praefect.node.services.streaming import CHUNK_BYTES, batches_by_size
from praefect.proto.blob_pb2 import (
    GetBlobRequest,
    GetBlobResponse,
    GetBlobsRequest,
    GetBlobsResponse,
    GetLFSPointersRequest,
    GetLFSPointersResponse,
    LFSPointer,
    ListAllBlobsRequest,
    ListAllBlobsResponse,
    ListAllLFSPointersRequest,
    ListAllLFSPointersResponse,
    ListBlobsRequest,
    ListBlobsResponse,
    ListLFSPointersRequest,
    ListLFSPointersResponse,
)
from praefect.proto.shared_pb2 import BLOB, COMMIT, TREE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from praefect.node.context import NodeContext
    from praefect.node.git.catfile import ObjectReader
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_FIRST_DATA_BYTES = 4096
_LFS_MAX_BYTES = 200
_LFS_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)
_LFS_SIZE = re.compile(rb"^size ([0-9]+)$", re.MULTILINE)
_LFS_HEAD = b"version https://git-lfs.github.com/spec"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    oid: bytes
    path: bytes = b""


class BlobService:
    """RPCs about blobs."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._git = context.git
        self._storages = context.storages

    async def get_blob(self, request: GetBlobRequest, call: ServerCall) -> AsyncGenerator[GetBlobResponse, None]:
        """Yield a blob by its id; an empty message if there is none."""
        del call
        repository = self._storages.open(request.repository)
        if not request.oid:
            raise InvalidArgumentError("empty Oid")
        async with self._context.objects.reader(repository) as reader:
            info = await reader.info(request.oid.encode())
            if info is None or info.type != "blob":
                yield GetBlobResponse()
                return
            left = info.size if request.limit < 0 else min(request.limit, info.size)
            head = GetBlobResponse(size=info.size, oid=info.oid)
            if not left:
                yield head
                return
            async with reader.open(info.oid.encode()) as stream:
                head.data = await stream.read(min(_FIRST_DATA_BYTES, left))
                left -= len(head.data)
                yield head
                while left:
                    data = await stream.read(min(CHUNK_BYTES, left))
                    left -= len(data)
                    yield GetBlobResponse(data=data)

    async def get_blobs(self, request: GetBlobsRequest, call: ServerCall) -> AsyncGenerator[GetBlobsResponse, None]:
        """Yield blobs by revision and path."""
        del call
        repository = self._storages.open(request.repository)
        if not request.revision_paths:
            raise InvalidArgumentError("empty RevisionPaths")
        for wanted in request.revision_paths:
            check_revision(wanted.revision.encode())
        async with self._context.objects.reader(repository) as reader:
            for wanted in request.revision_paths:
                async with aclosing(_entry_responses(reader, wanted, request.limit)) as responses:
                    async for response in responses:
                        yield response

    async def list_blobs(self, request: ListBlobsRequest, call: ServerCall) -> AsyncGenerator[ListBlobsResponse, None]:
        """Yield the blobs that revisions reach."""
        del call
        repository = self._storages.open(request.repository)
        if not request.revisions:
            raise InvalidArgumentError("missing revisions")
        found = await self._reachable(repository, request.revisions, "object:type=blob")
        if request.limit:
            found = found[: request.limit]

        async def blobs() -> AsyncGenerator[ListBlobsResponse.Blob, None]:
            async with aclosing(self._parts(repository, found, request.bytes_limit)) as parts:
                async for part in parts:
                    path = part.path if request.with_paths else b""
                    yield ListBlobsResponse.Blob(oid=part.oid, size=part.size, data=part.data, path=path)

        async with aclosing(batches_by_size(blobs())) as batches:
            async for batch in batches:
                yield ListBlobsResponse(blobs=batch)

    async def list_all_blobs(
        self, request: ListAllBlobsRequest, call: ServerCall
    ) -> AsyncGenerator[ListAllBlobsResponse, None]:
        """Yield every blob there is."""
        del call
        repository = self._storages.open(request.repository)
        found = [_Named(oid=oid) for oid, _ in await self._all_blobs(repository)]
        if request.limit:
            found = found[: request.limit]

        async def blobs() -> AsyncGenerator[ListAllBlobsResponse.Blob, None]:
            async with aclosing(self._parts(repository, found, request.bytes_limit)) as parts:
                async for part in parts:
                    yield ListAllBlobsResponse.Blob(oid=part.oid, size=part.size, data=part.data)

        async with aclosing(batches_by_size(blobs())) as batches:
            async for batch in batches:
                yield ListAllBlobsResponse(blobs=batch)

    async def get_lfs_pointers(
        self, request: GetLFSPointersRequest, call: ServerCall
    ) -> AsyncGenerator[GetLFSPointersResponse, None]:
        """Yield those of the named blobs that are pointers."""
        del call
        repository = self._storages.open(request.repository)
        if not request.blob_ids:
            raise InvalidArgumentError("empty BlobIds")
        oids = [oid.encode() for oid in request.blob_ids]
        async with self._context.objects.reader(repository) as reader:
            infos = await reader.infos(oids)
        for oid, info in zip(request.blob_ids, infos, strict=True):
            if info is None:
                raise InternalError(f'retrieving object info for "{oid}": object not found')
        small = [info.oid.encode() for info in infos if info and info.type == "blob" and info.size <= _LFS_MAX_BYTES]
        async with aclosing(batches_by_size(self._pointers(repository, small))) as batches:
            async for batch in batches:
                yield GetLFSPointersResponse(lfs_pointers=batch)

    async def list_lfs_pointers(
        self, request: ListLFSPointersRequest, call: ServerCall
    ) -> AsyncGenerator[ListLFSPointersResponse, None]:
        """Yield the pointers that revisions reach."""
        del call
        repository = self._storages.open(request.repository)
        if not request.revisions:
            raise InvalidArgumentError("missing revisions")
        found = await self._reachable(repository, request.revisions, "object:type=blob", f"blob:limit={_LFS_MAX_BYTES}")
        pointers = self._pointers(repository, [each.oid for each in found], limit=request.limit)
        async with aclosing(batches_by_size(pointers)) as batches:
            async for batch in batches:
                yield ListLFSPointersResponse(lfs_pointers=batch)

    async def list_all_lfs_pointers(
        self, request: ListAllLFSPointersRequest, call: ServerCall
    ) -> AsyncGenerator[ListAllLFSPointersResponse, None]:
        """Yield every pointer there is."""
        del call
        repository = self._storages.open(request.repository)
        small = [oid for oid, size in await self._all_blobs(repository) if size <= _LFS_MAX_BYTES]
        pointers = self._pointers(repository, small, limit=request.limit)
        async with aclosing(batches_by_size(pointers)) as batches:
            async for batch in batches:
                yield ListAllLFSPointersResponse(lfs_pointers=batch)

    async def _reachable(self, repository: LocalRepository, revisions: Sequence[str], *filters: str) -> list[_Named]:
        wanted = [check_pseudo_revision(revision.encode(), allow_path=True) for revision in revisions]
        flags = ["--objects", "--in-commit-order", "--object-names", "--filter-provided-objects"]
        flags += [f"--filter={each}" for each in filters]
        output = await rev_list(self._git, repository, flags, wanted)
        found = []
        for line in output.splitlines():
            oid, _, path = line.partition(b" ")
            found.append(_Named(oid=oid, path=path))
        return found

    async def _all_blobs(self, repository: LocalRepository) -> list[tuple[bytes, int]]:
        form = "--batch-check=%(objecttype) %(objectname) %(objectsize)"
        flags = ["--batch-all-objects", form, "--buffer", "--unordered"]
        output = await self._git.output(repository, Command(name="cat-file", flags=flags))
        fields = [line.split(b" ") for line in output.splitlines() if line.startswith(b"blob ")]
        return [(oid, int(size)) for _, oid, size in fields]

    async def _parts(
        self, repository: LocalRepository, found: Sequence[_Named], bytes_limit: int
    ) -> AsyncGenerator[_Part, None]:
        if not found:
            return
        async with self._context.objects.reader(repository) as reader:
            infos = await reader.infos([each.oid for each in found])
            for each, info in zip(found, infos, strict=True):
                if info is None:
                    raise InternalError("object not found")
                if not bytes_limit or not info.size:
                    yield _Part(oid=info.oid, size=info.size, path=each.path)
                    continue
                async with reader.open(each.oid) as stream:
                    first = True
                    async for data in stream.chunks(bytes_limit):
                        oid, size = (info.oid, info.size) if first else ("", 0)
                        yield _Part(oid=oid, size=size, data=data, path=each.path)
                        first = False

    async def _pointers(
        self, repository: LocalRepository, oids: Sequence[bytes], *, limit: int = 0
    ) -> AsyncGenerator[LFSPointer, None]:
        if not oids:
            return
        count = 0
        async with self._context.objects.reader(repository) as reader, aclosing(reader.read_all(oids)) as objects:
            async for found in objects:
                pointer = _pointer(found.oid, found.data) if found is not None else None
                if pointer is not None:
                    yield pointer
                    count += 1
                    if count == limit:
                        return


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    oid: str
    size: int
    path: bytes
    data: bytes = b""


def _pointer(oid: str, data: bytes) -> LFSPointer | None:
    file_oid, file_size = _LFS_OID.search(data), _LFS_SIZE.search(data)
    if not data.startswith(_LFS_HEAD) or file_oid is None or file_size is None:
        return None
    return LFSPointer(size=len(data), data=data, oid=oid, file_size=int(file_size[1]), file_oid=file_oid[1])


async def _entry_responses(
    reader: ObjectReader, wanted: GetBlobsRequest.RevisionPath, limit: int
) -> AsyncGenerator[GetBlobsResponse, None]:
    head = GetBlobsResponse(revision=wanted.revision, path=wanted.path)
    entry = await find_entry(reader, wanted.revision.encode(), wanted.path)
    if entry is None:
        yield head
        return
    head.oid, head.mode = entry.oid, entry.mode
    if entry.type == "commit":
        head.is_submodule, head.type = True, COMMIT
        yield head
        return
    info = await reader.info(entry.oid.encode())
    if info is None:
        raise InternalError("object not found")
    head.size = info.size
    head.type = TREE if info.type == "tree" else BLOB
    left = 0 if info.type != "blob" else info.size if limit < 0 else min(limit, info.size)
    if not left:
        yield head
        return
    async with reader.open(info.oid.encode()) as stream:
        head.data = await stream.read(min(CHUNK_BYTES, left))
        left -= len(head.data)
        yield head
        while left:
            data = await stream.read(min(CHUNK_BYTES, left))
            left -= len(data)
            yield GetBlobsResponse(data=data)
