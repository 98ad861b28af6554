"""Forward: carries calls to the nodes a route names. It knows connections and transactions, and no records.

Source: the Praefect reference on the streaming proxy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

from praefect.domain.errors import AbortedError, UnavailableError
from praefect.domain.outcome import NodeStatus, RoundOutcome, WriteOutcome
from praefect.domain.quorum import form_electorate
from praefect.domain.repository import Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.proxy.classify import RepositoryCall, StorageCall
from praefect.proxy.rewrite import rewrite_repository, rewrite_storage, transaction_metadata
from praefect.proxy.routes import AccessorRoute, MaintenanceRoute, MutatorRoute, StorageRoute
from praefect.transactions.manager import TransactionManager
from praefect.transactions.subtransaction import VoteNotCancellableError
from praefect.transactions.transaction import Transaction
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.fanout import FanOutOptions, FanOutOutcome, Leg, fan_out
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.relay import DestinationOutcome, RelayOutcome, relay
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import Status, StatusCode, StatusError
from praefect.transport.methods import METHODS, Operation, Scope
from praefect.transport.sidechannel import SIDECHANNEL_KEY, SidechannelBridges

SECONDARY_SILENCE_SECONDS = 5.0

# Accessors by declaration that act on something outside the repository.
_WITH_SIDE_EFFECTS = frozenset(
    {
        "/gitaly.RemoteService/UpdateRemoteMirror",
        "/gitaly.RepositoryService/BackupRepository",
        "/gitaly.BackupService/WriteBackupID",
    }
)
RESENDABLE = frozenset(
    method.full_name
    for method in METHODS.values()
    if method.operation is Operation.ACCESSOR
    and method.scope is Scope.REPOSITORY
    and method.service != "gitaly.HookService"
    and method.full_name not in _WITH_SIDE_EFFECTS
)
"""Reads that may be sent once more elsewhere when a node broke off before it answered."""

_log = get_logger("praefect.StreamServerInterceptor")


class OutcomeUnknownError(AbortedError):
    """The primary broke off in the middle of a write: it may have happened or not."""

    def __init__(self, message: str) -> None:
        super().__init__(f"outcome unknown: {message}")


class NodeUnreachableError(UnavailableError):
    """A stream to a node could not be opened: nothing was sent.

    Attributes:
        status: what the client gets if nobody else can serve it.
    """

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status


class NodeChannels(Protocol):
    """Connections to nodes."""

    def channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel | None:
        """Return the channel to a node, ``None`` for one that is not configured."""

    def report_unreachable(self, virtual_storage: VirtualStorage, storage: Storage) -> None:
        """Take note that a connection to the node broke or could not be made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MutatorOutcome:
    """How a write ended: what to record, and what to tell the client once it is recorded."""

    write: WriteOutcome
    status: Status
    trailing_metadata: Metadata


