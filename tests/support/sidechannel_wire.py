"""A client and a server of sidechannels, joined in memory by a multiplexed connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from praefect.transport.detector import SIDECHANNEL_MAGIC, Detector
from praefect.transport.peer import Peer
from praefect.transport.sidechannel import ClientSidechannel, Sidechannel, SidechannelClient, SidechannelRegistry
from praefect.transport.sidechannel.client import SidechannelAcceptor
from praefect.transport.yamux import LISTENER_SETTINGS, Settings, YamuxConnection
from tests.support.memory_wire import MemoryTransport, connect


@dataclass
class SidechannelWire:
    """The two sides: ``registry`` is the client's, ``peer`` is what the server knows of the client."""

    registry: SidechannelRegistry
    peer: Peer
    client_session: YamuxConnection
    server_session: YamuxConnection
    client_wire: MemoryTransport
    server_wire: MemoryTransport
    other_streams: list[asyncio.Protocol] = field(default_factory=list)

    async def open(self) -> tuple[SidechannelClient, ClientSidechannel, Sidechannel]:
        """Return both ends of a new sidechannel."""
        waiter = self.registry.register()
        async with asyncio.TaskGroup() as tasks:
            server = tasks.create_task(self.peer.open_sidechannel(waiter.id))
            client = tasks.create_task(waiter.accept())
        return waiter, client.result(), server.result()


def join(*, client: Settings | None = None, server: Settings | None = None) -> SidechannelWire:
    """Join a client and a server."""
    registry = SidechannelRegistry()
    others: list[asyncio.Protocol] = []

    def other(_transport: asyncio.Transport) -> asyncio.Protocol:
        others.append(asyncio.Protocol())
        return others[-1]

    def accept() -> asyncio.Protocol:
        deadline = asyncio.get_running_loop().time() + 120
        return Detector(SIDECHANNEL_MAGIC, lambda _transport: SidechannelAcceptor(registry), other, deadline=deadline)

    dialler = YamuxConnection(client=True, settings=client or Settings(), accept=accept)
    listener = YamuxConnection(client=False, settings=server or LISTENER_SETTINGS, accept=asyncio.Protocol)
    wires = connect(dialler, listener)
    return SidechannelWire(registry, Peer(address="memory", session=listener), dialler, listener, *wires, others)
