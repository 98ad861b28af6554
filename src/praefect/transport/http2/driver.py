"""The synchronous driver of one connection: an ``asyncio.Protocol`` between a transport and a codec.

One ``data_received`` decodes a whole read and acts on every frame at once; ``Outbound`` says what leaves and when.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.transport.http2.codec import ConnectionFault
from praefect.transport.http2.guard import NoiseGuard, PingGuard
from praefect.transport.http2.interface import ErrorCode, RequestHead, StreamClosedError
from praefect.transport.http2.outbound import Outbound
from praefect.transport.http2.stream import EngineStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.transport.http2.engine import DriverEngine
    from praefect.transport.http2.interface import HeaderList, Limits, ResponseHead, Stream

_RAPID_SECONDS = 0.25  # a stream that its client resets sooner is noise
_FIELD_OVERHEAD = 32  # per field, as SETTINGS_MAX_HEADER_LIST_SIZE counts. Source: RFC 9113 section 6.5.2


class DriverConnection(Outbound, asyncio.BufferedProtocol, asyncio.Protocol):
    """See ``interface.ConnectionProtocol``; the names beginning with ``got_`` are for codecs.

    Attributes:
        context: what the owner attached.
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_guard",
        "_max_header_list_size",
        "_on_stream",
        "_ping_guard",
        "context",
    )

    def __init__(
        self,
        engine: DriverEngine,
        on_stream: Callable[[Stream], None] | None,
        *,
        limits: Limits,
        context: object,
        on_lost: Callable[[], None] | None,
    ) -> None:
        super().__init__(limits, is_client=on_stream is None, on_lost=on_lost)
        self.context = context
        self._on_stream = on_stream
        self._buffer = engine.buffer
        self._max_header_list_size = limits.max_header_list_size
        self._guard = NoiseGuard()
        interval = limits.min_ping_interval_seconds
        self._ping_guard = PingGuard(interval) if interval is not None else None
        self._codec = engine.make_codec(self, limits, self.is_client)

    # --- interface.Connection ---

    @property
    def closed(self) -> bool:
        """See ``interface.Connection``."""
        return self._closed.rung

    @property
    def accepts_streams(self) -> bool:
        """See ``interface.Connection``."""
        return self.is_client and self._ready.rung and not self._going_away and not self.closing

    @property
    def open_streams(self) -> int:
        """See ``interface.Connection``."""
        return len(self.streams)

    async def wait_ready(self) -> None:
        """See ``interface.Connection``."""
        await self._ready.wait(self.loop)
        if self.closing:
            raise self._unavailable()

    async def wait_closed(self) -> None:
        """See ``interface.Connection``."""
        await self._closed.wait(self.loop)

    async def open_stream(
        self, method: str, scheme: str, authority: str, path: str, headers: HeaderList, *, end_stream: bool = False
    ) -> Stream:
        """See ``interface.Connection``."""
        if not self._ready.rung:
            await self.wait_ready()
        if self._slots.queue or not self._codec.can_open():
            await self._slots.wait(self.loop, lambda: not self.accepts_streams or self._codec.can_open())
        if not self.accepts_streams:
            raise self._unavailable()
        stream = EngineStream(self)
        stream.request = RequestHead(method, scheme, authority, path, headers)
        if not self._codec.open(stream, stream.request, end_stream=end_stream):
            self.go_away()
            raise self._unavailable()
        stream.end_queued = stream.end_sent = end_stream
        self._last_id = stream.id
        self.streams[stream.id] = stream
        self._answered = True
        self.mark()
        if self._slots.queue:
            self._wake_slot()
        return stream

    async def ping(self) -> float:
        """See ``interface.Connection``."""
        if self.closing:
            raise self._unavailable()
        payload, answer = self._pings.begin(self.loop)
        began = self.loop.time()
        self.send_ping(payload)
        try:
            if not await answer:
                raise self._unavailable()
        finally:
            self._pings.forget(payload)
        return self.loop.time() - began

    def go_away(self) -> None:
        """See ``interface.Connection``."""
        if self._draining or self.closing:
            return
        self._draining = True
        if self.is_client:
            self._going_away = True
            self._slots.wake_all()
            self._close_if_idle()
        else:
            self._codec.drain()
            self.mark()

    # --- asyncio.Protocol, what arrives ---

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """See ``asyncio.BufferedProtocol``; sockets that fill it cost less than those that allocate for each read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        self.data_received(bytes(self._buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self.closing:
            return
        self.last_received = self.loop.time()
        self._corked = True
        try:
            self._codec.receive(data)
        except ConnectionFault as fault:
            error = StreamClosedError(f"protocol error: {fault.message}", code=fault.code)
            self._end(error, fault.code, fault.message.encode())
        finally:
            self._corked = False
        if self._dirty:
            self._flush()

    # --- received, for codecs ---

    def got_settings(self, *, limits_changed: bool) -> None:
        """SETTINGS arrived; its acknowledgement is queued."""
        if not self._ready.rung:
            self._ready.ring()
            self._keepalive.ready()
        else:
            self._got_noise()
        if limits_changed:
            self._wake_slot()

    def got_request(self, stream: EngineStream, head: RequestHead, *, end: bool) -> None:
        """Server: a request begins."""
        stream.request = head
        if self.closing:
            return
        if not (head.method and head.path and head.scheme) or self._is_oversized(head.headers):
            self.refuse(stream, ErrorCode.PROTOCOL_ERROR)
            return
        if self.paused:
            self._got_while_full()
        self.streams[stream.id] = stream
        self._last_id = stream.id
        stream.opened_at = self.last_received
        stream.ended = end
        if self._on_stream is not None:
            self._on_stream(stream)

    def refuse(self, stream: EngineStream, code: ErrorCode) -> None:
        """Server: reset a stream that nobody has seen."""
        self._codec.reset(stream, int(code))
        self.mark()
        self._got_noise()

    def got_response(self, stream: EngineStream, head: ResponseHead) -> None:
        """Client: the head of a response arrived."""
        if self._is_oversized(head.headers):
            self.reset_violator(stream, ErrorCode.PROTOCOL_ERROR, "the response's head is too large")
            return
        self.carried = True
        stream.got_head(head)
        if head.end_stream:
            self._got_end(stream)

    def got_data(self, stream: EngineStream, data: bytes, *, end: bool) -> None:
        """Payload arrived, counted in the windows as its size."""
        self.carried = True
        if stream.error is not None or stream.abandoned:
            return
        if data:
            stream.owed += len(data)
            if end:
                stream.ended = True
                self._codec.credit(stream, stream.settle())
            stream.got_data(data)
        elif not end:
            self._got_noise()
        if end:
            self._got_end(stream)

    def got_trailers(self, stream: EngineStream, headers: HeaderList) -> None:
        """Trailers arrived."""
        if self._is_oversized(headers):
            self.reset_violator(stream, ErrorCode.PROTOCOL_ERROR, "the trailers are too large")
            return
        self.carried = True
        stream.trailers = headers
        self._got_end(stream)

    def got_reset(self, stream: EngineStream, code: int) -> None:
        """The peer cut a stream off."""
        if not self.is_client and self.last_received - stream.opened_at < _RAPID_SECONDS:
            self._got_noise()
        self._forget(stream)
        text = f"stream reset by peer: {_name(code)}"
        stream.fail(StreamClosedError(text, code=code, unprocessed=code == ErrorCode.REFUSED_STREAM))

    def got_violation(self, stream: EngineStream, code: int) -> None:
        """The codec has reset a stream because the peer broke the protocol on it, or found it dead."""
        self._forget(stream)
        self.mark()
        stream.fail(StreamClosedError(f"stream error: {_name(code)}", code=code))

    def reset_violator(self, stream: EngineStream, code: ErrorCode, message: str) -> None:
        """Reset a stream because of what the peer did on it."""
        self._codec.reset(stream, int(code))
        self._forget(stream)
        self.mark()
        stream.fail(StreamClosedError(message, code=int(code)))
        self._got_noise()

    def got_window(self, stream: EngineStream) -> None:
        """A window opened that a stream waited for."""
        stream.resume()

    def got_slot(self) -> None:
        """Client: the peer may allow one more stream."""
        self._wake_slot()

    def got_ping(self, payload: bytes, *, ack: bool) -> None:
        """A PING arrived; its answer, if it wants one, is queued."""
        if ack:
            self.carried = False
            self._pings.answered(payload)
            self._close_if_idle()
            return
        answered, self._answered = self._answered, False
        if self._ping_guard is not None and self._ping_guard.strike(self.last_received, answered=answered):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
        if not answered:
            self._got_noise()

    def got_go_away(self, last_id: int, code: int, debug: bytes) -> None:
        """The peer takes no new streams, and has not looked at those above ``last_id``."""
        self._going_away = True
        text = f"connection closed by peer: GOAWAY {_name(code)}"
        if debug:
            text = f'{text}, debug data "{debug[:256].decode("ascii", "backslashreplace")}"'
        if self.is_client:
            for stream in [stream for number, stream in self.streams.items() if number > last_id]:
                self._forget(stream)
                stream.fail(StreamClosedError(text, code=code, unprocessed=True))
        self._farewell = self._farewell or StreamClosedError(text, code=code or None)
        self._slots.wake_all()
        self._close_if_idle()

    def _got_end(self, stream: EngineStream) -> None:
        stream.ended = True
        if stream.owed:
            self._codec.credit(stream, stream.settle())
        if stream.end_sent:
            self._forget(stream)
        stream.got_end()

    def _got_noise(self) -> None:
        if self._guard.strike(self.last_received):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "flood")
        if self.paused:
            self._got_while_full()

    def _is_oversized(self, headers: HeaderList) -> bool:
        size = len(headers) * _FIELD_OVERHEAD
        for name, value in headers:
            size += len(name) + len(value)
        return size > self._max_header_list_size


def _name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return str(code)
