"""Creation, existence and removal of repositories: texts, votes and what is on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from praefect.domain.errors import PraefectError
from praefect.node.services.repository.service import RepositoryService
from praefect.node.voting import Dialect, Phase, TransactionAbortedError
from praefect.proto import repository_pb2 as pb
from praefect.proto.shared_pb2 import OBJECT_FORMAT_SHA256, Repository
from praefect.transport.grpc.status import StatusCode, code_of
from tests.support.storage_node import collect, failure, make_commit, repository, run_git, storage_node

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.storage_node import StorageNode

EMPTY_CREATION_VOTE = "4f6b9a82d3ab65826552b709d5b333667fec7aa6"
OLD_CREATION_VOTE = "2940f7a6bc1e0ff99c8ff0bcd2a48e1266ebc794"


@pytest.fixture
def service(node: StorageNode) -> RepositoryService:
    return RepositoryService(node.context)


async def create(service: RepositoryService, node: StorageNode, path: str = "project.git", **fields: object) -> None:
    request = pb.CreateRepositoryRequest(repository=repository(path), **fields)  # type: ignore[arg-type]
    await service.create_repository(request, node.call())


INVALID_REPOSITORIES = [
    pytest.param(None, "repository not set", id="absent"),
    pytest.param(Repository(), "repository not set", id="empty"),
    pytest.param(Repository(relative_path="a"), "storage name not set", id="no storage"),
    pytest.param(Repository(storage_name="default"), "repository path not set", id="no path"),
    pytest.param(Repository(storage_name="x", relative_path="a"), "storage name not found", id="unknown storage"),
    pytest.param(repository("../a"), "relative path escapes root directory", id="parent"),
    pytest.param(repository("a/../../b"), "relative path escapes root directory", id="hidden parent"),
    pytest.param(repository("/etc"), "relative path escapes root directory", id="absolute"),
]


@pytest.mark.parametrize(("message", "text"), INVALID_REPOSITORIES)
async def test_bad_repository_is_refused(
    service: RepositoryService, node: StorageNode, message: Repository | None, text: str
) -> None:
    with failure(StatusCode.INVALID_ARGUMENT, text):
        await service.repository_exists(pb.RepositoryExistsRequest(repository=message), node.call())
    with failure(StatusCode.INVALID_ARGUMENT, text):
        await service.create_repository(pb.CreateRepositoryRequest(repository=message), node.call())
    with failure(StatusCode.INVALID_ARGUMENT, text):
        await service.calculate_checksum(pb.CalculateChecksumRequest(repository=message), node.call())


async def test_symlink_out_of_the_storage_is_refused(
    service: RepositoryService, node: StorageNode, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (node.path / "link").symlink_to(outside)
    with failure(StatusCode.INVALID_ARGUMENT, "relative path escapes root directory"):
        await create(service, node, "link/project.git")
    assert list(outside.iterdir()) == []


async def test_missing_and_invalid_repositories_are_told_apart(service: RepositoryService, node: StorageNode) -> None:
    (node.path / "partial.git" / "refs").mkdir(parents=True)
    request = pb.CalculateChecksumRequest(repository=repository("none.git"))
    with failure(StatusCode.NOT_FOUND, "repository not found"):
        await service.calculate_checksum(request, node.call())
    request = pb.CalculateChecksumRequest(repository=repository("partial.git"))
    with failure(StatusCode.FAILED_PRECONDITION, 'repository not valid: "objects" does not exist'):
        await service.calculate_checksum(request, node.call())
    for path in ("none.git", "partial.git"):
        answer = await service.repository_exists(pb.RepositoryExistsRequest(repository=repository(path)), node.call())
        assert not answer.exists


async def test_missing_storage_directory_is_named(service: RepositoryService, node: StorageNode) -> None:
    node.path.rmdir()
    with failure(StatusCode.NOT_FOUND, "storage does not exist"):
        await service.repository_exists(pb.RepositoryExistsRequest(repository=repository()), node.call())
    await create(service, node)  # creation makes it again
    assert (node.path / "project.git" / "HEAD").exists()


async def test_created_repository_is_valid_and_bare(service: RepositoryService, node: StorageNode) -> None:
    await create(service, node, "@hashed/aa/bb/aabb.git", default_branch=b"trunk")
    path = node.path / "@hashed/aa/bb/aabb.git"
    assert (path / "HEAD").read_text() == "ref: refs/heads/trunk\n"
    assert (path / ".gitaly-full-repack-timestamp").exists()
    assert not (path / "hooks").exists()
    assert await run_git(path, "fsck") == b""
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["aabb.git"]


async def test_sha256_repository(service: RepositoryService, node: StorageNode) -> None:
    await create(service, node, object_format=OBJECT_FORMAT_SHA256)
    answer = await service.object_format(pb.ObjectFormatRequest(repository=repository()), node.call())
    assert answer.format == OBJECT_FORMAT_SHA256
    checksum = await service.calculate_checksum(pb.CalculateChecksumRequest(repository=repository()), node.call())
    assert checksum.checksum == "0" * 40


async def test_creation_errors(service: RepositoryService, node: StorageNode) -> None:
    await create(service, node)
    with failure(StatusCode.ALREADY_EXISTS, "creating repository: repository exists already"):
        await create(service, node)
    with failure(StatusCode.INVALID_ARGUMENT, 'unknown object format: "9"'):
        await create(service, node, "other.git", object_format=9)
    text = (
        "creating repository: creating repository: exit status 128, "
        "stderr: \"fatal: invalid initial branch name: 'a b'\\n\""
    )
    with failure(StatusCode.INTERNAL, text):
        await create(service, node, "other.git", default_branch=b"a b")
    assert not (node.path / "other.git").exists()


async def test_creation_votes(service: RepositoryService, node: StorageNode) -> None:
    request = pb.CreateRepositoryRequest(repository=repository())
    await service.create_repository(request, node.call(transaction=True))
    assert node.votes == [(phase, EMPTY_CREATION_VOTE) for phase in ("PREPARING", "PREPARED", "COMMITTED")]


async def test_creation_votes_of_the_older_line(tmp_path: Path) -> None:
    async with storage_node(tmp_path, dialect=Dialect.R18_9) as node:
        request = pb.CreateRepositoryRequest(repository=repository())
        await RepositoryService(node.context).create_repository(request, node.call(transaction=True))
        assert node.votes == [("PREPARED", OLD_CREATION_VOTE), ("COMMITTED", OLD_CREATION_VOTE)]


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.PREPARED])
async def test_refused_creation_leaves_nothing(service: RepositoryService, node: StorageNode, phase: Phase) -> None:
    node.voters.record.refuse = lambda cast: TransactionAbortedError() if cast is phase else None
    request = pb.CreateRepositoryRequest(repository=repository())
    text = "creating repository: preparatory vote: transaction was aborted"
    with failure(StatusCode.FAILED_PRECONDITION, text):
        await service.create_repository(request, node.call(transaction=True))
    assert [entry.name for entry in node.path.iterdir()] == ["+gitaly"]
    assert [entry.name[:6] for entry in (node.path / "+gitaly/tmp").iterdir()] == [".owner"]


async def test_refused_commit_is_an_error_but_the_repository_is_there(
    service: RepositoryService, node: StorageNode
) -> None:
    node.voters.record.refuse = lambda cast: TransactionAbortedError() if cast is Phase.COMMITTED else None
    request = pb.CreateRepositoryRequest(repository=repository())
    with failure(StatusCode.FAILED_PRECONDITION, "creating repository: committing vote: transaction was aborted"):
        await service.create_repository(request, node.call(transaction=True))
    assert (node.path / "project.git" / "HEAD").exists()
    assert not (node.path / "project.git.lock").exists()


async def test_removal_votes_and_leaves_nothing(service: RepositoryService, node: StorageNode) -> None:
    path = "@cluster/repositories/6b/86/1"
    await create(service, node, path)
    request = pb.RemoveRepositoryRequest(repository=repository(path))
    await service.remove_repository(request, node.call(transaction=True))
    assert node.votes == [
        ("PREPARING", "52f2d5637f0f741bea442071711b709d5c690a18"),
        ("PREPARED", "3d8622f5900b8619d5b85cd267151c0549779f1f"),
        ("COMMITTED", "46ddb2e7aed441ae476a13b15ae18907ff3979a6"),
    ]
    assert list((node.path / "@cluster/repositories/6b/86").iterdir()) == []
    with failure(StatusCode.NOT_FOUND, "repository not found"):
        await service.remove_repository(request, node.call())


async def test_locked_repository_is_not_removed(service: RepositoryService, node: StorageNode) -> None:
    await create(service, node)
    (node.path / "project.git.lock").touch()
    request = pb.RemoveRepositoryRequest(repository=repository())
    with failure(StatusCode.FAILED_PRECONDITION, "repository is already locked"):
        await service.remove_repository(request, node.call())
    assert (node.path / "project.git" / "HEAD").exists()


async def test_refused_removal_changes_nothing(service: RepositoryService, node: StorageNode) -> None:
    await create(service, node)
    node.voters.record.refuse = lambda cast: TransactionAbortedError() if cast is Phase.PREPARED else None
    request = pb.RemoveRepositoryRequest(repository=repository())
    with failure(StatusCode.INTERNAL, "vote on rename: transaction was aborted"):
        await service.remove_repository(request, node.call(transaction=True))
    assert await run_git(node.path / "project.git", "rev-parse", "--is-bare-repository") == b"true\n"


async def test_checksum_of_one_branch(service: RepositoryService, node: StorageNode) -> None:
    await create(service, node)
    path = node.path / "project.git"
    commit = await make_commit(path, {"a": b"1\n"})
    assert commit == "683afe63083181f0daa46e8875db4604136b237c"
    await run_git(path, "update-ref", "refs/heads/main", commit)
    answer = await service.calculate_checksum(pb.CalculateChecksumRequest(repository=repository()), node.call())
    assert answer.checksum == "bb35f098d094a150a3167e5351d97f0e2f6aeceb"


async def test_checksum_needs_a_git_repository(service: RepositoryService, node: StorageNode) -> None:
    path = node.path / "broken.git"
    for name in ("objects", "refs"):
        (path / name).mkdir(parents=True)
    (path / "HEAD").write_text("nonsense\n")
    with failure(StatusCode.DATA_LOSS, f"not a git repository '{path}'"):
        await service.calculate_checksum(pb.CalculateChecksumRequest(repository=repository("broken.git")), node.call())


async def test_config_is_returned_as_it_is(service: RepositoryService, node: StorageNode) -> None:
    await create(service, node)
    answers = await collect(service.get_config(pb.GetConfigRequest(repository=repository()), node.call()))
    assert b"".join(answer.data for answer in answers) == (node.path / "project.git" / "config").read_bytes()
    (node.path / "project.git" / "config").unlink()
    with pytest.raises(PraefectError, match=r"^opening gitconfig: ") as error:
        await collect(service.get_config(pb.GetConfigRequest(repository=repository()), node.call()))
    assert code_of(error.value) is StatusCode.NOT_FOUND
