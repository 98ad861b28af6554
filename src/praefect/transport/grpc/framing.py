"""Length-prefixed messages: one flag byte, four bytes of length, the message. No I/O.

Source: gRPC over HTTP/2, "Length-Prefixed-Message".
"""

from __future__ import annotations

import struct
import zlib

from praefect.domain.errors import InternalError, ResourceExhaustedError

DEFAULT_MAX_MESSAGE_BYTES = 4 << 20
PREFIX_BYTES = 5

_PREFIX = struct.Struct(">BI")
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class MessageTooLargeError(ResourceExhaustedError):
    """A message above the limit; it is neither read nor decompressed further."""


class FramingError(InternalError):
    """The bytes are not a sequence of messages."""


def frame(message: bytes) -> bytes:
    """Put the prefix in front of an uncompressed message."""
    return _PREFIX.pack(0, len(message)) + message


def frame_compressed(message: bytes) -> bytes:
    """Compress a message with gzip and put the prefix in front of it."""
    compressor = zlib.compressobj(level=1, wbits=_GZIP_WINDOW)
    body = compressor.compress(message) + compressor.flush()
    return _PREFIX.pack(1, len(body)) + body


def decompress(body: bytes, limit: int) -> bytes:
    """Undo gzip, never producing more than ``limit`` bytes (plus one, to see that there is more).

    Raises:
        MessageTooLargeError: the message is larger than the limit.
        FramingError: the body is not gzip, or cut off.
    """
    engine = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        message = engine.decompress(body, limit + 1)
    except zlib.error as exc:
        raise FramingError(f"grpc: failed to decompress the received message: {exc}") from exc
    if len(message) > limit:
        raise MessageTooLargeError(f"grpc: received message after decompression larger than max {limit}")
    if not engine.eof:
        raise FramingError("grpc: failed to decompress the received message: unexpected EOF")
    return message


class MessageCounter:
    """Counts messages in bytes that pass by, from the first byte of the next message on; keeps none of them."""

    __slots__ = ("_prefix", "_skip", "count")

    def __init__(self) -> None:
        self.count = 0
        self._skip = 0  # bytes of the message's body that are still to come
        self._prefix = b""

    def feed(self, data: bytes | bytearray) -> None:
        """Count the messages whose prefix ends in ``data``, the next bytes that pass by."""
        size = len(data)
        if self._skip >= size:
            self._skip -= size
            return
        position = self._skip
        if self._prefix:
            data, position = self._prefix + data, 0
            size = len(data)
        while size - position >= PREFIX_BYTES:
            position += PREFIX_BYTES + _PREFIX.unpack_from(data, position)[1]
            self.count += 1
        self._skip = max(0, position - size)
        self._prefix = bytes(data[position:])


class MessageDecoder:
    """Cuts received bytes into messages.

    Feed, then take messages until ``next`` returns ``None``. At most one message and the read behind it are buffered.
    """

    __slots__ = ("_buffer", "_gzip", "_limit", "_offset")

    def __init__(self, *, limit: int = DEFAULT_MAX_MESSAGE_BYTES, gzip: bool = False) -> None:
        self._buffer: bytes | bytearray = b""
        self._offset = 0
        self._limit = limit
        self._gzip = gzip

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        if not self._buffer:
            self._buffer = data
            return
        if isinstance(self._buffer, bytes):
            self._buffer = bytearray(memoryview(self._buffer)[self._offset :])
        else:
            del self._buffer[: self._offset]
        self._offset = 0
        self._buffer += data

    def next(self) -> bytes | None:
        """Return the next whole message, ``None`` if it is not all there.

        Raises:
            MessageTooLargeError: the prefix announces more than the limit, or decompression exceeds it.
            FramingError: unknown flag, or compressed without an agreed encoding.
        """
        buffer, start = self._buffer, self._offset
        if len(buffer) - start < PREFIX_BYTES:
            return None
        flag, length = _PREFIX.unpack_from(buffer, start)
        if flag:
            self._check_flag(flag)
        if length > self._limit:
            raise MessageTooLargeError(f"grpc: received message larger than max ({length} vs. {self._limit})")
        end = start + PREFIX_BYTES + length
        if len(buffer) < end:
            return None
        message = bytes(memoryview(buffer)[start + PREFIX_BYTES : end])
        self._offset = end
        if end == len(buffer):
            self._buffer = b""
            self._offset = 0
        if flag:
            return decompress(message, self._limit)
        return message

    def take_rest(self) -> bytes:
        """Hand out, and forget, the bytes behind the last message taken."""
        rest = bytes(self._buffer[self._offset :])
        self._buffer = b""
        self._offset = 0
        return rest

    def finish(self) -> None:
        """Say that no more bytes follow.

        Raises:
            FramingError: they end within a message.
        """
        if self._buffer:
            raise FramingError("unexpected EOF")

    def _check_flag(self, flag: int) -> None:
        if flag != 1:
            raise FramingError(f"grpc: received unexpected payload format {flag}")
        if not self._gzip:
            raise FramingError("grpc: compressed flag set with identity or empty encoding")
