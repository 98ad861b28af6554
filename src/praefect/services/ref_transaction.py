"""RefTransaction: where nodes vote. Served on the backchannel of every node and, authenticated, on the listeners."""

from __future__ import annotations

from praefect.domain.quorum import VoteResult
from praefect.proto import transaction_pb2
from praefect.transactions.manager import TransactionManager
from praefect.transactions.transaction import TransactionId
from praefect.transport.grpc.server_call import ServerCall

_STATES = {
    VoteResult.COMMITTED: transaction_pb2.VoteTransactionResponse.COMMIT,
    VoteResult.FAILED: transaction_pb2.VoteTransactionResponse.ABORT,
    VoteResult.STOPPED: transaction_pb2.VoteTransactionResponse.STOP,
}


class RefTransactionService:
    """Votes and stops, as upstream answers them."""

    def __init__(self, transactions: TransactionManager) -> None:
        self._transactions = transactions

    async def vote_transaction(
        self, request: transaction_pb2.VoteTransactionRequest, _call: ServerCall
    ) -> transaction_pb2.VoteTransactionResponse:
        """Cast a node's vote and answer when the round is decided."""
        result = await self._transactions.vote(
            TransactionId(request.transaction_id), request.node, request.reference_updates_hash
        )
        return transaction_pb2.VoteTransactionResponse(state=_STATES[result])

    async def stop_transaction(
        self, request: transaction_pb2.StopTransactionRequest, _call: ServerCall
    ) -> transaction_pb2.StopTransactionResponse:
        """Stop a transaction gracefully."""
        self._transactions.stop(TransactionId(request.transaction_id))
        return transaction_pb2.StopTransactionResponse()
