"""One end of a byte stream, to be read and written with ``await``."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from praefect.domain.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from praefect.transport.yamux import StreamTransport

_READ_HIGH_WATER = 128 * 1024
_READ_LOW_WATER = 32 * 1024


class SidechannelBrokenError(InternalError):
    """The stream ended before its time: the other side reset it, or its connection broke."""


class Endpoint(asyncio.Protocol):
    """Reads and writes of one task each, or of several writers.

    What was not read is bounded: beyond a limit reading is paused, and the peer gets no more credit.

    Attributes:
        peer_finished: whether the other side sends no more; what was received before can still be read.
    """

    def __init__(self) -> None:
        self.peer_finished = False
        self._loop = asyncio.get_running_loop()
        self._transport: StreamTransport | None = None
        self._received: deque[bytes] = deque()
        self._received_bytes = 0
        self._reader: asyncio.Future[None] | None = None
        self._writing_paused = False
        self._writers: deque[asyncio.Future[None]] = deque()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._error: SidechannelBrokenError | None = None
        self._successor = asyncio.Protocol()

    @property
    def transport(self) -> StreamTransport:
        """The stream."""
        assert self._transport is not None  # noqa: S101 - endpoints are handed out once they are connected
        return self._transport

    # --- for its user ---

    async def read(self) -> bytes:
        """Return what arrived next, ``b""`` once the other side has finished.

        Raises:
            SidechannelBrokenError: the stream was cut off; what arrived before is lost.
        """
        while True:
            if self._error is not None:
                raise self._error
            if self._received:
                data = self._received.popleft()
                self._took(len(data))
                return data
            if self.peer_finished:
                return b""
            reader = self._reader = self._loop.create_future()
            try:
                await reader
            finally:
                self._reader = None

    async def read_exactly(self, size: int) -> bytes:
        """Return ``size`` bytes, fewer only if the other side finished.

        Raises:
            SidechannelBrokenError: see ``read``.
        """
        data = b""
        while len(data) < size:
            more = await self.read()
            if not more:
                return data
            data += more
        if len(data) > size:
            self._received.appendleft(data[size:])
            self._received_bytes += len(data) - size
        return data[:size]

    async def write(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write the pieces together and wait while too much is unsent.

        Once the other side has finished nothing is written any more: it has closed, and will not read.

        Raises:
            SidechannelBrokenError: the stream was cut off.
        """
        if self._error is not None:
            raise self._error
        if self.peer_finished or self.transport.is_closing():
            return
        self.transport.writelines(pieces)
        while self._writing_paused and not self.peer_finished and self._error is None:
            writer: asyncio.Future[None] = self._loop.create_future()
            self._writers.append(writer)
            try:
                await writer
            finally:
                if writer in self._writers:
                    self._writers.remove(writer)
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Send what was written, then FIN, and wait until it has left; when cancelled, abort.

        Raises:
            SidechannelBrokenError: it did not all leave.
        """
        if self.peer_finished and self.transport.get_write_buffer_size():
            self.transport.abort()  # nobody takes it
        self.transport.close()
        try:
            await asyncio.shield(self._lost)
        except asyncio.CancelledError:
            self.abort()
            raise
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        """Cut the stream off; whoever reads or writes it gets an error."""
        if self._error is None and not self._lost.done():
            self._error = SidechannelBrokenError("stream closed")
        self.transport.abort()

    def detach(self, protocol: asyncio.Protocol) -> None:
        """Give the stream to another protocol, which hears of nothing before ``hand_on``."""
        self._successor = protocol
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)

    def hand_on(self) -> None:
        """Tell the other protocol what has happened so far: received bytes, the end, a pause."""
        protocol, transport = self._successor, self.transport
        if self._error is not None:
            protocol.connection_lost(ConnectionResetError(str(self._error)))
            return
        if self._writing_paused:
            protocol.pause_writing()
        while self._received:
            protocol.data_received(self._received.popleft())
        if self.peer_finished and not transport.is_closing() and not protocol.eof_received():
            transport.close()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = cast("StreamTransport", transport)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._received.append(data)
        self._received_bytes += len(data)
        if self._received_bytes > _READ_HIGH_WATER:
            self.transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> bool:
        """See ``asyncio.Protocol``."""
        self.peer_finished = True
        self._wake_reader()
        self._wake_writers()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        if exc is not None:
            self._error = SidechannelBrokenError(str(exc) or "connection reset")
        self.peer_finished = True
        if not self._lost.done():
            self._lost.set_result(None)
        self._wake_reader()
        self._wake_writers()

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._writing_paused = False
        self._wake_writers()

    # --- inside ---

    def _took(self, size: int) -> None:
        self._received_bytes -= size
        if self._received_bytes <= _READ_LOW_WATER:
            self.transport.resume_reading()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _wake_writers(self) -> None:
        while self._writers:
            writer = self._writers.popleft()
            if not writer.done():
                writer.set_result(None)
