"""The side that handles the call: opens the stream, reads packets, writes bytes.

Source: the Praefect wire reference, sections 5.2 and 5.3.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, PraefectError, UnavailableError
from praefect.transport.detector import SIDECHANNEL_MAGIC
from praefect.transport.sidechannel.endpoint import Endpoint, SidechannelBrokenError
from praefect.transport.sidechannel.packets import PacketDecoder
from praefect.transport.yamux import SessionUnavailableError

if TYPE_CHECKING:
    from praefect.transport.yamux import YamuxConnection

HANDSHAKE_SECONDS = 5.0
CONFIRMATION = b"ok"
_DEADLINE = "i/o deadline reached"


class SidechannelUnavailableError(UnavailableError):
    """The stream could not be opened, or the client did not confirm it."""


class SidechannelRefusedError(InternalError):
    """The client answered something else than its confirmation."""


class NotMultiplexedError(InternalError):
    """The client's connection carries nothing but its calls."""

    def __init__(self) -> None:
        super().__init__("fail to extract mux session: non-multiplexed connection")


def parse_sidechannel_id(text: str) -> int:
    """Return the id that a call announces; text that is no number counts as 0."""
    digits = text[1:] if text[:1] in {"+", "-"} else text
    return int(text) if digits.isascii() and digits.isdigit() and -(1 << 63) <= int(text) < 1 << 63 else 0


async def open_sidechannel(session: YamuxConnection | None, sidechannel_id: int) -> Sidechannel:
    """Open the sidechannel that the client registered under this id.

    Raises:
        NotMultiplexedError: there is no session.
        SidechannelUnavailableError: the stream could not be opened or was not confirmed within 5 s.
        SidechannelRefusedError: the confirmation is wrong.
    """
    if session is None:
        raise NotMultiplexedError
    try:
        # A free slot is waited for as long as an unacknowledged open may hold one.
        async with asyncio.timeout(session.settings.open_timeout_seconds):
            _, endpoint = await session.open_stream(Endpoint)
    except SessionUnavailableError as exc:
        msg = f"open stream: {exc}"
        raise SidechannelUnavailableError(msg) from exc
    except TimeoutError as exc:
        msg = f"open stream: {_DEADLINE}"
        raise SidechannelUnavailableError(msg) from exc
    try:
        await _shake_hands(endpoint, sidechannel_id)
    except PraefectError:
        _give_up(endpoint)
        raise
    except BaseException:
        endpoint.abort()  # a cancelled call must not look like one that ended
        raise
    return Sidechannel(endpoint)


async def _shake_hands(endpoint: Endpoint, sidechannel_id: int) -> None:
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await endpoint.write([SIDECHANNEL_MAGIC, sidechannel_id.to_bytes(8, "big", signed=True)])
            confirmation = await endpoint.read_exactly(len(CONFIRMATION))
    except TimeoutError as exc:
        msg = f"receive confirmation: {_DEADLINE}"
        raise SidechannelUnavailableError(msg) from exc
    except SidechannelBrokenError as exc:
        msg = f"receive confirmation: {exc}"
        raise SidechannelUnavailableError(msg) from exc
    if len(confirmation) < len(CONFIRMATION):
        msg = f"receive confirmation: {'unexpected EOF' if confirmation else 'EOF'}"
        raise SidechannelUnavailableError(msg)
    if confirmation != CONFIRMATION:
        msg = f"expected ok, got {json.dumps(confirmation.decode('latin-1'))}"
        raise SidechannelRefusedError(msg)


def _give_up(endpoint: Endpoint) -> None:
    """End the stream with FIN; with RST if the client never took it, since that alone frees the slot of the open."""
    if endpoint.transport.acknowledged:
        endpoint.transport.close()
    else:
        endpoint.abort()


class Sidechannel:
    """The server's end of a sidechannel."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._decoder = PacketDecoder()

    @property
    def endpoint(self) -> Endpoint:
        """The stream below the packets."""
        return self._endpoint

    async def read(self) -> bytes:
        """Return the next bytes of the client's request, ``b""`` at its end.

        Raises:
            SidechannelBrokenError: the stream ended before the request did.
            PacketError: what the client sends are no packets.
        """
        while not self._decoder.finished:
            data = await self._endpoint.read()
            if not data:
                msg = "unexpected EOF"
                raise SidechannelBrokenError(msg)
            payloads = self._decoder.feed(data)
            if payloads:
                return payloads[0] if len(payloads) == 1 else b"".join(payloads)
        return b""

    async def write(self, data: bytes) -> None:
        """Write bytes of the response, waiting while the client is slow; several tasks may write.

        Raises:
            SidechannelBrokenError: the stream was cut off.
        """
        await self._endpoint.write((data,))

    async def close(self) -> None:
        """End the response and wait until all of it has left; when cancelled, abort. May be called twice.

        Raises:
            SidechannelBrokenError: it did not all leave.
        """
        await self._endpoint.close()

    def abort(self) -> None:
        """Cut the stream off; the client sees a reset."""
        self._endpoint.abort()
