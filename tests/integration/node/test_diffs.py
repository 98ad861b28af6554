"""Comparing commits, trees and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from praefect.node.git.patch import unquote
from praefect.node.services.diff.service import DiffService
from praefect.node.services.repository.service import RepositoryService
from praefect.proto import diff_pb2 as pb
from praefect.proto import repository_pb2
from praefect.transport.grpc.status import StatusCode
from tests.support.storage_node import collect, failure, make_commit, repository, run_git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.storage_node import StorageNode

WEIRD = "we\tird \u00e4"
LEFT = {
    "changed": b"1\n2\n3\n",
    "gone": b"x\n" * 20,
    "spaces": b"a b\n",
    "binary": b"\0\1",
    WEIRD: b"1\n",
    "kept": b"kept\n",
}
RIGHT = {
    "changed": b"1\ntwo\n3\n",
    "moved": b"x\n" * 20 + b"y\n",
    "spaces": b"a  b\n",
    "binary": b"\0\2",
    WEIRD: b"2\n",
    "kept": b"kept\n",
    "new": b"new\n",
}


@pytest.fixture
def service(node: StorageNode) -> DiffService:
    return DiffService(node.context)


@pytest.fixture
async def path(node: StorageNode) -> Path:
    request = repository_pb2.CreateRepositoryRequest(repository=repository())
    await RepositoryService(node.context).create_repository(request, node.call())
    return node.path / "project.git"


@pytest.fixture
async def commits(path: Path) -> tuple[str, str]:
    left = await make_commit(path, LEFT, message="left")
    right = await make_commit(path, RIGHT, message="right", parent=left)
    await run_git(path, "update-ref", "refs/heads/main", right)
    return left, right


def request_of(commits: tuple[str, str], **fields: object) -> pb.CommitDiffRequest:
    return pb.CommitDiffRequest(
        repository=repository(),
        left_commit_id=commits[0],
        right_commit_id=commits[1],
        **fields,  # type: ignore[arg-type]
    )


async def diff(
    service: DiffService, node: StorageNode, request: pb.CommitDiffRequest
) -> dict[str, pb.CommitDiffResponse]:
    files: dict[str, pb.CommitDiffResponse] = {}
    name = ""
    for answer in await collect(service.commit_diff(request, node.call())):
        if answer.to_path or answer.overflow_marker:
            name = answer.to_path.decode() or "overflow"
            files[name] = answer
        else:
            files[name].raw_patch_data += answer.raw_patch_data
            files[name].end_of_patch = answer.end_of_patch
    return files


async def test_patches(service: DiffService, node: StorageNode, commits: tuple[str, str]) -> None:
    files = await diff(service, node, request_of(commits))
    assert set(files) == {"changed", "moved", "spaces", "binary", WEIRD, "new"}
    changed = files["changed"]
    assert changed.raw_patch_data == b"@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n"
    assert (changed.lines_added, changed.lines_removed, changed.end_of_patch) == (1, 1, True)
    assert files["moved"].from_path == b"gone"
    assert files["binary"].binary
    assert files["binary"].raw_patch_data == b"Binary files a/binary and b/binary differ\n"
    assert (files["new"].old_mode, files["new"].new_mode, files["new"].from_id) == (0, 0o100644, "0" * 40)


async def test_ignored_whitespace_leaves_an_empty_patch_at_the_end(
    service: DiffService, node: StorageNode, commits: tuple[str, str]
) -> None:
    files = await diff(service, node, request_of(commits, whitespace_changes="WHITESPACE_CHANGES_IGNORE_ALL"))
    assert list(files)[-1] == "spaces"
    assert files["spaces"].raw_patch_data == b""
    assert files[WEIRD].raw_patch_data.endswith(b"-1\n+2\n")


async def test_limits(service: DiffService, node: StorageNode, commits: tuple[str, str]) -> None:
    generous = {"max_files": 100, "max_lines": 1000, "max_bytes": 100_000, "max_patch_bytes": 100_000}
    files = await diff(service, node, request_of(commits, enforce_limits=True, **generous))
    assert len(files) == 6
    files = await diff(service, node, request_of(commits, enforce_limits=True, **{**generous, "max_files": 2}))
    assert list(files)[-1] == "overflow"
    assert len(files) == 3
    tight = {**generous, "max_patch_bytes": 10}
    files = await diff(service, node, request_of(commits, enforce_limits=True, **tight))
    assert files["changed"].too_large
    assert files["changed"].raw_patch_data == b""
    assert not files[WEIRD].too_large
    safe = {"safe_max_files": 1, "safe_max_lines": 1000, "safe_max_bytes": 100_000}
    files = await diff(service, node, request_of(commits, collapse_diffs=True, **safe))
    assert [file.collapsed for file in files.values()].count(True) == 5
    overflow = {**generous, "max_files": 2, "collect_all_paths": True}
    files = await diff(service, node, request_of(commits, enforce_limits=True, **overflow))
    assert len(files) == 6
    assert [file.overflow_marker for file in files.values()].count(True) == 4


async def test_large_patch_is_cut_into_pieces(service: DiffService, node: StorageNode, path: Path) -> None:
    left = await make_commit(path, {"a": b""})
    right = await make_commit(path, {"a": b"".join(b"%d\n" % number for number in range(5000))})
    answers = await collect(service.commit_diff(request_of((left, right)), node.call()))
    assert max(len(answer.raw_patch_data) for answer in answers) == 5120
    assert [answer.end_of_patch for answer in answers[-2:]] == [False, True]
    assert b"".join(answer.raw_patch_data for answer in answers).endswith(b"+4999\n")


async def test_other_forms(service: DiffService, node: StorageNode, commits: tuple[str, str]) -> None:
    left, right = commits
    common = {"repository": repository(), "left_commit_id": left, "right_commit_id": right}
    (deltas,) = await collect(service.commit_delta(pb.CommitDeltaRequest(**common), node.call()))  # type: ignore[arg-type]
    assert {delta.to_path.decode() for delta in deltas.deltas} == {"changed", "moved", "spaces", "binary", WEIRD, "new"}
    raw = await collect(service.raw_diff(pb.RawDiffRequest(**common), node.call()))  # type: ignore[arg-type]
    assert b"diff --git a/changed b/changed" in b"".join(answer.data for answer in raw)
    patch = await collect(service.raw_patch(pb.RawPatchRequest(**common), node.call()))  # type: ignore[arg-type]
    assert b"Subject: [PATCH] right" in b"".join(answer.data for answer in patch)
    (stats,) = await collect(service.diff_stats(pb.DiffStatsRequest(**common), node.call()))  # type: ignore[arg-type]
    found = {each.path.decode(): (each.additions, each.deletions, each.old_path) for each in stats.stats}
    assert found["changed"] == (1, 1, b"")
    assert found["moved"] == (1, 0, b"gone")


async def test_changed_paths(service: DiffService, node: StorageNode, commits: tuple[str, str]) -> None:
    left, right = commits
    request = pb.FindChangedPathsRequest(repository=repository(), commits=[right], find_renames=True)
    (answer,) = await collect(service.find_changed_paths(request, node.call()))
    found = {each.path.decode(): each for each in answer.paths}
    assert found["moved"].status == pb.ChangedPaths.RENAMED
    assert found["moved"].old_path == b"gone"
    assert found["new"].status == pb.ChangedPaths.ADDED
    assert {each.commit_id for each in answer.paths} == {right}
    tree = pb.FindChangedPathsRequest.Request.TreeRequest(left_tree_revision=left, right_tree_revision=right)
    request = pb.FindChangedPathsRequest(
        repository=repository(),
        requests=[pb.FindChangedPathsRequest.Request(tree_request=tree)],
        diff_filters=["DIFF_STATUS_DELETED"],
    )
    (answer,) = await collect(service.find_changed_paths(request, node.call()))
    assert [each.path for each in answer.paths] == [b"gone"]
    request = pb.FindChangedPathsRequest(repository=repository(), commits=["nope"])
    with failure(StatusCode.NOT_FOUND, 'revision can not be found: "nope"'):
        await collect(service.find_changed_paths(request, node.call()))


async def test_merge_commits(service: DiffService, node: StorageNode, path: Path) -> None:
    base = await make_commit(path, {"a": b"1"})
    one = await make_commit(path, {"a": b"2"}, parent=base)
    two = await make_commit(path, {"a": b"3"}, parent=base)
    tree = (await run_git(path, "rev-parse", f"{base}^{{tree}}")).decode().strip()
    merge = (await run_git(path, "commit-tree", tree, "-p", one, "-p", two, stdin=b"m")).decode().strip()
    for mode, count in (("INCLUDE_MERGES", 2), ("ALL_PARENTS", 1)):
        request = pb.FindChangedPathsRequest(
            repository=repository(), commits=[merge], merge_commit_diff_mode=f"MERGE_COMMIT_DIFF_MODE_{mode}"
        )
        (answer,) = await collect(service.find_changed_paths(request, node.call()))
        assert [each.path for each in answer.paths] == [b"a"] * count


async def test_patch_ids(service: DiffService, node: StorageNode, commits: tuple[str, str]) -> None:
    left, right = (commit.encode() for commit in commits)
    request = pb.GetPatchIDRequest(repository=repository(), old_revision=left, new_revision=right)
    assert len((await service.get_patch_id(request, node.call())).patch_id) == 40
    request.new_revision = left
    with failure(StatusCode.FAILED_PRECONDITION, "no difference between old and new revision"):
        await service.get_patch_id(request, node.call())


async def test_series(service: DiffService, node: StorageNode, path: Path) -> None:
    base = await make_commit(path, {"a": b"1\n"})
    lines = b"".join(b"line %d\n" % number for number in range(20))
    one = await make_commit(path, {"a": lines + b"2\n"}, parent=base, message="change")
    two = await make_commit(path, {"a": lines + b"3\n"}, parent=base, message="change")
    spec = pb.BaseWithRevisions(base=base, rev1=one, rev2=two)
    raw = await collect(
        service.raw_range_diff(pb.RawRangeDiffRequest(repository=repository(), base_with_revisions=spec), node.call())
    )
    assert raw[0].data.startswith(f"1:  {one} ! 1:  {two} change\n".encode())
    answers = await collect(
        service.range_diff(pb.RangeDiffRequest(repository=repository(), base_with_revisions=spec), node.call())
    )
    assert (answers[0].from_commit_id, answers[0].to_commit_id, answers[0].commit_message_title) == (one, two, "change")
    assert answers[0].comparison == pb.RangeDiffResponse.COMPARATOR_NOT_EQUAL
    assert b"+3" in b"".join(answer.patch_data for answer in answers)
    assert answers[-1].end_of_patch
    with failure(StatusCode.INVALID_ARGUMENT, "empty Base"):
        await collect(
            service.range_diff(
                pb.RangeDiffRequest(repository=repository(), base_with_revisions=pb.BaseWithRevisions(rev1="a")),
                node.call(),
            )
        )


async def test_pairs_of_files(service: DiffService, node: StorageNode, commits: tuple[str, str]) -> None:
    left, right = commits
    pairs = [
        pb.DiffBlobsRequest.BlobPair(left_blob=f"{left}:changed".encode(), right_blob=f"{right}:changed".encode()),
        pb.DiffBlobsRequest.BlobPair(left_blob=b"0" * 40, right_blob=f"{right}:new".encode()),
    ]
    request = pb.DiffBlobsRequest(repository=repository(), blob_pairs=pairs)
    changed, new = await collect(service.diff_blobs(request, node.call()))
    assert changed.patch == b"@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n"
    assert (new.left_blob_id, new.patch) == ("0" * 40, b"@@ -0,0 +1 @@\n+new\n")
    request.patch_bytes_limit = 5
    changed, _ = await collect(service.diff_blobs(request, node.call()))
    assert (changed.over_patch_bytes_limit, changed.patch, changed.patch_size) == (True, b"", 30)
    same = pb.DiffBlobsRequest.BlobPair(left_blob=b"0" * 40, right_blob=b"0" * 40)
    with failure(StatusCode.INVALID_ARGUMENT, "left and right blob revisions resolve to same OID"):
        await collect(service.diff_blobs(pb.DiffBlobsRequest(repository=repository(), blob_pairs=[same]), node.call()))


async def test_errors(service: DiffService, node: StorageNode, commits: tuple[str, str]) -> None:
    with failure(StatusCode.INVALID_ARGUMENT, "empty RightCommitId"):
        await diff(service, node, pb.CommitDiffRequest(repository=repository(), left_commit_id="a"))
    with failure(StatusCode.FAILED_PRECONDITION, "eachDiff: exit status 128"):
        await diff(service, node, request_of((commits[0], "1" * 40)))
    with failure(StatusCode.INTERNAL, "cmd: exit status 128"):
        await collect(
            service.raw_diff(
                pb.RawDiffRequest(repository=repository(), left_commit_id="x", right_commit_id="y"), node.call()
            )
        )


@pytest.mark.parametrize(
    ("quoted", "plain"),
    [(b"a", b"a"), (b'"a\\tb"', b"a\tb"), (b'"\\303\\244"', "ä".encode()), (b'"\\"\\\\"', b'"\\')],
)
def test_unquoting(quoted: bytes, plain: bytes) -> None:
    assert unquote(quoted) == plain
