"""Rounds of votes, transactions made of them, and the manager that waits."""

from __future__ import annotations

import asyncio
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.domain.quorum import VoteResult, form_electorate
from praefect.transactions.manager import InvalidVoteError, TransactionManager, TransactionNotFoundError
from praefect.transactions.subtransaction import (
    DuplicateVoteError,
    Subtransaction,
    UnknownVoterError,
    VoteNotCancellableError,
)
from praefect.transactions.transaction import Transaction, TransactionCancelledError, TransactionId

A, B, C = b"a" * 20, b"b" * 20, b"c" * 20
COMMITTED, FAILED, UNDECIDED, CANCELLED, STOPPED = (
    VoteResult.COMMITTED,
    VoteResult.FAILED,
    VoteResult.UNDECIDED,
    VoteResult.CANCELLED,
    VoteResult.STOPPED,
)


@pytest.mark.parametrize(
    ("votes", "results"),
    [
        ({"p": A}, {"p": COMMITTED}),
        ({"p": A, "s": A}, {"p": COMMITTED, "s": COMMITTED}),
        ({"p": A, "s": B}, {"p": COMMITTED, "s": FAILED}),
        ({"p": A, "s": A, "t": A}, {"p": COMMITTED, "s": COMMITTED, "t": COMMITTED}),
        ({"p": A, "s": A, "t": B}, {"p": COMMITTED, "s": COMMITTED, "t": FAILED}),
        ({"p": A, "s": B, "t": B}, {"p": FAILED, "s": FAILED, "t": FAILED}),
        ({"p": A, "s": B, "t": C}, {"p": FAILED, "s": FAILED, "t": FAILED}),
    ],
)
def test_outcome_does_not_depend_on_the_order_of_votes(votes: dict[str, bytes], results: dict[str, VoteResult]) -> None:
    secondaries = [name for name in votes if name != "p"]
    for order in permutations(votes):
        subtransaction = Subtransaction(form_electorate("p", secondaries))
        for name in order:
            subtransaction.cast(name, votes[name])

        assert subtransaction.done
        assert subtransaction.results() == results, order


def test_round_waits_while_quorum_is_possible() -> None:
    subtransaction = Subtransaction(form_electorate("p", ["s", "t"]))
    subtransaction.cast("p", A)
    subtransaction.cast("s", B)

    assert not subtransaction.done
    assert subtransaction.results() == {"p": UNDECIDED, "s": UNDECIDED, "t": UNDECIDED}


def test_late_voter_is_judged_against_the_quorum() -> None:
    subtransaction = Subtransaction(form_electorate("p", ["s", "t"]))
    subtransaction.cast("p", A)
    subtransaction.cast("s", A)
    assert subtransaction.done
    assert subtransaction.result("t") is UNDECIDED

    subtransaction.cast("t", B)

    assert subtransaction.result("t") is FAILED


def test_voter_that_goes_away_takes_its_weight_with_it() -> None:
    subtransaction = Subtransaction(form_electorate("p", ["s", "t"]))
    subtransaction.cast("s", A)
    subtransaction.cast("t", A)
    subtransaction.cancel_voter("p")

    assert subtransaction.done
    assert subtransaction.results() == {"p": CANCELLED, "s": FAILED, "t": FAILED}


def test_decided_votes_cannot_be_taken_back() -> None:
    subtransaction = Subtransaction(form_electorate("p", ["s", "t"]))
    subtransaction.cast("p", A)
    subtransaction.cast("s", A)

    with pytest.raises(VoteNotCancellableError, match="cannot change committed vote"):
        subtransaction.cancel_voter("p")
    with pytest.raises(VoteNotCancellableError, match="subtransaction was already finished"):
        subtransaction.cancel_voter("t")


def test_strangers_and_second_votes_are_refused() -> None:
    subtransaction = Subtransaction(form_electorate("p", ["s", "t"]))
    subtransaction.cast("s", A)

    with pytest.raises(DuplicateVoteError, match='node already cast a vote: "s"'):
        subtransaction.cast("s", A)
    with pytest.raises(UnknownVoterError, match='invalid node for transaction: "x"'):
        subtransaction.cast("x", A)


@given(
    secondaries=st.integers(min_value=0, max_value=5),
    actions=st.lists(st.tuples(st.integers(0, 5), st.sampled_from([A, B, None])), max_size=20),
)
def test_no_round_commits_two_hashes_nor_without_the_primary(
    secondaries: int, actions: list[tuple[int, bytes | None]]
) -> None:
    names = ["p", *(f"s{number}" for number in range(secondaries))]
    electorate = form_electorate("p", names[1:])
    subtransaction = Subtransaction(electorate)
    for index, vote in actions:
        name = names[index % len(names)]
        try:
            if vote is None:
                subtransaction.cancel_voter(name)
            else:
                subtransaction.cast(name, vote)
        except (DuplicateVoteError, VoteNotCancellableError):
            continue

    committed = {name for name, result in subtransaction.results().items() if result is COMMITTED}
    assert len({subtransaction.vote_of(name) for name in committed}) <= 1
    assert not committed or "p" in committed
    weight = sum(voter.weight for voter in electorate.voters if voter.name in committed)
    assert not committed or weight >= electorate.threshold


