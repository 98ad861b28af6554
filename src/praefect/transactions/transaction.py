"""A transaction: the growing list of voting rounds of one mutating RPC. Pure, no waiting."""

from __future__ import annotations

from enum import StrEnum
from typing import NewType

from praefect.domain.errors import CancelledCallError
from praefect.domain.quorum import Electorate, VoteResult
from praefect.transactions.subtransaction import Subtransaction, UnknownVoterError

TransactionId = NewType("TransactionId", int)


class TransactionState(StrEnum):
    """Whether a transaction takes votes."""

    OPEN = "open"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


class TransactionCancelledError(CancelledCallError):
    """The RPC of the transaction is over, or the voter was taken out."""

    def __init__(self) -> None:
        super().__init__("transaction has been canceled")


class Transaction:
    """The rounds of one RPC; node X's k-th vote belongs to the k-th round."""

    def __init__(self, transaction_id: TransactionId, electorate: Electorate) -> None:
        self.id = transaction_id
        self.electorate = electorate
        self.state = TransactionState.OPEN
        self.was_stopped = False  # stays true when the transaction ends
        self.was_voted_in = False  # stays true when the vote is taken back
        self._rounds: list[Subtransaction] = []
        self._committed: dict[str, int] = {}  # of each node, how many rounds from the first it has committed for good

    @property
    def rounds(self) -> tuple[Subtransaction, ...]:
        """All rounds so far, oldest first."""
        return tuple(self._rounds)

    def cast(self, node: str, vote: bytes) -> Subtransaction | VoteResult:
        """Cast ``node``'s next vote; return the round to wait for, or the result that refuses the vote at once.

        Raises:
            TransactionCancelledError: the transaction is over.
            UnknownVoterError: the node is no voter.
            DuplicateVoteError: its previous vote has not been decided.
        """
        if self.state is TransactionState.CANCELLED:
            raise TransactionCancelledError
        if self.state is TransactionState.STOPPED:
            return VoteResult.STOPPED
        # Pushes have thousands of rounds, so the committed ones, which stay so, are not looked at again.
        for subtransaction in self._rounds[self._committed.get(node, 0) :]:
            result = subtransaction.result(node)
            if result is VoteResult.UNDECIDED:
                return self._cast_in(subtransaction, node, vote)
            if result is not VoteResult.COMMITTED:
                return result
            self._committed[node] = self._committed.get(node, 0) + 1
        if all(voter.name != node for voter in self.electorate.voters):
            raise UnknownVoterError(node)
        return self._cast_in(self._append_round(), node, vote)

    def cancel_voter(self, node: str) -> None:
        """Take ``node`` out of every round it still owes or awaits, because its RPC failed.

        With no such round the failure is remembered in a new one, in which the node has no voice.

        Raises:
            UnknownVoterError: the node is no voter.
            VoteNotCancellableError: the first round it owes a vote to is over.
        """
        pending: list[Subtransaction] = []
        for subtransaction in self._rounds:
            result = subtransaction.result(node)
            if result is VoteResult.UNDECIDED:
                pending.append(subtransaction)
            elif result is not VoteResult.COMMITTED:
                return
        if not pending:
            pending.append(self._append_round())
        for subtransaction in pending:
            subtransaction.cancel_voter(node)

    def cancel(self) -> None:
        """End the transaction: the RPC is over."""
        for subtransaction in self._rounds:
            subtransaction.cancel()
        self.state = TransactionState.CANCELLED

    def stop(self) -> None:
        """Refuse all further votes gracefully; repeating it changes nothing.

        Raises:
            TransactionCancelledError: the transaction is over.
        """
        if self.state is TransactionState.CANCELLED:
            raise TransactionCancelledError
        for subtransaction in self._rounds:
            subtransaction.stop()
        self.state = TransactionState.STOPPED
        self.was_stopped = True

    def _cast_in(self, subtransaction: Subtransaction, node: str, vote: bytes) -> Subtransaction:
        subtransaction.cast(node, vote)
        self.was_voted_in = True
        return subtransaction

    def _append_round(self) -> Subtransaction:
        silent: frozenset[str] = frozenset()
        if self._rounds:
            results = self._rounds[-1].results()
            silent = frozenset(name for name, result in results.items() if result is VoteResult.CANCELLED)
        subtransaction = Subtransaction(self.electorate, cancelled=silent)
        self._rounds.append(subtransaction)
        return subtransaction
