"""Votes of pushes, seen at the dialling end of a real multiplexed connection."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from praefect.domain.errors import NotFoundError
from praefect.node.voting import Dialect, Phase
from praefect.proto.operations_pb2 import UserCommitFilesRequest, UserCommitFilesResponse
from praefect.proto.transaction_pb2 import VoteTransactionResponse
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.git_over_rpc import serve_http, serve_ssh
from tests.support.hook_node import count_objects, make_work_tree, run_git
from tests.support.operation_node import USER
from tests.support.serving_node import ServingNode, serving_node, transaction_metadata

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator
    from pathlib import Path

ABORT, STOP = VoteTransactionResponse.ABORT, VoteTransactionResponse.STOP
ZERO = "0" * 40
SYNC_PRE = (Phase.SYNCHRONIZED, "7475a0d87cbbee23b9a7e8ccde58a494db01611f")
SYNC_UPDATE = (Phase.SYNCHRONIZED, "959087c30d483e52b9e8574a4bd58c4cd7070692")
SYNC_POST = (Phase.SYNCHRONIZED, "17709ba9f26ecc0b0109e3015ed9e824792841fb")
FINAL = (Phase.COMMITTED, ZERO)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[ServingNode]:
    async with serving_node(tmp_path) as node:
        node.in_transaction(primary=True)
        yield node


@pytest.fixture
async def work_tree(tmp_path: Path) -> Path:
    return await make_work_tree(tmp_path / "work")


async def push(
    node: ServingNode, work_tree: Path, *arguments: str, transport: str = "ssh"
) -> subprocess.CompletedProcess[str]:
    if transport == "http":
        async with serve_http(node.front_end) as url:
            return await run_git("push", url, *arguments, cwd=work_tree, check=False)
    async with serve_ssh(node.front_end, work_tree.parent / "ssh.sock") as environment:
        url = "ssh://git@anywhere/project.git"
        return await run_git("push", url, *arguments, cwd=work_tree, check=False, environment=environment)


async def change(work_tree: Path, reference: str) -> tuple[tuple[Phase, str], tuple[Phase, str]]:
    head = (await run_git("rev-parse", "HEAD", cwd=work_tree)).stdout.strip()
    vote = hashlib.sha1(f"{ZERO} {head} {reference}\n".encode()).hexdigest()
    return (Phase.PREPARED, vote), (Phase.COMMITTED, vote)


@pytest.mark.parametrize("transport", ["ssh", "http"])
@pytest.mark.parametrize("primary", [True, False])
async def test_sequence_of_one_reference(node: ServingNode, work_tree: Path, transport: str, primary: bool) -> None:
    node.in_transaction(primary=primary)
    pushed = await push(node, work_tree, "main", transport=transport)
    assert pushed.returncode == 0, pushed.stderr
    prepared, committed = await change(work_tree, "refs/heads/main")
    assert node.votes.votes == [SYNC_PRE, SYNC_UPDATE, prepared, committed, SYNC_POST, FINAL]
    assert node.votes.stops == 0
    assert bool(node.hooks.door.requests) == primary


async def test_sequence_of_two_references(node: ServingNode, work_tree: Path) -> None:
    await push(node, work_tree, "main:a", "main:b")
    a, b = await change(work_tree, "refs/heads/a"), await change(work_tree, "refs/heads/b")
    assert node.votes.votes == [SYNC_PRE, SYNC_UPDATE, *a, SYNC_UPDATE, *b, SYNC_POST, FINAL]


async def test_hidden_references_are_voted_on_before_git_refuses(node: ServingNode, work_tree: Path) -> None:
    pushed = await push(node, work_tree, "main:refs/tmp/x")
    assert "deny updating a hidden ref" in pushed.stderr
    assert node.votes.votes == [SYNC_PRE, FINAL]
    assert node.front_end.errors == []


async def test_refusal_on_the_primary(node: ServingNode, work_tree: Path) -> None:
    node.hooks.door.refuse("no")
    node.votes.answers = {0: STOP}
    pushed = await push(node, work_tree, "main")
    assert "remote: GitLab: no" in pushed.stderr
    assert node.votes.stops == 1
    assert node.votes.votes == [FINAL]
    assert node.front_end.errors == []


@pytest.mark.parametrize("answer", [STOP, ABORT])
async def test_refusal_seen_by_a_secondary(
    node: ServingNode, work_tree: Path, answer: VoteTransactionResponse.TransactionState
) -> None:
    node.in_transaction(primary=False)
    node.votes.answers = {0: answer, 1: STOP}
    pushed = await push(node, work_tree, "main")
    assert "(pre-receive hook declined)" in pushed.stderr
    assert node.votes.votes == [SYNC_PRE, FINAL]
    assert node.votes.stops == 0
    assert node.front_end.errors == []
    assert count_objects(node.path) == 0


async def test_refused_vote_of_an_update_hook(node: ServingNode, work_tree: Path) -> None:
    node.votes.answers = {1: ABORT}
    pushed = await push(node, work_tree, "main")
    assert "[remote rejected] main -> main (hook declined)" in pushed.stderr
    assert node.votes.votes == [SYNC_PRE, SYNC_UPDATE, FINAL]
    assert node.front_end.errors == []


@pytest.mark.parametrize(
    ("transport", "code", "text"),
    [
        ("http", StatusCode.FAILED_PRECONDITION, "waiting for receive-pack: exit status 128"),
        ("ssh", StatusCode.INTERNAL, "cmd wait: exit status 128"),
    ],
)
async def test_refused_prepared_vote(
    node: ServingNode, work_tree: Path, transport: str, code: StatusCode, text: str
) -> None:
    node.votes.answers = {2: ABORT}
    pushed = await push(node, work_tree, "main", transport=transport)
    assert pushed.returncode != 0
    prepared, _ = await change(work_tree, "refs/heads/main")
    assert node.votes.votes == [SYNC_PRE, SYNC_UPDATE, prepared]
    [error] = node.front_end.errors
    assert (error.code, error.message) == (code, text)
    assert await node.hooks.references() == []
    assert not list(node.path.rglob("*.lock"))


@pytest.mark.parametrize("number", [3, 4])
async def test_refused_votes_after_the_change(node: ServingNode, work_tree: Path, number: int) -> None:
    node.votes.answers = {number: ABORT}
    await push(node, work_tree, "main")
    prepared, committed = await change(work_tree, "refs/heads/main")
    assert node.votes.votes == [SYNC_PRE, SYNC_UPDATE, prepared, committed, SYNC_POST, FINAL]
    assert node.front_end.errors == []
    assert await node.hooks.references() == ["refs/heads/main"]


@pytest.mark.parametrize("transport", ["ssh", "http"])
@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (ABORT, StatusCode.ABORTED, "final transactional vote: transaction was aborted"),
        (
            NotFoundError("transaction not found: 42"),
            StatusCode.NOT_FOUND,
            "final transactional vote: rpc error: code = NotFound desc = transaction not found: 42",
        ),
    ],
)
async def test_refused_final_vote(
    node: ServingNode,
    work_tree: Path,
    transport: str,
    answer: VoteTransactionResponse.TransactionState | NotFoundError,
    code: StatusCode,
    text: str,
) -> None:
    node.votes.answers = {5: answer}
    await push(node, work_tree, "main", transport=transport)
    [error] = node.front_end.errors
    assert (error.code, error.message) == (code, text)


async def test_transaction_without_a_backchannel(node: ServingNode, work_tree: Path) -> None:
    node.front_end.channel = node.plain
    pushed = await push(node, work_tree, "main", transport="http")
    assert "vote failed: get backchannel: no backchannel for peer 0" in pushed.stderr
    [error] = node.front_end.errors
    assert error.message == "final transactional vote: get backchannel: no backchannel for peer 0"
    assert await node.hooks.references() == []


@pytest.mark.parametrize("dialect", list(Dialect))
async def test_operations_vote_in_each_dialect(tmp_path: Path, dialect: Dialect) -> None:
    async with serving_node(tmp_path, dialect=dialect) as node:
        request = UserCommitFilesRequest()
        header = request.header
        header.repository.CopyFrom(node.hooks.repository.message())
        header.user.CopyFrom(USER)
        header.branch_name, header.commit_message = b"main", b"m"
        header.timestamp.FromJsonString("2026-01-01T00:00:00Z")
        response = await node.channel.client_stream(
            "/gitaly.OperationService/UserCommitFiles",
            [request],
            UserCommitFilesResponse,
            metadata=[transaction_metadata(primary=True)],
        )
        line = f"{ZERO} {response.branch_update.commit_id} refs/heads/main\n"
        vote = hashlib.sha1(line.encode()).hexdigest()
        preparing = [(Phase.PREPARING, vote)] if dialect is Dialect.DEV else []
        assert node.votes.votes == [
            SYNC_PRE,
            SYNC_UPDATE,
            *preparing,
            (Phase.PREPARED, vote),
            (Phase.COMMITTED, vote),
            SYNC_POST,
        ]


async def test_undecodable_transaction(node: ServingNode, work_tree: Path) -> None:
    node.front_end.metadata = [("gitaly-reference-transaction", "!")]
    pushed = await push(node, work_tree, "main")
    assert pushed.returncode != 0
    [error] = node.front_end.errors
    assert isinstance(error, StatusError)
    assert error.message == "from serialized: illegal base64 data at input byte 0"