class Forwarder:
    """Carries calls to nodes and their answers back."""

    def __init__(
        self, *, nodes: NodeChannels, transactions: TransactionManager, sidechannels: SidechannelBridges
    ) -> None:
        self._nodes = nodes
        self._transactions = transactions
        self._sidechannels = sidechannels

    # --- reads ---

    async def forward_accessor(
        self, call: ServerCall, request: RepositoryCall, route: AccessorRoute, metadata: Metadata
    ) -> None:
        """Carry a read to one node; to another one if the first cannot be reached or broke off before it answered."""
        storages = [route.storage, *route.alternatives]
        while True:
            storage = storages.pop(0)
            first = rewrite_repository(request.method, request.message, storage, route.replica_path, None)
            try:
                outcome = await self._relay_read(call, request.virtual_storage, storage, metadata, first)
            except NodeUnreachableError as exc:
                if not storages:
                    raise exc.status.error() from exc
                continue
            if not (storages and _may_be_sent_again(call, outcome)):
                break
            del storages[1:]
            _log.warning("read is sent once more", failed_storage=storage, error=outcome.status.message)
        call.finish(outcome.status, outcome.trailers)

    async def _relay_read(
        self, call: ServerCall, virtual_storage: VirtualStorage, storage: Storage, metadata: Metadata, first: bytes
    ) -> RelayOutcome:
        if SIDECHANNEL_KEY not in call.metadata:
            return await self._relay(call, virtual_storage, storage, metadata, first)
        async with self._sidechannels.bridge(call) as bridge:
            bridged = metadata.copy()
            bridged.append(*bridge.metadata)
            # What broke the bridge is told only if the call itself did not fail.
            outcome = await self._relay(call, virtual_storage, storage, bridged, first, hold=bridge.settle)
            if outcome.status.ok:
                await bridge.finish()
        return outcome

    async def forward_storage_accessor(self, call: ServerCall, request: StorageCall, route: StorageRoute) -> None:
        """Carry a storage-scoped read to a node; none of the client's metadata goes with it."""
        first = rewrite_storage(request.method, request.message, route.storage)
        metadata = Metadata([("x-gitlab-correlation-id", call.correlation_id)])
        try:
            outcome = await self._relay(call, request.virtual_storage, route.storage, metadata, first)
        except NodeUnreachableError as exc:
            raise exc.status.error() from exc
        call.finish(outcome.status, outcome.trailers)

    async def _relay(
        self,
        call: ServerCall,
        virtual_storage: VirtualStorage,
        storage: Storage,
        metadata: Metadata,
        first: bytes,
        *,
        hold: Callable[[], Awaitable[None]] | None = None,
    ) -> RelayOutcome:
        channel = self._channel(virtual_storage, storage)
        upstream = channel.call(call.method, metadata=metadata, deadline=call.deadline)
        try:
            async with upstream:
                await upstream.send(first)
                outcome = await relay(call, upstream, hold=hold)
        except StatusError as exc:
            # The stream could not be opened: nothing was sent.
            self._nodes.report_unreachable(virtual_storage, storage)
            raise NodeUnreachableError(exc.status) from exc
        self._note(virtual_storage, storage, outcome)
        return outcome

    # --- writes ---

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
        try:
            outcome = await self._fan_out(call, request, route, metadata, transaction)
            for storage, secondary in zip(route.secondaries, outcome.secondaries, strict=True):
                if not secondary.status.ok:
                    self._cancel_voter(transaction, storage, secondary)
        finally:
            self._transactions.finish(transaction)
        outcomes = zip((route.primary, *route.secondaries), (outcome.primary, *outcome.secondaries), strict=True)
        write = WriteOutcome(
            primary=route.primary,
            statuses={str(storage): _node_status(ended) for storage, ended in outcomes},
            rounds=[_round_outcome(transaction, index) for index in range(len(transaction.rounds))],
            stopped=transaction.was_stopped,
        )
        return _mutator_outcome(write, outcome.primary)

    async def _forward_to_primary(
        self, call: ServerCall, request: RepositoryCall, route: MutatorRoute, metadata: Metadata
    ) -> MutatorOutcome:
        first = self._first(request, route, route.primary)
        try:
            outcome = await self._relay(call, request.virtual_storage, route.primary, metadata, first)
        except NodeUnreachableError as exc:
            raise exc.status.error() from exc
        write = WriteOutcome(
            primary=route.primary, statuses={route.primary: _node_status(outcome)}, rounds=[], stopped=False
        )
        return _mutator_outcome(write, outcome)

    async def _fan_out(
        self,
        call: ServerCall,
        request: RepositoryCall,
        route: MutatorRoute,
        metadata: Metadata,
        transaction: Transaction,
    ) -> FanOutOutcome:
        virtual_storage = request.virtual_storage
        unreachable: dict[int, DestinationOutcome] = {}
        async with AsyncExitStack() as stack:
            primary, *secondaries = [
                Leg(
                    call=self._channel(virtual_storage, storage).call(
                        call.method,
                        metadata=transaction_metadata(metadata, transaction, storage, primary=storage == route.primary),
                        deadline=call.deadline,
                    ),
                    first=self._first(request, route, storage),
                )
                for storage in (route.primary, *route.secondaries)
            ]
            try:
                await stack.enter_async_context(primary.call)
            except StatusError:
                self._nodes.report_unreachable(virtual_storage, route.primary)
                raise
            reached = []
            for index, leg in enumerate(secondaries):
                try:
                    await stack.enter_async_context(leg.call)
                except StatusError as exc:
                    # Upstream fails the whole call; the others can do without it, and it gets a job.
                    self._nodes.report_unreachable(virtual_storage, route.secondaries[index])
                    unreachable[index] = DestinationOutcome(
                        status=exc.status, trailers=Metadata(), error=leg.call.error
                    )
                    self._cancel_voter(transaction, route.secondaries[index], unreachable[index])
                else:
                    reached.append(index)

            def on_secondary_end(position: int, outcome: DestinationOutcome) -> None:
                if not outcome.status.ok:
                    storage = route.secondaries[reached[position]]
                    self._cancel_voter(transaction, storage, outcome)
                    self._note(virtual_storage, storage, outcome)

            outcome = await fan_out(
                call,
                primary,
                [secondaries[index] for index in reached],
                FanOutOptions(on_secondary_end=on_secondary_end, silence_seconds=SECONDARY_SILENCE_SECONDS),
            )
        self._note(virtual_storage, route.primary, outcome.primary)
        ended = {**unreachable, **dict(zip(reached, outcome.secondaries, strict=True))}
        return FanOutOutcome(
            primary=outcome.primary, secondaries=tuple(ended[index] for index in range(len(secondaries)))
        )

    def _first(self, request: RepositoryCall, route: MutatorRoute, storage: Storage) -> bytes:
        return rewrite_repository(
            request.method, request.message, storage, route.replica_path, route.additional_replica_path
        )

    def _cancel_voter(self, transaction: Transaction, storage: Storage, outcome: DestinationOutcome) -> None:
        try:
            transaction.cancel_voter(storage)
        except VoteNotCancellableError as exc:
            _log.debug("canceling secondary voter failed", storage=storage, error=str(exc))
        else:
            _log.info("secondary left the transaction", storage=storage, error=outcome.status.message)

    # --- maintenance ---

    async def forward_maintenance(
        self, call: ServerCall, request: RepositoryCall, route: MaintenanceRoute, metadata: Metadata
    ) -> None:
        """Carry housekeeping to every replica; each gets to finish, the first failure in route order is told."""
        virtual_storage = request.virtual_storage
        async with AsyncExitStack() as stack:
            legs, failures = [], []
            for storage in route.storages:
                leg = Leg(
                    call=self._channel(virtual_storage, storage).call(
                        call.method, metadata=metadata, deadline=call.deadline
                    ),
                    first=rewrite_repository(request.method, request.message, storage, route.replica_path, None),
                )
                try:
                    await stack.enter_async_context(leg.call)
                except StatusError as exc:
                    self._nodes.report_unreachable(virtual_storage, storage)
                    failures.append(exc.status)
                else:
                    legs.append(leg)
            if not legs:
                call.finish(failures[0])
                return
            outcome = await fan_out(call, legs[0], legs[1:], FanOutOptions(primary_failure_cancels=False))
        outcomes = (outcome.primary, *outcome.secondaries)
        failed = [one.status for one in outcomes if not one.status.ok]
        for status in failed:
            _log.error("proxying maintenance RPC to node failed", error=status.message)
        call.finish((failed or failures or [outcome.primary.status])[0], outcome.primary.trailers)

    # --- nodes ---

    def _channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel:
        channel = self._nodes.channel(virtual_storage, storage)
        if channel is None:
            raise StatusError(StatusCode.INTERNAL, f'no connection to node "{virtual_storage}"/"{storage}"')
        return channel

    def _note(self, virtual_storage: VirtualStorage, storage: Storage, outcome: DestinationOutcome) -> None:
        """Take a connection that broke without a word of the peer as evidence against the node."""
        if outcome.error is not None and outcome.error.remote and outcome.error.code is None:
            self._nodes.report_unreachable(virtual_storage, storage)


