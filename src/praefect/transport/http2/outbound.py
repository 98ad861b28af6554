"""The half of a connection that needs no frames: the transport, what leaves through it, and how it ends.

What a turn of the event loop produces leaves in one write, or earlier when it grows beyond ``_BURST_BYTES``. While the
transport is full nothing is taken from senders and nothing leaves, credit for the peer's windows included, so what
waits is bounded by the windows and never by the peer's patience.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.transport.http2.codec import DONE
from praefect.transport.http2.interface import ConnectionUnavailableError, ErrorCode, StreamClosedError, renewed
from praefect.transport.http2.keepalive import Keepalive
from praefect.transport.http2.waiting import Bell, Pings, Slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from praefect.transport.http2.codec import Codec
    from praefect.transport.http2.interface import HeaderList, Limits
    from praefect.transport.http2.stream import EngineStream

_BURST_BYTES = 1 << 16
_LINGER_SECONDS = 5.0  # how long a closing connection tries to hand over what it still has to say
_MAX_UNREAD = 1000  # answers owed to a peer that takes none, before nothing more is read from it


class Outbound:
    """What ``DriverConnection`` is built on.

    Attributes:
        loop: the event loop that everything belongs to.
        is_client: whether this side opens the streams.
        streams: those neither finished nor reset, by number.
        credit_step: how many consumed bytes are worth giving back.
        last_received: loop time of the last bytes from the peer.
        carried: whether the peer has sent HEADERS or DATA since it last answered a PING.
        paused: whether the transport is full.
        closing: whether the last GOAWAY was said; nothing that still arrives counts.
    """

    __slots__ = (
        "_answered",
        "_blocked",
        "_closed",
        "_codec",
        "_corked",
        "_dirty",
        "_draining",
        "_farewell",
        "_flushed_id",
        "_going_away",
        "_keepalive",
        "_last_id",
        "_linger",
        "_on_lost",
        "_pings",
        "_ready",
        "_slots",
        "_transport",
        "_unflushed",
        "_unread",
        "carried",
        "closing",
        "credit_step",
        "is_client",
        "last_received",
        "loop",
        "paused",
        "streams",
    )

    _codec: Codec

    def __init__(self, limits: Limits, *, is_client: bool, on_lost: Callable[[], None] | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_client = is_client
        self.streams: dict[int, EngineStream] = {}
        self.credit_step = max(1, limits.initial_window_size // 8)
        self.last_received = self.loop.time()
        self.carried = True
        self.paused = False
        self.closing = False
        self._transport: asyncio.Transport | None = None
        self._on_lost = on_lost
        self._ready = Bell()
        self._closed = Bell()
        self._slots = Slots()
        self._pings = Pings()
        self._keepalive = Keepalive(self, limits)
        self._answered = False  # whether headers or data were sent since the last PING
        self._unread = 0
        self._corked = self._dirty = False
        self._unflushed = 0
        self._blocked: dict[EngineStream, None] = {}  # in the order in which they found the transport full
        self._going_away = self._draining = False
        self._farewell: StreamClosedError | None = None  # why the connection ended, as its first witness told
        self._last_id = self._flushed_id = 0
        self._linger: asyncio.TimerHandle | None = None

    # --- asyncio.Protocol, but for what arrives ---

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
        stream.head_sent = True
        self._answered = True
        if end_stream:
            self._ended_sending(stream)
        self.mark()

    def send_trailers(self, stream: EngineStream, headers: HeaderList) -> None:
        """Queue trailers; all data of the stream was sent before."""
        self._codec.send_trailers(stream, headers)
        self._answered = True
        self._ended_sending(stream)
        if not self._dirty:
            self.mark()

    def reset(self, stream: EngineStream, code: ErrorCode) -> None:
        """Cut a stream off from this side."""
        if stream.id in self.streams:
            self._codec.reset(stream, int(code))
            self.mark()
        self._forget(stream)
        stream.fail(StreamClosedError("reset locally", code=int(code), remote=False), keep=False)

    def give_back(self, stream: EngineStream) -> None:
        """Credit what a stream handed out."""
        self._codec.credit(stream, stream.take_handed())

    def last_heard(self) -> float:
        """Return the loop time of the last bytes from the peer, those included that came beside this connection."""
        beside: float | None = self._transport.get_extra_info("last_received") if self._transport is not None else None
        return self.last_received if beside is None else max(self.last_received, beside)

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

    def _got_while_full(self) -> None:
        """Something arrived that will be answered, from a peer that does not read: at some point, read no more."""
        self._unread += 1
        if self._unread == _MAX_UNREAD + 1 and self._transport is not None:
            self._transport.pause_reading()

    # --- ends ---

    def close(self, message: str = "closed locally", *, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """See ``interface.Connection``."""
        self._end(StreamClosedError(message, code=None, remote=False), code)

    def abort(self, message: str = "aborted") -> None:
        """See ``interface.Connection``."""
        transport = self._transport
        self._fall(StreamClosedError(message, remote=False))
        if transport is not None:
            transport.abort()

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
