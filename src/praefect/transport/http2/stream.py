"""One HTTP/2 stream, the same for both engines: its buffers, its waiters and its place in a splice.

The upper half is ``interface.Stream``; the lower half belongs to the driver and to ``Splice``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from praefect.transport.http2.codec import DONE
from praefect.transport.http2.interface import (
    ErrorCode,
    RequestHead,
    SpliceEnd,
    SpliceResult,
    Stream,
    StreamClosedError,
    renewed,
)
from praefect.transport.http2.splice import Splice

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.transport.http2.driver import DriverConnection
    from praefect.transport.http2.interface import HeaderList, ResponseHead

NO_REQUEST = RequestHead(method="", scheme="", authority="", path="", headers=[])
_MANY_CHUNKS = 16  # from here on small chunks are gathered, so that tiny frames cannot cost fifty times their size
_GATHERED_BYTES = 16384
_TURN_BYTES = 1 << 18  # a sender that never has to wait lets others run after so much


class EngineStream:
    """See ``interface.Stream``."""

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_discarding",
        "_handed",
        "_head_waiter",
        "_offset",
        "_queue",
        "_reader",
        "_turn",
        "abandoned",
        "connection",
        "end_queued",
        "end_sent",
        "ended",
        "error",
        "feed",
        "head",
        "head_sent",
        "id",
        "inbound",
        "opened_at",
        "owed",
        "request",
        "splice",
        "trailers",
    )

    def __init__(self, connection: DriverConnection) -> None:
        self.connection = connection
        self.id = 0
        self.request = NO_REQUEST
        self.head: ResponseHead | None = None
        self.trailers: HeaderList | None = None
        self.error: StreamClosedError | None = None
        self.opened_at = 0.0
        # Receiving. ``owed``: bytes not given back to the peer's window; ``_handed``: those of them handed out.
        self.inbound: deque[bytes | bytearray] = deque()
        self.ended = False
        self.abandoned = False  # a server's response is complete: the rest of the request is nobody's
        self.owed = 0
        self._handed = 0
        self._discarding = False
        self._reader: asyncio.Future[None] | None = None
        self._head_waiter: asyncio.Future[None] | None = None
        # Sending: (data, end, trailers, waiter); ``_offset`` is how much of the first has gone.
        self._queue: deque[tuple[bytes, bool, HeaderList | None, asyncio.Future[None] | None]] = deque()
        self._offset = 0
        self._turn = 0
        self.head_sent = connection.is_client
        self.end_queued = False
        self.end_sent = False
        self.splice: Splice | None = None  # of which this is the source
        self.feed: Splice | None = None  # of which this is the sink
        self._callbacks: list[Callable[[], None]] | None = None

    def __repr__(self) -> str:
        return f"EngineStream({self.id}, {self.request.path!r})"

    @property
    def received_end(self) -> bool:
        """See ``interface.Stream``."""
        return self.ended and not self.inbound

    # --- receiving ---

    async def response(self) -> ResponseHead:
        """See ``interface.Stream``."""
        while self.head is None:
            if self.error is not None:
                raise renewed(self.error)
            if self._head_waiter is not None:
                message = "the response is awaited twice"
                raise RuntimeError(message)
            self._head_waiter = self.connection.loop.create_future()
            try:
                await self._head_waiter
            finally:
                self._head_waiter = None
        return self.head

    async def receive(self) -> bytes:
        """See ``interface.Stream``."""
        while (data := self.receive_nowait()) is None:
            if self._reader is not None:
                message = "two readers on one stream"
                raise RuntimeError(message)
            self._reader = self.connection.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return data

    def receive_nowait(self) -> bytes | None:
        """See ``interface.Stream``."""
        inbound = self.inbound
        if inbound:
            data = bytes(inbound.popleft()) if len(inbound) == 1 else b"".join(inbound)
            inbound.clear()
            self.consumed(len(data))
            return data
        if self.ended:
            return b""
        if self.error is not None:
            raise renewed(self.error)
        if self.abandoned:
            message = "the response is complete"
            raise StreamClosedError(message, remote=False)
        return None

    # --- sending ---

    def send_head(self, status: int, headers: HeaderList, *, end_stream: bool = False) -> None:
        """See ``interface.Stream``."""
        if self.error is not None:
            return
        if self.head_sent:
            message = "the head was sent already"
            raise RuntimeError(message)
        self.connection.send_head(self, status, headers, end_stream=end_stream)

    async def send(self, data: bytes, *, end_stream: bool = False) -> None:
        """See ``interface.Stream``."""
        self._check_open()
        if data or end_stream:
            self._check_sendable()
            self.end_queued = end_stream
        if not self._queue:
            if not data and not end_stream:
                return
            offset = self.connection.transmit(self, data, 0, end_stream)
            if offset == DONE:
                self._turn += len(data)
                if self._turn >= _TURN_BYTES:
                    self._turn = 0
                    await asyncio.sleep(0)
                return
            self._check_open()
            self._offset = offset
        waiter = self.connection.loop.create_future()
        self._queue.append((data, end_stream, None, waiter))
        await waiter
        if not self.end_sent:
            self._check_open()

    def send_trailers(self, headers: HeaderList) -> None:
        """See ``interface.Stream``."""
        if self.error is not None or self.end_queued:
            return
        self._check_sendable()
        if self._queue:
            self.end_queued = True
            self._queue.append((b"", True, headers, None))
        else:
            self.connection.send_trailers(self, headers)
            self.end_queued = True

    def reset(self, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """See ``interface.Stream``."""
        if self.error is not None or self.abandoned:
            return
        if self.ended and self.end_sent:
            self.inbound.clear()
            if self.splice is not None:
                self.splice.source_failed(StreamClosedError("reset locally", remote=False))
            return
        if self.end_queued and code == ErrorCode.NO_ERROR and not self.connection.is_client:
            return  # the rest of the request is refused anyway once the response has left
        self.connection.reset(self, code)

    def on_close(self, callback: Callable[[], None]) -> None:
        """See ``interface.Stream``."""
        if self.error is not None:
            self.connection.loop.call_soon(callback)
        elif self._callbacks is None:
            self._callbacks = [callback]
        else:
            self._callbacks.append(callback)

    def splice_to(
        self,
        sink: Stream,
        done: Callable[[SpliceResult], None],
        *,
        first: Callable[[], None] | None = None,
        passed: Callable[[bytes | bytearray], None] | None = None,
    ) -> None:
        """See ``interface.Stream``."""
        if not isinstance(sink, EngineStream):
            message = "a splice joins streams of this package"
            raise TypeError(message)
        if self.splice is not None or sink.feed is not None:
            raise RuntimeError("the stream is spliced already")
        if sink.error is not None:
            self.discard()
            done(SpliceResult(end=SpliceEnd.SINK_FAILED, error=sink.error))
        elif self.error is not None and not self.ended:
            done(SpliceResult(end=SpliceEnd.SOURCE_FAILED, error=self.error))
        else:
            self.splice = sink.feed = splice = Splice(self, sink, done, first, passed)
            splice.pump()

    def _check_open(self) -> None:
        if self.error is not None:
            raise renewed(self.error)

    def _check_sendable(self) -> None:
        if self.end_queued:
            message = "the stream was half-closed already"
            raise RuntimeError(message)
        if not self.head_sent:
            message = "the head was not sent yet"
            raise RuntimeError(message)

    # --- what the driver says ---

    def got_head(self, head: ResponseHead) -> None:
        """The head of the response arrived; its end, if it is one, is told by ``got_end``."""
        self.head = head
        if (waiter := self._head_waiter) is not None and not waiter.done():
            waiter.set_result(None)

    def got_data(self, data: bytes) -> None:
        """Payload arrived."""
        if self._discarding:
            self.consumed(len(data))
            return
        inbound = self.inbound
        if len(inbound) < _MANY_CHUNKS or len(data) >= _GATHERED_BYTES // 4:
            inbound.append(data)
        elif type(last := inbound[-1]) is bytearray and len(last) < _GATHERED_BYTES:
            last += data
        else:
            inbound.append(bytearray(data))
        if self.splice is not None:
            self.splice.arrived()
        elif (reader := self._reader) is not None and not reader.done():
            reader.set_result(None)

    def got_end(self) -> None:
        """Everything has arrived; what is buffered no longer counts against the peer."""
        if self.splice is not None:
            self.splice.arrived()
        elif (reader := self._reader) is not None and not reader.done():
            reader.set_result(None)

    def consumed(self, size: int) -> None:
        """Note that received bytes have found their place."""
        if self.owed:
            self._handed += size
            if self._handed >= self.connection.credit_step:
                self.connection.give_back(self)

    def take_handed(self) -> int:
        """Return how many bytes are to be given back now, and forget them."""
        size, self._handed = self._handed, 0
        self.owed -= size
        return size

    def settle(self) -> int:
        """Return everything owed; nothing is given back for this stream from now on."""
        size, self.owed, self._handed = self.owed, 0, 0
        return size

    def discard(self) -> None:
        """Drop what is buffered and what still comes."""
        self._discarding = True
        size = sum(map(len, self.inbound))
        self.inbound.clear()
        self.consumed(size)

    def push(self, data: bytes | bytearray, offset: int, end: bool) -> int:
        """Send for a splice; see ``DriverConnection.transmit``."""
        if self._queue:
            return offset
        if type(data) is bytearray:
            data = bytes(data)
        return self.connection.transmit(self, data, offset, end)  # type: ignore[arg-type]  # bytes by now

    def adopt(self, chunks: deque[bytes | bytearray], offset: int, *, end: bool) -> None:
        """Take over what an ended splice leaves; it goes out before anything that is sent from now on."""
        queue, was_empty = self._queue, not self._queue
        if was_empty:
            self._offset = offset
        while chunks:
            data = chunks.popleft()
            queue.append((bytes(data), end and not chunks, None, None))
        if end:
            if not queue or not queue[-1][1]:
                queue.append((b"", True, None, None))
            self.end_queued = True
        if was_empty and queue:
            self.resume()

    def resume(self) -> None:
        """Send what waits, as far as the windows and the transport take it now."""
        queue, connection = self._queue, self.connection
        while queue:
            data, end, trailers, waiter = queue[0]
            if trailers is not None:
                queue.popleft()
                connection.send_trailers(self, trailers)
                return
            offset = DONE
            if data or end:
                offset = connection.transmit(self, data, self._offset, end)
            if not queue:
                return  # it was cut off meanwhile
            if offset != DONE:
                self._offset = offset
                return
            queue.popleft()
            self._offset = 0
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        if self.feed is not None:
            self.feed.pump()

    def close_receiving(self) -> None:
        """Server: the response has left, so what is still to come of the request is nobody's."""
        if self.ended:
            return
        self.abandoned = True
        self.inbound.clear()
        self.settle()
        self._wake()
        if self.splice is not None:
            self.splice.source_failed(StreamClosedError("the response is complete", remote=False))

    def fail(self, error: StreamClosedError, *, keep: bool = True) -> None:
        """Cut the stream off.

        Args:
            error: why.
            keep: whether what has arrived may still be received.
        """
        if self.error is not None:
            return
        self.error = error
        self.end_queued = True
        self.settle()
        if not keep:
            self.inbound.clear()
        queue, self._queue = self._queue, deque()
        for _, _, _, waiter in queue:
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        self._wake()
        callbacks, self._callbacks = self._callbacks, None
        if self.splice is not None and not (self.ended and keep):
            self.splice.source_failed(error)
        if self.feed is not None:
            self.feed.sink_failed(error)
        if callbacks is not None and not (self.ended and self.connection.is_client and error.remote):
            for callback in callbacks:
                callback()

    def _wake(self) -> None:
        for waiter in (self._reader, self._head_waiter):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
