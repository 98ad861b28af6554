"""Other storages: where a call's metadata says they are, and the channels to them."""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

from praefect.domain.errors import InternalError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from praefect.transport.grpc.channel import Channel
    from praefect.transport.grpc.metadata import Metadata

SERVERS_KEY = "gitaly-servers"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """Where a storage is served. ``token`` is empty if none is needed."""

    address: str
    token: str = field(default="", repr=False)


class ClientSidechannel(Protocol):
    """The second byte stream of a call, on the side that asked for it."""

    async def read(self) -> bytes:
        """Return what the server sends next, ``b""`` at the end."""

    async def write(self, data: bytes) -> None:
        """Send ``data`` whole."""

    async def close_write(self) -> None:
        """Say that nothing more comes."""

    async def close(self) -> None:
        """End the stream orderly."""


class AnnouncedSidechannel(Protocol):
    """A sidechannel that a call announces and the server then opens."""

    @property
    def metadata(self) -> tuple[str, str]:
        """The pair of metadata that announces it."""

    async def accept(self) -> ClientSidechannel:
        """Wait until the server has opened it."""


class MultiplexedChannel(Protocol):
    """A connection of its own, over which the server can open sidechannels to this process."""

    @property
    def channel(self) -> Channel:
        """Makes the calls."""

    def sidechannel(self) -> AbstractAsyncContextManager[AnnouncedSidechannel]:
        """Announce a sidechannel; on leaving it is forgotten."""


class Dial(Protocol):
    """Connects to other servers; what ``app`` passes in."""

    def plain(self, server: ServerAddress) -> Channel:
        """Return a channel for ordinary calls; the caller closes it."""

    def multiplexed(self, server: ServerAddress) -> AbstractAsyncContextManager[MultiplexedChannel]:
        """Open a connection of its own for one call with a sidechannel."""


class ServersMetadataError(InternalError):
    """The call does not say where the other storage is."""


def servers_of(metadata: Metadata) -> dict[str, ServerAddress]:
    """Return the servers a call names, by storage.

    Raises:
        ServersMetadataError: there are none, or they cannot be read.
    """
    value = metadata.first(SERVERS_KEY)
    if not value:
        raise ServersMetadataError("empty gitaly-servers metadata")
    try:
        decoded = json.loads(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError) as exc:
        raise ServersMetadataError("failed decoding gitaly-servers metadata") from exc
    servers = decoded if isinstance(decoded, dict) else {}
    return {
        storage: ServerAddress(address=str(entry.get("address") or ""), token=str(entry.get("token") or ""))
        for storage, entry in servers.items()
        if isinstance(entry, dict)
    }


def server_of(metadata: Metadata, storage: str) -> ServerAddress:
    """Return where ``storage`` is served.

    Raises:
        ServersMetadataError: the call does not say.
    """
    server = servers_of(metadata).get(storage)
    if server is None or not server.address:
        raise ServersMetadataError("storage name not found")
    return server


class RemoteStorages:
    """Channels to other servers, kept from call to call; an async context manager that closes them."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._channels: dict[ServerAddress, Channel] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._channels.clear()
        await self._stack.aclose()

    def channel(self, server: ServerAddress) -> Channel:
        """Return the channel to a server, made at first use."""
        channel = self._channels.get(server)
        if channel is None:
            channel = self._dial.plain(server)
            self._channels[server] = channel
            self._stack.push_async_callback(channel.close)
        return channel

    def multiplexed(self, server: ServerAddress) -> AbstractAsyncContextManager[MultiplexedChannel]:
        """Open a connection of its own for one call with a sidechannel."""
        return self._dial.multiplexed(server)
