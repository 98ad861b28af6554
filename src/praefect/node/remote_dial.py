"""Dialling other servers: a kept channel for ordinary calls, a connection of its own for a call with a sidechannel."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from praefect.transport.dial import open_channel
from praefect.transport.sidechannel import SidechannelClient, SidechannelRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.node.remote import ServerAddress
    from praefect.transport.grpc.channel import Channel

_RECONNECT_LIMIT_SECONDS = 1.0


class _Multiplexed:
    """One multiplexed connection."""

    def __init__(self, channel: Channel, sidechannels: SidechannelRegistry) -> None:
        self.channel = channel
        self._sidechannels = sidechannels

    def sidechannel(self) -> SidechannelClient:
        """Announce a sidechannel; on leaving it is forgotten."""
        return self._sidechannels.register()


class RemoteDial:
    """Connects to the servers that a call's metadata names."""

    def __init__(self) -> None:
        self._sidechannels = SidechannelRegistry()

    def plain(self, server: ServerAddress) -> Channel:
        """Return a channel for ordinary calls; the caller closes it."""
        return open_channel(
            server.address, token=server.token or None, reconnect_limit_seconds=_RECONNECT_LIMIT_SECONDS
        )

    @asynccontextmanager
    async def multiplexed(self, server: ServerAddress) -> AsyncIterator[_Multiplexed]:
        """Open a connection of its own for one call with a sidechannel."""
        channel = open_channel(
            server.address, token=server.token or None, multiplex=True, sidechannels=self._sidechannels
        )
        async with channel:
            yield _Multiplexed(channel, self._sidechannels)
