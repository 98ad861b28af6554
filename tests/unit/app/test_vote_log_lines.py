"""What is said and counted of votes, one line and one action per outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from praefect.app.proxy_metrics import ProxyMetrics
from praefect.config.praefect import PraefectConfig
from praefect.domain.errors import PraefectError
from praefect.domain.quorum import Electorate, form_electorate
from praefect.domain.repository import Storage
from praefect.observability.log import capture
from praefect.transactions.manager import TransactionManager
from praefect.transactions.transaction import Transaction, TransactionId

A, B, C = Storage("a"), Storage("b"), Storage("c")
ONE, TWO = b"\x01" * 20, b"\x02" * 20


def _electorate() -> Electorate:
    return form_electorate(A, [B, C])


async def _all_agree(manager: TransactionManager, transaction: Transaction) -> None:
    async with asyncio.TaskGroup() as votes:
        for node in (A, B, C):
            votes.create_task(manager.vote(transaction.id, node, ONE), name=node)


async def _nobody_agrees(manager: TransactionManager, transaction: Transaction) -> None:
    async with asyncio.TaskGroup() as votes:
        votes.create_task(manager.vote(transaction.id, A, ONE), name="a")
        for node in (B, C):
            votes.create_task(manager.vote(transaction.id, node, TWO), name=node)


async def _is_stopped(manager: TransactionManager, transaction: Transaction) -> None:
    manager.stop(transaction.id)
    await manager.vote(transaction.id, A, ONE)


async def _is_cancelled(manager: TransactionManager, transaction: Transaction) -> None:
    async with asyncio.TaskGroup() as votes:
        vote = votes.create_task(_refused(manager.vote(transaction.id, B, ONE)), name="b")
        await asyncio.sleep(0)
        manager.finish(transaction)
        await vote


async def _is_no_voter(manager: TransactionManager, transaction: Transaction) -> None:
    await _refused(manager.vote(transaction.id, "stranger", ONE))


async def _comes_too_late(manager: TransactionManager, transaction: Transaction) -> None:
    await _refused(manager.vote(TransactionId(transaction.id + 1), A, ONE))


async def _refused(vote: Awaitable[object]) -> None:
    with pytest.raises(PraefectError):
        await vote


CASES: list[tuple[Callable[[TransactionManager, Transaction], Awaitable[None]], str, str, str, dict[str, object]]] = [
    (_all_agree, "committed", "info", "VoteTransaction: transaction committed", {"transaction.hash": ONE.hex()}),
    (
        _nobody_agrees,
        "failed",
        "error",
        "VoteTransaction: did not reach quorum",
        {"error": "transaction did not reach quorum"},
    ),
    (_is_stopped, "stopped", "debug", "VoteTransaction: transaction stopped", {"transaction.voter": A}),
    (
        _is_cancelled,
        "canceled",
        "error",
        "VoteTransaction: transaction was canceled",
        {"transaction.voter": B, "error": "transaction has been canceled"},
    ),
    (
        _is_no_voter,
        "invalid",
        "error",
        "VoteTransaction: failure",
        {"transaction.voter": "stranger", "error": 'invalid node for transaction: "stranger"'},
    ),
    (_comes_too_late, "invalid", "error", "VoteTransaction: failure", {"error": "transaction not found: 2"}),
]


@pytest.mark.parametrize(("vote", "action", "level", "message", "fields"), CASES)
async def test_every_outcome_of_a_vote_has_its_line_and_its_action(
    vote: Callable[[TransactionManager, Transaction], Awaitable[None]],
    action: str,
    level: str,
    message: str,
    fields: dict[str, object],
) -> None:
    metrics = ProxyMetrics(PraefectConfig(), {})
    manager = TransactionManager(observer=metrics.vote_observer())
    with capture() as lines:
        transaction = manager.register(_electorate())
        await vote(manager, transaction)
    told = [line for line in lines if line["msg"] == message]
    assert told
    assert {line["level"] for line in told} == {level}
    assert {"transaction.id", "transaction.voter", "transaction.hash"} <= set(told[0])
    assert {name: told[0][name] for name in fields} == fields
    assert metrics.transactions.labels(action).value >= 1
    # The beginning is told of too, of all alike.
    begun = [line for line in lines if line["msg"] in {"RegisterTransaction", "VoteTransaction"}]
    assert {line["level"] for line in begun} == {"debug"}
    assert begun[0]["transaction.voters"] == [A, B, C]
    assert metrics.transactions.labels("started").value == len(begun) - 1
    assert metrics.vote_delay.labels("vote").count == len(begun) - 1


async def test_transaction_says_how_many_committed() -> None:
    metrics = ProxyMetrics(PraefectConfig(), {})
    manager = TransactionManager(observer=metrics.vote_observer())
    with capture() as lines:
        transaction = manager.register(_electorate())
        await _all_agree(manager, transaction)
        manager.finish(transaction)
    [line] = [line for line in lines if line["msg"] == "transaction completed"]
    assert (line["level"], line["transaction.committed"], line["transaction.subtransactions"]) == ("info", "3/3", 1)
