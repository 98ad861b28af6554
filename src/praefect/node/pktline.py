"""Git's packet lines: four hex digits of length, then the payload; and what upload-pack requests say in them.

Nothing here does I/O. ``PacketScanner`` is fed bytes as they come and never holds more than one packet.

Source: git's Documentation/gitprotocol-common and gitprotocol-pack; wire.md 5.4 and 5.5.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

FLUSH = b"0000"
DELIMITER = b"0001"
RESPONSE_END = b"0002"

MAX_PACKET_BYTES = 65520
MAX_PAYLOAD_BYTES = MAX_PACKET_BYTES - 4
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")


class Marker(enum.Enum):
    """Packets that carry no data."""

    FLUSH = FLUSH
    DELIMITER = DELIMITER
    RESPONSE_END = RESPONSE_END


class PacketError(InvalidArgumentError):
    """The bytes are not packet lines."""


def encode(payload: bytes) -> bytes:
    """Return ``payload`` as one packet.

    Raises:
        PacketError: it is longer than a packet can be.
    """
    if len(payload) > MAX_PAYLOAD_BYTES:
        message = f"packet payload of {len(payload)} bytes exceeds {MAX_PAYLOAD_BYTES}"
        raise PacketError(message)
    return b"%04x%b" % (len(payload) + 4, payload)


class PacketScanner:
    """Cuts a byte stream into packets; a ``Marker`` stands for a packet without data."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def is_between_packets(self) -> bool:
        """Whether everything fed so far was whole packets."""
        return not self._buffer

    def feed(self, data: bytes) -> Iterator[bytes | Marker]:
        """Take more bytes and yield the packets they complete.

        Raises:
            PacketError: a length is not hexadecimal, reserved or too large; the scanner is of no use afterwards.
        """
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= 4:
                length = _length(bytes(buffer[start : start + 4]))
                if length < 4:
                    yield _MARKERS[length]
                    start += 4
                    continue
                if len(buffer) - start < length:
                    break
                yield bytes(buffer[start + 4 : start + length])
                start += length
        finally:
            del buffer[:start]


_MARKERS = {0: Marker.FLUSH, 1: Marker.DELIMITER, 2: Marker.RESPONSE_END}


def _length(header: bytes) -> int:
    if not _HEX_DIGITS.issuperset(header):
        message = f"invalid packet length {header!r}"
        raise PacketError(message)
    length = int(header, 16)
    if length == 3 or length > MAX_PACKET_BYTES:
        message = f"invalid packet length {header!r}"
        raise PacketError(message)
    return length


@dataclass(slots=True)
class NegotiationStatistics:
    """What a client asked of upload-pack, counted while the request passes by."""

    payload_bytes: int = 0
    packets: int = 0
    capabilities: list[str] = field(default_factory=list)
    wants: int = 0
    haves: int = 0
    shallows: int = 0
    deepen: str = ""
    filter: str = ""


class NegotiationParser:
    """Counts the packets of an upload-pack request, of protocol 0, 1 or 2, without keeping them.

    Bytes that are no packets end the counting and harm nothing: git judges the request, not this parser.

    Attributes:
        statistics: what was seen so far.
    """

    def __init__(self) -> None:
        self.statistics = NegotiationStatistics()
        self._scanner = PacketScanner()
        self._is_broken = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the request."""
        self.statistics.payload_bytes += len(data)
        if self._is_broken:
            return
        try:
            for packet in self._scanner.feed(data):
                self.statistics.packets += 1
                if isinstance(packet, bytes):
                    self._count(packet)
        except PacketError:
            self._is_broken = True

    def _count(self, packet: bytes) -> None:
        statistics = self.statistics
        word, _, rest = packet.rstrip(b"\n").partition(b" ")
        if word == b"want":
            statistics.wants += 1
            _, _, capabilities = rest.partition(b" ")
            if statistics.wants == 1:
                statistics.capabilities += [_text(name) for name in capabilities.split()]
        elif word == b"have":
            statistics.haves += 1
        elif word == b"shallow":
            statistics.shallows += 1
        elif word in {b"deepen", b"deepen-since", b"deepen-not"}:
            statistics.deepen = _text(rest)
        elif word == b"filter":
            statistics.filter = _text(rest)
        elif word.startswith((b"agent=", b"object-format=", b"session-id=")):
            statistics.capabilities.append(_text(word))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
