"""The transactions of one process; the only part of voting that waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from praefect.domain.errors import InvalidArgumentError, NotFoundError, PraefectError
from praefect.domain.quorum import Electorate, VoteResult
from praefect.transactions.subtransaction import Subtransaction, VoteNotCancellableError
from praefect.transactions.transaction import Transaction, TransactionCancelledError, TransactionId

VOTE_LENGTH_BYTES = 20


class TransactionNotFoundError(NotFoundError):
    """No transaction with this number is open in this process."""

    def __init__(self, transaction_id: int) -> None:
        super().__init__(f"transaction not found: {transaction_id}")
        self.transaction_id = transaction_id


class InvalidVoteError(InvalidArgumentError):
    """The vote is not a hash of 20 bytes."""

    def __init__(self, length: int) -> None:
        super().__init__(f"invalid reference update hash: invalid vote length {length}")


@dataclass(frozen=True, slots=True)
class CastVote:
    """A vote as it arrived: in which transaction, of whom, for what."""

    transaction_id: TransactionId
    node: str
    vote: bytes


@dataclass(slots=True, kw_only=True)
class VoteObserver:
    """What to tell of votes: counters and log lines belong to whoever builds the manager.

    Of each vote ``started`` is told first, then one of ``decided`` and ``refused``; both get the seconds in between.
    """

    registered: Callable[[Transaction], None] = field(default=lambda _transaction: None)
    started: Callable[[CastVote], None] = field(default=lambda _cast: None)
    decided: Callable[[CastVote, VoteResult, float], None] = field(default=lambda _cast, _result, _seconds: None)
    refused: Callable[[CastVote, PraefectError, float], None] = field(default=lambda _cast, _error, _seconds: None)
    stopped: Callable[[TransactionId], None] = field(default=lambda _id: None)
    finished: Callable[[Transaction], None] = field(default=lambda _transaction: None)


class TransactionManager:
    """Registers transactions, lets nodes vote in them and ends them.

    ``may_commit`` is asked right before a vote is answered with COMMIT: once it says no, the vote is refused, because
    this process may no longer promise that the outcome will be recorded.
    """

    def __init__(self, *, observer: VoteObserver | None = None, may_commit: Callable[[], bool] = lambda: True) -> None:
        self._observer = observer or VoteObserver()
        self._may_commit = may_commit
        self._transactions: dict[TransactionId, Transaction] = {}
        self._last_id = 0

    def __len__(self) -> int:
        """Return how many transactions are open."""
        return len(self._transactions)

    def register(self, electorate: Electorate) -> Transaction:
        """Open a transaction; its number is unique in this process only."""
        self._last_id += 1
        transaction = Transaction(TransactionId(self._last_id), electorate)
        self._transactions[transaction.id] = transaction
        self._observer.registered(transaction)
        return transaction

    def finish(self, transaction: Transaction) -> None:
        """End a transaction: whoever still waits in it is cancelled and later votes find nothing."""
        if self._transactions.pop(transaction.id, None) is not None:
            transaction.cancel()
            self._observer.finished(transaction)

    def abort_all(self) -> None:
        """End every transaction, because this process may no longer commit."""
        for transaction in list(self._transactions.values()):
            self.finish(transaction)

    async def vote(self, transaction_id: TransactionId, node: str, vote: bytes) -> VoteResult:
        """Cast a vote and wait for the outcome: COMMITTED, FAILED or STOPPED.

        When the caller goes away while waiting, its vote is taken back, unless it was decided.

        Raises:
            InvalidVoteError: the vote has another length than a hash.
            TransactionNotFoundError: there is no such transaction (any more).
            TransactionCancelledError: the transaction ended while the vote waited.
            UnknownVoterError: the node is no voter.
            DuplicateVoteError: the node's previous vote is still waiting.
        """
        if len(vote) != VOTE_LENGTH_BYTES:
            raise InvalidVoteError(len(vote))
        cast = CastVote(transaction_id, node, vote)
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._observer.started(cast)
        result, refusal = VoteResult.CANCELLED, None
        try:
            result = await self._decide(cast)
        except TransactionCancelledError:
            raise
        except PraefectError as exc:
            refusal = exc
            raise
        finally:
            if refusal is None:
                self._observer.decided(cast, result, loop.time() - began)
            else:
                self._observer.refused(cast, refusal, loop.time() - began)
        if result is VoteResult.CANCELLED:
            raise TransactionCancelledError
        return result

    def stop(self, transaction_id: TransactionId) -> None:
        """Stop a transaction gracefully; waiting votes are answered STOP.

        Raises:
            TransactionNotFoundError: there is no such transaction (any more).
        """
        self._find(transaction_id).stop()
        self._observer.stopped(transaction_id)

    async def _decide(self, cast: CastVote) -> VoteResult:
        round_or_result = self._find(cast.transaction_id).cast(cast.node, cast.vote)
        if isinstance(round_or_result, VoteResult):
            result = round_or_result
        else:
            result = await self._wait(round_or_result, cast.node)
        return VoteResult.FAILED if result is VoteResult.COMMITTED and not self._may_commit() else result

    def _find(self, transaction_id: TransactionId) -> Transaction:
        transaction = self._transactions.get(transaction_id)
        if transaction is None:
            raise TransactionNotFoundError(transaction_id)
        return transaction

    async def _wait(self, subtransaction: Subtransaction, node: str) -> VoteResult:
        done = asyncio.Event()
        subtransaction.on_done(done.set)
        try:
            await done.wait()
        except asyncio.CancelledError:
            # Decided between the wake-up and the cancellation: the vote stands, only nobody hears of it.
            with contextlib.suppress(VoteNotCancellableError):
                subtransaction.cancel_voter(node)
            raise
        return subtransaction.result(node)
