"""Trees: TreeEntry, GetTreeEntries, ListFiles, CommitStats."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InternalError, InvalidArgumentError, NotFoundError
from praefect.node.default_branch import find_default_branch
from praefect.node.git.command import EMPTY_TREE_SHA1, EMPTY_TREE_SHA256, Command
from praefect.node.git.names import check_revision
from praefect.node.git.object_format import ObjectFormat, object_format_of
from praefect.node.git.references import decode_page_token, encode_page_token
from praefect.node.git.revisions import resolve_commit
from praefect.node.git.trees import TreeEntry as Entry
from praefect.node.git.trees import find_entry, list_tree, parse_tree
from praefect.node.services.commit.part import CommitPart
from praefect.node.services.streaming import CHUNK_BYTES, batches_by_count, output_lines
from praefect.proto.commit_pb2 import (
    CommitStatsRequest,
    CommitStatsResponse,
    GetTreeEntriesError,
    GetTreeEntriesRequest,
    GetTreeEntriesResponse,
    ListFilesRequest,
    ListFilesResponse,
    TreeEntry,
    TreeEntryRequest,
    TreeEntryResponse,
)
from praefect.proto.errors_pb2 import PathError, ResolveRevisionError
from praefect.proto.shared_pb2 import PaginationCursor
from praefect.transport.grpc.status import StatusCode, StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from praefect.node.git.catfile import ObjectReader
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_ENTRY_TYPES = {"blob": TreeEntry.BLOB, "tree": TreeEntry.TREE, "commit": TreeEntry.COMMIT}
_TYPE_ORDER = {"tree": 0, "blob": 1, "commit": 2}
_FLAT_DEPTH = 10
_ENTRIES_PER_MESSAGE = 2000
_PATHS_PER_MESSAGE = 2000


class TreePart(CommitPart):
    """RPCs about trees and their files."""

    async def tree_entry(self, request: TreeEntryRequest, call: ServerCall) -> AsyncGenerator[TreeEntryResponse, None]:
        """Yield one entry of a tree: what it is, then its content if it is a file."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision)
        if not request.path:
            raise InvalidArgumentError("empty Path")
        if request.limit < 0:
            raise InvalidArgumentError("negative Limit")
        if request.max_size < 0:
            raise InvalidArgumentError("negative MaxSize")
        async with self._context.objects.reader(repository) as reader:
            entry = await find_entry(reader, request.revision, request.path)
            if entry is None:
                raise NotFoundError("tree entry not found")
            if entry.type == "commit":
                yield TreeEntryResponse(type=TreeEntryResponse.COMMIT, oid=entry.oid, mode=entry.mode)
                return
            async with aclosing(_entry_content(reader, entry, request)) as responses:
                async for response in responses:
                    yield response

    async def get_tree_entries(
        self, request: GetTreeEntriesRequest, call: ServerCall
    ) -> AsyncGenerator[GetTreeEntriesResponse, None]:
        """Yield the entries of a directory."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision)
        if not request.path:
            detail = GetTreeEntriesError(path=PathError(error_type=PathError.ERROR_TYPE_EMPTY_PATH))
            raise StatusError(StatusCode.INVALID_ARGUMENT, "empty path", [detail])
        path = b"" if request.path in (b".", b"/", b"./") else request.path.rstrip(b"/")
        entries = await self._entries(repository, request, path)
        entries, cursor = _page(_sorted(entries, request), request)
        flat = not request.recursive and not request.skip_flat_paths
        messages = [_message(entry, request) for entry in entries]
        if flat:
            await self._fill_flat_paths(repository, request, messages)
        for index, group in enumerate(batches_by_count(messages, _ENTRIES_PER_MESSAGE)):
            response = GetTreeEntriesResponse(entries=group)
            if index == 0 and cursor:
                response.pagination_cursor.CopyFrom(PaginationCursor(next_cursor=cursor))
            yield response

    async def _entries(self, repository: LocalRepository, request: GetTreeEntriesRequest, path: bytes) -> list[Entry]:
        async with self._context.objects.reader(repository) as reader:
            info = await reader.info(request.revision + b":" + path)
        detail = GetTreeEntriesError(resolve_tree=ResolveRevisionError(revision=request.revision))
        if info is None:
            code = StatusCode.NOT_FOUND if request.recursive else StatusCode.INVALID_ARGUMENT
            raise StatusError(code, "invalid revision or path", [detail])
        if info.type != "tree":
            raise StatusError(StatusCode.INVALID_ARGUMENT, "path not treeish", [detail])
        return await list_tree(self._git, repository, info.oid, path, recursive=request.recursive)

    async def _fill_flat_paths(
        self, repository: LocalRepository, request: GetTreeEntriesRequest, messages: list[TreeEntry]
    ) -> None:
        del request
        async with self._context.objects.reader(repository) as reader:
            for message in messages:
                message.flat_path = message.path
                if message.type == TreeEntry.TREE:
                    message.flat_path = await _flat_path(reader, message.path, message.oid)

    async def list_files(self, request: ListFilesRequest, call: ServerCall) -> AsyncGenerator[ListFilesResponse, None]:
        """Yield the paths of all files of a revision."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision, allow_empty=True)
        revision = request.revision or await find_default_branch(self._git, repository)
        if not revision:
            raise FailedPreconditionError("repository does not have a default branch")
        async with self._context.objects.reader(repository) as reader:
            oid = await resolve_commit(reader, revision)
        if oid is None:
            yield ListFilesResponse()
            return
        command = Command(name="ls-tree", flags=["-z", "-r", "--full-tree", "--full-name"], arguments=[oid])
        paths: list[bytes] = []
        async with aclosing(output_lines(self._git, repository, command, separator=b"\0")) as lines:
            async for line in lines:
                head, _, path = line.partition(b"\t")
                if b" blob " in head:
                    paths.append(path)
                if len(paths) == _PATHS_PER_MESSAGE:
                    yield ListFilesResponse(paths=paths)
                    paths = []
        if paths:
            yield ListFilesResponse(paths=paths)

    async def commit_stats(self, request: CommitStatsRequest, call: ServerCall) -> CommitStatsResponse:
        """Count what a commit changes against its first parent."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision)
        async with self._context.objects.reader(repository) as reader:
            oid = await resolve_commit(reader, request.revision)
            parent = await resolve_commit(reader, oid.encode() + b"^") if oid else None
        if oid is None:
            raise InternalError("object not found")
        sha1 = object_format_of(repository.path) is ObjectFormat.SHA1
        base = parent or (EMPTY_TREE_SHA1 if sha1 else EMPTY_TREE_SHA256)
        output = await self._git.output(
            repository, Command(name="diff", flags=["--numstat", "--find-renames"], arguments=[base, oid])
        )
        response = CommitStatsResponse(oid=oid)
        for line in output.splitlines():
            added, deleted, _ = line.split(b"\t", 2)
            response.files += 1
            if added != b"-":
                response.additions += int(added)
                response.deletions += int(deleted)
        return response


async def _entry_content(
    reader: ObjectReader, entry: Entry, request: TreeEntryRequest
) -> AsyncGenerator[TreeEntryResponse, None]:
    kind = TreeEntryResponse.TREE if entry.type == "tree" else TreeEntryResponse.BLOB
    info = await reader.info(entry.oid.encode())
    if info is None:
        raise NotFoundError("tree entry not found")
    head = TreeEntryResponse(type=kind, oid=entry.oid, mode=entry.mode, size=info.size)
    if kind == TreeEntryResponse.TREE:
        yield head
        return
    if 0 < request.max_size < info.size:
        raise FailedPreconditionError(
            f"object size ({info.size}) is bigger than the maximum allowed size ({request.max_size})"
        )
    async with reader.open(entry.oid.encode()) as stream:
        left = min(request.limit, info.size) if request.limit else info.size
        head.data = await stream.read(min(CHUNK_BYTES, left))
        left -= len(head.data)
        yield head
        while left:
            data = await stream.read(min(CHUNK_BYTES, left))
            left -= len(data)
            yield TreeEntryResponse(data=data)


async def _flat_path(reader: ObjectReader, path: bytes, oid: str) -> bytes:
    """Follow directories that hold nothing but one directory."""
    for _ in range(_FLAT_DEPTH):
        tree = await reader.read(oid.encode())
        if tree is None:
            break
        entries = parse_tree(tree.data, len(oid) // 2)
        if len(entries) != 1 or entries[0].type != "tree":
            break
        path, oid = path + b"/" + entries[0].path, entries[0].oid
    return path


def _sorted(entries: list[Entry], request: GetTreeEntriesRequest) -> list[Entry]:
    if request.sort == GetTreeEntriesRequest.TREES_FIRST:
        return sorted(entries, key=lambda entry: (_TYPE_ORDER[entry.type], entry.path))
    if request.sort == GetTreeEntriesRequest.FILESYSTEM:
        return sorted(entries, key=lambda entry: entry.path)
    return entries


def _page(entries: list[Entry], request: GetTreeEntriesRequest) -> tuple[list[Entry], str]:
    if not request.HasField("pagination_params"):
        return entries, ""
    params = request.pagination_params
    if params.page_token:
        entries = entries[_start_of_page(entries, params.page_token) :]
    if params.limit < 0:
        return entries, ""
    page = entries[: params.limit]
    if not page or len(entries) <= len(page):
        return page, ""
    return page, encode_page_token("file_name", page[-1].path.decode("utf-8", "surrogateescape"))


def _start_of_page(entries: list[Entry], token: str) -> int:
    name = decode_page_token(token, "file_name").encode("utf-8", "surrogateescape")
    for index, entry in enumerate(entries):
        if name in {entry.path, entry.oid.encode()}:
            return index + 1
    raise InvalidArgumentError(f"could not find starting OID: {token}")


def _message(entry: Entry, request: GetTreeEntriesRequest) -> TreeEntry:
    return TreeEntry(
        oid=entry.oid,
        path=entry.path,
        type=_ENTRY_TYPES[entry.type],
        mode=entry.mode,
        commit_oid=request.revision.decode("utf-8", "replace"),
    )
