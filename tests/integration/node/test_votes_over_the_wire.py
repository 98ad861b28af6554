"""Votes go back over the connection the call came on, one at a time, and their answers decide."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from praefect.node.voting import vote_hash
from praefect.proto import repository_pb2 as pb
from praefect.proto import transaction_pb2
from praefect.proto.shared_pb2 import Repository
from praefect.proto.transaction_pb2 import VoteTransactionRequest, VoteTransactionResponse
from praefect.transport.dial import open_channel
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.running_node import TOKEN, running_node
from tests.support.storage_node import make_commit, run_git

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from praefect.transport.grpc.channel import Channel
    from praefect.transport.grpc.server_call import ServerCall

SERVICE = "/gitaly.RepositoryService/"
METADATA = (
    "gitaly-reference-transaction",
    base64.b64encode(json.dumps({"id": 42, "node": "default", "primary": True}).encode()).decode(),
)


@dataclass(slots=True)
class Votes:
    """The other side of a transaction."""

    received: list[VoteTransactionRequest] = field(default_factory=list)
    answers: dict[int, VoteTransactionResponse.TransactionState] = field(default_factory=dict)

    async def vote_transaction(self, request: VoteTransactionRequest, call: ServerCall) -> VoteTransactionResponse:
        self.received.append(request)
        return VoteTransactionResponse(state=self.answers.get(request.phase, VoteTransactionResponse.COMMIT))

    @property
    def seen(self) -> list[tuple[str, str]]:
        return [
            (VoteTransactionRequest.Phase.Name(vote.phase), vote.reference_updates_hash.hex()) for vote in self.received
        ]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A caller that votes, like Praefect."""

    channel: Channel
    votes: Votes
    storage: Path


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[Proxy]:
    votes = Votes()
    async with (
        running_node(tmp_path / "storage") as node,
        backchannel(votes) as server,
        open_channel(node.address, token=TOKEN, multiplex=True, backchannel_server=server) as channel,
    ):
        yield Proxy(channel, votes, node.storage)


@asynccontextmanager
async def backchannel(votes: Votes) -> AsyncIterator[Server]:
    server = Server()
    server.add_service(transaction_pb2.DESCRIPTOR.services_by_name["RefTransaction"], votes)
    async with server:
        yield server


def repository() -> Repository:
    return Repository(storage_name="default", relative_path="project.git")


async def create(proxy: Proxy) -> Path:
    request = pb.CreateRepositoryRequest(repository=repository())
    await proxy.channel.unary(f"{SERVICE}CreateRepository", request, pb.CreateRepositoryResponse, metadata=[METADATA])
    return proxy.storage / "project.git"


async def write(proxy: Proxy, commit: str) -> None:
    request = pb.WriteRefRequest(repository=repository(), ref=b"refs/heads/main", revision=commit.encode())
    await proxy.channel.unary(f"{SERVICE}WriteRef", request, pb.WriteRefResponse, metadata=[METADATA])


async def test_votes_carry_the_transaction(proxy: Proxy) -> None:
    path = await create(proxy)
    vote = "4f6b9a82d3ab65826552b709d5b333667fec7aa6"
    assert proxy.votes.seen == [
        ("PREPARING_PHASE", vote),
        ("PREPARED_PHASE", vote),
        ("COMMITTED_PHASE", vote),
    ]
    assert {(each.transaction_id, each.node, each.HasField("repository")) for each in proxy.votes.received} == {
        (42, "default", False)
    }
    proxy.votes.received.clear()
    commit = await make_commit(path, {"a": b"1"})
    await write(proxy, commit)
    vote = vote_hash(f"{'0' * 40} {commit} refs/heads/main\n".encode()).hex()
    assert proxy.votes.seen == [("PREPARED_PHASE", vote), ("COMMITTED_PHASE", vote)]


async def test_refusal_leaves_the_repository_as_it_was(proxy: Proxy) -> None:
    path = await create(proxy)
    commit = await make_commit(path, {"a": b"1"})
    proxy.votes.answers[VoteTransactionRequest.PREPARED_PHASE] = VoteTransactionResponse.ABORT
    with pytest.raises(StatusError) as error:
        await write(proxy, commit)
    text = "error when running update-ref command: exit status 128"
    assert (error.value.code, error.value.message) == (StatusCode.INTERNAL, text)
    assert await run_git(path, "for-each-ref") == b""
    remove = pb.RemoveRepositoryRequest(repository=repository())
    for state, word in ((VoteTransactionResponse.ABORT, "aborted"), (VoteTransactionResponse.STOP, "stopped")):
        proxy.votes.answers[VoteTransactionRequest.PREPARED_PHASE] = state
        with pytest.raises(StatusError) as error:
            await proxy.channel.unary(
                f"{SERVICE}RemoveRepository", remove, pb.RemoveRepositoryResponse, metadata=[METADATA]
            )
        assert error.value.message == f"vote on rename: transaction was {word}"
    assert path.exists()


async def test_no_metadata_no_votes(proxy: Proxy) -> None:
    request = pb.CreateRepositoryRequest(repository=repository())
    await proxy.channel.unary(f"{SERVICE}CreateRepository", request, pb.CreateRepositoryResponse)
    assert proxy.votes.seen == []


async def test_transaction_on_a_plain_connection_fails(tmp_path: Path) -> None:
    async with running_node(tmp_path / "storage") as node:
        request = pb.CreateRepositoryRequest(repository=repository())
        with pytest.raises(StatusError) as error:
            await node.channel.unary(
                f"{SERVICE}CreateRepository", request, pb.CreateRepositoryResponse, metadata=[METADATA]
            )
        text = "creating repository: preparatory vote: get backchannel: no backchannel for peer 0"
        assert (error.value.code, error.value.message) == (StatusCode.FAILED_PRECONDITION, text)
        assert not (node.storage / "project.git").exists()


async def test_fetch_votes_through_gits_hook(proxy: Proxy, tmp_path: Path) -> None:
    path = await create(proxy)
    other = tmp_path / "other"
    await run_git(tmp_path, "init", "-q", "--bare", str(other))
    commit = await make_commit(other, {"a": b"1"})
    await run_git(other, "update-ref", "refs/heads/main", commit)
    bundle = tmp_path / "bundle"
    await run_git(other, "bundle", "create", str(bundle), "--all")
    proxy.votes.received.clear()
    requests = [pb.FetchBundleRequest(repository=repository(), data=bundle.read_bytes())]
    await proxy.channel.client_stream(f"{SERVICE}FetchBundle", requests, pb.FetchBundleResponse, metadata=[METADATA])
    vote = vote_hash(f"{'0' * 40} {commit} refs/heads/main\n".encode()).hex()
    assert proxy.votes.seen == [("PREPARED_PHASE", vote), ("COMMITTED_PHASE", vote)]
    assert await run_git(path, "rev-parse", "refs/heads/main") == f"{commit}\n".encode()