def _transaction(*secondaries: str) -> Transaction:
    return Transaction(TransactionId(1), form_electorate("p", secondaries))


def test_kth_vote_belongs_to_the_kth_round() -> None:
    transaction = _transaction("s")
    for vote in (A, B):
        transaction.cast("p", vote)
    for vote in (A, B):
        transaction.cast("s", vote)

    assert [round_.results() for round_ in transaction.rounds] == [{"p": COMMITTED, "s": COMMITTED}] * 2


def test_voter_that_failed_a_round_is_refused_in_all_later_ones() -> None:
    transaction = _transaction("s")
    transaction.cast("p", A)
    transaction.cast("s", B)

    assert transaction.cast("s", A) is FAILED
    assert len(transaction.rounds) == 1


def test_failed_secondary_is_remembered_in_a_new_round_and_stays_out() -> None:
    transaction = _transaction("s", "t")
    for name in ("p", "s", "t"):
        transaction.cast(name, A)
    transaction.cancel_voter("t")
    transaction.cast("p", B)
    transaction.cast("s", B)

    assert transaction.rounds[1].results() == {"p": COMMITTED, "s": COMMITTED, "t": CANCELLED}
    transaction.cast("p", C)
    assert transaction.rounds[2].result("t") is CANCELLED


def test_stop_refuses_waiting_and_further_votes() -> None:
    transaction = _transaction("s", "t")
    transaction.cast("s", A)
    transaction.stop()
    transaction.stop()

    assert transaction.rounds[0].results() == {"p": STOPPED, "s": STOPPED, "t": STOPPED}
    assert transaction.cast("p", A) is STOPPED


def test_finished_transaction_takes_neither_votes_nor_stop() -> None:
    transaction = _transaction("s")
    transaction.cancel()

    with pytest.raises(TransactionCancelledError, match="transaction has been canceled"):
        transaction.cast("p", A)
    with pytest.raises(TransactionCancelledError):
        transaction.stop()


async def test_votes_wait_for_each_other() -> None:
    manager = TransactionManager()
    transaction = manager.register(form_electorate("p", ["s", "t"]))
    async with asyncio.TaskGroup() as votes:
        results = [votes.create_task(manager.vote(transaction.id, name, A)) for name in ("p", "s", "t")]

    assert [result.result() for result in results] == [COMMITTED] * 3


async def test_waiting_vote_is_cancelled_with_the_transaction() -> None:
    manager = TransactionManager()
    transaction = manager.register(form_electorate("p", ["s", "t"]))
    async with asyncio.TaskGroup() as votes:
        vote = votes.create_task(_refusal(manager, transaction.id))
        await asyncio.sleep(0)
        assert transaction.rounds
        manager.finish(transaction)

    assert isinstance(vote.result(), TransactionCancelledError)
    assert len(manager) == 0
    with pytest.raises(TransactionNotFoundError, match=f"transaction not found: {transaction.id}"):
        await manager.vote(transaction.id, "p", A)
    with pytest.raises(TransactionNotFoundError):
        manager.stop(transaction.id)


async def _refusal(manager: TransactionManager, transaction_id: TransactionId) -> TransactionCancelledError | None:
    try:
        await manager.vote(transaction_id, "p", A)
    except TransactionCancelledError as refusal:
        return refusal
    return None


async def test_caller_that_goes_away_takes_its_vote_back() -> None:
    manager = TransactionManager()
    transaction = manager.register(form_electorate("p", ["s", "t"]))
    async with asyncio.TaskGroup() as votes:
        vote = votes.create_task(manager.vote(transaction.id, "s", A))
        await asyncio.sleep(0)
        assert transaction.rounds
        vote.cancel()

    assert transaction.rounds[0].result("s") is CANCELLED
    assert not transaction.rounds[0].has_vote("s")


async def test_no_vote_is_answered_with_commit_once_the_process_may_not() -> None:
    manager = TransactionManager(may_commit=lambda: False)
    transaction = manager.register(form_electorate("p", []))

    assert await manager.vote(transaction.id, "p", A) is FAILED


async def test_vote_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidVoteError, match="invalid reference update hash: invalid vote length 3"):
        await TransactionManager().vote(TransactionId(1), "p", b"abc")


def test_committed_rounds_are_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    result = Subtransaction.result

    def counting(subtransaction: Subtransaction, node: str) -> VoteResult:
        nonlocal looked
        looked += 1
        return result(subtransaction, node)

    monkeypatch.setattr(Subtransaction, "result", counting)
    transaction = Transaction(TransactionId(1), form_electorate("p", ["s", "t"]))
    for number in range(100):
        vote = number.to_bytes(20, "big")
        rounds = [transaction.cast(node, vote) for node in ("p", "s", "t")]
        assert rounds == [transaction.rounds[-1]] * 3

    assert len(transaction.rounds) == 100
    assert looked < 1000
