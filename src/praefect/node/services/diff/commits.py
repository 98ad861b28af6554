"""What differs between two commits: CommitDiff, CommitDelta, RawDiff, RawPatch, DiffStats."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InternalError
from praefect.node.git.command import Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.patch import FilePatch, file_patches
from praefect.node.git.raw_diff import parse_raw_diff
from praefect.node.services.diff.limits import DiffCounter, DiffLimits, Shown
from praefect.node.services.diff.part import DIFF_CONFIG, RENAME_FLAG, DiffPart
from praefect.node.services.streaming import batches_by_count, output_chunks
from praefect.proto.diff_pb2 import (
    CommitDelta,
    CommitDeltaRequest,
    CommitDeltaResponse,
    CommitDiffRequest,
    CommitDiffResponse,
    DiffStats,
    DiffStatsRequest,
    DiffStatsResponse,
    RawDiffRequest,
    RawDiffResponse,
    RawPatchRequest,
    RawPatchResponse,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_PATCH_CHUNK_BYTES = 5120
_DELTAS_PER_MESSAGE = 50
_STATS_PER_MESSAGE = 1000
_WHITESPACE_FLAGS = {
    CommitDiffRequest.WHITESPACE_CHANGES_IGNORE: "--ignore-space-change",
    CommitDiffRequest.WHITESPACE_CHANGES_IGNORE_ALL: "--ignore-all-space",
}


class CommitDiffPart(DiffPart):
    """RPCs that compare two commits."""

    async def commit_diff(
        self, request: CommitDiffRequest, call: ServerCall
    ) -> AsyncGenerator[CommitDiffResponse, None]:
        """Yield the changed files with their patches, within limits."""
        del call
        repository = self._open(request)
        limits = _limits(request).capped()
        counter = DiffCounter(limits)
        flags = ["--patch", "--raw", RENAME_FLAG, "--abbrev=40", "--full-index", "--no-color"]
        whitespace = _WHITESPACE_FLAGS.get(request.whitespace_changes)
        if whitespace is not None:
            flags.append(whitespace)
        if request.diff_mode == CommitDiffRequest.WORDDIFF:
            flags.append("--word-diff=porcelain")
        command = Command(
            name="diff",
            flags=flags,
            arguments=[request.left_commit_id, request.right_commit_id],
            paths=list(request.paths) or None,
            config=DIFF_CONFIG,
        )
        async with self._git.start(repository, command) as process, aclosing(file_patches(process)) as files:
            async for file in files:
                shown = counter.judge(file.from_path, file.lines, file.content_bytes)
                if shown is Shown.OVERFLOW and not limits.collect_paths:
                    yield CommitDiffResponse(end_of_patch=True, overflow_marker=True)
                    return
                for response in _responses(file, shown):
                    yield response
            if await process.wait() != 0:
                error = GitCommandError(process.returncode or 0, process.stderr)
                raise FailedPreconditionError(f"eachDiff: {error.status}") from error

    async def commit_delta(
        self, request: CommitDeltaRequest, call: ServerCall
    ) -> AsyncGenerator[CommitDeltaResponse, None]:
        """Yield the changed files without their patches."""
        del call
        repository = self._open(request)
        command = Command(
            name="diff",
            flags=["--raw", "-z", "--abbrev=40", "--full-index", RENAME_FLAG],
            arguments=[request.left_commit_id, request.right_commit_id],
            paths=list(request.paths) or None,
            config=DIFF_CONFIG,
        )
        try:
            changes = parse_raw_diff(await self._git.output(repository, command))
        except GitCommandError as exc:
            raise FailedPreconditionError(f"eachDiff: {exc.status}") from exc
        deltas = [
            CommitDelta(
                from_path=change.old_path,
                to_path=change.new_path,
                from_id=change.old_oid,
                to_id=change.new_oid,
                old_mode=change.old_mode,
                new_mode=change.new_mode,
            )
            for change in changes
        ]
        for group in batches_by_count(deltas, _DELTAS_PER_MESSAGE):
            yield CommitDeltaResponse(deltas=group)

    async def raw_diff(self, request: RawDiffRequest, call: ServerCall) -> AsyncGenerator[RawDiffResponse, None]:
        """Yield git's diff as it is."""
        del call
        repository = self._open(request)
        command = Command(
            name="diff",
            flags=["--full-index"],
            arguments=[request.left_commit_id, request.right_commit_id],
            config=DIFF_CONFIG,
        )
        async with aclosing(self._raw(repository, command)) as chunks:
            async for chunk in chunks:
                yield RawDiffResponse(data=chunk)

    async def raw_patch(self, request: RawPatchRequest, call: ServerCall) -> AsyncGenerator[RawPatchResponse, None]:
        """Yield the commits between as mails."""
        del call
        repository = self._open(request)
        command = Command(
            name="format-patch",
            flags=["--stdout", "--signature=GitLab"],
            arguments=[f"{request.left_commit_id}..{request.right_commit_id}"],
            config=DIFF_CONFIG,
        )
        async with aclosing(self._raw(repository, command)) as chunks:
            async for chunk in chunks:
                yield RawPatchResponse(data=chunk)

    async def _raw(self, repository: LocalRepository, command: Command) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(output_chunks(self._git, repository, command)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except GitCommandError as exc:
            raise InternalError(f"cmd: {exc.status}") from exc

    async def diff_stats(self, request: DiffStatsRequest, call: ServerCall) -> AsyncGenerator[DiffStatsResponse, None]:
        """Yield how many lines each file gained and lost."""
        del call
        repository = self._open(request)
        command = Command(
            name="diff",
            flags=["--numstat", "-z", "--find-renames"],
            arguments=[request.left_commit_id, request.right_commit_id],
            config=DIFF_CONFIG,
        )
        try:
            output = await self._git.output(repository, command)
        except GitCommandError as exc:
            raise FailedPreconditionError(exc.status) from exc
        for group in batches_by_count(_stats(output), _STATS_PER_MESSAGE):
            yield DiffStatsResponse(stats=group)


def _limits(request: CommitDiffRequest) -> DiffLimits:
    return DiffLimits(
        enforce=request.enforce_limits,
        collapse=request.collapse_diffs,
        max_files=request.max_files,
        max_lines=request.max_lines,
        max_bytes=request.max_bytes,
        safe_files=request.safe_max_files,
        safe_lines=request.safe_max_lines,
        safe_bytes=request.safe_max_bytes,
        patch_bytes=request.max_patch_bytes,
        patch_bytes_by_extension=dict(request.max_patch_bytes_for_file_extension),
        collect_paths=request.collect_all_paths,
    )


def _responses(file: FilePatch, shown: Shown) -> Iterator[CommitDiffResponse]:
    head = CommitDiffResponse(
        from_path=file.from_path,
        to_path=file.to_path,
        from_id=file.from_id,
        to_id=file.to_id,
        old_mode=file.old_mode,
        new_mode=file.new_mode,
        binary=file.binary,
        lines_added=file.added,
        lines_removed=file.removed,
        collapsed=shown is Shown.COLLAPSED,
        too_large=shown is Shown.TOO_LARGE,
        overflow_marker=shown is Shown.OVERFLOW,
    )
    patch = bytes(file.patch) if shown is Shown.WHOLE else b""
    head.raw_patch_data = patch[:_PATCH_CHUNK_BYTES]
    head.end_of_patch = len(patch) <= _PATCH_CHUNK_BYTES
    yield head
    for start in range(_PATCH_CHUNK_BYTES, len(patch), _PATCH_CHUNK_BYTES):
        end = start + _PATCH_CHUNK_BYTES
        yield CommitDiffResponse(raw_patch_data=patch[start:end], end_of_patch=end >= len(patch))


def _stats(output: bytes) -> Iterator[DiffStats]:
    fields = iter(output.split(b"\0"))
    for field in fields:
        if not field:
            continue
        added, removed, path = field.split(b"\t", 2)
        stats = DiffStats(
            additions=int(added) if added != b"-" else 0, deletions=int(removed) if removed != b"-" else 0
        )
        if path:
            stats.path = path
        else:  # a rename: both paths follow
            stats.old_path, stats.path = next(fields), next(fields)
        yield stats
