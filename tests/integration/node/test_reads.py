"""Reading references, commits, trees and blobs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from praefect.node.services.blob import BlobService
from praefect.node.services.commit.service import CommitService
from praefect.node.services.ref.service import RefService
from praefect.node.services.repository.service import RepositoryService
from praefect.proto import blob_pb2, commit_pb2, ref_pb2, repository_pb2
from praefect.proto.shared_pb2 import PaginationParameter, SortDirection
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.storage_node import collect, failure, make_commit, repository, run_git, stream_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.storage_node import StorageNode


@pytest.fixture
async def path(node: StorageNode) -> Path:
    request = repository_pb2.CreateRepositoryRequest(repository=repository())
    await RepositoryService(node.context).create_repository(request, node.call())
    return node.path / "project.git"


@pytest.fixture
async def commits(path: Path) -> list[str]:
    first = await make_commit(path, {"a": b"1\n", "d/e/f": b"deep\n"}, message="first\n\nbody\n\nSigned-off-by: me\n")
    second = await make_commit(path, {"a": b"2\n", "d/e/f": b"deep\n"}, message="second", parent=first)
    await run_git(path, "update-ref", "refs/heads/main", second)
    await run_git(path, "update-ref", "refs/heads/old", first)
    await run_git(path, "update-ref", "refs/keep-around/x", first)
    await run_git(path, "tag", "-a", "-m", "release\n\n", "v1", second)
    await run_git(path, "tag", "light", first)
    return [first, second]


@pytest.fixture
def refs(node: StorageNode) -> RefService:
    return RefService(node.context)


@pytest.fixture
def service(node: StorageNode) -> CommitService:
    return CommitService(node.context)


@pytest.fixture
def blobs(node: StorageNode) -> BlobService:
    return BlobService(node.context)


async def test_default_branch(refs: RefService, node: StorageNode, path: Path) -> None:
    request = ref_pb2.FindDefaultBranchNameRequest(repository=repository())
    head_only = ref_pb2.FindDefaultBranchNameRequest(repository=repository(), head_only=True)
    assert (await refs.find_default_branch_name(request, node.call())).name == b""
    assert (await refs.find_default_branch_name(head_only, node.call())).name == b"refs/heads/main"
    commit = await make_commit(path, {"a": b""})
    await run_git(path, "update-ref", "refs/heads/zoo", commit)
    assert (await refs.find_default_branch_name(request, node.call())).name == b"refs/heads/zoo"
    await run_git(path, "update-ref", "refs/heads/master", commit)
    assert (await refs.find_default_branch_name(request, node.call())).name == b"refs/heads/master"


async def test_local_branches(refs: RefService, node: StorageNode, commits: list[str]) -> None:
    request = ref_pb2.FindLocalBranchesRequest(repository=repository())
    answers = await collect(refs.find_local_branches(request, node.call()))
    branches = [branch for answer in answers for branch in answer.local_branches]
    assert [(branch.name, branch.target_commit.id) for branch in branches] == [
        (b"refs/heads/main", commits[1]),
        (b"refs/heads/old", commits[0]),
    ]
    assert branches[0].target_commit.subject == b"second"
    request.pagination_params.CopyFrom(PaginationParameter(page_token="refs/heads/main", limit=5))
    answers = await collect(refs.find_local_branches(request, node.call()))
    assert [branch.name for answer in answers for branch in answer.local_branches] == [b"refs/heads/old"]
    request.pagination_params.CopyFrom(PaginationParameter(limit=0))
    assert await collect(refs.find_local_branches(request, node.call())) == []
    request.pagination_params.CopyFrom(PaginationParameter(page_token="refs/heads/nope", limit=5))
    with failure(StatusCode.INVALID_ARGUMENT, "invalid page token: sending lines: could not find page token"):
        await collect(refs.find_local_branches(request, node.call()))
    request = ref_pb2.FindLocalBranchesRequest(repository=repository(), exclude_patterns=[b"refs/heads/o*"])
    answers = await collect(refs.find_local_branches(request, node.call()))
    assert [branch.name for answer in answers for branch in answer.local_branches] == [b"refs/heads/main"]


async def test_list_refs(refs: RefService, node: StorageNode, commits: list[str]) -> None:
    request = ref_pb2.ListRefsRequest(repository=repository(), patterns=[b"refs/"], head=True, peel_tags=True)
    answers = await collect(refs.list_refs(request, node.call()))
    found = [(each.name, each.target, each.peeled_target) for answer in answers for each in answer.references]
    assert [name for name, _, _ in found] == [
        b"HEAD",
        b"refs/heads/main",
        b"refs/heads/old",
        b"refs/keep-around/x",
        b"refs/tags/light",
        b"refs/tags/v1",
    ]
    assert found[0][1] == commits[1]
    assert found[-1][2] == commits[1]
    request = ref_pb2.ListRefsRequest(
        repository=repository(),
        patterns=[b"refs/heads/"],
        sort_by=ref_pb2.ListRefsRequest.SortBy(direction=SortDirection.DESCENDING),
        pagination_params=PaginationParameter(limit=1),
    )
    (answer,) = await collect(refs.list_refs(request, node.call()))
    assert [each.name for each in answer.references] == [b"refs/heads/old"]
    request.pagination_params.page_token = answer.pagination_cursor.next_cursor
    (answer,) = await collect(refs.list_refs(request, node.call()))
    assert [each.name for each in answer.references] == [b"refs/heads/main"]
    assert not answer.HasField("pagination_cursor")
    with failure(StatusCode.INVALID_ARGUMENT, "patterns must have at least one entry"):
        await collect(refs.list_refs(ref_pb2.ListRefsRequest(repository=repository()), node.call()))


async def test_find_branch(refs: RefService, node: StorageNode, path: Path, commits: list[str]) -> None:
    request = ref_pb2.FindBranchRequest(repository=repository(), name=b"main")
    answer = await refs.find_branch(request, node.call())
    assert (answer.branch.name, answer.branch.target_commit.id) == (b"main", commits[1])
    missing = await refs.find_branch(ref_pb2.FindBranchRequest(repository=repository(), name=b"nope"), node.call())
    assert not missing.HasField("branch")
    await run_git(path, "update-ref", "refs/heads/feat/x", commits[0])
    text = 'target reference is ambiguous: reference is ambiguous: conflicts with "refs/heads/feat/x"'
    with failure(StatusCode.INVALID_ARGUMENT, text):
        await refs.find_branch(ref_pb2.FindBranchRequest(repository=repository(), name=b"feat"), node.call())
    with failure(StatusCode.INVALID_ARGUMENT, "Branch name cannot be empty"):
        await refs.find_branch(ref_pb2.FindBranchRequest(repository=repository()), node.call())


async def test_ref_exists(refs: RefService, node: StorageNode, commits: list[str]) -> None:
    for name, expected in ((b"refs/heads/main", True), (b"refs/heads/mai", False), (b"refs/heads", False)):
        answer = await refs.ref_exists(ref_pb2.RefExistsRequest(repository=repository(), ref=name), node.call())
        assert answer.value is expected
    with failure(StatusCode.INVALID_ARGUMENT, "invalid refname"):
        await refs.ref_exists(ref_pb2.RefExistsRequest(repository=repository(), ref=b"main"), node.call())


async def test_tags(refs: RefService, node: StorageNode, commits: list[str]) -> None:
    answers = await collect(refs.find_all_tags(ref_pb2.FindAllTagsRequest(repository=repository()), node.call()))
    tags = [tag for answer in answers for tag in answer.tags]
    assert [(tag.name, tag.target_commit.id, tag.message) for tag in tags] == [
        (b"light", commits[0], b""),
        (b"v1", commits[1], b"release"),
    ]
    assert tags[0].id == commits[0]
    assert tags[1].tagger.name == b"Jane"
    found = await refs.find_tag(ref_pb2.FindTagRequest(repository=repository(), tag_name=b"v1"), node.call())
    assert found.tag.id == tags[1].id
    with pytest.raises(StatusError, match=r"^tag does not exist$") as error:
        await refs.find_tag(ref_pb2.FindTagRequest(repository=repository(), tag_name=b"x"), node.call())
    detail = ref_pb2.FindTagError()
    assert error.value.details[0].Unpack(detail)
    assert detail.tag_not_found.reference_name == b"refs/tags/x"
    (head, message) = await collect(
        refs.get_tag_messages(ref_pb2.GetTagMessagesRequest(repository=repository(), tag_ids=[tags[1].id]), node.call())
    )
    assert (head.tag_id, message.message) == (tags[1].id, b"release\n")


async def test_other_listings(refs: RefService, node: StorageNode, commits: list[str]) -> None:
    request = ref_pb2.ListBranchNamesContainingCommitRequest(repository=repository(), commit_id=commits[0])
    (answer,) = await collect(refs.list_branch_names_containing_commit(request, node.call()))
    assert list(answer.branch_names) == [b"main", b"old"]
    by_oid = ref_pb2.FindRefsByOIDRequest(repository=repository(), oid=commits[0])
    assert list((await refs.find_refs_by_oid(by_oid, node.call())).refs) == ["refs/heads/old", "refs/tags/light"]
    (answer,) = await collect(
        refs.find_all_branches(ref_pb2.FindAllBranchesRequest(repository=repository(), merged_only=True), node.call())
    )
    assert [branch.name for branch in answer.branches] == [b"refs/heads/main", b"refs/heads/old"]


async def test_find_commit(service: CommitService, node: StorageNode, commits: list[str]) -> None:
    request = commit_pb2.FindCommitRequest(repository=repository(), revision=b"old", trailers=True)
    commit = (await service.find_commit(request, node.call())).commit
    assert commit.id == commits[0]
    assert commit.body == b"first\n\nbody\n\nSigned-off-by: me\n"
    assert [(trailer.key, trailer.value) for trailer in commit.trailers] == [(b"Signed-off-by", b"me")]
    assert commit.committer.date.seconds == 1767225600
    for revision in (b"nope", b"main^{tree}"):
        request = commit_pb2.FindCommitRequest(repository=repository(), revision=revision)
        assert not (await service.find_commit(request, node.call())).HasField("commit")


REVISIONS = [
    (b"", "empty revision"),
    (b"-x", "revision can't start with '-'"),
    (b"a b", "revision can't contain whitespace"),
    (b"a\0b", "revision can't contain NUL"),
    (b"main:d", "revision can't contain ':'"),
    (b"a\\b", "revision can't contain '\\'"),
]


@pytest.mark.parametrize(("revision", "text"), REVISIONS)
async def test_bad_revision_never_reaches_git(
    service: CommitService, node: StorageNode, path: Path, revision: bytes, text: str
) -> None:
    request = commit_pb2.FindCommitRequest(repository=repository(), revision=revision)
    with failure(StatusCode.INVALID_ARGUMENT, text):
        await service.find_commit(request, node.call())


async def test_list_commits(service: CommitService, node: StorageNode, commits: list[str]) -> None:
    request = commit_pb2.ListCommitsRequest(repository=repository(), revisions=["--branches"])
    (answer,) = await collect(service.list_commits(request, node.call()))
    assert [commit.id for commit in answer.commits] == commits[::-1]
    request = commit_pb2.ListCommitsRequest(
        repository=repository(), revisions=["main"], pagination_params=PaginationParameter(limit=1)
    )
    (answer,) = await collect(service.list_commits(request, node.call()))
    assert [commit.id for commit in answer.commits] == [commits[1]]
    assert answer.pagination_cursor.next_cursor == commits[1]
    request = commit_pb2.ListCommitsRequest(repository=repository(), revisions=["main", "^old"])
    (answer,) = await collect(service.list_commits(request, node.call()))
    assert [commit.id for commit in answer.commits] == [commits[1]]
    request = commit_pb2.ListCommitsRequest(repository=repository(), revisions=["main"], paths=[b"d"])
    (answer,) = await collect(service.list_commits(request, node.call()))
    assert [commit.id for commit in answer.commits] == [commits[0]]
    request = commit_pb2.ListCommitsRequest(repository=repository(), revisions=["x"])
    text = "iterating objects: rev-list pipeline command: exit status 128, stderr: \"fatal: bad revision 'x'\\n\""
    with failure(StatusCode.INTERNAL, text):
        await collect(service.list_commits(request, node.call()))


async def test_commit_walks(service: CommitService, node: StorageNode, commits: list[str]) -> None:
    (answer,) = await collect(
        service.list_all_commits(commit_pb2.ListAllCommitsRequest(repository=repository()), node.call())
    )
    assert {commit.id for commit in answer.commits} == set(commits)
    count = await service.count_commits(
        commit_pb2.CountCommitsRequest(repository=repository(), revision=b"main"), node.call()
    )
    assert count.count == 2
    diverging = commit_pb2.CountDivergingCommitsRequest(repository=repository(), to=b"old", **{"from": b"main"})  # type: ignore[arg-type]
    both = await service.count_diverging_commits(diverging, node.call())
    assert (both.left_count, both.right_count) == (1, 0)
    ancestor = commit_pb2.CommitIsAncestorRequest(repository=repository(), ancestor_id=commits[0], child_id=commits[1])
    assert (await service.commit_is_ancestor(ancestor, node.call())).value
    last = commit_pb2.LastCommitForPathRequest(repository=repository(), revision=b"main", path=b"d/e")
    assert (await service.last_commit_for_path(last, node.call())).commit.id == commits[0]
    stats = await service.commit_stats(
        commit_pb2.CommitStatsRequest(repository=repository(), revision=b"main"), node.call()
    )
    assert (stats.additions, stats.deletions, stats.files) == (1, 1, 1)
    found = await collect(
        service.find_all_commits(commit_pb2.FindAllCommitsRequest(repository=repository()), node.call())
    )
    assert [commit.id for commit in found[0].commits] == commits[::-1]
    found = await collect(
        service.commits_by_message(
            commit_pb2.CommitsByMessageRequest(repository=repository(), query="SECOND", limit=5), node.call()
        )
    )
    assert [commit.id for commit in found[0].commits] == [commits[1]]


async def test_objects_exist(service: CommitService, node: StorageNode, commits: list[str]) -> None:
    requests = [
        commit_pb2.CheckObjectsExistRequest(repository=repository(), revisions=[b"main", b"nope"]),
        commit_pb2.CheckObjectsExistRequest(revisions=[b"main:d/e/f", commits[0].encode()]),
    ]
    answers = await collect(service.check_objects_exist(stream_of(requests), node.call()))
    assert [[(each.name, each.exists) for each in answer.revisions] for answer in answers] == [
        [(b"main", True), (b"nope", False)],
        [(b"main:d/e/f", True), (commits[0].encode(), True)],
    ]


async def test_tree_entry(service: CommitService, node: StorageNode, commits: list[str]) -> None:
    request = commit_pb2.TreeEntryRequest(repository=repository(), revision=b"main", path=b"d/e/f")
    (answer,) = await collect(service.tree_entry(request, node.call()))
    assert (answer.type, answer.size, answer.mode, answer.data) == (
        commit_pb2.TreeEntryResponse.BLOB,
        5,
        0o100644,
        b"deep\n",
    )
    request.path = b"d/"
    (answer,) = await collect(service.tree_entry(request, node.call()))
    assert (answer.type, answer.mode, answer.data) == (commit_pb2.TreeEntryResponse.TREE, 0o40000, b"")
    for missing in (b"nope", b"../x"):
        request.path = missing
        with failure(StatusCode.NOT_FOUND, "tree entry not found"):
            await collect(service.tree_entry(request, node.call()))
    request = commit_pb2.TreeEntryRequest(repository=repository(), revision=b"main", path=b"a", max_size=1)
    text = "object size (2) is bigger than the maximum allowed size (1)"
    with failure(StatusCode.FAILED_PRECONDITION, text):
        await collect(service.tree_entry(request, node.call()))


async def test_tree_entries(service: CommitService, node: StorageNode, commits: list[str]) -> None:
    request = commit_pb2.GetTreeEntriesRequest(repository=repository(), revision=b"main", path=b".")
    (answer,) = await collect(service.get_tree_entries(request, node.call()))
    assert [(entry.path, entry.flat_path, entry.commit_oid) for entry in answer.entries] == [
        (b"a", b"a", "main"),
        (b"d", b"d/e", "main"),
    ]
    request.recursive = True
    (answer,) = await collect(service.get_tree_entries(request, node.call()))
    assert [entry.path for entry in answer.entries] == [b"a", b"d", b"d/e", b"d/e/f"]
    request = commit_pb2.GetTreeEntriesRequest(
        repository=repository(), revision=b"main", path=b".", pagination_params=PaginationParameter(limit=1)
    )
    (answer,) = await collect(service.get_tree_entries(request, node.call()))
    assert [entry.path for entry in answer.entries] == [b"a"]
    request.pagination_params.page_token = answer.pagination_cursor.next_cursor
    (answer,) = await collect(service.get_tree_entries(request, node.call()))
    assert [entry.path for entry in answer.entries] == [b"d"]
    request = commit_pb2.GetTreeEntriesRequest(repository=repository(), revision=b"nope", path=b".")
    with pytest.raises(StatusError, match=r"^invalid revision or path$") as error:
        await collect(service.get_tree_entries(request, node.call()))
    assert error.value.code is StatusCode.INVALID_ARGUMENT
    (answer,) = await collect(
        service.list_files(commit_pb2.ListFilesRequest(repository=repository(), revision=b"main"), node.call())
    )
    assert list(answer.paths) == [b"a", b"d/e/f"]


async def test_blobs(blobs: BlobService, node: StorageNode, path: Path) -> None:
    big = os.urandom(300_000)
    commit = await make_commit(path, {"big": big, "small": b"x"})
    await run_git(path, "update-ref", "refs/heads/main", commit)
    oid = (await run_git(path, "rev-parse", "main:big")).decode().strip()
    answers = await collect(
        blobs.get_blob(blob_pb2.GetBlobRequest(repository=repository(), oid=oid, limit=-1), node.call())
    )
    assert (answers[0].size, answers[0].oid) == (len(big), oid)
    assert b"".join(answer.data for answer in answers) == big
    assert max(len(answer.data) for answer in answers) <= 128 * 1024
    (answer,) = await collect(
        blobs.get_blob(blob_pb2.GetBlobRequest(repository=repository(), oid=oid, limit=10), node.call())
    )
    assert answer.data == big[:10]
    (answer,) = await collect(
        blobs.get_blob(blob_pb2.GetBlobRequest(repository=repository(), oid="0" * 40, limit=10), node.call())
    )
    assert answer == blob_pb2.GetBlobResponse()
    wanted = [
        blob_pb2.GetBlobsRequest.RevisionPath(revision="main", path=b"small"),
        blob_pb2.GetBlobsRequest.RevisionPath(revision="main", path=b"none"),
    ]
    request = blob_pb2.GetBlobsRequest(repository=repository(), revision_paths=wanted, limit=-1)
    (found, missing) = await collect(blobs.get_blobs(request, node.call()))
    assert (found.data, found.mode, found.path) == (b"x", 0o100644, b"small")
    assert missing == blob_pb2.GetBlobsResponse(revision="main", path=b"none")
    listing = blob_pb2.ListBlobsRequest(repository=repository(), revisions=["main"], bytes_limit=-1, with_paths=True)
    answers = await collect(blobs.list_blobs(listing, node.call()))
    contents: dict[bytes, bytes] = {}
    for answer in answers:
        for blob in answer.blobs:
            contents[blob.path] = contents.get(blob.path, b"") + blob.data
    assert contents == {b"big": big, b"small": b"x"}


async def test_lfs_pointers(blobs: BlobService, node: StorageNode, path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12\n"
    commit = await make_commit(path, {"p": pointer, "q": b"version nonsense"})
    await run_git(path, "update-ref", "refs/heads/main", commit)
    request = blob_pb2.ListLFSPointersRequest(repository=repository(), revisions=["main"])
    (answer,) = await collect(blobs.list_lfs_pointers(request, node.call()))
    assert [(each.data, each.file_size, each.file_oid) for each in answer.lfs_pointers] == [(pointer, 12, b"a" * 64)]
    (everything,) = await collect(
        blobs.list_all_lfs_pointers(blob_pb2.ListAllLFSPointersRequest(repository=repository()), node.call())
    )
    assert everything.lfs_pointers == answer.lfs_pointers
    unknown = blob_pb2.GetLFSPointersRequest(repository=repository(), blob_ids=["0" * 40])
    text = f'retrieving object info for "{"0" * 40}": object not found'
    with failure(StatusCode.INTERNAL, text):
        await collect(blobs.get_lfs_pointers(unknown, node.call()))
