"""What a transactional write came to: which replicas have the change, which must be repaired, and why.

Pure rules over what the nodes answered and how they voted. Source: the Praefect reference on the use of a transaction's
outcome; where upstream outdates replicas by accident the docstrings say what is done instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from praefect.domain.quorum import VoteResult

_CANCELLED: Final = 1
_MADE_UP_CODES: Final = frozenset({_CANCELLED, 4, 14})  # and DEADLINE_EXCEEDED, UNAVAILABLE


class Verdict(StrEnum):
    """What is decided about one secondary; the values are upstream's metric labels."""

    OUTDATED = "outdated"  # it was not asked to take part
    NO_VOTES = "no-votes"
    MISSING_STATE = "missing-tx-state"
    PRIMARY_NOT_COMMITTED = "primary-not-committed"
    NODE_ERROR_STATUS = "node-error-status"
    NODE_NOT_COMMITTED = "node-not-committed"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """How one node's call ended: a gRPC code by number, 0 for OK, and its message."""

    code: int = 0
    message: str = ""
    is_status: bool = True  # False: the call broke without an answer; such an end equals no other

    @property
    def ok(self) -> bool:
        """Whether the node answered OK."""
        return self.code == 0 and self.is_status


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOutcome:
    """One round of voting at its end: each voter's result, and whose votes still counted."""

    results: Mapping[str, VoteResult]
    voted: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOutcome:
    """All that is known of a transactional write when its calls have ended."""

    primary: str
    statuses: Mapping[str, NodeStatus]  # of the primary and each participating secondary
    rounds: Sequence[RoundOutcome]
    stopped: bool  # the transaction was stopped by a node
    voted: bool = False  # a vote was cast, be it that it was taken back


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What to record: ``None`` verdicts do not exist; an unchanged primary means that nothing is recorded at all."""

    primary_changed: bool
    secondaries: Mapping[str, Verdict]

    @property
    def updated(self) -> tuple[str, ...]:
        """Secondaries that have the change."""
        return tuple(name for name, verdict in self.secondaries.items() if verdict is Verdict.UPDATED)

    @property
    def outdated(self) -> tuple[str, ...]:
        """Secondaries that must be repaired."""
        return tuple(name for name, verdict in self.secondaries.items() if verdict is not Verdict.UPDATED)

    def cleared_up(self, alike: Collection[str]) -> Judgement:
        """Return the judgement after a comparison: who holds what the primary holds is up to date, however it came."""
        verdicts = {name: Verdict.UPDATED if name in alike else verdict for name, verdict in self.secondaries.items()}
        return replace(self, secondaries=verdicts)


def judge(outcome: WriteOutcome) -> Judgement:
    """Decide whether the primary may have changed and which secondaries certainly changed alike.

    Accidents of upstream are not repeated. A round that exists only because a secondary's call failed holds no vote and
    says nothing: it neither hides a change that the primary made without voting, nor outdates the others after they all
    committed, provided the primary ended OK. What is certainly without effect changed nothing anywhere.
    """
    status = outcome.statuses[outcome.primary]
    secondaries = [name for name in outcome.statuses if name != outcome.primary]
    rounds = [round_ for round_ in outcome.rounds if round_.voted] if status.ok else list(outcome.rounds)
    if _nothing_happened(outcome, rounds):
        return Judgement(primary_changed=False, secondaries={})
    if not rounds:
        return Judgement(primary_changed=True, secondaries=dict.fromkeys(secondaries, Verdict.NO_VOTES))
    last = rounds[-1].results
    return Judgement(
        primary_changed=True, secondaries={name: _judge_secondary(outcome, last, name) for name in secondaries}
    )


def find_comparable(outcome: WriteOutcome) -> tuple[str, ...]:
    """Return the secondaries that would be outdated although it is not known that they differ from the primary.

    Only those, and only beside a primary, that are certainly not at work any more: others may change later.
    """
    if not _has_ended(outcome.statuses[outcome.primary]):
        return ()
    return tuple(name for name in judge(outcome).outdated if _has_ended(outcome.statuses[name]))


def is_unclear_failure(outcome: WriteOutcome) -> bool:
    """Return whether the primary failed, and a secondary that was told to stop then may or may not have the change."""
    status = outcome.statuses[outcome.primary]
    if status.ok or not _has_ended(status):
        return False
    return any(outcome.statuses[name].code == _CANCELLED for name in judge(outcome).outdated)


def is_without_effect(outcome: WriteOutcome) -> bool:
    """Return whether a write that a node stopped, or whose primary broke off, was certainly interrupted in time.

    A change becomes visible only after a committed vote. Nodes that ended OK without one may act without votes.
    """
    if any(VoteResult.COMMITTED in round_.results.values() for round_ in outcome.rounds):
        return False
    if outcome.stopped:
        return True
    is_broken = not outcome.statuses[outcome.primary].is_status
    return is_broken and outcome.voted and not any(status.code == 0 for status in outcome.statuses.values())


def _nothing_happened(outcome: WriteOutcome, rounds: Sequence[RoundOutcome]) -> bool:
    if not rounds and not outcome.statuses[outcome.primary].ok:
        return True
    if len(rounds) == 1 and outcome.primary not in rounds[0].voted:
        return True
    return is_without_effect(outcome)


def _judge_secondary(outcome: WriteOutcome, last: Mapping[str, VoteResult], name: str) -> Verdict:
    if outcome.primary not in last or name not in last:
        return Verdict.MISSING_STATE
    if last[outcome.primary] is not VoteResult.COMMITTED:
        return Verdict.PRIMARY_NOT_COMMITTED
    if not _equal(outcome.statuses[name], outcome.statuses[outcome.primary]):
        return Verdict.NODE_ERROR_STATUS
    if last[name] is not VoteResult.COMMITTED:
        return Verdict.NODE_NOT_COMMITTED
    return Verdict.UPDATED


def _has_ended(status: NodeStatus) -> bool:
    """Return whether the node itself has ended the call; these codes may have been made up for it elsewhere."""
    return status.is_status and status.code not in _MADE_UP_CODES


def _equal(one: NodeStatus, other: NodeStatus) -> bool:
    return one.is_status and other.is_status and (one.code, one.message) == (other.code, other.message)
