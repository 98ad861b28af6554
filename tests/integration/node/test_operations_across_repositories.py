"""User operations that begin in another repository: its commits are fetched over the wire, from this node to itself."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from praefect.proto.operations_pb2 import (
    UserCherryPickRequest,
    UserCherryPickResponse,
    UserCommitFilesRequest,
    UserCommitFilesResponse,
    UserRebaseConfirmableRequest,
    UserRebaseConfirmableResponse,
)
from praefect.proto.shared_pb2 import GitCommit, Repository
from praefect.transport.grpc.status import StatusError
from tests.support.hook_node import commit, make_work_tree, run_git
from tests.support.operation_node import USER
from tests.support.serving_node import ServingNode, serving_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from praefect.transport.grpc.metadata import Value

FORK = Repository(storage_name="default", relative_path="fork.git", gl_repository="project-2")
SERVICE = "/gitaly.OperationService/"


@pytest.fixture
async def work_tree(tmp_path: Path) -> Path:
    return await make_work_tree(tmp_path / "work")


@pytest.fixture
async def node(tmp_path: Path, work_tree: Path) -> AsyncIterator[ServingNode]:
    async with serving_node(tmp_path) as node:
        await run_git("push", "--quiet", str(node.path), "main", cwd=work_tree)
        await commit(work_tree, "upstream", "new\n")
        fork = node.path.with_name("fork.git")
        await run_git("init", "--quiet", "--bare", "--initial-branch=main", str(fork))
        await run_git("push", "--quiet", str(fork), "main", "main:topic", cwd=work_tree)
        yield node


def servers(node: ServingNode) -> list[tuple[str, Value]]:
    value = json.dumps({"default": {"address": node.address, "token": ""}})
    return [("gitaly-servers", base64.b64encode(value.encode()).decode())]


async def head(path: Path, revision: str = "main") -> str:
    return (await run_git("rev-parse", revision, cwd=path)).stdout.strip()


async def test_files_on_top_of_another_repository(node: ServingNode) -> None:
    request = UserCommitFilesRequest()
    request.header.repository.CopyFrom(node.front_end.repository)
    request.header.user.CopyFrom(USER)
    request.header.branch_name, request.header.commit_message = b"from-fork", b"m"
    request.header.start_repository.CopyFrom(FORK)
    request.header.start_branch_name = b"topic"
    response = await node.plain.client_stream(
        SERVICE + "UserCommitFiles", [request], UserCommitFilesResponse, metadata=servers(node)
    )
    assert response.branch_update.branch_created
    assert await head(node.path, "from-fork~1") == await head(node.path.with_name("fork.git"), "topic")
    await run_git("fsck", "--strict", cwd=node.path)
    request.header.start_branch_name = b"gone"
    with pytest.raises(StatusError, match="resolve parent commit: resolving refish"):
        await node.plain.client_stream(
            SERVICE + "UserCommitFiles", [request], UserCommitFilesResponse, metadata=servers(node)
        )


async def test_cherry_pick_onto_a_branch_of_another_repository(node: ServingNode, work_tree: Path) -> None:
    await run_git("checkout", "--quiet", "-b", "other", "main~1", cwd=work_tree)
    picked = await commit(work_tree, "picked", "1\n")
    await run_git("push", "--quiet", str(node.path), "other", cwd=work_tree)
    request = UserCherryPickRequest(
        repository=node.front_end.repository,
        user=USER,
        commit=GitCommit(id=picked),
        branch_name=b"picked",
        message=b"m",
        start_branch_name=b"main",
        start_repository=FORK,
    )
    response = await node.plain.unary(
        SERVICE + "UserCherryPick", request, UserCherryPickResponse, metadata=servers(node)
    )
    assert response.branch_update.branch_created
    assert await head(node.path, "picked~1") == await head(node.path.with_name("fork.git"))
    listed = await run_git("ls-tree", "--name-only", "picked", cwd=node.path)
    assert listed.stdout.split() == ["a", "picked", "upstream"]


async def test_rebase_onto_a_branch_of_another_repository(node: ServingNode, work_tree: Path) -> None:
    await run_git("checkout", "--quiet", "-b", "other", "main~1", cwd=work_tree)
    own = await commit(work_tree, "own", "1\n")
    await run_git("push", "--quiet", str(node.path), "other", cwd=work_tree)
    header = UserRebaseConfirmableRequest.Header(
        repository=node.front_end.repository,
        user=USER,
        branch=b"other",
        branch_sha=own,
        remote_repository=FORK,
        remote_branch=b"main",
    )
    async with node.plain.bidi(
        SERVICE + "UserRebaseConfirmable", UserRebaseConfirmableResponse, metadata=servers(node)
    ) as call:
        await call.send(UserRebaseConfirmableRequest(header=header))
        first = await call.receive()
        assert first is not None
        await call.send(UserRebaseConfirmableRequest(apply=True))
        second = await call.receive()
        assert second is not None
        assert second.rebase_applied
        await call.half_close()
    assert await head(node.path, "other") == first.rebase_sha
    assert await head(node.path, "other~1") == await head(node.path.with_name("fork.git"))
