"""Searching files and comparing trees: SearchFilesByContent, SearchFilesByName, GetRawChanges, GetFileAttributes."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError
from praefect.node.git.command import EMPTY_TREE_SHA1, EMPTY_TREE_SHA256, Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.names import InvalidRevisionError, check_revision
from praefect.node.git.object_format import ObjectFormat, object_format_of
from praefect.node.git.raw_diff import RawChange, parse_raw_diff
from praefect.node.services.repository.part import RepositoryPart
from praefect.node.services.streaming import CHUNK_BYTES, batches_by_size, byte_chunks
from praefect.node.storage.temporary import discard_in_thread
from praefect.proto.repository_pb2 import (
    GetFileAttributesRequest,
    GetFileAttributesResponse,
    GetInfoAttributesRequest,
    GetInfoAttributesResponse,
    GetRawChangesRequest,
    GetRawChangesResponse,
    SearchFilesByContentRequest,
    SearchFilesByContentResponse,
    SearchFilesByNameRequest,
    SearchFilesByNameResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_RawChange = GetRawChangesResponse.RawChange
_MAX_FILTER = 1000
_SUBMODULE_MODE = 0o160000
_GROUP_END = b"--\n"
_OPERATIONS = {
    "A": _RawChange.ADDED,
    "C": _RawChange.COPIED,
    "D": _RawChange.DELETED,
    "M": _RawChange.MODIFIED,
    "R": _RawChange.RENAMED,
    "T": _RawChange.TYPE_CHANGED,
}


class SearchPart(RepositoryPart):
    """RPCs that look into the files of a revision."""

    async def search_files_by_content(
        self, request: SearchFilesByContentRequest, call: ServerCall
    ) -> AsyncGenerator[SearchFilesByContentResponse, None]:
        """Yield groups of matching lines with their surroundings."""
        del call
        repository = self._storages.open(request.repository)
        _check_search(request)
        command = Command(
            name="grep",
            flags=[
                "--ignore-case",
                "-I",
                "--line-number",
                "--null",
                "--before-context=2",
                "--after-context=2",
                "--perl-regexp",
                "-e",
                request.query,
            ],
            arguments=[request.ref],
        )
        async with self._git.start(repository, command) as process:
            group: list[bytes] = []
            while True:
                line = await process.read_until(b"\n")
                if line + b"\n" != _GROUP_END and line:
                    group.append(line + b"\n")
                    continue
                for chunk in byte_chunks(b"".join(group)):
                    yield SearchFilesByContentResponse(match_data=chunk)
                if group:
                    yield SearchFilesByContentResponse(end_of_match=True)
                group = []
                if not line and process.stdout.at_eof():
                    break
            returncode = await process.wait()
            if returncode not in (0, 1):
                raise wrap("git grep", GitCommandError(returncode, process.stderr))

    async def search_files_by_name(
        self, request: SearchFilesByNameRequest, call: ServerCall
    ) -> AsyncGenerator[SearchFilesByNameResponse, None]:
        """Yield the paths below a pathspec that match an expression."""
        del call
        repository = self._storages.open(request.repository)
        _check_search(request)
        if len(request.filter) > _MAX_FILTER:
            raise InvalidArgumentError("filter exceeds maximum length")
        try:
            pattern = re.compile(request.filter.encode()) if request.filter else None
        except re.error as exc:
            raise InvalidArgumentError(f"filter did not compile: {exc}") from exc
        command = Command(
            name="ls-tree",
            flags=["--full-tree", "--name-status", "-r", "-z"],
            arguments=[request.ref],
            paths=[request.query.encode()],
        )
        paths = [path for path in (await self._git.output(repository, command)).split(b"\0") if path]
        if pattern is not None:
            paths = [path for path in paths if pattern.search(path)]
        paths = paths[request.offset :]
        yield SearchFilesByNameResponse(files=paths[: request.limit] if request.limit else paths)

    async def get_raw_changes(
        self, request: GetRawChangesRequest, call: ServerCall
    ) -> AsyncGenerator[GetRawChangesResponse, None]:
        """Yield what differs between two revisions, with the sizes of the files."""
        del call
        repository = self._storages.open(request.repository)
        _check_change_revisions(request)
        object_format = object_format_of(repository.path)
        if object_format.is_zero(request.to_revision.encode()):
            return
        left = request.from_revision
        if object_format.is_zero(left.encode()):
            left = EMPTY_TREE_SHA1 if object_format is ObjectFormat.SHA1 else EMPTY_TREE_SHA256
        flags = ["--raw", "-z", f"--abbrev={object_format.hex_length}", "--find-renames", "--find-copies"]
        command = Command(name="diff", flags=flags, arguments=[left, request.to_revision])
        changes = parse_raw_diff(await self._git.output(repository, command))
        async with aclosing(batches_by_size(self._raw_changes(repository, changes))) as batches:
            async for batch in batches:
                yield GetRawChangesResponse(raw_changes=batch)

    async def _raw_changes(
        self, repository: LocalRepository, changes: list[RawChange]
    ) -> AsyncGenerator[_RawChange, None]:
        async with self._context.objects.reader(repository) as reader:
            for change in changes:
                message = _RawChange(
                    operation=_OPERATIONS.get(change.status, _RawChange.UNKNOWN),
                    old_mode=change.old_mode,
                    new_mode=change.new_mode,
                    old_path_bytes=change.old_path,
                    new_path_bytes=change.new_path,
                )
                oid = change.old_oid if change.status == "D" else change.new_oid
                if _SUBMODULE_MODE not in (change.old_mode, change.new_mode):
                    message.blob_id = oid
                    info = await reader.info(oid.encode())
                    message.size = info.size if info is not None else 0
                yield message

    async def get_file_attributes(
        self, request: GetFileAttributesRequest, call: ServerCall
    ) -> GetFileAttributesResponse:
        """Return the attributes that paths have at a revision."""
        del call
        repository = self._storages.open(request.repository)
        if not request.revision:
            raise InvalidArgumentError("revision is required")
        check_revision(request.revision)
        if not request.paths:
            raise InvalidArgumentError("file paths are required")
        if not request.attributes:
            raise InvalidArgumentError("attributes are required")
        output = await self._check_attributes(repository, request)
        fields = output.split(b"\0")
        infos = [
            GetFileAttributesResponse.AttributeInfo(
                path=path.decode("utf-8", "replace"),
                attribute=attribute.decode("utf-8", "replace"),
                value=value.decode("utf-8", "replace"),
            )
            for path, attribute, value in zip(fields[::3], fields[1::3], fields[2::3], strict=False)
            if value != b"unspecified"
        ]
        return GetFileAttributesResponse(attribute_infos=infos)

    async def _check_attributes(self, repository: LocalRepository, request: GetFileAttributesRequest) -> bytes:
        stdin = b"".join(path.encode() + b"\0" for path in request.paths)
        attributes = list(request.attributes)
        if self._git.features.attr_source:
            source = f"--source={request.revision.decode('utf-8', 'surrogateescape')}"
            command = Command(name="check-attr", flags=["--stdin", "-z", source], arguments=attributes)
            return await self._git.output(repository, command, stdin=stdin)
        directory = self._context.temporary.create(repository.root, "index")
        try:
            environment = {"GIT_INDEX_FILE": str(directory / "index")}
            read = Command(name="read-tree", arguments=[request.revision], environment=environment)
            await self._git.output(repository, read)
            command = Command(
                name="check-attr",
                flags=["--cached", "--stdin", "-z"],
                arguments=attributes,
                environment=environment,
            )
            return await self._git.output(repository, command, stdin=stdin)
        finally:
            await discard_in_thread(directory)

    async def get_info_attributes(
        self, request: GetInfoAttributesRequest, call: ServerCall
    ) -> AsyncGenerator[GetInfoAttributesResponse, None]:
        """Yield the attributes file of HEAD, one empty message if there is none."""
        del call
        repository = self._storages.open(request.repository)
        async with self._context.objects.reader(repository) as reader:
            found = await reader.read(b"HEAD:.gitattributes")
        if found is None or not found.data:
            yield GetInfoAttributesResponse()
            return
        for start in range(0, len(found.data), CHUNK_BYTES):
            yield GetInfoAttributesResponse(attributes=found.data[start : start + CHUNK_BYTES])


def _check_search(request: SearchFilesByContentRequest | SearchFilesByNameRequest) -> None:
    if not request.query:
        raise InvalidArgumentError("no query given")
    if not request.ref:
        raise InvalidArgumentError("no ref given")
    if request.ref.startswith(b"-"):
        raise InvalidArgumentError("invalid ref argument")


def _check_change_revisions(request: GetRawChangesRequest) -> None:
    for name, revision in (("from", request.from_revision), ("to", request.to_revision)):
        try:
            check_revision(revision.encode())
        except InvalidRevisionError as exc:
            raise wrap(f"invalid '{name}' revision", exc) from exc
