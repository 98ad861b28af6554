"""The nodes, as commands call them: a plain connection each, with the node's own token."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.domain.repository import Storage, VirtualStorage
from praefect.transport.dial import InvalidAddressError, open_channel
from praefect.transport.http2 import engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from praefect.config.praefect import PraefectConfig, StorageNodeConfig
    from praefect.transport.grpc.channel import Channel

from praefect.cli.command import CommandError


def open_node(address: str, token: str, config: PraefectConfig) -> Channel:
    """Make a channel to a node; nothing is sent before the first call.

    Raises:
        InvalidAddressError: the address cannot be understood.
    """
    return open_channel(address, token=token or None, engine=engine(config.http2.engine.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Channels to all nodes of the configuration."""

    configured: Mapping[tuple[VirtualStorage, Storage], StorageNodeConfig]
    channels: Mapping[tuple[VirtualStorage, Storage], Channel]

    def channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel | None:
        """Return the channel to a node, None for one that is not configured."""
        return self.channels.get((virtual_storage, storage))

    def server_info(self, virtual_storage: VirtualStorage, storage: Storage) -> dict[str, str]:
        """Return ``address`` and ``token`` of a node, for another node to use."""
        node = self.configured[virtual_storage, storage]
        return {"address": node.address, "token": node.token}


@asynccontextmanager
async def dial_nodes(config: PraefectConfig) -> AsyncIterator[Nodes]:
    """Make channels to all nodes.

    Raises:
        CommandError: an address cannot be understood.
    """
    configured: dict[tuple[VirtualStorage, Storage], StorageNodeConfig] = {}
    channels: dict[tuple[VirtualStorage, Storage], Channel] = {}
    async with AsyncExitStack() as stack:
        for virtual in config.virtual_storages:
            for node in virtual.nodes:
                key = (VirtualStorage(virtual.name), Storage(node.storage))
                try:
                    channel = open_node(node.address, node.token, config)
                except InvalidAddressError as exc:
                    place = f'dial with "{node.storage}" gitaly at "{node.address}"'
                    raise CommandError(f"dial nodes: {place}: {exc}") from exc
                configured[key] = node
                channels[key] = await stack.enter_async_context(channel)
        yield Nodes(configured=configured, channels=channels)
