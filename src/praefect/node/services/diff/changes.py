"""Which paths changed, and ids of diffs: FindChangedPaths, GetPatchID, RawRangeDiff, RangeDiff."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InternalError, InvalidArgumentError, NotFoundError
from praefect.node.git.command import Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.names import check_revision
from praefect.node.git.raw_diff import RawChange, parse_raw_diff
from praefect.node.git.revisions import resolve
from praefect.node.services.diff.part import DIFF_CONFIG, RENAME_FLAG, DiffPart
from praefect.node.services.streaming import batches_by_count, output_chunks, output_lines
from praefect.proto.diff_pb2 import (
    ChangedPaths,
    FindChangedPathsRequest,
    FindChangedPathsResponse,
    GetPatchIDRequest,
    GetPatchIDResponse,
    RangeDiffRequest,
    RangeDiffResponse,
    RawRangeDiffRequest,
    RawRangeDiffResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator

    from praefect.node.git.catfile import ObjectReader
    from praefect.transport.grpc.server_call import ServerCall

_PATHS_PER_MESSAGE = 500
_CHUNK_BYTES = 5120
_FULL_IDS = (("core.abbrev", "no"),)  # older git does not heed the flag
_STATUSES = {
    "A": ChangedPaths.ADDED,
    "M": ChangedPaths.MODIFIED,
    "D": ChangedPaths.DELETED,
    "T": ChangedPaths.TYPE_CHANGE,
    "C": ChangedPaths.COPIED,
    "R": ChangedPaths.RENAMED,
}
_FILTERS = {
    FindChangedPathsRequest.DIFF_STATUS_ADDED: "A",
    FindChangedPathsRequest.DIFF_STATUS_MODIFIED: "M",
    FindChangedPathsRequest.DIFF_STATUS_DELETED: "D",
    FindChangedPathsRequest.DIFF_STATUS_TYPE_CHANGE: "T",
    FindChangedPathsRequest.DIFF_STATUS_COPIED: "C",
    FindChangedPathsRequest.DIFF_STATUS_RENAMED: "R",
}
_MERGE_FLAGS = {
    FindChangedPathsRequest.MERGE_COMMIT_DIFF_MODE_UNSPECIFIED: "-m",
    FindChangedPathsRequest.MERGE_COMMIT_DIFF_MODE_INCLUDE_MERGES: "-m",
    FindChangedPathsRequest.MERGE_COMMIT_DIFF_MODE_ALL_PARENTS: "-c",
}
_PAIR = re.compile(
    rb"^ *(?:\d+|-+): +(?P<left>[0-9a-f]+|-+) (?P<mark>[=!<>]) +(?:\d+|-+): +(?P<right>[0-9a-f]+|-+) (?P<title>.*)$"
)
_COMPARATORS = {
    b"=": RangeDiffResponse.COMPARATOR_EQUAL_UNSPECIFIED,
    b"!": RangeDiffResponse.COMPARATOR_NOT_EQUAL,
    b"<": RangeDiffResponse.COMPARATOR_LESS_THAN,
    b">": RangeDiffResponse.COMPARATOR_GREATER_THAN,
}


class ChangesPart(DiffPart):
    """RPCs about changed paths and series of commits."""

    async def find_changed_paths(
        self, request: FindChangedPathsRequest, call: ServerCall
    ) -> AsyncGenerator[FindChangedPathsResponse, None]:
        """Yield the paths that commits or pairs of trees change."""
        del call
        repository = self._storages.open(request.repository)
        wanted = list(request.requests) or [_commit_request(commit) for commit in request.commits]
        async with self._context.objects.reader(repository) as reader:
            lines = [await _diff_tree_line(reader, each) for each in wanted]
        letters = "".join(_FILTERS.get(each, "") for each in request.diff_filters) or "AMDTCR"
        renames = RENAME_FLAG if request.find_renames else "--no-renames"
        merges = _MERGE_FLAGS.get(request.merge_commit_diff_mode, "-m")
        flags = ["-z", "--stdin", merges, "-r", f"--diff-filter={letters}", "--root", renames]
        command = Command(name="diff-tree", flags=flags)
        output = await self._git.output(repository, command, stdin=b"".join(line + b"\n" for line in lines))
        changes = _parse_combined(output) if merges == "-c" else parse_raw_diff(output)
        only_commits = all(each.WhichOneof("type") == "commit_request" for each in wanted)
        paths = [_changed_path(change, with_commit=only_commits) for change in changes]
        for group in batches_by_count(paths, _PATHS_PER_MESSAGE):
            yield FindChangedPathsResponse(paths=group)

    async def get_patch_id(self, request: GetPatchIDRequest, call: ServerCall) -> GetPatchIDResponse:
        """Return an id of a diff that is the same wherever the lines stand."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.old_revision, allow_path=True)
        check_revision(request.new_revision, allow_path=True)
        flags = ["--full-index", "-U0"] if request.context_free else ["--full-index"]
        command = Command(
            name="diff", flags=flags, arguments=[request.old_revision, request.new_revision], config=DIFF_CONFIG
        )
        patch = await self._git.output(repository, command)
        output = await self._git.output(repository, Command(name="patch-id", flags=["--verbatim"]), stdin=patch)
        if not output:
            raise FailedPreconditionError("no difference between old and new revision")
        return GetPatchIDResponse(patch_id=output.split()[0].decode())

    async def raw_range_diff(
        self, request: RawRangeDiffRequest, call: ServerCall
    ) -> AsyncGenerator[RawRangeDiffResponse, None]:
        """Yield git's comparison of two series of commits."""
        del call
        repository = self._storages.open(request.repository)
        revisions = _range_arguments(request)
        command = Command(name="range-diff", flags=["--abbrev=40"], arguments=revisions, config=_FULL_IDS)
        try:
            async with aclosing(output_chunks(self._git, repository, command)) as chunks:
                async for chunk in chunks:
                    yield RawRangeDiffResponse(data=chunk)
        except GitCommandError as exc:
            raise InternalError(f"cmd: {exc.status}") from exc

    async def range_diff(self, request: RangeDiffRequest, call: ServerCall) -> AsyncGenerator[RangeDiffResponse, None]:
        """Yield the pairs of two series of commits, each with what differs."""
        del call
        repository = self._storages.open(request.repository)
        revisions = _range_arguments(request)
        command = Command(name="range-diff", flags=["--abbrev=40", "--no-color"], arguments=revisions, config=_FULL_IDS)
        pair: RangeDiffResponse | None = None
        patch: list[bytes] = []
        try:
            async with aclosing(output_lines(self._git, repository, command)) as lines:
                async for line in lines:
                    match = _PAIR.match(line)
                    if match is None:
                        patch.append(line + b"\n")
                        continue
                    for response in _pair_responses(pair, b"".join(patch)):
                        yield response
                    pair, patch = _pair(match), []
        except GitCommandError as exc:
            raise FailedPreconditionError(exc.status) from exc
        for response in _pair_responses(pair, b"".join(patch)):
            yield response


