"""History of files, blame, searching, attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from praefect.node.services.commit.service import CommitService
from praefect.node.services.repository.service import RepositoryService
from praefect.proto import commit_pb2
from praefect.proto import repository_pb2 as pb
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.storage_node import collect, failure, make_commit, repository, run_git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.storage_node import StorageNode


@pytest.fixture
def service(node: StorageNode) -> CommitService:
    return CommitService(node.context)


@pytest.fixture
def repositories(node: StorageNode) -> RepositoryService:
    return RepositoryService(node.context)


@pytest.fixture
async def path(node: StorageNode, repositories: RepositoryService) -> Path:
    await repositories.create_repository(pb.CreateRepositoryRequest(repository=repository()), node.call())
    return node.path / "project.git"


@pytest.fixture
async def commits(path: Path) -> list[str]:
    first = await make_commit(
        path, {"a": b"one\ntwo\nthree\n", "d/f": b"x\n", ".gitattributes": b"*.bin binary\n"}, message="first"
    )
    second = await make_commit(
        path,
        {"a": b"one\n2\nthree\n", "d/f": b"x\n", ".gitattributes": b"*.bin binary\n"},
        message="second",
        parent=first,
    )
    await run_git(path, "update-ref", "refs/heads/main", second)
    return [first, second]


async def test_find_commits(service: CommitService, node: StorageNode, commits: list[str]) -> None:
    request = commit_pb2.FindCommitsRequest(repository=repository(), limit=10, include_shortstat=True)
    (answer,) = await collect(service.find_commits(request, node.call()))
    assert [commit.id for commit in answer.commits] == commits[::-1]
    stats = answer.commits[0].short_stats
    assert (stats.changed_files, stats.additions, stats.deletions) == (1, 1, 1)
    for fields, expected in (
        ({"limit": 0}, []),
        ({"limit": 1}, commits[:0:-1]),
        ({"limit": 5, "offset": 1}, commits[:1]),
        ({"limit": 5, "paths": [b"d"]}, commits[:1]),
        ({"limit": 5, "paths": [b"a"], "follow": True, "offset": 1}, commits[:1]),
        ({"limit": 5, "message_regex": "SEC"}, commits[1:]),
        ({"limit": 5, "all": True}, commits),
        ({"limit": 5, "include_referenced_by": [b"refs/heads/"]}, commits[::-1]),
    ):
        request = commit_pb2.FindCommitsRequest(repository=repository(), **fields)
        answers = await collect(service.find_commits(request, node.call()))
        assert [commit.id for answer in answers for commit in answer.commits] == expected, fields
    assert list(answers[0].commits[0].referenced_by) == [b"refs/heads/main"]
    request = commit_pb2.FindCommitsRequest(repository=repository(), revision=b"nope", limit=1)
    with pytest.raises(StatusError, match=r"^commits not found$") as error:
        await collect(service.find_commits(request, node.call()))
    assert error.value.code is StatusCode.NOT_FOUND
    assert error.value.details[0].Unpack(commit_pb2.FindCommitsError())


async def test_blame(service: CommitService, node: StorageNode, commits: list[str]) -> None:
    request = commit_pb2.RawBlameRequest(repository=repository(), revision=b"main", path=b"a", range=b"2,2")
    answers = await collect(service.raw_blame(request, node.call()))
    text = b"".join(answer.data for answer in answers)
    assert text.startswith(f"{commits[1]} 2 2 1\n".encode())
    assert text.endswith(b"\t2\n")
    cases = [
        ({"path": b"none"}, StatusCode.NOT_FOUND, "path not found in revision"),
        ({"path": b"a", "range": b"9,9"}, StatusCode.INVALID_ARGUMENT, "range is outside of the file length"),
        ({"path": b"a", "range": b"x"}, StatusCode.INVALID_ARGUMENT, "invalid Range"),
        ({"path": b"../a"}, StatusCode.INVALID_ARGUMENT, "path escapes repository root"),
    ]
    for fields, code, message in cases:
        request = commit_pb2.RawBlameRequest(repository=repository(), revision=b"main", **fields)
        with failure(code, message):
            await collect(service.raw_blame(request, node.call()))


async def test_last_commits_of_a_tree(service: CommitService, node: StorageNode, commits: list[str]) -> None:
    request = commit_pb2.ListLastCommitsForTreeRequest(repository=repository(), revision="main", limit=10)
    (answer,) = await collect(service.list_last_commits_for_tree(request, node.call()))
    assert [(each.path_bytes, each.commit.id) for each in answer.commits] == [
        (b"d", commits[0]),
        (b".gitattributes", commits[0]),
        (b"a", commits[1]),
    ]
    request.limit = 0
    assert await collect(service.list_last_commits_for_tree(request, node.call())) == []


async def test_search(repositories: RepositoryService, node: StorageNode, commits: list[str]) -> None:
    by_name = pb.SearchFilesByNameRequest(repository=repository(), query=".", ref=b"main", filter="^d/")
    (answer,) = await collect(repositories.search_files_by_name(by_name, node.call()))
    assert list(answer.files) == [b"d/f"]
    by_content = pb.SearchFilesByContentRequest(repository=repository(), query="THREE", ref=b"main")
    answers = await collect(repositories.search_files_by_content(by_content, node.call()))
    assert answers[0].match_data == b"main:a\x001\x00one\nmain:a\x002\x002\nmain:a\x003\x00three\n"
    assert [answer.end_of_match for answer in answers] == [False, True]
    by_content.query = "nothing like that"
    assert await collect(repositories.search_files_by_content(by_content, node.call())) == []
    with failure(StatusCode.INVALID_ARGUMENT, "no query given"):
        await collect(
            repositories.search_files_by_content(pb.SearchFilesByContentRequest(repository=repository()), node.call())
        )


async def test_raw_changes(repositories: RepositoryService, node: StorageNode, commits: list[str]) -> None:
    request = pb.GetRawChangesRequest(repository=repository(), from_revision=commits[0], to_revision=commits[1])
    (answer,) = await collect(repositories.get_raw_changes(request, node.call()))
    (change,) = answer.raw_changes
    assert (change.operation, change.new_path_bytes, change.size) == (
        pb.GetRawChangesResponse.RawChange.MODIFIED,
        b"a",
        12,
    )
    request.from_revision = "0" * 40
    (answer,) = await collect(repositories.get_raw_changes(request, node.call()))
    assert len(answer.raw_changes) == 3
    request.to_revision = "0" * 40
    assert await collect(repositories.get_raw_changes(request, node.call())) == []


async def test_attributes(repositories: RepositoryService, node: StorageNode, commits: list[str]) -> None:
    request = pb.GetFileAttributesRequest(
        repository=repository(), revision=b"main", attributes=["binary"], paths=["x.bin", "x.txt"]
    )
    answer = await repositories.get_file_attributes(request, node.call())
    assert [(info.path, info.attribute, info.value) for info in answer.attribute_infos] == [("x.bin", "binary", "set")]
    (info,) = await collect(
        repositories.get_info_attributes(pb.GetInfoAttributesRequest(repository=repository()), node.call())
    )
    assert info.attributes == b"*.bin binary\n"
