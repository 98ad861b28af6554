"""Tells by its first eleven bytes what speaks on a new connection or stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

MAGIC_SIZE = 11
BACKCHANNEL_MAGIC = b"backchannel"
SIDECHANNEL_MAGIC = b"sidechannel"


class Detector(asyncio.Protocol):
    """Reads the first bytes, then gives the transport to another protocol.

    Nothing is written before. The recognised protocol does not see the magic; the other one sees every byte, also if
    the peer ends before there were enough to judge.

    Args:
        magic: the eleven bytes to recognise.
        recognised: makes the protocol of a connection that begins with them.
        otherwise: makes the protocol of any other connection.
        deadline: loop time at which an undecided connection is dropped.

    Source: the Praefect wire reference, section 4.2.
    """

    def __init__(
        self,
        magic: bytes,
        recognised: Callable[[asyncio.Transport], asyncio.Protocol],
        otherwise: Callable[[asyncio.Transport], asyncio.Protocol],
        *,
        deadline: float,
    ) -> None:
        self._magic = magic
        self._recognised = recognised
        self._otherwise = otherwise
        self._deadline = deadline
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_at(self._deadline, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        received = self._received = self._received + data if self._received else data
        if len(received) < MAGIC_SIZE:
            return
        if received.startswith(self._magic):
            self._hand_over(self._recognised, received[MAGIC_SIZE:])
        else:
            self._hand_over(self._otherwise, received)

    def eof_received(self) -> bool | None:
        """See ``asyncio.Protocol``."""
        return self._hand_over(self._otherwise, self._received).eof_received()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - nobody to tell
        """See ``asyncio.BaseProtocol``."""
        self._stop_timer()

    def _hand_over(self, make: Callable[[asyncio.Transport], asyncio.Protocol], rest: bytes) -> asyncio.Protocol:
        transport = cast("asyncio.Transport", self._transport)
        self._stop_timer()
        protocol = make(transport)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if rest:
            protocol.data_received(rest)
        return protocol

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
