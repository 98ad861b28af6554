"""What is recorded of a write, by what the nodes answered and how they voted."""

from __future__ import annotations

import pytest

from praefect.domain.outcome import NodeStatus, RoundOutcome, Verdict, WriteOutcome, judge
from praefect.domain.quorum import VoteResult

OK = NodeStatus()
CANCELLED = NodeStatus(code=1, message="context canceled")
BROKEN = NodeStatus(code=14, message="connection reset", is_status=False)
INTERNAL = NodeStatus(code=13, message="no space left on device")

_LETTERS = {
    "c": (VoteResult.COMMITTED, True),
    "f": (VoteResult.FAILED, True),
    "x": (VoteResult.CANCELLED, False),
    "u": (VoteResult.CANCELLED, True),  # voted, and undecided when the call ended
    "s": (VoteResult.STOPPED, True),
    "-": (VoteResult.STOPPED, False),
}


def _round(letters: str) -> RoundOutcome:
    names = ["p", "s", "t"][: len(letters)]
    return RoundOutcome(
        results={name: _LETTERS[letter][0] for name, letter in zip(names, letters, strict=True)},
        voted=frozenset(name for name, letter in zip(names, letters, strict=True) if _LETTERS[letter][1]),
    )


def _judge(statuses: list[NodeStatus], rounds: list[str], *, stopped: bool = False, voted: bool = False) -> str:
    names = ["p", "s", "t"][: len(statuses)]
    judgement = judge(
        WriteOutcome(
            primary="p",
            statuses=dict(zip(names, statuses, strict=True)),
            rounds=[_round(letters) for letters in rounds],
            stopped=stopped,
            voted=voted,
        )
    )
    if not judgement.primary_changed:
        assert not judgement.secondaries
        return "nothing"
    return ", ".join(verdict.value for verdict in judgement.secondaries.values()) or "primary alone"


@pytest.mark.parametrize(
    ("statuses", "rounds", "expected"),
    [
        ([OK, OK, OK], ["ccc", "ccc"], "updated, updated"),
        ([OK], ["c"], "primary alone"),
        ([INTERNAL, OK, OK], ["ccc"], "node-error-status, node-error-status"),
        ([INTERNAL, CANCELLED, CANCELLED], ["fff"], "primary-not-committed, primary-not-committed"),
        ([OK, INTERNAL], ["cf"], "node-error-status"),
        ([OK, OK, OK], ["ccf"], "updated, node-not-committed"),
        ([OK, OK, OK], [], "no-votes, no-votes"),
        ([INTERNAL, CANCELLED, CANCELLED], [], "nothing"),
        ([INTERNAL, CANCELLED, CANCELLED], ["xuu"], "nothing"),
        ([INTERNAL, INTERNAL, INTERNAL], ["ccc"], "updated, updated"),
        ([BROKEN, BROKEN, BROKEN], ["ccc"], "node-error-status, node-error-status"),
        ([CANCELLED, CANCELLED, CANCELLED], ["ccc", "xxx"], "primary-not-committed, primary-not-committed"),
        ([CANCELLED, CANCELLED, CANCELLED], ["xuu"], "nothing"),
    ],
)
def test_verdicts_as_upstream(statuses: list[NodeStatus], rounds: list[str], expected: str) -> None:
    assert _judge(statuses, rounds) == expected


def test_failing_secondary_does_not_hide_a_change_made_without_votes() -> None:
    assert _judge([OK, INTERNAL, OK], ["xxx"]) == "no-votes, no-votes"


def test_secondary_that_fails_late_does_not_outdate_the_others() -> None:
    assert _judge([OK, INTERNAL, OK], ["ccc", "xxx"]) == "node-error-status, updated"


@pytest.mark.parametrize("rounds", [[], ["-ss"], ["---"]])
def test_stopped_transaction_in_which_nothing_was_committed_records_nothing(rounds: list[str]) -> None:
    assert _judge([OK, OK, OK], rounds, stopped=True) == "nothing"


def test_stop_after_a_committed_round_outdates() -> None:
    assert _judge([OK, OK, OK], ["ccc", "-ss"], stopped=True) == "primary-not-committed, primary-not-committed"


@pytest.mark.parametrize("rounds", [["xxx"], ["uxu"], ["xxx", "xxx"]])
def test_primary_that_breaks_off_before_any_vote_is_committed_changed_nothing(rounds: list[str]) -> None:
    assert _judge([BROKEN, CANCELLED, CANCELLED], rounds, voted=True) == "nothing"


@pytest.mark.parametrize(
    ("statuses", "rounds", "voted"),
    [
        ([BROKEN, CANCELLED, CANCELLED], ["ccc", "uxx"], True),
        ([BROKEN, OK, CANCELLED], ["uxx"], True),  # it has done something without a vote
        ([BROKEN, CANCELLED, CANCELLED], ["uxx"], False),
        ([INTERNAL, CANCELLED, CANCELLED], ["fff"], True),
    ],
)
def test_primary_that_may_have_changed_something_outdates(
    statuses: list[NodeStatus], rounds: list[str], voted: bool
) -> None:
    assert _judge(statuses, rounds, voted=voted) == "primary-not-committed, primary-not-committed"


def test_primary_without_state_outdates_everybody() -> None:
    judgement = judge(
        WriteOutcome(
            primary="p",
            statuses={"p": OK, "s": OK},
            rounds=[_round("cc"), RoundOutcome(results={"s": VoteResult.COMMITTED}, voted=frozenset({"s"}))],
            stopped=False,
        )
    )

    assert judgement.primary_changed
    assert judgement.secondaries == {"s": Verdict.MISSING_STATE}
