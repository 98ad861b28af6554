"""The packets in which the client's bytes travel: four hexadecimal digits of length, then the payload; ``0000`` ends.

Source: the Praefect wire reference, section 5.4.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_PACKET_BYTES = 65520
MAX_PAYLOAD_BYTES = MAX_PACKET_BYTES - 4
END = b"0000"
_HEADER_SIZE = 4
_HEADER = re.compile(rb"[0-9a-fA-F]{4}")


class PacketError(InternalError):
    """The client's bytes are no packets."""


def encode(data: bytes) -> Iterator[bytes | memoryview]:
    """Yield the packets of ``data``, headers and payloads apart; nothing for no data."""
    if len(data) <= MAX_PAYLOAD_BYTES:
        if data:
            yield b"%04x" % (len(data) + _HEADER_SIZE)
            yield data
        return
    view = memoryview(data)
    for start in range(0, len(data), MAX_PAYLOAD_BYTES):
        payload = view[start : start + MAX_PAYLOAD_BYTES]
        yield b"%04x" % (len(payload) + _HEADER_SIZE)
        yield payload


class PacketDecoder:
    """Takes the bytes apart as they come; keeps at most part of a header.

    Attributes:
        finished: whether the end was seen; what follows it is dropped.
    """

    __slots__ = ("_left", "_partial", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._left = 0
        self._partial = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads in ``data``; a packet that continues is returned piece by piece.

        Raises:
            PacketError: they are no packets.
        """
        if self._partial:
            data = self._partial + data
            self._partial = b""
        payloads: list[bytes] = []
        position = 0
        end = len(data)
        while position < end and not self.finished:
            if self._left:
                payload = data[position : position + self._left]
                payloads.append(payload)
                self._left -= len(payload)
                position += len(payload)
                continue
            header = data[position : position + _HEADER_SIZE]
            if len(header) < _HEADER_SIZE:
                self._partial = header
                break
            position += _HEADER_SIZE
            self._on_header(header)
        return payloads

    def _on_header(self, header: bytes) -> None:
        if not _HEADER.fullmatch(header):
            shown = header.decode("latin-1").encode("unicode_escape").decode()
            msg = f'sidechannel: invalid header "{shown}"'
            raise PacketError(msg)
        size = int(header, 16)
        if size == 0:
            self.finished = True
        elif size < _HEADER_SIZE or size > MAX_PACKET_BYTES:
            msg = f"sidechannel: invalid header {size}"
            raise PacketError(msg)
        else:
            self._left = size - _HEADER_SIZE
