"""The side that makes the call: registers an id, takes the stream that arrives for it, writes packets, reads bytes.

Source: the Praefect wire reference, sections 5.2 to 5.5.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self, cast

from praefect.transport.sidechannel.endpoint import Endpoint
from praefect.transport.sidechannel.packets import END, encode
from praefect.transport.sidechannel.server import CONFIRMATION, HANDSHAKE_SECONDS

if TYPE_CHECKING:
    from types import TracebackType

SIDECHANNEL_KEY = "gitaly-sidechannel-id"
_ID_SIZE = 8


class SidechannelRegistry:
    """The sidechannels this process waits for; one for all its connections, so that ids are unique."""

    def __init__(self) -> None:
        self._clients: dict[int, SidechannelClient] = {}
        self._next_id = 0

    def __len__(self) -> int:
        """Return how many sidechannels are waited for."""
        return len(self._clients)

    def register(self) -> SidechannelClient:
        """Prepare a sidechannel for one call; enter it around the call."""
        client = SidechannelClient(self, self._next_id)
        self._clients[client.id] = client
        self._next_id += 1
        return client

    def take(self, sidechannel_id: int) -> SidechannelClient | None:
        """Return who waits for this id, once."""
        return self._clients.pop(sidechannel_id, None)


class SidechannelClient:
    """What a call announces, and the sidechannel once it has arrived.

    A context manager: leaving it withdraws the id, and cuts off a sidechannel that is still open.

    Attributes:
        id: the number the call announces.
    """

    def __init__(self, registry: SidechannelRegistry, sidechannel_id: int) -> None:
        self.id = sidechannel_id
        self._registry = registry
        self._arrived: asyncio.Future[ClientSidechannel] = asyncio.get_running_loop().create_future()

    @property
    def metadata(self) -> tuple[str, str]:
        """What to send with the call."""
        return SIDECHANNEL_KEY, str(self.id)

    @property
    def arrived(self) -> bool:
        """Whether the server has opened the sidechannel."""
        return self._arrived.done() and not self._arrived.cancelled()

    async def accept(self) -> ClientSidechannel:
        """Wait for the sidechannel. There is no limit but the call's: whoever makes it knows when it has failed.

        Raises:
            CancelledError: the id was withdrawn.
        """
        return await asyncio.shield(self._arrived)

    def withdraw(self) -> None:
        """Wait no longer; a server that still opens the sidechannel is refused."""
        self._registry.take(self.id)
        self._arrived.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.arrived:
            self._arrived.result().abort()
        self.withdraw()

    def arrive(self, endpoint: Endpoint) -> None:
        """Hand over the sidechannel; called once."""
        self._arrived.set_result(ClientSidechannel(endpoint))


class ClientSidechannel:
    """The client's end of a sidechannel; as a context manager it is closed, or aborted on an error."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc is None:
            await self.close()
        else:
            self.abort()

    @property
    def endpoint(self) -> Endpoint:
        """The stream below the packets."""
        return self._endpoint

    async def read(self) -> bytes:
        """Return the next bytes of the response, ``b""`` at its end.

        Raises:
            SidechannelBrokenError: the stream was cut off.
        """
        return await self._endpoint.read()

    async def write(self, data: bytes) -> None:
        """Send bytes of the request, waiting while the server is slow.

        Once the server has ended its response the bytes are dropped: it does not read any more.

        Raises:
            SidechannelBrokenError: the stream was cut off.
        """
        if self._ended:
            msg = "the request was ended"
            raise RuntimeError(msg)
        await self._endpoint.write(encode(data))

    async def close_write(self) -> None:
        """End the request; the response can still be read. May be called twice.

        Raises:
            SidechannelBrokenError: the stream was cut off.
        """
        if not self._ended:
            self._ended = True
            await self._endpoint.write((END,))

    async def close(self) -> None:
        """Close the stream and wait until what was written has left; a response that was not read is dropped.

        Raises:
            SidechannelBrokenError: the stream was cut off.
        """
        await self._endpoint.close()

    def abort(self) -> None:
        """Cut the stream off; the server sees a reset."""
        self._endpoint.abort()


class SidechannelAcceptor(asyncio.Protocol):
    """Takes a stream behind the magic: reads the id, confirms it, and hands the stream to who waits for it."""

    def __init__(self, registry: SidechannelRegistry) -> None:
        self._registry = registry
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, self._transport.close)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        received = self._received = self._received + data
        transport = self._transport
        if len(received) < _ID_SIZE or transport is None:
            return
        self._stop_timer()
        client = self._registry.take(int.from_bytes(received[:_ID_SIZE], "big", signed=True))
        if client is None:
            transport.close()
            return
        endpoint = Endpoint()
        transport.write(CONFIRMATION)
        transport.set_protocol(endpoint)
        endpoint.connection_made(transport)
        if len(received) > _ID_SIZE:
            endpoint.data_received(received[_ID_SIZE:])
        client.arrive(endpoint)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - nobody to tell
        """See ``asyncio.BaseProtocol``."""
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
