"""A yamux session on an asyncio transport."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from praefect.observability.log import get_logger
from praefect.transport.yamux.errors import (
    OPEN_TIMEOUT,
    SHUTDOWN,
    WENT_AWAY,
    WRITE_TIMEOUT,
    SessionUnavailableError,
)
from praefect.transport.yamux.session import Session
from praefect.transport.yamux.stream import (
    DataReceived,
    SessionFailed,
    StreamAcknowledged,
    StreamFinished,
    StreamOpened,
    StreamReset,
    WentAway,
)
from praefect.transport.yamux.transport import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from praefect.transport.yamux.settings import Settings
    from praefect.transport.yamux.stream import Event, Stream

P = TypeVar("P")

_SOCKET_HIGH_WATER = 256 * 1024
_FLUSH_BYTES = 256 * 1024
_FLUSH_AT_ONCE_BYTES = 64 * 1024


class Traffic(Protocol):
    """Told of the size of each read and write of multiplexed connections, in bytes."""

    def on_read(self, size: int) -> None:
        """Take note of a read."""

    def on_write(self, size: int) -> None:
        """Take note of a write."""


class YamuxConnection(asyncio.Protocol):
    """One side of a yamux session; its streams are transports.

    The connection is always read, however slow the readers of single streams are; ``last_received`` is the loop time of
    the last bytes. What is written in one turn of the
    loop leaves in one write, streams with much to send take turns, and a connection that takes no more pauses them all.

    Args:
        client: whether this side dialled.
        settings: limits of the session.
        accept: makes the protocol of each stream that the peer opens.
        preface: written before anything of the session.
        ends_with_first: whether the end of the first stream, of either side, ends the session.
        on_lost: called once when the connection is gone.
        traffic: told of reads and writes.
    """

    def __init__(  # noqa: PLR0913 - the roles differ in all of it
        self,
        *,
        client: bool,
        settings: Settings,
        accept: Callable[[], asyncio.Protocol],
        preface: bytes = b"",
        ends_with_first: bool = False,
        on_lost: Callable[[], None] | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self.settings = settings
        self._log = get_logger("backchannel.YamuxClient" if client else "backchannel.YamuxServer")
        self._traffic = traffic
        self._core = Session(client=client, settings=settings)
        self._accept = accept
        self._preface = preface
        self._ends_with_first = ends_with_first
        self._on_lost = on_lost
        self._first: StreamTransport | None = None
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.last_received = self._loop.time()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._openers: deque[asyncio.Future[None]] = deque()
        self._writing_paused = False
        self._feeding = False
        self._flushing = False
        self._flush_handle: asyncio.Handle | None = None
        self._write_watch: asyncio.TimerHandle | None = None
        self._failure: Exception | None = None
        self._closing = False

    # --- for its user ---

    @property
    def closed(self) -> bool:
        """Whether the session is over or about to be."""
        return self._closing

    @property
    def open_streams(self) -> int:
        """How many streams exist, of both sides, those included that wait for the peer's end."""
        return len(self._core.streams)

    @property
    def failure(self) -> Exception | None:
        """Why the session ended, if it was not closed by this side."""
        return self._failure

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return what the transport underneath knows."""
        return default if self._transport is None else cast("object", self._transport.get_extra_info(name, default))

    async def open_stream(self, factory: Callable[[], P]) -> tuple[StreamTransport, P]:
        """Open a stream, waiting while as many opens as the backlog are unacknowledged.

        It returns before the peer has acknowledged the stream; data can be written at once.

        Args:
            factory: makes the stream's protocol, something with the methods of ``asyncio.Protocol``.

        Raises:
            SessionUnavailableError: the session is over, or ends while this waits, or the peer takes no new streams.
        """
        while True:
            self._check_open()
            if self._core.can_open and not self._openers:
                return self.open_stream_nowait(factory)
            opener: asyncio.Future[None] = self._loop.create_future()
            self._openers.append(opener)
            try:
                await opener
            except asyncio.CancelledError:
                if opener.done() and not opener.cancelled():
                    self._wake_opener()  # its turn goes to the next one
                raise
            finally:
                if opener in self._openers:
                    self._openers.remove(opener)
            self._check_open()
            if self._core.can_open:
                return self.open_stream_nowait(factory)

    def open_stream_nowait(self, factory: Callable[[], P]) -> tuple[StreamTransport, P]:
        """Open a stream now, whatever the backlog.

        Raises:
            SessionUnavailableError: see ``open_stream``.
        """
        self._check_open()
        protocol = factory()
        transport = self._adopt(self._core.open())
        transport.start_timer(self.settings.open_timeout_seconds, self._on_open_timeout)
        transport.start(cast("asyncio.Protocol", protocol))
        self._schedule_flush()
        return transport, protocol

    def close(self) -> None:
        """End the session: what the connection took already is sent, all streams are cut."""
        if self._closing:
            return
        self.flush()
        self._end(None)
        if self._transport is not None:
            # asyncio's TLS transport cannot be asked for anything any more once it is closed twice.
            if not self._transport.is_closing():
                self._transport.close()
            self._watch_writing()

    def abort(self, exc: Exception | None = None) -> None:
        """Drop the connection at once."""
        self._end(exc)
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await asyncio.shield(self._lost)

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_SOCKET_HIGH_WATER)
        if self._preface:
            self._transport.write(self._preface)
        self._schedule_flush()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self.last_received = self._loop.time()
        if self._traffic is not None:
            self._traffic.on_read(len(data))
        self._feeding = True
        for event in self._core.feed(data):
            self._dispatch(event)
            if self._closing:
                break
        self._feeding = False
        self.flush()
        self._wake_opener()

    def eof_received(self) -> None:
        """See ``asyncio.Protocol``; there are no half-closed sessions."""

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._end(exc if exc is not None else ConnectionResetError(SHUTDOWN))
        if self._write_watch is not None:
            self._write_watch.cancel()
        if not self._lost.done():
            self._lost.set_result(None)
            if self._on_lost is not None:
                self._on_lost()

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._writing_paused = True
        self._watch_writing()

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._writing_paused = False
        if self._write_watch is not None and not self._closing:
            self._write_watch.cancel()
            self._write_watch = None
        self.flush()

    # --- from the streams ---

    def write(self, stream: Stream, pieces: Iterable[bytes | memoryview]) -> None:
        """Queue bytes of a stream; much of it is sent at once, little at the end of this turn of the loop."""
        for piece in pieces:
            self._core.write(stream, piece)
        if stream.outgoing_bytes >= _FLUSH_AT_ONCE_BYTES:
            self.flush()
        else:
            self._schedule_flush()

    def finish(self, stream: Stream) -> None:
        """Half-close a stream."""
        self._core.finish(stream)
        self._schedule_flush()

    def close_stream(self, stream: Stream) -> None:
        """Half-close a stream and drop what still arrives."""
        self._core.discard(stream)
        self.finish(stream)

    def reset(self, stream: Stream) -> None:
        """Destroy a stream."""
        self._core.reset(stream)
        self._schedule_flush()
        self._wake_opener()

    def consumed(self, stream: Stream, size: int) -> None:
        """Note that received bytes were taken."""
        self._core.consumed(stream, size)
        if not self._feeding:
            self._schedule_flush()

    def on_stream_lost(self, transport: StreamTransport) -> None:
        """Note that a stream's protocol was told of its end."""
        if self._ends_with_first and transport is self._first:
            self.close()

    # --- inside ---

    def flush(self) -> None:
        """Send what can be sent."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if self._flushing or self._closing or self._transport is None:
            return
        self._flushing = True
        while not self._writing_paused and not self._closing:
            frames, progressed = self._core.output(_FLUSH_BYTES)
            if not frames:
                break
            if self._traffic is not None:
                self._traffic.on_write(sum(map(len, frames)))
            self._transport.writelines(frames)
            for stream in progressed:
                cast("StreamTransport", stream.owner).on_progress()
        self._flushing = False

    def _schedule_flush(self) -> None:
        if self._flush_handle is None and not self._feeding and not self._flushing and not self._closing:
            self._flush_handle = self._loop.call_soon(self.flush)

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, DataReceived):
            cast("StreamTransport", event.stream.owner).on_data(event.data)
        elif isinstance(event, StreamOpened):
            self._adopt(event.stream).start(self._accept())
        elif isinstance(event, StreamAcknowledged):
            cast("StreamTransport", event.stream.owner).on_acknowledged()
        elif isinstance(event, StreamFinished):
            cast("StreamTransport", event.stream.owner).on_finish()
        elif isinstance(event, StreamReset):
            cast("StreamTransport", event.stream.owner).on_lost(None)
        elif isinstance(event, SessionFailed):
            self._fail(event.message)
        elif isinstance(event, WentAway):
            self._refuse_openers(SessionUnavailableError(WENT_AWAY))

    def _adopt(self, stream: Stream) -> StreamTransport:
        transport = StreamTransport(self, stream, self._loop)
        stream.owner = transport
        if self._first is None:
            self._first = transport
        return transport

    def _check_open(self) -> None:
        if self._closing or self._transport is None:
            raise SessionUnavailableError(SHUTDOWN)
        if self._core.peer_went_away:
            raise SessionUnavailableError(WENT_AWAY)

    def _wake_opener(self) -> None:
        while self._openers and self._core.can_open:
            opener = self._openers.popleft()
            if not opener.done():
                opener.set_result(None)
                return

    def _refuse_openers(self, error: SessionUnavailableError) -> None:
        while self._openers:
            opener = self._openers.popleft()
            if not opener.done():
                opener.set_exception(error)

    def _on_open_timeout(self, _transport: StreamTransport) -> None:
        self._fail(OPEN_TIMEOUT)

    def _fail(self, message: str) -> None:
        self._log.info("session failed", error=message)
        frames, _ = self._core.output(0)
        if self._transport is not None and frames:
            self._transport.writelines(frames)
        self._end(ConnectionResetError(message))
        if self._transport is not None:
            self._transport.close()
            self._watch_writing()

    def _end(self, exc: Exception | None) -> None:
        """Cut all streams, once."""
        if self._closing:
            return
        self._closing = True
        self._failure = exc
        self._refuse_openers(SessionUnavailableError(SHUTDOWN))
        for stream in tuple(self._core.streams.values()):
            self._core.reset(stream, silent=True)
            if isinstance(stream.owner, StreamTransport):
                stream.owner.on_lost(exc if exc is not None else ConnectionAbortedError(SHUTDOWN))

    def _watch_writing(self) -> None:
        """Give up a connection that takes no byte for the time allowed."""
        if self._write_watch is None and self._transport is not None and not self._lost.done():
            size = self._transport.get_write_buffer_size()
            self._write_watch = self._loop.call_later(self.settings.write_timeout_seconds, self._check_writing, size)

    def _check_writing(self, size_before: int) -> None:
        self._write_watch = None
        if self._transport is None or self._lost.done():
            return
        size = self._transport.get_write_buffer_size()
        if size and size >= size_before:
            self.abort(ConnectionResetError(WRITE_TIMEOUT))
            return
        if size:
            self._watch_writing()
