"""The synchronous driver of one connection: an ``asyncio.Protocol`` between a transport and a codec.

One ``data_received`` decodes a whole read and acts on every frame at once. What a turn of the event loop produces
leaves in one write, or earlier when it grows beyond ``_BURST_BYTES``. While the transport is full nothing is taken from
senders and nothing is credited to the peer, so what waits is bounded by the windows and never by the peer's patience.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.transport.http2.codec import DONE, ConnectionFault
from praefect.transport.http2.guard import NoiseGuard, PingGuard
from praefect.transport.http2.interface import (
    ConnectionUnavailableError,
    ErrorCode,
    RequestHead,
    StreamClosedError,
    renewed,
)
from praefect.transport.http2.keepalive import Keepalive
from praefect.transport.http2.stream import EngineStream
from praefect.transport.http2.waiting import Bell, Pings, Slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.transport.http2.codec import Codec
    from praefect.transport.http2.engine import DriverEngine
    from praefect.transport.http2.interface import HeaderList, Limits, ResponseHead, Stream

_BURST_BYTES = 1 << 16
_LINGER_SECONDS = 5.0  # how long a closing connection tries to hand over what it still has to say
_MAX_UNREAD = 1000  # answers owed to a peer that takes none, before nothing more is read from it
_RAPID_SECONDS = 1.0  # a stream that its client resets sooner is noise
_FIELD_OVERHEAD = 32  # per field, as SETTINGS_MAX_HEADER_LIST_SIZE counts. Source: RFC 9113 section 6.5.2


class DriverConnection(asyncio.BufferedProtocol, asyncio.Protocol):
    """See ``interface.ConnectionProtocol``; the names beginning with ``got_`` are for codecs.

    Attributes:
        streams: those neither finished nor reset, by number.
        credit_step: how many consumed bytes are worth giving back.
        paused: whether the transport is full.
        closing: whether the last GOAWAY was said; nothing that still arrives counts.
    """

    __slots__ = (
        "__weakref__",
        "_answered",
        "_blocked",
        "_buffer",
        "_closed",
        "_codec",
        "_corked",
        "_creditors",
        "_dirty",
        "_draining",
        "_farewell",
        "_flushed_id",
        "_going_away",
        "_guard",
        "_keepalive",
        "_last_id",
        "_linger",
        "_max_header_list_size",
        "_on_lost",
        "_on_stream",
        "_ping_guard",
        "_pings",
        "_ready",
        "_slots",
        "_transport",
        "_unflushed",
        "_unread",
        "closing",
        "context",
        "credit_step",
        "is_client",
        "last_received",
        "loop",
        "paused",
        "streams",
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
        self.loop = asyncio.get_running_loop()
        self.is_client = on_stream is None
        self.context = context
        self.last_received = self.loop.time()
        self.streams: dict[int, EngineStream] = {}
        self.credit_step = max(1, limits.initial_window_size // 8)
        self.paused = False
        self.closing = False
        self._buffer = engine.buffer
        self._codec: Codec = engine.make_codec(self, limits, self.is_client)
        self._on_stream = on_stream
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._max_header_list_size = limits.max_header_list_size
        self._ready = Bell()
        self._closed = Bell()
        self._slots = Slots()
        self._pings = Pings()
        self._keepalive = Keepalive(self, limits)
        self._guard = NoiseGuard()
        interval = limits.min_ping_interval_seconds
        self._ping_guard = PingGuard(interval) if interval is not None else None
        self._answered = False  # whether headers or data were sent since the last PING
        self._unread = 0
        self._corked = self._dirty = False
        self._unflushed = 0
        self._blocked: dict[EngineStream, None] = {}  # in the order in which they found the transport full
        self._creditors: set[EngineStream] = set()
        self._going_away = self._draining = False
        self._farewell: StreamClosedError | None = None  # why the connection ended, as its first witness told
        self._last_id = self._flushed_id = 0
        self._linger: asyncio.TimerHandle | None = None

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

    def close(self, message: str = "closed locally", *, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """See ``interface.Connection``."""
        self._end(StreamClosedError(message, code=None, remote=False), code)

    def abort(self, message: str = "aborted") -> None:
        """See ``interface.Connection``."""
        transport = self._transport
        self._fall(StreamClosedError(message, remote=False))
        if transport is not None:
            transport.abort()

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        if self.closing:
            transport.close()
            return
        self._transport = transport  # type: ignore[assignment]  # a stream transport by contract
        self.last_received = self.loop.time()
        self._codec.begin()
        self._keepalive.start()
        self._write_out()

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
        self._corked = False
        if self._dirty:
            self._flush()

    def eof_received(self) -> bool | None:
        """See ``asyncio.Protocol``."""
        return None

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self.paused = True

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self.paused = False
        if self._unread > _MAX_UNREAD and self._transport is not None:
            self._transport.resume_reading()
        self._unread = 0
        creditors, self._creditors = self._creditors, set()
        for stream in creditors:
            if stream.owed:
                self.give_back(stream)
        self._dirty = True
        self._flush()

    def connection_lost(self, exc: BaseException | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        text = f"connection lost: {exc}" if exc is not None else "connection closed by peer"
        self._fall(StreamClosedError(text))
        self._transport = None
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._closed.ring()
        if (on_lost := self._on_lost) is not None:
            self._on_lost = None
            on_lost()

    # --- sending, for streams ---

    def transmit(self, stream: EngineStream, data: bytes, offset: int, end: bool) -> int:
        """Send ``data[offset:]`` as far as the windows and the transport take it now.

        Returns:
            ``DONE``, or the new offset; ``stream.resume`` is called when it is worth trying again.
        """
        send_data = self._codec.send_data
        while not self.paused:
            sent = send_data(stream, data, offset, end)
            if sent == DONE:
                self._unflushed += len(data) - offset
                self._answered = True
                if end:
                    self._ended_sending(stream)
                if self._unflushed >= _BURST_BYTES:
                    self._write_out()
                elif not self._dirty:
                    self.mark()
                return DONE
            if sent == offset:
                return offset
            self._unflushed += sent - offset
            offset = sent
            if self._unflushed >= _BURST_BYTES:
                self._write_out()
            elif not self._dirty:
                self.mark()
        self._blocked[stream] = None
        return offset

    def send_head(self, stream: EngineStream, status: int, headers: HeaderList, *, end_stream: bool) -> None:
        """Queue a response's head."""
        self._codec.send_head(stream, status, headers, end_stream=end_stream)
        self._answered = True
        if end_stream:
            stream.end_queued = True
            self._ended_sending(stream)
        self.mark()

    def send_trailers(self, stream: EngineStream, headers: HeaderList) -> None:
        """Queue trailers; all data of the stream was sent before."""
        self._codec.send_trailers(stream, headers)
        self._answered = True
        self._ended_sending(stream)
        self.mark()

    def reset(self, stream: EngineStream, code: ErrorCode) -> None:
        """Cut a stream off from this side."""
        if stream.id in self.streams:
            self._codec.reset(stream, int(code))
            self.mark()
        self._forget(stream)
        stream.fail(StreamClosedError("reset locally", code=int(code), remote=False), keep=False)

    def give_back(self, stream: EngineStream) -> None:
        """Credit what a stream handed out; later, while the peer takes nothing."""
        if self.paused:
            self._creditors.add(stream)
        else:
            self._codec.credit(stream, stream.take_handed())

    def send_ping(self, payload: bytes) -> None:
        """Send a PING at once."""
        self._codec.ping(payload)
        self.mark()

    def mark(self) -> None:
        """Something is to be written: once, at the end of this turn of the loop."""
        if not self._dirty:
            self._dirty = True
            if not self._corked:
                self.loop.call_soon(self._flush)

    def block(self, stream: EngineStream) -> None:
        """Try this stream again when the transport has taken what there is."""
        self._blocked[stream] = None
        self.mark()

    def _flush(self) -> None:
        if not self._dirty and not self._blocked:
            return
        self._write_out()
        for _ in range(len(self._blocked)):
            if self.paused or not self._blocked:
                break
            stream = next(iter(self._blocked))
            del self._blocked[stream]
            stream.resume()
        if self._unflushed and not self.paused:
            self._write_out()

    def _write_out(self) -> None:
        self._dirty = False
        transport = self._transport
        if self.paused or self.closing or transport is None or transport.is_closing():
            return
        self._unflushed = 0
        self._flushed_id = self._last_id
        self._codec.write_to(transport)

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
        stream.got_head(head)
        if head.end_stream:
            self._got_end(stream)

    def got_data(self, stream: EngineStream, data: bytes, *, end: bool) -> None:
        """Payload arrived, counted in the windows as its size."""
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

    def _got_while_full(self) -> None:
        """Something arrived that will be answered, from a peer that does not read: at some point, read no more."""
        self._unread += 1
        if self._unread == _MAX_UNREAD + 1 and self._transport is not None:
            self._transport.pause_reading()

    def _is_oversized(self, headers: HeaderList) -> bool:
        size = len(headers) * _FIELD_OVERHEAD
        for name, value in headers:
            size += len(name) + len(value)
        return size > self._max_header_list_size

    # --- ends ---

    def _ended_sending(self, stream: EngineStream) -> None:
        stream.end_queued = stream.end_sent = True
        if stream.ended:
            self._forget(stream)
        elif not self.is_client:
            self._forget(stream)
            stream.close_receiving()

    def _forget(self, stream: EngineStream) -> None:
        if self._blocked:
            self._blocked.pop(stream, None)
        if self.streams.pop(stream.id, None) is not None:
            if self._slots.queue:
                self._wake_slot()
            if self._going_away or self._draining:
                self._close_if_idle()

    def _wake_slot(self) -> None:
        if self._slots.queue and self._codec.can_open():
            self._slots.wake()

    def _close_if_idle(self) -> None:
        if not self.streams and not self.closing and (self._going_away or (self._draining and self._codec.drained)):
            self.loop.call_soon(self._close_idle)

    def _close_idle(self) -> None:
        if not self.streams and not self.closing:
            self._end(StreamClosedError("the connection is drained", remote=False), ErrorCode.NO_ERROR)

    def give_up(self, message: str, code: ErrorCode) -> None:
        """End the connection to a peer that is silent."""
        transport = self._transport
        self._end(StreamClosedError(message), code)
        if transport is not None:
            transport.abort()

    def _end(self, error: StreamClosedError, code: int, debug: bytes = b"") -> None:
        """Say goodbye, flush, close and cut everything off."""
        if self.closing:
            return
        self.closing = True
        if (transport := self._transport) is not None:
            if not transport.is_closing():
                self._codec.go_away(code, debug)
                self._flushed_id = self._last_id
                self._codec.write_to(transport)
                transport.close()
            self._linger = self.loop.call_later(_LINGER_SECONDS, transport.abort)
        self._cut_off(error)

    def _fall(self, error: StreamClosedError) -> None:
        """Cut everything off because the transport is gone."""
        if not self.closing:
            self.closing = True
            self._cut_off(error)

    def _cut_off(self, error: StreamClosedError) -> None:
        if self._farewell is None or not error.remote:
            self._farewell = error
        self._keepalive.stop()
        streams, self.streams = self.streams, {}
        self._blocked.clear()
        self._creditors.clear()
        for stream in streams.values():
            error = renewed(self._farewell)
            error.unprocessed = self.is_client and stream.id > self._flushed_id
            stream.fail(error, keep=error.remote)
        self._ready.ring()
        self._slots.wake_all()
        self._pings.fail()

    def _unavailable(self) -> ConnectionUnavailableError:
        why = self._farewell
        if why is None:
            return ConnectionUnavailableError("the connection is closing", remote=False, unprocessed=True)
        return ConnectionUnavailableError(str(why), code=why.code, remote=why.remote, unprocessed=True)


def _name(code: int) -> str:
    try:
        return ErrorCode(code).name
    except ValueError:
        return str(code)
