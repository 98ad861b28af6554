"""What needs two nodes and real connections: replication, forks, source branches; and the server around it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from praefect.proto import health_pb2, ref_pb2, server_pb2
from praefect.proto import repository_pb2 as pb
from praefect.proto.shared_pb2 import Repository
from praefect.transport.dial import open_channel
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.running_node import RunningNode, running_node, servers_metadata
from tests.support.storage_node import make_commit, run_git

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SERVICE = "/gitaly.RepositoryService/"


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[RunningNode, RunningNode]]:
    async with running_node(tmp_path / "one", name="one") as one, running_node(tmp_path / "two", name="two") as two:
        yield one, two


def repository(node: RunningNode, path: str = "project.git") -> Repository:
    return Repository(storage_name=node.name, relative_path=path)


async def create(node: RunningNode, path: str = "project.git") -> Path:
    request = pb.CreateRepositoryRequest(repository=repository(node, path))
    await node.channel.unary(f"{SERVICE}CreateRepository", request, pb.CreateRepositoryResponse)
    return node.storage / path


async def replicate(source: RunningNode, target: RunningNode, path: str = "project.git") -> None:
    request = pb.ReplicateRepositoryRequest(repository=repository(target, path), source=repository(source, path))
    await target.channel.unary(
        f"{SERVICE}ReplicateRepository",
        request,
        pb.ReplicateRepositoryResponse,
        metadata=[source.server_metadata],
    )


async def references(path: Path) -> bytes:
    return await run_git(path, "for-each-ref", "--format=%(refname) %(objectname)")


async def checksum(node: RunningNode, path: str = "project.git") -> str:
    request = pb.CalculateChecksumRequest(repository=repository(node, path))
    answer = await node.channel.unary(f"{SERVICE}CalculateChecksum", request, pb.CalculateChecksumResponse)
    return answer.checksum


async def test_health_needs_no_token_and_others_do(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, _ = nodes
    async with open_channel(one.address, token=None) as channel:
        health = await channel.unary(
            "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
        )
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(StatusError, match=r"^authentication required$") as error:
            await channel.unary(
                "/gitaly.ServerService/ServerInfo", server_pb2.ServerInfoRequest(), server_pb2.ServerInfoResponse
            )
        assert error.value.code is StatusCode.UNAUTHENTICATED


async def test_server_info(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, _ = nodes
    info = await one.channel.unary(
        "/gitaly.ServerService/ServerInfo", server_pb2.ServerInfoRequest(), server_pb2.ServerInfoResponse
    )
    (status,) = info.storage_statuses
    assert (status.storage_name, status.readable, status.writeable, status.replication_factor) == ("one", True, True, 1)
    assert len(status.filesystem_id) == 36
    assert status.fs_type not in {"", "unknown"}
    one.storage.rename(one.storage.with_name("away"))
    info = await one.channel.unary(
        "/gitaly.ServerService/ServerInfo", server_pb2.ServerInfoRequest(), server_pb2.ServerInfoResponse
    )
    (status,) = info.storage_statuses
    assert (status.readable, status.writeable, status.fs_type, status.filesystem_id) == (False, False, "unknown", "")
    disks = await one.channel.unary(
        "/gitaly.ServerService/DiskStatistics", server_pb2.DiskStatisticsRequest(), server_pb2.DiskStatisticsResponse
    )
    assert [(each.storage_name, each.available) for each in disks.storage_statuses] == [("one", 0)]
    one.storage.with_name("away").rename(one.storage)


async def test_replication_makes_equal(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, two = nodes
    source = await create(one)
    first = await make_commit(source, {"a": b"1"})
    for name in ("refs/heads/main", "refs/keep-around/x", "refs/merge-requests/1/head", "refs/tmp/y"):
        await run_git(source, "update-ref", name, first)
    (source / "custom_hooks").mkdir()
    (source / "custom_hooks/update").write_text("#!/bin/sh\n")
    await run_git(source, "config", "gitlab.test", "1")
    await replicate(one, two)
    target = two.storage / "project.git"
    assert await references(target) == await references(source)
    assert (target / "config").read_bytes() == (source / "config").read_bytes()
    assert (target / "custom_hooks/update").read_text() == "#!/bin/sh\n"
    assert await checksum(one) == await checksum(two)

    second = await make_commit(source, {"a": b"2"}, parent=first)
    await run_git(source, "update-ref", "refs/heads/next", second)
    await run_git(source, "update-ref", "-d", "refs/tmp/y")
    await run_git(source, "update-ref", "refs/heads/main", second)
    await run_git(source, "symbolic-ref", "HEAD", "refs/heads/next")
    await replicate(one, two)
    assert await references(target) == await references(source)
    assert (target / "HEAD").read_bytes() == (source / "HEAD").read_bytes()
    assert await run_git(target, "fsck", "--strict") == b""
    await replicate(one, two)
    assert [entry.name[:6] for entry in (two.storage / "+gitaly/tmp").iterdir()] == [".owner"]


async def test_replication_overwrites_what_is_no_repository(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, two = nodes
    await create(one)
    (two.storage / "project.git").mkdir()
    (two.storage / "project.git/rubbish").touch()
    await replicate(one, two)
    assert not (two.storage / "project.git/rubbish").exists()
    assert await checksum(two) == "0" * 40


async def test_replication_repairs_what_a_killed_process_left(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, two = nodes
    source = await create(one)
    await replicate(one, two)
    await run_git(source, "update-ref", "refs/heads/main", await make_commit(source, {"a": b"1"}))
    target = two.storage / "project.git"
    for name in ("packed-refs.lock", "config.lock", "HEAD.lock", "refs/heads/main.lock", "custom_hooks.lock"):
        (target / name).touch()
    await replicate(one, two)
    assert await references(target) == await references(source)
    assert list(target.rglob("*.lock")) == []


async def test_replication_errors(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, two = nodes
    with pytest.raises(StatusError, match=r"^invalid source repository$") as error:
        await replicate(one, two)
    assert error.value.code is StatusCode.NOT_FOUND
    (one.storage / "partial.git/refs").mkdir(parents=True)
    with pytest.raises(StatusError, match=r"^invalid source repository$"):
        await replicate(one, two, "partial.git")
    cases: list[tuple[pb.ReplicateRepositoryRequest, list[tuple[str, str]], StatusCode, str]] = [
        (
            pb.ReplicateRepositoryRequest(repository=repository(two)),
            [],
            StatusCode.INVALID_ARGUMENT,
            "source repository cannot be empty",
        ),
        (
            pb.ReplicateRepositoryRequest(repository=repository(two), source=repository(two, "x")),
            [],
            StatusCode.INVALID_ARGUMENT,
            "repository and source have the same storage",
        ),
        (
            pb.ReplicateRepositoryRequest(repository=repository(two), source=repository(one)),
            [],
            StatusCode.INTERNAL,
            "new client: empty gitaly-servers metadata",
        ),
        (
            pb.ReplicateRepositoryRequest(repository=repository(two), source=repository(one)),
            [servers_metadata({"other": {"address": "tcp://127.0.0.1:1", "token": ""}})],
            StatusCode.INTERNAL,
            "new client: storage name not found",
        ),
    ]
    for request, metadata, code, text in cases:
        with pytest.raises(StatusError) as error:
            await two.channel.unary(
                f"{SERVICE}ReplicateRepository", request, pb.ReplicateRepositoryResponse, metadata=metadata
            )
        assert (error.value.code, error.value.message) == (code, text)


async def test_replication_of_sha256(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, two = nodes
    request = pb.CreateRepositoryRequest(repository=repository(one), object_format="OBJECT_FORMAT_SHA256")
    await one.channel.unary(f"{SERVICE}CreateRepository", request, pb.CreateRepositoryResponse)
    source = one.storage / "project.git"
    await run_git(source, "update-ref", "refs/heads/main", await make_commit(source, {"a": b"1"}))
    await replicate(one, two)
    assert await references(two.storage / "project.git") == await references(source)


async def test_fork_on_another_storage(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, two = nodes
    source = await create(one)
    commit = await make_commit(source, {"a": b"1"})
    for name in ("refs/heads/main", "refs/heads/other", "refs/tags/v1"):
        await run_git(source, "update-ref", name, commit)

    async def fork(path: str, revision: bytes = b"", *, metadata: tuple[str, str] | None = None) -> Path:
        request = pb.CreateForkRequest(
            repository=repository(two, path), source_repository=repository(one), revision=revision
        )
        await two.channel.unary(
            f"{SERVICE}CreateFork",
            request,
            pb.CreateForkResponse,
            metadata=[metadata] if metadata else [],
        )
        return two.storage / path

    whole = await fork("fork.git", metadata=one.server_metadata)
    assert await references(whole) == await references(source)
    assert b"origin" not in (whole / "config").read_bytes()
    part = await fork("part.git", b"refs/heads/other", metadata=one.server_metadata)
    assert await references(part) == f"refs/heads/other {commit}\n".encode()
    cases = [
        ("x.git", b"refs/tags/v1", StatusCode.INVALID_ARGUMENT, "creating fork: reference is not a branch"),
        ("x.git", b"refs/heads/", StatusCode.INVALID_ARGUMENT, "creating fork: branch name is empty"),
        ("fork.git", b"", StatusCode.ALREADY_EXISTS, "creating fork: repository exists already"),
    ]
    for path, revision, code, text in cases:
        with pytest.raises(StatusError) as error:
            await fork(path, revision, metadata=one.server_metadata)
        assert (error.value.code, error.value.message) == (code, text)
    with pytest.raises(StatusError) as error:
        await fork("x.git")
    text = "creating fork: spawning fetch: extracting Gitaly servers: empty gitaly-servers metadata"
    assert (error.value.code, error.value.message) == (StatusCode.INTERNAL, text)
    assert not (two.storage / "x.git").exists()


async def test_source_branch_of_another_storage(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, two = nodes
    source = await create(one)
    target = await create(two)
    commit = await make_commit(source, {"a": b"1"})
    await run_git(source, "update-ref", "refs/heads/main", commit)

    async def fetch(branch: bytes, expected: str = "") -> bool:
        request = pb.FetchSourceBranchRequest(
            repository=repository(two),
            source_repository=repository(one),
            source_branch=branch,
            target_ref=b"refs/tmp/source",
            expected_target_old_oid=expected,
        )
        answer = await two.channel.unary(
            f"{SERVICE}FetchSourceBranch", request, pb.FetchSourceBranchResponse, metadata=[one.server_metadata]
        )
        return answer.result

    assert await fetch(b"refs/heads/main")
    assert await references(target) == f"refs/tmp/source {commit}\n".encode()
    assert not await fetch(b"refs/heads/none")
    with pytest.raises(StatusError) as error:
        await fetch(b"refs/heads/main", "1" * 40)
    assert error.value.code is StatusCode.FAILED_PRECONDITION
    assert [entry.name[:6] for entry in (two.storage / "+gitaly/tmp").iterdir()] == [".owner"]


async def test_aborted_text_is_hidden_outside_and_details_stay(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, _ = nodes
    path = await create(one)
    await run_git(path, "update-ref", "refs/heads/l", await make_commit(path, {"a": b"1"}))
    (path / "refs/heads/l.lock").touch()
    request = ref_pb2.DeleteRefsRequest(repository=repository(one), refs=[b"refs/heads/l"])
    with pytest.raises(StatusError) as error:
        await one.channel.unary("/gitaly.RefService/DeleteRefs", request, ref_pb2.DeleteRefsResponse)
    assert error.value.code is StatusCode.ABORTED
    assert error.value.message == "The operation could not be completed. Please try again."
    assert error.value.details


async def test_every_answer_tells_its_cost(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, _ = nodes
    cases = [
        ("/gitaly.ServerService/ServerInfo", server_pb2.ServerInfoRequest(), "0"),
        ("/gitaly.ServerService/DiskStatistics", server_pb2.DiskStatisticsRequest(), "1"),
        (f"{SERVICE}CreateRepository", pb.CreateRepositoryRequest(repository=repository(one)), "6"),
        (f"{SERVICE}RepositoryExists", pb.RepositoryExistsRequest(repository=repository(one)), "2"),
        (f"{SERVICE}RepositoryExists", pb.RepositoryExistsRequest(), "1"),
    ]
    for method, request, cost in cases:
        async with one.channel.call(method) as call:
            await call.send(request.SerializeToString(), last=True)
            with contextlib.suppress(StatusError):
                while await call.receive() is not None:
                    pass
            assert call.trailing_metadata.first("x-gitaly-cost") == cost, method


async def test_unknown_methods(nodes: tuple[RunningNode, RunningNode]) -> None:
    one, _ = nodes
    with pytest.raises(StatusError) as error:
        await one.channel.unary(f"{SERVICE}Nope", pb.GetConfigRequest(), pb.GetConfigResponse)
    assert error.value.code is StatusCode.UNIMPLEMENTED
    assert error.value.message == "unknown method Nope for service gitaly.RepositoryService"