def _may_be_sent_again(call: ServerCall, outcome: RelayOutcome) -> bool:
    if outcome.status.ok or outcome.response_started or outcome.interruption is not None:
        return False
    # Upstream sends reads again on UNAVAILABLE too, to the same node; another one has better chances.
    failed = outcome.error is not None or outcome.status.code is StatusCode.UNAVAILABLE
    return failed and call.method in RESENDABLE and call.stream.received_end


def _node_status(outcome: DestinationOutcome) -> NodeStatus:
    return NodeStatus(
        code=outcome.status.code.value,
        message=outcome.status.message,
        is_status=outcome.error is None or not outcome.error.remote,
    )


def _round_outcome(transaction: Transaction, index: int) -> RoundOutcome:
    subtransaction = transaction.rounds[index]
    results = subtransaction.results()
    return RoundOutcome(results=results, voted=frozenset(name for name in results if subtransaction.has_vote(name)))


def _mutator_outcome(write: WriteOutcome, primary: RelayOutcome) -> MutatorOutcome:
    status = primary.status
    if not write.statuses[write.primary].is_status:
        unknown = OutcomeUnknownError(status.message)
        status = Status(StatusCode.ABORTED, str(unknown))
    return MutatorOutcome(write=write, status=status, trailing_metadata=primary.trailers)
