"""Forward: carries reads and housekeeping to the nodes a route names. It knows connections, and no records.

Source: the Praefect reference on the streaming proxy.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from praefect.domain.repository import Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.proxy.classify import RepositoryCall, StorageCall
from praefect.proxy.node_calls import NodeCalls, NodeUnreachableError, passed_on
from praefect.proxy.rewrite import rewrite_repository, rewrite_storage
from praefect.proxy.routes import AccessorRoute, MaintenanceRoute, StorageRoute
from praefect.transport.grpc.fanout import FanOutOptions, Leg, fan_out
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.relay import RelayOutcome
from praefect.transport.grpc.server_call import CORRELATION_KEY, ServerCall
from praefect.transport.grpc.status import OK, Status, StatusCode, StatusError
from praefect.transport.methods import METHODS, Operation, Scope
from praefect.transport.sidechannel import SIDECHANNEL_KEY, SidechannelBridges

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
    and not method.client_streaming  # all of the request is the first message, which is kept
    and method.service != "gitaly.HookService"
    and method.full_name not in _WITH_SIDE_EFFECTS
)
"""Reads that may be sent once more elsewhere when a node broke off before it answered."""

_log = get_logger("praefect.StreamServerInterceptor")


class ReadForwarder:
    """Carries calls that change no records to nodes and their answers back."""

    def __init__(self, *, calls: NodeCalls, sidechannels: SidechannelBridges) -> None:
        self._calls = calls
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
                outcome = await self._relay_read(call, (request.virtual_storage, storage), metadata, first)
            except NodeUnreachableError as exc:
                if not storages:
                    raise exc.status.error() from exc
                continue
            if not (storages and _may_be_sent_again(call, outcome)):
                break
            del storages[1:]
            _log.warning("read is sent once more", failed_storage=storage, error=outcome.status.message)
        call.finish(passed_on(outcome.status), outcome.trailers)

    async def _relay_read(
        self, call: ServerCall, target: tuple[VirtualStorage, Storage], metadata: Metadata, first: bytes
    ) -> RelayOutcome:
        if SIDECHANNEL_KEY not in call.metadata:
            return await self._calls.relay(call, target, metadata, first)
        async with self._sidechannels.bridge(call) as bridge:
            bridged = metadata.copy()
            bridged.append(*bridge.metadata)
            # What broke the bridge is told only if the call itself did not fail.
            outcome = await self._calls.relay(call, target, bridged, first, hold=bridge.settle)
            if outcome.status.ok:
                await bridge.finish()
        return outcome

    async def forward_storage_accessor(self, call: ServerCall, request: StorageCall, route: StorageRoute) -> None:
        """Carry a storage-scoped read to a node; none of the client's metadata goes with it."""
        first = rewrite_storage(request.method, request.message, route.storage)
        metadata = Metadata([(CORRELATION_KEY, call.correlation_id)])
        try:
            outcome = await self._calls.relay(call, (request.virtual_storage, route.storage), metadata, first)
        except NodeUnreachableError as exc:
            raise exc.status.error() from exc
        call.finish(passed_on(outcome.status), outcome.trailers)

    # --- maintenance ---

    async def forward_maintenance(
        self, call: ServerCall, request: RepositoryCall, route: MaintenanceRoute, metadata: Metadata
    ) -> None:
        """Carry housekeeping to every replica; each gets to finish, the first failure in route order is told."""
        virtual_storage = request.virtual_storage
        failures: dict[Storage, Status] = {}
        trailers = Metadata()
        async with AsyncExitStack() as stack:
            legs: dict[Storage, Leg] = {}
            for storage in route.storages:
                first = rewrite_repository(request.method, request.message, storage, route.replica_path, None)
                leg = Leg(call=self._calls.prepare(call, virtual_storage, storage, metadata), first=first)
                try:
                    await self._calls.reach(virtual_storage, storage)
                    legs[storage] = Leg(call=await stack.enter_async_context(leg.call), first=leg.first)
                except StatusError as exc:
                    self._calls.note_refusal(virtual_storage, storage, exc.status)
                    failures[storage] = exc.status
            if legs:
                primary, *others = legs.values()
                outcome = await fan_out(call, primary, others, FanOutOptions(primary_failure_cancels=False))
                trailers = outcome.primary.trailers
                for storage, ended in zip(legs, (outcome.primary, *outcome.secondaries), strict=True):
                    self._calls.note_end(virtual_storage, storage, ended)
                    if not ended.status.ok:
                        failures[storage] = ended.status
        for storage, status in failures.items():
            _log.error(
                "proxying maintenance RPC to node failed",
                gitaly_storage=storage,
                error=status.error(remote=True).chain_text,
            )
        first_failure = next((failures[storage] for storage in route.storages if storage in failures), OK)
        call.finish(passed_on(first_failure), trailers)


def _may_be_sent_again(call: ServerCall, outcome: RelayOutcome) -> bool:
    if outcome.status.ok or outcome.response_started or outcome.interruption is not None:
        return False
    # Upstream sends reads again on UNAVAILABLE too, to the same node; another one has better chances.
    failed = outcome.error is not None or outcome.status.code is StatusCode.UNAVAILABLE
    return (
        failed
        and call.method in RESENDABLE
        and call.stream.received_end
        and SIDECHANNEL_KEY not in call.metadata  # the client's bytes on it went to the node that broke off
    )
