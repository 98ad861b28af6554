"""DiffBlobs: what differs between pairs of files, wherever they come from."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InvalidArgumentError
from praefect.node.git.command import Command
from praefect.node.git.object_format import object_format_of
from praefect.node.git.patch import FilePatch, file_patches
from praefect.node.services.diff.part import DIFF_CONFIG, DiffPart
from praefect.node.storage.quarantine import quarantine
from praefect.proto.diff_pb2 import DiffBlobsRequest, DiffBlobsResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from praefect.node.git.catfile import ObjectReader
    from praefect.node.git.object_format import ObjectFormat
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_CHUNK_BYTES = 128 * 1024
_WHITESPACE_FLAGS = {
    DiffBlobsRequest.WHITESPACE_CHANGES_IGNORE: "--ignore-space-change",
    DiffBlobsRequest.WHITESPACE_CHANGES_IGNORE_ALL: "--ignore-all-space",
}


class BlobsPart(DiffPart):
    """The RPC that compares files."""

    async def diff_blobs(self, request: DiffBlobsRequest, call: ServerCall) -> AsyncGenerator[DiffBlobsResponse, None]:
        """Yield the patch of each pair."""
        del call
        repository = self._storages.open(request.repository)
        if bool(request.blob_pairs) == bool(request.raw_info):
            raise InvalidArgumentError("exactly one of blob pairs and raw info must be given")
        object_format = object_format_of(repository.path)
        async with quarantine(self._context.temporary, repository) as apart:
            place = apart.repository
            async with self._context.objects.reader(repository) as reader:
                pairs = await _pairs(reader, request, object_format)
            empty = Command(name="hash-object", flags=["-w", "--stdin"])
            empty_id = (await self._git.output(place, empty, stdin=b"")).strip().decode()
            for left, right in pairs:
                file = await self._diff(place, request, _or_empty(left, empty_id), _or_empty(right, empty_id))
                for response in _responses(request, left, right, file):
                    yield response

    async def _diff(
        self, repository: LocalRepository, request: DiffBlobsRequest, left: str, right: str
    ) -> FilePatch | None:
        flags = ["--patch", "--raw", "--abbrev=40", "--full-index", "--no-color"]
        whitespace = _WHITESPACE_FLAGS.get(request.whitespace_changes)
        if whitespace is not None:
            flags.append(whitespace)
        if request.diff_mode == DiffBlobsRequest.DIFF_MODE_WORD:
            flags.append("--word-diff=porcelain")
        command = Command(name="diff", flags=flags, arguments=[left, right], config=DIFF_CONFIG)
        async with self._git.start(repository, command) as process, aclosing(file_patches(process)) as files:
            file = await anext(files, None)
            async for _ in files:
                pass
            if await process.wait() != 0:
                raise FailedPreconditionError(f"diff: {process.stderr.decode('utf-8', 'replace').strip()}")
        return file


async def _pairs(reader: ObjectReader, request: DiffBlobsRequest, object_format: ObjectFormat) -> list[tuple[str, str]]:
    if request.raw_info:
        return [(info.old_blob_id, info.new_blob_id) for info in request.raw_info]
    pairs = []
    for pair in request.blob_pairs:
        left = await _blob_id(reader, pair.left_blob, "left", object_format)
        right = await _blob_id(reader, pair.right_blob, "right", object_format)
        if left == right:
            raise InvalidArgumentError("left and right blob revisions resolve to same OID")
        pairs.append((left, right))
    return pairs


async def _blob_id(reader: ObjectReader, revision: bytes, side: str, object_format: ObjectFormat) -> str:
    if not revision:
        raise InvalidArgumentError(f"{side} blob ID is empty")
    if object_format.is_zero(revision):
        return revision.decode()
    info = await reader.info(revision)
    if info is None:
        raise InvalidArgumentError(f"getting {side} blob info: object not found")
    if info.type != "blob":
        raise InvalidArgumentError(f"{side} blob ID is not blob")
    return info.oid


def _or_empty(oid: str, empty_id: str) -> str:
    return oid if oid.strip("0") else empty_id


def _responses(request: DiffBlobsRequest, left: str, right: str, file: FilePatch | None) -> Iterator[DiffBlobsResponse]:
    end = DiffBlobsResponse.STATUS_END_OF_PATCH
    head = DiffBlobsResponse(left_blob_id=left, right_blob_id=right)
    if file is None:
        head.status = end
        yield head
        return
    patch = bytes(file.patch)
    head.binary = file.binary
    head.patch_size = len(patch)
    head.lines_added, head.lines_removed = file.added, file.removed
    if 0 < request.patch_bytes_limit < len(patch):
        head.over_patch_bytes_limit, head.status = True, end
        yield head
        return
    head.patch = patch[:_CHUNK_BYTES]
    if len(patch) <= _CHUNK_BYTES:
        head.status = end
    yield head
    for start in range(_CHUNK_BYTES, len(patch), _CHUNK_BYTES):
        response = DiffBlobsResponse(patch=patch[start : start + _CHUNK_BYTES])
        if start + _CHUNK_BYTES >= len(patch):
            response.status = end
        yield response
