"""The history of files and branches: FindCommits, RawBlame, ListLastCommitsForTree."""

from __future__ import annotations

import asyncio
import posixpath
import re
from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, InvalidArgumentError
from praefect.node.default_branch import find_default_branch
from praefect.node.git.command import Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.names import check_revision
from praefect.node.git.trees import TreeEntry, list_tree
from praefect.node.services.commit.part import CommitPart, pathspec_environment, time_flag
from praefect.node.services.commits import find_commit
from praefect.node.services.streaming import batches_by_count, batches_by_size, output_chunks
from praefect.node.storage.temporary import discard_in_thread
from praefect.proto.commit_pb2 import (
    FindCommitsError,
    FindCommitsRequest,
    FindCommitsResponse,
    ListLastCommitsForTreeRequest,
    ListLastCommitsForTreeResponse,
    RawBlameError,
    RawBlameRequest,
    RawBlameResponse,
)
from praefect.proto.errors_pb2 import PathNotFoundError
from praefect.transport.grpc.status import StatusCode, StatusError, wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from praefect.node.storage.repository import LocalRepository
    from praefect.proto.shared_pb2 import GitCommit
    from praefect.transport.grpc.server_call import ServerCall

_RANGE = re.compile(rb"\d+,\d+")
_TOO_FEW_LINES = re.compile(rb"file .* has only (\d+) lines?")
_SHORT_STATS = re.compile(rb"(\d+) files? changed(?:, (\d+) insertions?\(\+\))?(?:, (\d+) deletions?\(-\))?")
_TREE_ORDER = {"tree": 0, "blob": 1, "commit": 2}
_COMMITS_PER_MESSAGE = 10
_PARALLEL_LOGS = 4


class HistoryPart(CommitPart):
    """RPCs about what happened to files."""

    async def find_commits(
        self, request: FindCommitsRequest, call: ServerCall
    ) -> AsyncGenerator[FindCommitsResponse, None]:
        """Yield the commits that ``git log`` finds."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision, allow_empty=True)
        if any(not path for path in request.paths):
            raise InvalidArgumentError("path is empty string")
        revision = request.revision
        if not revision and not request.all:
            revision = await find_default_branch(self._git, repository)
        oids = await self._log(repository, request, revision)
        async with aclosing(batches_by_size(self._found(repository, request, oids))) as batches:
            async for batch in batches:
                yield FindCommitsResponse(commits=batch)

    async def _log(self, repository: LocalRepository, request: FindCommitsRequest, revision: bytes) -> list[bytes]:
        skip_by_hand = request.offset if request.follow else 0
        command = Command(
            name="log",
            flags=_log_flags(request, skip_by_hand),
            arguments=[revision] if revision else [],
            paths=list(request.paths) or None,
            environment=pathspec_environment(request.global_options),
        )
        try:
            output = await self._git.output(repository, command)
        except GitCommandError as exc:
            if any(text in exc.stderr for text in (b"unknown revision", b"bad revision", b"bad object")):
                raise StatusError(StatusCode.NOT_FOUND, "commits not found", [FindCommitsError()]) from exc
            raise wrap("listing commits", exc) from exc
        return output.split()[skip_by_hand:]

    async def _found(
        self, repository: LocalRepository, request: FindCommitsRequest, oids: list[bytes]
    ) -> AsyncGenerator[GitCommit, None]:
        async with aclosing(self._commits(repository, oids, trailers=request.trailers)) as commits:
            async for commit in commits:
                if request.include_shortstat:
                    await self._add_stats(repository, commit)
                if request.include_referenced_by:
                    await self._add_references(repository, commit, list(request.include_referenced_by))
                yield commit

    async def _add_stats(self, repository: LocalRepository, commit: GitCommit) -> None:
        command = Command(name="show", flags=["--format=", "--shortstat", "--first-parent"], arguments=[commit.id])
        match = _SHORT_STATS.search(await self._git.output(repository, command))
        if match is not None:
            commit.short_stats.changed_files = int(match[1])
            commit.short_stats.additions = int(match[2] or 0)
            commit.short_stats.deletions = int(match[3] or 0)

    async def _add_references(self, repository: LocalRepository, commit: GitCommit, patterns: list[bytes]) -> None:
        flags = ["--format=%(refname)", f"--points-at={commit.id}"]
        output = await self._git.output(repository, Command(name="for-each-ref", flags=flags, arguments=patterns))
        commit.referenced_by.extend(output.split())

    async def raw_blame(self, request: RawBlameRequest, call: ServerCall) -> AsyncGenerator[RawBlameResponse, None]:
        """Yield git's blame of a file."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision)
        if not request.path:
            raise InvalidArgumentError("empty Path")
        if request.range and not _RANGE.fullmatch(request.range):
            raise InvalidArgumentError("invalid Range")
        path = posixpath.normpath(request.path)
        if path.startswith((b"/", b"../")) or path == b"..":
            raise InvalidArgumentError("path escapes repository root")
        directory = self._context.temporary.create(repository.root, "blame")
        try:
            flags = ["-p"]
            if request.range:
                flags += ["-L", request.range.decode()]
            if request.ignore_revisions_blob:
                file = directory / "ignored"
                file.write_bytes(await self._ignored_revisions(repository, request.ignore_revisions_blob))
                flags.append(f"--ignore-revs-file={file}")
            command = Command(name="blame", flags=flags, arguments=[request.revision], paths=[path])
            async with aclosing(output_chunks(self._git, repository, command)) as chunks:
                async for chunk in chunks:
                    yield RawBlameResponse(data=chunk)
        except GitCommandError as exc:
            raise _blame_error(exc, path) from exc
        finally:
            await discard_in_thread(directory)

    async def _ignored_revisions(self, repository: LocalRepository, revision: bytes) -> bytes:
        async with self._context.objects.reader(repository) as reader:
            found = await reader.read(check_revision(revision, allow_path=True))
        if found is None or found.type != "blob":
            reason = RawBlameError.ResolveIgnoreRevsError(ignore_revisions_blob=revision)
            detail = RawBlameError(resolve_ignore_revs=reason)
            raise StatusError(StatusCode.NOT_FOUND, "cannot resolve ignore-revs blob", [detail])
        return found.data

    async def list_last_commits_for_tree(
        self, request: ListLastCommitsForTreeRequest, call: ServerCall
    ) -> AsyncGenerator[ListLastCommitsForTreeResponse, None]:
        """Yield for each entry of a directory the newest commit that touched it."""
        del call
        repository = self._storages.open(request.repository)
        revision = check_revision(request.revision.encode())
        if request.offset < 0:
            raise InvalidArgumentError("offset negative")
        if request.limit < 0:
            raise InvalidArgumentError("limit negative")
        path = request.path.strip(b"/").removeprefix(b"./")
        entries = await self._tree(repository, revision, b"" if path == b"." else path)
        wanted = entries[request.offset : request.offset + request.limit]
        for group in batches_by_count(wanted, _COMMITS_PER_MESSAGE):
            yield ListLastCommitsForTreeResponse(commits=await self._last_commits(repository, revision, group))

    async def _tree(self, repository: LocalRepository, revision: bytes, path: bytes) -> list[TreeEntry]:
        async with self._context.objects.reader(repository) as reader:
            info = await reader.info(revision + b":" + path)
        if info is None or info.type != "tree":
            raise InternalError("listing the tree: object not found")
        entries = await list_tree(self._git, repository, info.oid, path, recursive=False)
        return sorted(entries, key=lambda entry: (_TREE_ORDER[entry.type], entry.path))

    async def _last_commits(
        self, repository: LocalRepository, revision: bytes, entries: Sequence[TreeEntry]
    ) -> list[ListLastCommitsForTreeResponse.CommitForTree]:
        limit = asyncio.Semaphore(_PARALLEL_LOGS)

        async def last(entry: TreeEntry) -> ListLastCommitsForTreeResponse.CommitForTree:
            command = Command(
                name="log",
                flags=["--format=%H", "--max-count=1"],
                arguments=[revision],
                paths=[entry.path],
                environment={"GIT_LITERAL_PATHSPECS": "1"},
            )
            async with limit:
                oid = (await self._git.output(repository, command)).strip()
            commit = await find_commit(self._context.objects, repository, oid)
            return ListLastCommitsForTreeResponse.CommitForTree(commit=commit, path_bytes=entry.path)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(last(entry), name="last-commit") for entry in entries]
        return [task.result() for task in tasks]


