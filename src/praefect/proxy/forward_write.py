"""Forward writes: to the primary and to the secondaries that take part, whose votes decide. It knows no records.

Source: the Praefect reference on the streaming proxy and on reference transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from praefect.domain.errors import AbortedError
from praefect.domain.outcome import NodeStatus, RoundOutcome, WriteOutcome
from praefect.domain.quorum import form_electorate
from praefect.domain.repository import Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.proxy.classify import RepositoryCall
from praefect.proxy.node_calls import NodeCalls, NodeUnreachableError, is_heard_from, passed_on
from praefect.proxy.rewrite import rewrite_repository, transaction_metadata
from praefect.proxy.routes import MutatorRoute
from praefect.transactions.manager import TransactionManager
from praefect.transactions.subtransaction import VoteNotCancellableError
from praefect.transactions.transaction import Transaction
from praefect.transport.grpc.fanout import FanOutOptions, FanOutOutcome, Leg, fan_out
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.relay import DestinationOutcome, RelayOutcome
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import Status, StatusCode, StatusError
from praefect.transport.http2 import StreamClosedError

_log = get_logger("praefect.StreamServerInterceptor")


class OutcomeUnknownError(AbortedError):
    """The primary broke off in the middle of a write: it may have happened or not."""

    def __init__(self, message: str) -> None:
        super().__init__(f"outcome unknown: {message}")


@dataclass(frozen=True, slots=True, kw_only=True)
class MutatorOutcome:
    """How a write ended: what to record, and what to tell the client once it is recorded."""

    write: WriteOutcome
    status: Status
    trailing_metadata: Metadata


class WriteForwarder:
    """Carries writes to nodes and the primary's answer back."""

    def __init__(
        self,
        *,
        calls: NodeCalls,
        transactions: TransactionManager,
        registered: Callable[[VirtualStorage, int], None] = lambda _virtual_storage, _voters: None,
    ) -> None:
        """Take the ports; ``registered`` is told of each transaction how many voters it has."""
        self._registered = registered
        self._calls = calls
        self._transactions = transactions

    async def forward_mutator(
        self, call: ServerCall, request: RepositoryCall, route: MutatorRoute, metadata: Metadata
    ) -> MutatorOutcome:
        """Carry a write to the primary and, if it is transactional, to the participating secondaries.

        Raises:
            StatusError: the primary could not be reached; nothing was sent to anybody.
        """
        if not request.method.transactional:
            return await self._forward_to_primary(call, request, route, metadata)
        electorate = form_electorate(route.primary, route.secondaries)
        transaction = self._transactions.register(electorate)
        self._registered(request.virtual_storage, len(electorate.voters))
        try:
            outcome = await _Participants(self._calls, call, request, route, transaction).run(metadata)
        finally:
            self._transactions.finish(transaction)
        outcomes = zip((route.primary, *route.secondaries), (outcome.primary, *outcome.secondaries), strict=True)
        write = WriteOutcome(
            primary=route.primary,
            statuses={str(storage): _node_status(ended) for storage, ended in outcomes},
            rounds=[_round_outcome(transaction, index) for index in range(len(transaction.rounds))],
            stopped=transaction.was_stopped,
            voted=transaction.was_voted_in,
        )
        return _mutator_outcome(write, outcome.primary)

    async def _forward_to_primary(
        self, call: ServerCall, request: RepositoryCall, route: MutatorRoute, metadata: Metadata
    ) -> MutatorOutcome:
        first = _first_message(request, route, route.primary)
        try:
            outcome = await self._calls.relay(call, (request.virtual_storage, route.primary), metadata, first)
        except NodeUnreachableError as exc:
            raise exc.status.error() from exc
        write = WriteOutcome(
            primary=route.primary, statuses={route.primary: _node_status(outcome)}, rounds=[], stopped=False
        )
        return _mutator_outcome(write, outcome)


