"""Takes side-band-64k packets apart as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER_BYTES = 4


class BandReader:
    """Cuts a byte stream into (band, data) pieces; data of a packet comes out as soon as it is there."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._band = 0
        self._left = 0

    @property
    def is_between_packets(self) -> bool:
        """Whether everything fed so far was whole packets."""
        return not self._header and not self._left

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield what ``data`` holds.

        Raises:
            InternalError: the bytes are no packets of a side-band.
        """
        view = memoryview(data)
        while view:
            if self._left:
                piece = bytes(view[: self._left])
                self._left -= len(piece)
                view = view[len(piece) :]
                yield self._band, piece
                continue
            missing = _HEADER_BYTES + 1 - len(self._header)
            self._header += view[:missing]
            view = view[missing:]
            if len(self._header) == _HEADER_BYTES + 1:
                self._start_packet()

    def _start_packet(self) -> None:
        text, band = bytes(self._header[:_HEADER_BYTES]), self._header[_HEADER_BYTES]
        self._header.clear()
        try:
            length = int(text, 16)
        except ValueError as exc:
            raise InternalError(f"sidechannel: invalid header {text!r}") from exc
        if length <= _HEADER_BYTES or band not in (1, 2):
            raise InternalError(f"sidechannel: invalid packet of length {length} on band {band}")
        self._band = band
        self._left = length - _HEADER_BYTES - 1
