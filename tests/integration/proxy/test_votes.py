"""RefTransaction on the wire: what each vote is answered, on the backchannel and on the listener."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from praefect.proto import repository_pb2
from praefect.proto.transaction_pb2 import (
    StopTransactionRequest,
    StopTransactionResponse,
    VoteTransactionRequest,
    VoteTransactionResponse,
)
from praefect.transport.grpc.status import OK, Status, StatusCode, StatusError
from tests.support.eventually import eventually
from tests.support.scripted_cluster import G1, G2, G3, Cluster, Repository
from tests.support.scripted_node import ABORT, AGREED, COMMIT, OTHER, STOP, NodeCall, failing, hang

VOTE = "/gitaly.RefTransaction/VoteTransaction"
STOP_TRANSACTION = "/gitaly.RefTransaction/StopTransaction"
WRITE = "/gitaly.RepositoryService/WriteRef"


async def write(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(WRITE, repository_pb2.WriteRefRequest(repository=repository.message))


async def refusal(call: NodeCall, vote: bytes = AGREED, *, node: str | None = None) -> Status:
    """Vote and return the error that it gets."""
    with pytest.raises(StatusError) as refused:
        await call.vote(vote, node=node)
    return refused.value.status


async def raw_vote(cluster: Cluster, transaction_id: int, vote: bytes) -> Status:
    request = VoteTransactionRequest(transaction_id=transaction_id, node=G1, reference_updates_hash=vote)
    return await cluster.status(VOTE, request)


# --- refused at once ---


@pytest.mark.parametrize("length", [0, 19, 21, 32])
async def test_vote_is_a_hash_of_twenty_bytes(cluster: Cluster, length: int) -> None:
    """Judged before the transaction is looked for."""
    assert await raw_vote(cluster, 4711, b"x" * length) == Status(
        StatusCode.INVALID_ARGUMENT, f"invalid reference update hash: invalid vote length {length}"
    )


async def test_unknown_transaction(cluster: Cluster) -> None:
    expected = Status(StatusCode.NOT_FOUND, "transaction not found: 4711")
    assert await raw_vote(cluster, 4711, AGREED) == expected
    assert await cluster.status(STOP_TRANSACTION, StopTransactionRequest(transaction_id=4711)) == expected


async def test_transaction_is_gone_with_its_call(cluster: Cluster) -> None:
    repository = await cluster.repository()
    assert await write(cluster, repository) == OK
    assert await raw_vote(cluster, 1, AGREED) == Status(StatusCode.NOT_FOUND, "transaction not found: 1")


async def test_only_voters_vote_and_only_once_a_round(cluster: Cluster) -> None:
    repository = await cluster.repository()
    answers: dict[str, Status] = {}

    async def vote_oddly(call: NodeCall) -> None:
        answers["stranger"] = await refusal(call, node="stranger")
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(call.vote())

            async def counted() -> bool:
                return cluster.parts.metrics.transactions.labels("started").value == 2

            await eventually(counted)
            answers["twice"] = await refusal(call)
            release.set()
        assert first.result() == COMMIT
        await call.answer()

    async def agree_late(call: NodeCall) -> None:
        await release.wait()
        await call.vote()
        await call.answer()

    release = asyncio.Event()
    cluster.nodes[G1].on("WriteRef", vote_oddly)
    for storage in (G2, G3):
        cluster.nodes[storage].on("WriteRef", agree_late)
    assert await write(cluster, repository) == OK
    assert answers == {
        "stranger": Status(StatusCode.INTERNAL, 'invalid node for transaction: "stranger"'),
        "twice": Status(StatusCode.INTERNAL, 'node already cast a vote: "gitaly-1"'),
    }


# --- rounds ---


async def test_late_vote_is_judged_by_the_quorum(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def late(call: NodeCall) -> None:
        await cluster.nodes[G2].wait_ended("WriteRef")
        assert await call.vote(OTHER if call.node.name == G3 else AGREED) == ABORT
        raise StatusError(StatusCode.INTERNAL, "aborted")

    async def linger(call: NodeCall) -> None:
        assert await call.vote() == COMMIT
        await cluster.nodes[G3].wait_ended("WriteRef")
        await call.answer()

    async def quick(call: NodeCall) -> None:
        assert await call.vote() == COMMIT
        await call.answer()

    for storage, script in ((G1, linger), (G2, quick), (G3, late)):
        cluster.nodes[storage].on("WriteRef", script)
    assert await write(cluster, repository) == OK
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}


async def test_who_failed_a_round_votes_no_more(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def insist(call: NodeCall) -> None:
        assert await call.vote(OTHER) == ABORT
        assert await call.vote(AGREED) == ABORT
        raise StatusError(StatusCode.INTERNAL, "aborted")

    cluster.nodes[G3].on("WriteRef", insist)
    assert await write(cluster, repository) == OK


async def test_waiting_votes_are_cancelled_when_the_call_ends(cluster: Cluster) -> None:
    repository = await cluster.repository()
    answers: list[Status] = []

    async def wait_for_nobody(call: NodeCall) -> None:
        answers.append(await refusal(call))

    async def both_wait() -> bool:
        return cluster.parts.metrics.transactions.labels("started").value == 2

    async def fail(call: NodeCall) -> None:
        await eventually(both_wait)
        await failing(StatusCode.INTERNAL, "failed")(call)

    cluster.nodes[G1].on("WriteRef", fail)
    for storage in (G2, G3):
        cluster.nodes[storage].on("WriteRef", wait_for_nobody)
    assert await write(cluster, repository) == Status(StatusCode.INTERNAL, "failed")
    assert cluster.parts.metrics.transactions.labels("canceled").value == 2
    assert cluster.parts.metrics.transactions.labels("committed").value == 0


async def test_secondary_that_fails_releases_those_who_wait_for_it(cluster: Cluster) -> None:
    """Without it no quorum is possible, so nobody waits any longer."""
    repository = await cluster.repository()

    async def both_wait() -> bool:
        return cluster.parts.metrics.transactions.labels("started").value == 2

    async def fail(call: NodeCall) -> None:
        await eventually(both_wait)
        raise StatusError(StatusCode.INTERNAL, "failed")

    async def expect_abort(call: NodeCall) -> None:
        assert await call.vote(AGREED if call.node.name == G1 else OTHER) == ABORT
        raise StatusError(StatusCode.FAILED_PRECONDITION, "aborted")

    cluster.nodes[G3].on("WriteRef", fail)
    for storage in (G1, G2):
        cluster.nodes[storage].on("WriteRef", expect_abort)
    assert await write(cluster, repository) == Status(StatusCode.FAILED_PRECONDITION, "aborted")


async def test_voter_that_gives_up_releases_the_others(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def both_wait() -> bool:
        return cluster.parts.metrics.transactions.labels("started").value == 2

    async def give_up(call: NodeCall) -> None:
        async with asyncio.TaskGroup() as tasks:
            vote = tasks.create_task(call.vote())
            await eventually(both_wait)
            vote.cancel()
        await hang(call)

    async def expect_abort(call: NodeCall) -> None:
        assert await call.vote(OTHER) == ABORT
        raise StatusError(StatusCode.FAILED_PRECONDITION, "aborted")

    cluster.nodes[G1].on("WriteRef", expect_abort)
    cluster.nodes[G2].on("WriteRef", give_up)
    cluster.nodes[G3].on("WriteRef", failing(StatusCode.INTERNAL, "failed"))
    assert await write(cluster, repository) == Status(StatusCode.FAILED_PRECONDITION, "aborted")


async def test_vote_that_was_given_up_does_not_count(cluster: Cluster) -> None:
    repository = await cluster.repository()
    given_up = asyncio.Event()

    async def votes_are(count: int) -> bool:
        return cluster.parts.metrics.transactions.labels("started").value == count

    async def give_up(call: NodeCall) -> None:
        async with asyncio.TaskGroup() as tasks:
            vote = tasks.create_task(call.vote())
            await eventually(partial(votes_are, 1))
            vote.cancel()

        async def is_cancelled() -> bool:
            return cluster.parts.metrics.transactions.labels("canceled").value == 1

        await eventually(is_cancelled)
        given_up.set()
        await hang(call)

    async def vote_second(call: NodeCall) -> None:
        await given_up.wait()
        assert await call.vote() == ABORT
        raise StatusError(StatusCode.FAILED_PRECONDITION, "aborted")

    async def vote_otherwise(call: NodeCall) -> None:
        await eventually(partial(votes_are, 2))
        assert await call.vote(OTHER) == ABORT
        raise StatusError(StatusCode.FAILED_PRECONDITION, "aborted")

    for storage, script in ((G1, vote_second), (G2, give_up), (G3, vote_otherwise)):
        cluster.nodes[storage].on("WriteRef", script)
    assert await write(cluster, repository) == Status(StatusCode.FAILED_PRECONDITION, "aborted")


# --- stops ---


async def test_stop_answers_everybody_and_may_be_repeated(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def both_wait() -> bool:
        return cluster.parts.metrics.transactions.labels("started").value == 2

    async def stop(call: NodeCall) -> None:
        await eventually(both_wait)
        await call.stop()
        await call.stop()
        assert await call.vote() == STOP
        await call.answer()

    async def expect_stop(call: NodeCall) -> None:
        assert await call.vote() == STOP
        assert await call.vote() == STOP
        await call.answer()

    cluster.nodes[G1].on("WriteRef", stop)
    for storage in (G2, G3):
        cluster.nodes[storage].on("WriteRef", expect_stop)
    assert await write(cluster, repository) == OK
    assert [cluster.nodes[storage].calls[0].votes for storage in (G2, G3)] == [[STOP, STOP]] * 2


# --- the listener ---


async def test_votes_are_taken_on_the_listener_too(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})

    async def vote_from_outside(call: NodeCall) -> None:
        assert call.transaction is not None
        request = VoteTransactionRequest(transaction_id=call.transaction.id, node=G1, reference_updates_hash=AGREED)
        assert await cluster.call(VOTE, request) == VoteTransactionResponse(state=COMMIT)
        stop = StopTransactionRequest(transaction_id=call.transaction.id)
        assert await cluster.call(STOP_TRANSACTION, stop) == StopTransactionResponse()
        await call.answer()

    cluster.nodes[G1].on("WriteRef", vote_from_outside)
    assert await write(cluster, repository) == OK
    assert await cluster.generations(repository) == {"": 1, G1: 1}


async def test_writes_at_once_are_all_recorded(cluster: Cluster) -> None:
    repository = await cluster.repository()
    async with asyncio.TaskGroup() as tasks:
        writes = [tasks.create_task(write(cluster, repository)) for _ in range(24)]
    assert [task.result() for task in writes] == [OK] * 24
    assert await cluster.generations(repository) == {"": 24, G1: 24, G2: 24, G3: 24}
    assert await cluster.jobs() == []