class _Participants:
    """The nodes of one transactional write."""

    def __init__(
        self, calls: NodeCalls, call: ServerCall, request: RepositoryCall, route: MutatorRoute, transaction: Transaction
    ) -> None:
        self._calls = calls
        self._call = call
        self._request = request
        self._route = route
        self._transaction = transaction
        self._lost: dict[Storage, DestinationOutcome] = {}

    async def run(self, metadata: Metadata) -> FanOutOutcome:
        """Carry the call to all of them; return how each ended, in the order of the route.

        Raises:
            StatusError: the primary could not be reached; nothing was sent to anybody.
        """
        async with AsyncExitStack() as stack:
            primary = await self._open(self._route.primary, metadata, stack)
            reached: dict[Storage, Leg] = {}
            for storage in self._route.secondaries:
                try:
                    reached[storage] = await self._open(storage, metadata, stack)
                except StatusError as exc:
                    # Upstream fails the whole call; the others can do without it, and it gets a job.
                    self._lose(storage, DestinationOutcome(status=exc.status, trailers=Metadata()))
            names = tuple(reached)

            def on_secondary_end(position: int, outcome: DestinationOutcome) -> None:
                if not outcome.status.ok:
                    self._lose(names[position], outcome)

            # Secondaries are waited for as long as they live: the connection to one that falls silent is given up.
            options = FanOutOptions(on_secondary_end=on_secondary_end)
            outcome = await fan_out(self._call, primary, list(reached.values()), options)
            self._calls.note_end(self._request.virtual_storage, self._route.primary, outcome.primary)
            ended = {**self._lost, **dict(zip(names, outcome.secondaries, strict=True))}
            if outcome.primary.error is not None:
                await self._confirm_survivors(reached, ended)
        for storage, one in ended.items():
            if not one.status.ok:
                self._lose(storage, one)
        return FanOutOutcome(
            primary=outcome.primary, secondaries=tuple(ended[storage] for storage in self._route.secondaries)
        )

    async def _confirm_survivors(
        self, reached: Mapping[Storage, Leg], ended: dict[Storage, DestinationOutcome]
    ) -> None:
        """Look who lives: whoever fell silent with the primary has survived nothing, it may be our own network."""
        for storage, leg in reached.items():
            if ended[storage].error is None and not await is_heard_from(leg.call):
                error = StreamClosedError("silent as the primary is")
                ended[storage] = replace(ended[storage], error=error)

    async def _open(self, storage: Storage, metadata: Metadata, stack: AsyncExitStack) -> Leg:
        own = transaction_metadata(metadata, self._transaction, storage, primary=storage == self._route.primary)
        upstream = self._calls.prepare(self._call, self._request.virtual_storage, storage, own)
        try:
            await self._calls.reach(self._request.virtual_storage, storage)
            await stack.enter_async_context(upstream)
        except StatusError as exc:
            self._calls.note_refusal(self._request.virtual_storage, storage, exc.status)
            raise
        return Leg(call=upstream, first=_first_message(self._request, self._route, storage))

    def _lose(self, storage: Storage, outcome: DestinationOutcome) -> None:
        """Take a secondary whose call failed out of the vote, once."""
        if storage in self._lost:
            return
        self._lost[storage] = outcome
        self._calls.note_end(self._request.virtual_storage, storage, outcome)
        error = outcome.status.error(remote=True).chain_text
        _log.error("proxying to secondary failed", gitaly_storage=storage, error=error)
        try:
            self._transaction.cancel_voter(storage)
        except VoteNotCancellableError as exc:
            _log.error("canceling secondary voter failed", gitaly_storage=storage, error=str(exc))


def _first_message(request: RepositoryCall, route: MutatorRoute, storage: Storage) -> bytes:
    return rewrite_repository(
        request.method, request.message, storage, route.replica_path, route.additional_replica_path
    )


def _node_status(outcome: DestinationOutcome) -> NodeStatus:
    return NodeStatus(
        code=outcome.status.code.value,
        message=outcome.status.message,
        is_status=outcome.error is None,
    )


def _round_outcome(transaction: Transaction, index: int) -> RoundOutcome:
    subtransaction = transaction.rounds[index]
    results = subtransaction.results()
    return RoundOutcome(results=results, voted=frozenset(name for name in results if subtransaction.has_vote(name)))


def _mutator_outcome(write: WriteOutcome, primary: RelayOutcome) -> MutatorOutcome:
    status = passed_on(primary.status)
    if not write.statuses[write.primary].is_status:
        unknown = OutcomeUnknownError(status.message)
        status = Status(StatusCode.ABORTED, str(unknown))
    return MutatorOutcome(write=write, status=status, trailing_metadata=primary.trailers)