def _log_flags(request: FindCommitsRequest, skip_by_hand: int) -> list[str]:
    flags = ["--format=%H", f"--max-count={request.limit + skip_by_hand}"]
    flags += [
        flag
        for flag, wanted in (
            ("--follow", request.follow and bool(request.paths)),
            ("--no-merges", request.skip_merges),
            ("--no-walk", request.disable_walk),
            ("--first-parent", request.first_parent),
            ("--topo-order", request.order == FindCommitsRequest.TOPO),
        )
        if wanted
    ]
    if request.all:
        flags += ["--all", "--reverse"]
    if not request.follow and request.offset:
        flags.append(f"--skip={request.offset}")
    if request.HasField("after"):
        flags.append(time_flag("since", request.after))
    if request.HasField("before"):
        flags.append(time_flag("until", request.before))
    if request.author:
        flags.append(f"--author={request.author.decode('utf-8', 'surrogateescape')}")
    if request.message_regex:
        flags += ["--regexp-ignore-case", "--extended-regexp", f"--grep={request.message_regex}"]
    return flags


def _blame_error(exc: GitCommandError, path: bytes) -> StatusError:
    match = _TOO_FEW_LINES.search(exc.stderr)
    if match is not None:
        detail = RawBlameError(out_of_range=RawBlameError.OutOfRangeError(actual_lines=int(match[1])))
        return StatusError(StatusCode.INVALID_ARGUMENT, "range is outside of the file length", [detail])
    if b"no such path" in exc.stderr:
        detail = RawBlameError(path_not_found=PathNotFoundError(path=path))
        return StatusError(StatusCode.NOT_FOUND, "path not found in revision", [detail])
    if b"invalid object name" in exc.stderr and b"ignored" in exc.stderr:
        content = exc.stderr.rpartition(b": ")[2].strip()
        reason = RawBlameError.InvalidIgnoreRevsFormatError(content=content)
        detail = RawBlameError(invalid_ignore_revs_format=reason)
        return StatusError(StatusCode.NOT_FOUND, "invalid ignore-revs format", [detail])
    return wrap("blame", exc)
