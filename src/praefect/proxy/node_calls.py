"""Calls to nodes on behalf of a client's call, and what their failures say about the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from praefect.domain.errors import UnavailableError
from praefect.domain.repository import Storage, VirtualStorage
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.client_call import ClientCall
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.relay import DestinationOutcome, RelayOutcome, relay
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import Status, StatusCode, StatusError

REACH_SECONDS = 2.0
"""Within this time a connection is made to a node that lives; calls do not wait for one that has stopped."""
LIFE_SECONDS = 1.5
"""A node that has said something within this time lives: healthy ones are heard from more often, and a silent one is
given up only later."""

_TOO_SLOW = Status(StatusCode.UNAVAILABLE, 'connection error: desc = "transport: Error while dialing: i/o timeout"')


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


@dataclass(frozen=True, slots=True)
class NodeCalls:
    """Makes calls to the nodes of virtual storages."""

    nodes: NodeChannels

    def prepare(
        self, call: ServerCall, virtual_storage: VirtualStorage, storage: Storage, metadata: Metadata
    ) -> ClientCall:
        """Prepare the call to one node; it inherits method and deadline.

        Raises:
            StatusError: the node is not configured.
        """
        channel = self.nodes.channel(virtual_storage, storage)
        if channel is None:
            raise StatusError(StatusCode.INTERNAL, f'no connection to node "{virtual_storage}"/"{storage}"')
        return channel.call(call.method, metadata=metadata, deadline=call.deadline)

    async def reach(self, virtual_storage: VirtualStorage, storage: Storage) -> None:
        """Make a connection to a node unless there is one.

        Raises:
            StatusError: UNAVAILABLE, it cannot be made or not in time.
        """
        channel = self.nodes.channel(virtual_storage, storage)
        if channel is None or channel.connected:
            return
        try:
            async with asyncio.timeout(REACH_SECONDS):
                await channel.connect()
        except TimeoutError as exc:
            raise _TOO_SLOW.error() from exc

    def note_refusal(self, virtual_storage: VirtualStorage, storage: Storage, status: Status) -> None:
        """Take a stream that could not be opened as evidence against the node.

        That the client's time was over before is none.
        """
        if status.code is StatusCode.UNAVAILABLE:
            self.nodes.report_unreachable(virtual_storage, storage)

    def note_end(self, virtual_storage: VirtualStorage, storage: Storage, outcome: DestinationOutcome) -> None:
        """Take a connection that broke without a word of the peer as evidence against the node."""
        error = outcome.error
        if error is not None and error.remote and error.code is None and not error.unprocessed:
            self.nodes.report_unreachable(virtual_storage, storage)

    async def relay(
        self,
        call: ServerCall,
        target: tuple[VirtualStorage, Storage],
        metadata: Metadata,
        first: bytes,
        *,
        hold: Callable[[], Awaitable[None]] | None = None,
    ) -> RelayOutcome:
        """Carry a call to one node.

        Args:
            call: its first message was received.
            target: the node.
            metadata: what goes with the call.
            first: the first message as the node gets it.
            hold: awaited once a response has begun, before any of it is passed on.

        Raises:
            NodeUnreachableError: nothing was sent.
        """
        upstream = self.prepare(call, *target, metadata)
        try:
            await self.reach(*target)
            await upstream.open()
        except StatusError as exc:
            self.note_refusal(*target, exc.status)
            raise NodeUnreachableError(exc.status) from exc
        try:
            await upstream.send(first)
            outcome = await relay(call, upstream, hold=hold)
        finally:
            upstream.cancel()
        self.note_end(*target, outcome)
        return outcome


async def is_heard_from(call: ClientCall) -> bool:
    """Return whether the node behind a call lives; waits until it has said something, or was given up as silent."""
    connection = call.stream.connection
    while not connection.closed:
        if asyncio.get_running_loop().time() - connection.last_heard() < LIFE_SECONDS:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(LIFE_SECONDS / 10):
                await connection.wait_closed()
    return False


def passed_on(status: Status) -> Status:
    """Return a node's status as the client gets it: an error without a code is one of this side."""
    if status.code is StatusCode.UNKNOWN:
        return Status(StatusCode.INTERNAL, status.message, status.details)
    return status
