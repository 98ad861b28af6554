"""Side-band-64k packets: several byte streams, each with a number, in one.

Source: git's Documentation/gitprotocol-pack; wire.md 5.4.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

from praefect.node.pktline import MAX_PACKET_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DATA_BYTES = MAX_PACKET_BYTES - 5


class Band(enum.IntEnum):
    """The streams of SSHUploadPackWithSidechannel and PackObjectsHookWithSidechannel."""

    STDOUT = 1
    STDERR = 2


class Sink(Protocol):
    """Where bytes go; ``write`` waits while the receiver is slow."""

    async def write(self, data: bytes) -> None:
        """Write ``data`` whole."""


def packets(band: Band, data: bytes) -> Iterator[bytes]:
    """Yield ``data`` as packets of ``band``, each as long as a packet may be."""
    for start in range(0, len(data), MAX_DATA_BYTES):
        chunk = data[start : start + MAX_DATA_BYTES]
        yield b"%04x%c%b" % (len(chunk) + 5, band, chunk)


class BandWriter:
    """Writes one band into a sink shared with others; no ``write`` holds part of a packet, so that none is torn."""

    def __init__(self, sink: Sink, band: Band) -> None:
        self._sink = sink
        self._band = band

    async def write(self, data: bytes) -> None:
        """Write ``data`` in as few packets as possible; empty data writes nothing."""
        if data:
            await self._sink.write(b"".join(packets(self._band, data)))
