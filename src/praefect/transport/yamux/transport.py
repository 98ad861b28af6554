"""A yamux stream as an asyncio transport: whatever speaks over a socket speaks over it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, cast

from praefect.transport.yamux.errors import CONNECTION_RESET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from praefect.transport.yamux.connection import YamuxConnection
    from praefect.transport.yamux.stream import Stream

_HIGH_WATER = 64 * 1024
_JOIN_BELOW = 16 * 1024
_SHARED_INFO = frozenset({"peername", "sockname", "peercert", "cipher", "compression", "ssl_object", "sslcontext"})


class StreamTransport(asyncio.Transport):
    """One stream of a ``YamuxConnection``.

    ``write_eof`` sends FIN; ``close`` sends what is queued, then FIN, and drops what still arrives; ``abort`` sends
    RST. While reading is paused the peer gets no credit, so that at most a window is held. The protocol's
    ``connection_lost`` is called once: with ``None`` after a close by this side, else with the reason. A reset by the
    peer and the loss of the session come without ``eof_received``, so that a cut stream does not look like a finished
    one.

    The methods named ``on_…``, ``start`` and ``start_timer`` belong to the connection.
    """

    def __init__(self, connection: YamuxConnection, stream: Stream, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._connection = connection
        self._stream = stream
        self._loop = loop
        self._protocol: asyncio.Protocol = asyncio.Protocol()
        self._received: deque[bytes | bytearray] = deque()
        self._delivery: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading_paused = False
        self._writing_paused = False
        self._eof_waiting = False
        self._closing = False
        self._lost = False
        self._high_water = _HIGH_WATER
        self._low_water = _HIGH_WATER // 4

    def __repr__(self) -> str:
        state = "lost" if self._lost else "closing" if self._closing else "open"
        return f"<StreamTransport {self._stream.id} {state}>"

    # --- asyncio.Transport ---

    @property
    def stream_id(self) -> int:
        """The number of the stream within its session."""
        return self._stream.id

    @property
    def connection(self) -> YamuxConnection:
        """The connection that the stream is one of."""
        return self._connection

    @property
    def acknowledged(self) -> bool:
        """Whether the peer took the stream; true from the start if the peer opened it."""
        return self._stream.acknowledged

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return what is known of the connection underneath, without its socket.

        ``last_received`` is the loop time of its last bytes, on whichever stream.
        """
        if name == "last_received":
            return self._connection.last_received
        return self._connection.get_extra_info(name, default) if name in _SHARED_INFO else default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See ``asyncio.BaseTransport``."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.Protocol:
        """See ``asyncio.BaseTransport``."""
        return self._protocol

    def is_closing(self) -> bool:
        """See ``asyncio.BaseTransport``."""
        return self._closing

    def is_reading(self) -> bool:
        """See ``asyncio.ReadTransport``."""
        return not self._reading_paused and not self._closing

    def pause_reading(self) -> None:
        """See ``asyncio.ReadTransport``; may be called twice."""
        self._reading_paused = True

    def resume_reading(self) -> None:
        """See ``asyncio.ReadTransport``; what was held is handed on in the next turn of the loop."""
        if self._reading_paused and not self._closing:
            self._reading_paused = False
            if (self._received or self._eof_waiting) and self._delivery is None:
                self._delivery = self._loop.call_soon(self._deliver)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See ``asyncio.WriteTransport``."""
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            msg = f"high ({high!r}) must be >= low ({low!r}) must be >= 0"
            raise ValueError(msg)
        self._high_water = high
        self._low_water = low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See ``asyncio.WriteTransport``."""
        return self._low_water, self._high_water

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait for the peer's credit or for the connection."""
        return self._stream.outgoing_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ``asyncio.WriteTransport``; ``bytes`` are not copied."""
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """See ``asyncio.WriteTransport``."""
        if self._closing:
            return
        if self._stream.finish_wanted:
            msg = "cannot write after write_eof()"
            raise RuntimeError(msg)
        self._connection.write(self._stream, [_frozen(data) for data in list_of_data])
        if self._stream.outgoing_bytes > self._high_water and not self._writing_paused and not self._closing:
            self._writing_paused = True
            self._guarded(self._protocol.pause_writing)

    def can_write_eof(self) -> bool:
        """See ``asyncio.WriteTransport``."""
        return True

    def write_eof(self) -> None:
        """Half-close the stream once everything written was sent."""
        if not self._closing:
            self._connection.finish(self._stream)

    def close(self) -> None:
        """Send what was written, then FIN; received bytes are dropped from now on."""
        if self._closing:
            return
        self._closing = True
        self._received.clear()
        self._connection.close_stream(self._stream)
        if self._stream.finish_sent or self._stream.gone:
            self.on_progress()

    def abort(self) -> None:
        """Send RST, dropping what was not sent and what was not read."""
        self._closing = True
        self._received.clear()
        self._connection.reset(self._stream)
        self._lose(None)

    # --- from the connection ---

    def start(self, protocol: asyncio.Protocol) -> None:
        """Give the new stream its protocol."""
        self.set_protocol(protocol)
        self._guarded(protocol.connection_made, self)

    def start_timer(self, seconds: float, expired: Callable[[StreamTransport], None]) -> None:
        """Call ``expired`` unless the stream is acknowledged, ended or given another timer before."""
        self._cancel_timer()
        self._timer = self._loop.call_later(seconds, expired, self)

    def on_acknowledged(self) -> None:
        """Note that the peer took the stream."""
        if not self._lost:  # else the timer is the one that waits for the peer's end
            self._cancel_timer()

    def on_data(self, data: bytes) -> None:
        """Hand on received bytes, or hold them while reading is paused."""
        if self._closing:
            return
        if not self._reading_paused and not self._received:
            self._hand_on(data)
            return
        last = self._received[-1] if self._received else None
        if last is None or len(last) + len(data) > _JOIN_BELOW:
            self._received.append(data)
        elif isinstance(last, bytearray):
            last += data
        else:
            # Many tiny frames must not cost many times their size.
            self._received[-1] = bytearray(last) + data

    def on_finish(self) -> None:
        """Note that the peer sends no more."""
        if self._stream.gone:
            self._cancel_timer()
        if self._closing:
            return
        self._eof_waiting = True
        if not self._reading_paused and not self._received:
            self._hand_on_eof()

    def on_lost(self, exc: Exception | None) -> None:
        """Note that the peer or the network destroyed the stream."""
        self._closing = True
        self._received.clear()
        self._cancel_timer()
        self._lose(exc if exc is not None else ConnectionResetError(CONNECTION_RESET))

    def on_progress(self) -> None:
        """Note that queued bytes or the end of the stream were sent."""
        stream = self._stream
        if self._writing_paused and stream.outgoing_bytes <= self._low_water:
            self._writing_paused = False
            if not self._lost:
                self._guarded(self._protocol.resume_writing)
        if stream.finish_sent and self._closing and not self._lost:
            self._lose(None)

    # --- inside ---

    def _deliver(self) -> None:
        self._delivery = None
        while self._received and not self._reading_paused and not self._closing:
            self._hand_on(bytes(self._received.popleft()))
        if self._eof_waiting and not self._reading_paused and not self._closing and not self._received:
            self._hand_on_eof()

    def _hand_on(self, data: bytes) -> None:
        self._connection.consumed(self._stream, len(data))
        self._guarded(self._protocol.data_received, data)

    def _hand_on_eof(self) -> None:
        self._eof_waiting = False
        if not self._guarded(self._protocol.eof_received):
            self.close()

    def _lose(self, exc: Exception | None) -> None:
        if self._lost:
            return
        self._lost = True
        if self._stream.gone:
            self._cancel_timer()
        else:
            self.start_timer(self._connection.settings.close_timeout_seconds, StreamTransport._give_up)
        self._loop.call_soon(self._call_lost, exc)

    def _call_lost(self, exc: Exception | None) -> None:
        self._guarded(self._protocol.connection_lost, exc)
        self._connection.on_stream_lost(self)

    def _give_up(self) -> None:
        """The peer did not end its side in time."""
        self._connection.reset(self._stream)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _guarded(self, callback: Callable[..., object], *arguments: object) -> object:
        """Call the protocol; its fault ends this stream and not the others."""
        try:
            return callback(*arguments)
        except Exception as exc:  # noqa: BLE001 - see above
            self._loop.call_exception_handler(
                {
                    "message": "the protocol of a yamux stream failed",
                    "exception": exc,
                    "transport": self,
                    "protocol": self._protocol,
                }
            )
            if not self._lost:
                self.abort()
            return True


def _frozen(data: bytes | bytearray | memoryview) -> bytes | memoryview:
    """Return the data in a form that nobody changes later."""
    if isinstance(data, bytes) or (isinstance(data, memoryview) and isinstance(data.obj, bytes) and data.contiguous):
        return data
    return bytes(data)
