"""One round of voting: pure, no waiting, no clock.

State of one voter (a transition that is not in the table is refused):

    (undecided, vote cast, quorum on the same hash)      → committed
    (undecided, vote cast, quorum elsewhere or none)     → failed
    (undecided, its waiting call went away or RPC failed) → cancelled
    (undecided, transaction ended)                       → cancelled
    (undecided, transaction stopped)                     → stopped

All results but *undecided* are final.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from praefect.domain.errors import InternalError
from praefect.domain.quorum import Electorate, VoteResult


class UnknownVoterError(InternalError):
    """A node votes that is not part of the transaction."""

    def __init__(self, node: str) -> None:
        super().__init__(f'invalid node for transaction: "{node}"')
        self.node = node


class DuplicateVoteError(InternalError):
    """A node casts a second vote in a round that has not decided its first."""

    def __init__(self, node: str) -> None:
        super().__init__(f'node already cast a vote: "{node}"')
        self.node = node


class VoteNotCancellableError(InternalError):
    """A vote that was decided, or whose round is over, cannot be taken back."""


@dataclass(slots=True)
class _Ballot:
    weight: int
    vote: bytes | None = None
    result: VoteResult = VoteResult.UNDECIDED


class Subtransaction:
    """A round: collects one vote per voter and decides by weight.

    The round is *done* the first time a quorum is reached or has become impossible, or when it is stopped or cancelled
    as a whole; whoever waits is told through the callbacks given to ``on_done``. Votes that arrive later are decided
    at once against the outcome.
    """

    def __init__(self, electorate: Electorate, *, cancelled: frozenset[str] = frozenset()) -> None:
        """Open a round in which the voters named by ``cancelled`` have no voice."""
        self._threshold = electorate.threshold
        self._ballots = {
            voter.name: _Ballot(
                weight=voter.weight, result=VoteResult.CANCELLED if voter.name in cancelled else VoteResult.UNDECIDED
            )
            for voter in electorate.voters
        }
        self._weights: dict[bytes, int] = {}
        self._done = False
        self._callbacks: list[Callable[[], None]] = []

    @property
    def done(self) -> bool:
        """Whether waiting for this round is over."""
        return self._done

    def on_done(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once when the round is done; at once if it is."""
        if self._done:
            callback()
        else:
            self._callbacks.append(callback)

    def result(self, node: str) -> VoteResult:
        """Return what became of ``node``.

        Raises:
            UnknownVoterError: the node is no voter.
        """
        return self._ballot(node).result

    def results(self) -> dict[str, VoteResult]:
        """Return the result of every voter."""
        return {name: ballot.result for name, ballot in self._ballots.items()}

    def has_vote(self, node: str) -> bool:
        """Return whether ``node`` cast a vote that still counts."""
        return self._ballot(node).vote is not None

    def vote_of(self, node: str) -> bytes | None:
        """Return the hash ``node`` voted for, if its vote still counts."""
        return self._ballot(node).vote

    def cast(self, node: str, vote: bytes) -> None:
        """Record the vote of an undecided voter and decide what can be decided.

        Raises:
            UnknownVoterError: the node is no voter.
            DuplicateVoteError: it voted already.
        """
        ballot = self._ballot(node)
        if ballot.vote is not None or ballot.result is not VoteResult.UNDECIDED:
            raise DuplicateVoteError(node)
        ballot.vote = vote
        self._weights[vote] = self._weights.get(vote, 0) + ballot.weight
        self._decide()

    def cancel_voter(self, node: str) -> None:
        """Take an undecided voter out of the round, and its vote with it.

        Raises:
            UnknownVoterError: the node is no voter.
            VoteNotCancellableError: its vote was decided or the round is over.
        """
        ballot = self._ballot(node)
        if ballot.result is not VoteResult.UNDECIDED:
            raise VoteNotCancellableError(f"cancel vote: cannot change {ballot.result} vote")
        if self._done:
            raise VoteNotCancellableError("cancel vote: subtransaction was already finished")
        if ballot.vote is not None:
            self._weights[ballot.vote] -= ballot.weight
            ballot.vote = None
        ballot.result = VoteResult.CANCELLED
        self._decide()

    def cancel(self) -> None:
        """End the round because its transaction ended."""
        self._end(VoteResult.CANCELLED)

    def stop(self) -> None:
        """End the round because its transaction was stopped."""
        self._end(VoteResult.STOPPED)

    def _ballot(self, node: str) -> _Ballot:
        ballot = self._ballots.get(node)
        if ballot is None:
            raise UnknownVoterError(node)
        return ballot

    def _decide(self) -> None:
        leader, weight = max(self._weights.items(), key=lambda item: item[1], default=(None, 0))
        outstanding = sum(
            ballot.weight
            for ballot in self._ballots.values()
            if ballot.result is VoteResult.UNDECIDED and ballot.vote is None
        )
        quorum = weight >= self._threshold
        if not quorum and weight + outstanding >= self._threshold:
            return
        for ballot in self._ballots.values():
            if ballot.result is VoteResult.UNDECIDED and ballot.vote is not None:
                agreed = quorum and ballot.vote == leader
                ballot.result = VoteResult.COMMITTED if agreed else VoteResult.FAILED
        self._finish()

    def _end(self, result: VoteResult) -> None:
        for ballot in self._ballots.values():
            if ballot.result is VoteResult.UNDECIDED:
                ballot.result = result
        self._finish()

    def _finish(self) -> None:
        if not self._done:
            self._done = True
            callbacks, self._callbacks = self._callbacks, []
            for callback in callbacks:
                callback()