def _commit_request(commit: str) -> FindChangedPathsRequest.Request:
    message = FindChangedPathsRequest.Request.CommitRequest(commit_revision=commit)
    return FindChangedPathsRequest.Request(commit_request=message)


async def _diff_tree_line(reader: ObjectReader, request: FindChangedPathsRequest.Request) -> bytes:
    kind = request.WhichOneof("type")
    if kind == "tree_request":
        tree = request.tree_request
        left = await _resolve(reader, tree.left_tree_revision, "^{tree}")
        right = await _resolve(reader, tree.right_tree_revision, "^{tree}")
        return left + b" " + right
    commit = request.commit_request
    ids = [await _resolve(reader, commit.commit_revision, "^{commit}")]
    ids += [await _resolve(reader, parent, "^{commit}") for parent in commit.parent_commit_revisions]
    return b" ".join(ids)


async def _resolve(reader: ObjectReader, revision: str, peel: str) -> bytes:
    if not revision:
        raise InvalidArgumentError("revision cannot be empty")
    check_revision(revision.encode(), allow_path=True)
    oid = await resolve(reader, f"{revision}{peel}".encode())
    if oid is None:
        raise NotFoundError(f'revision can not be found: "{revision}"')
    return oid.encode()


def _changed_path(change: RawChange, *, with_commit: bool) -> ChangedPaths:
    path = ChangedPaths(
        path=change.new_path,
        status=_STATUSES.get(change.status, ChangedPaths.MODIFIED),
        old_mode=change.old_mode,
        new_mode=change.new_mode,
        old_blob_id=change.old_oid,
        new_blob_id=change.new_oid,
        score=change.score,
        commit_id=change.commit if with_commit else "",
    )
    if change.status in {"R", "C"}:
        path.old_path = change.old_path
    return path


def _parse_combined(output: bytes) -> list[RawChange]:
    """Read the output of ``-c``: entries of merges have a colon, mode and id per parent.

    Source: git-diff-tree(1), "DIFF FORMAT FOR MERGES".
    """
    plain = []
    for field in output.split(b"\0"):
        colons = len(field) - len(field.lstrip(b":"))
        if colons < 2:
            plain.append(field)
            continue
        words = field.lstrip(b":").split(b" ")
        modes, rest = words[: colons + 1], words[colons + 1 :]
        ids, status = rest[: colons + 1], rest[colons + 1]
        plain.append(b":%b %b %b %b %b" % (modes[0], modes[-1], ids[0], ids[-1], status[:1]))
    return parse_raw_diff(b"\0".join(plain))


def _range_arguments(request: RawRangeDiffRequest | RangeDiffRequest) -> list[str]:
    kind = request.WhichOneof("range_spec")
    if kind == "range_pair":
        named = {"Range1": request.range_pair.range1, "Range2": request.range_pair.range2}
        arguments = list(named.values())
    elif kind == "revision_range":
        named = {"Rev1": request.revision_range.rev1, "Rev2": request.revision_range.rev2}
        arguments = ["...".join(named.values())]
    elif kind == "base_with_revisions":
        base = request.base_with_revisions
        named = {"Base": base.base, "Rev1": base.rev1, "Rev2": base.rev2}
        arguments = list(named.values())
    else:
        raise InvalidArgumentError("empty RangeSpec")
    for name, value in named.items():
        if not value:
            raise InvalidArgumentError(f"empty {name}")
        try:
            check_revision(value.encode())
        except InvalidArgumentError as exc:
            raise wrap(name, exc) from exc
    return arguments


def _pair(match: re.Match[bytes]) -> RangeDiffResponse:
    left, right = (match[side].strip(b"-").decode() for side in ("left", "right"))
    return RangeDiffResponse(
        from_commit_id=left,
        to_commit_id=right,
        comparison=_COMPARATORS[match["mark"]],
        commit_message_title=match["title"].decode("utf-8", "replace"),
    )


def _pair_responses(pair: RangeDiffResponse | None, patch: bytes) -> Iterator[RangeDiffResponse]:
    if pair is None:
        return
    pieces: Iterable[bytes] = [patch[start : start + _CHUNK_BYTES] for start in range(0, len(patch), _CHUNK_BYTES)]
    response = pair
    for piece in pieces:
        response.patch_data = piece
        if len(piece) == _CHUNK_BYTES and not patch.endswith(piece):
            yield response
            response = RangeDiffResponse()
    response.end_of_patch = True
    yield response
