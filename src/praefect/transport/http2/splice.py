"""One direction of two joined streams: what one receives, the other sends, inside the driver.

The source's own inbound buffer is the queue between them. Its bytes are credited to their sender once the sink's
windows and transport took them, so a slow sink holds no more than the source's window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.transport.http2.interface import SpliceEnd, SpliceResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.transport.http2.interface import StreamClosedError
    from praefect.transport.http2.stream import EngineStream


class Splice:
    """See ``interface.Stream.splice_to``.

    Invariant: while it is neither stalled nor ended, the source's buffer is empty between two calls from the driver.
    """

    __slots__ = ("_done", "_first", "_offset", "_passed", "_sink", "_source", "_spliced_bytes", "_stalled")

    def __init__(
        self,
        source: EngineStream,
        sink: EngineStream,
        done: Callable[[SpliceResult], None],
        first: Callable[[], None] | None,
        passed: Callable[[bytes | bytearray], None] | None,
    ) -> None:
        self._source = source
        self._sink = sink
        self._done: Callable[[SpliceResult], None] | None = done
        self._first = first
        self._passed = passed
        self._offset = 0  # how much of the source's first chunk the sink has taken
        self._spliced_bytes = 0
        self._stalled = False

    def arrived(self) -> None:
        """The source's buffer or end has changed."""
        if not self._stalled or self._source.ended:
            self.pump()

    def pump(self) -> None:
        """Pass on what is buffered, as far as the sink takes it now."""
        source, sink = self._source, self._sink
        inbound = source.inbound
        if inbound and self._first is not None:
            self._begin()
        self._stalled = False
        while inbound:
            data = inbound[0]
            last = source.ended and len(inbound) == 1 and source.trailers is None
            offset = sink.push(data, self._offset, last)
            if self._done is None:
                return  # it ended meanwhile
            if offset >= 0:
                self._offset = offset
                self._stalled = True
                break
            inbound.popleft()
            self._offset = 0
            size = len(data)
            self._spliced_bytes += size
            if self._passed is not None:
                self._passed(data)
            source.consumed(size)
            if last:
                self._finish(SpliceEnd.END_STREAM)
                return
        if source.ended:
            self._end()

    def _end(self) -> None:
        """The source has ended: leave the rest to the sink."""
        source, sink = self._source, self._sink
        trailers, head = source.trailers, source.head
        if trailers is None and head is not None and head.end_stream:
            trailers = head.headers
        if trailers is None and self._first is not None:
            self._begin()
        if self._done is None:
            return
        self._spliced_bytes += sum(map(len, source.inbound))
        if self._passed is not None:
            for data in source.inbound:
                self._passed(data)
        sink.feed = None
        sink.adopt(source.inbound, self._offset, end=trailers is None)
        self._finish(SpliceEnd.END_STREAM if trailers is None else SpliceEnd.TRAILERS, trailers=trailers)

    def _begin(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            first()

    def source_failed(self, error: StreamClosedError) -> None:
        """The source was cut off before its end; the sink is left alone."""
        self._finish(SpliceEnd.SOURCE_FAILED, error=error)

    def sink_failed(self, error: StreamClosedError) -> None:
        """The sink was cut off; from now on the source is discarded."""
        self._source.discard()
        self._finish(SpliceEnd.SINK_FAILED, error=error)

    def _finish(
        self,
        end: SpliceEnd,
        *,
        trailers: list[tuple[str, bytes]] | None = None,
        error: StreamClosedError | None = None,
    ) -> None:
        done, self._done = self._done, None
        if done is None:
            return
        source, sink = self._source, self._sink
        source.splice = None
        if sink.feed is self:
            sink.feed = None
        done(SpliceResult(end, trailers, error, self._spliced_bytes))
