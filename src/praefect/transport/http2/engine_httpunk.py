"""The fast engine: ``httpunk``'s connection state machine under a synchronous driver of our own.

``H2Streams`` holds frames, HPACK, windows and stream states and does no I/O; this driver feeds it what arrives, acts on
its verdicts at once, and writes what a turn of the event loop produced in one go.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from httpunk._httpunk import (
    H2_FLAG_CAPACITY,
    H2_FLAG_SLOT_FREED,
    H2_FLAG_WAKE,
    H2_HEADERS_HEAD,
    H2_HEADERS_OPENED,
    H2_HEADERS_TRAILERS,
    H2Error,
    H2FrameData,
    H2FrameGoAway,
    H2FrameHeaders,
    H2FramePing,
    H2FrameRstStream,
    H2FrameSettings,
    H2FrameStreamError,
    H2FrameWindowUpdate,
    H2StreamError,
    H2Streams,
    HeaderMap,
)

from praefect.transport.http2.interface import (
    ConnectionUnavailableError,
    ErrorCode,
    HeaderList,
    Limits,
    RequestHead,
    ResponseHead,
    SpliceEnd,
    SpliceResult,
    Stream,
    StreamClosedError,
)

PING_HEAD = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00"


class _Chunk:
    """Bytes on their way out: what is left of them, and whom to tell when they are gone."""

    __slots__ = ("data", "done", "end", "offset", "source")

    def __init__(
        self, data: bytes, *, end: bool, done: asyncio.Future[None] | None = None, source: HttpunkStream | None = None
    ) -> None:
        self.data = data
        self.offset = 0
        self.end = end
        self.done = done
        self.source = source


class HttpunkStream:
    """See ``interface.Stream``."""

    __slots__ = (
        "_callbacks",
        "_done",
        "_ended",
        "_first",
        "_head",
        "_inbox",
        "_out",
        "_send_closed",
        "_sink",
        "_source",
        "_spliced",
        "_trailers_out",
        "_waiter",
        "connection",
        "error",
        "id",
        "request",
        "trailers",
    )

    def __init__(self, connection: HttpunkConnection) -> None:
        self.connection = connection
        self.id = 0
        self.request = RequestHead(method="", scheme="", authority="", path="", headers=[])
        self.trailers: HeaderList | None = None
        self.error: StreamClosedError | None = None
        self._head: ResponseHead | None = None
        self._inbox: deque[tuple[bytes, bool]] = deque()
        self._ended = False
        self._send_closed = False
        self._out: deque[_Chunk] = deque()
        self._trailers_out: HeaderList | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._sink: HttpunkStream | None = None
        self._source: HttpunkStream | None = None
        self._done: Callable[[SpliceResult], None] | None = None
        self._first: Callable[[], None] | None = None
        self._spliced = 0

    @property
    def received_end(self) -> bool:
        return self._ended and not self._inbox

    # --- receiving ---

    async def response(self) -> ResponseHead:
        while self._head is None:
            if self.error is not None:
                raise self.error
            await self._wait()
        return self._head

    async def receive(self) -> bytes:
        while (data := self.receive_nowait()) is None:
            await self._wait()
        return data

    def receive_nowait(self) -> bytes | None:
        if self._inbox:
            data, budgeted = self._inbox.popleft()
            self.connection.credit(self, len(data), budgeted=budgeted)
            return data
        if self._ended:
            return b""
        if self.error is not None:
            raise self.error
        return None

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- what the driver says ---

    def take_head(self, head: ResponseHead) -> None:
        self._head = head
        if head.end_stream:
            self._ended = True
        self._wake()

    def take_data(self, data: bytes, *, budgeted: bool) -> None:
        if self._sink is not None:
            self._pass_on(data, budgeted=budgeted)
        else:
            self._inbox.append((data, budgeted))
            self._wake()

    def take_end(self, trailers: HeaderList | None) -> None:
        self.trailers = trailers
        self._ended = True
        if self._sink is not None:
            self._end_splice()
        self._wake()

    def fail(self, error: StreamClosedError) -> None:
        """Cut the stream off; what had arrived before can still be received."""
        if self.error is not None or (self._ended and self._send_closed):
            return
        self.error = error
        self._drop_outgoing(error)
        self._wake()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        if self._sink is not None and not self._ended:
            self._finish_splice(SpliceEnd.SOURCE_FAILED, error=error)

    def _drop_outgoing(self, error: StreamClosedError) -> None:
        out, self._out = self._out, deque()
        self._trailers_out = None
        for chunk in out:
            if chunk.done is not None and not chunk.done.done():
                chunk.done.set_exception(error)
            if chunk.source is not None:
                chunk.source.connection.credit(chunk.source, len(chunk.data), budgeted=False)
        source = self._source
        if source is not None:
            source._finish_splice(SpliceEnd.SINK_FAILED, error=error)  # noqa: SLF001

    # --- sending ---

    def send_head(self, status: int, headers: HeaderList, *, end_stream: bool = False) -> None:
        if self.error is None:
            self.connection.send_head(self, status, headers, end_stream=end_stream)
            self._send_closed = self._send_closed or end_stream

    async def send(self, data: bytes, *, end_stream: bool = False) -> None:
        if self.error is not None:
            raise self.error
        chunk = _Chunk(data, end=end_stream)
        self._out.append(chunk)
        if len(self._out) == 1:
            self.resume()
        if chunk.offset < 0:
            if self.error is not None:
                raise self.error
            return
        chunk.done = asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error
        await chunk.done

    def send_trailers(self, headers: HeaderList) -> None:
        if self.error is None:
            self._trailers_out = headers
            self.resume()

    def resume(self) -> None:
        """Send what the windows take now."""
        out, connection = self._out, self.connection
        while out:
            chunk = out[0]
            verdict = connection.state.send_data(self.id, chunk.data, chunk.offset, chunk.end)
            if verdict.stopped is not None:
                self.fail(connection.stopped(verdict.stopped))
                return
            connection.act(verdict.flags)
            if not verdict.done:
                if not verdict.sent:
                    return
                chunk.offset += verdict.sent
                continue
            if not out or out[0] is not chunk:
                return  # cut off while the verdict was acted on
            out.popleft()
            chunk.offset = -1
            if chunk.end:
                self._send_closed = True
            if chunk.done is not None and not chunk.done.done():
                chunk.done.set_result(None)
            if chunk.source is not None and chunk.data:
                chunk.source.connection.credit(chunk.source, len(chunk.data), budgeted=False)
        if self._trailers_out is not None:
            trailers, self._trailers_out = self._trailers_out, None
            verdict = connection.state.send_trailers(self.id, HeaderMap(trailers))
            self._send_closed = True
            connection.act(verdict.flags)

    def reset(self, code: ErrorCode = ErrorCode.CANCEL) -> None:
        if self.error is not None or (self._ended and self._send_closed):
            return
        self.connection.reset(self, code)

    def on_close(self, callback: Callable[[], None]) -> None:
        if self.error is not None:
            asyncio.get_running_loop().call_soon(callback)
        else:
            self._callbacks.append(callback)

    # --- splice ---

    def splice_to(
        self, sink: Stream, done: Callable[[SpliceResult], None], *, first: Callable[[], None] | None = None
    ) -> None:
        assert isinstance(sink, HttpunkStream)  # noqa: S101 - one engine per process
        self._sink, self._done, self._first = sink, done, first
        sink._source = self  # noqa: SLF001
        if sink.error is not None:
            self._finish_splice(SpliceEnd.SINK_FAILED, error=sink.error)
            return
        while self._inbox and self._sink is not None:
            data, budgeted = self._inbox.popleft()
            self._pass_on(data, budgeted=budgeted)
        if self._sink is None:
            return
        if self._ended:
            self._end_splice()
        elif self.error is not None:
            self._finish_splice(SpliceEnd.SOURCE_FAILED, error=self.error)

    def _pass_on(self, data: bytes, *, budgeted: bool) -> None:
        if budgeted:
            self.connection.state.release_data_frame(self.id, len(data))
        if self._first is not None:
            first, self._first = self._first, None
            first()
        self._spliced += len(data)
        sink = self._sink
        if sink is None or sink.error is not None:
            self.connection.credit(self, len(data), budgeted=False)
            return
        sink._out.append(_Chunk(data, end=False, source=self))  # noqa: SLF001
        if len(sink._out) == 1:  # noqa: SLF001
            sink.resume()

    def _end_splice(self) -> None:
        sink = self._sink
        if self.trailers is None and sink is not None and sink.error is None:
            sink._out.append(_Chunk(b"", end=True))  # noqa: SLF001
            if len(sink._out) == 1:  # noqa: SLF001
                sink.resume()
        self._finish_splice(SpliceEnd.END_STREAM if self.trailers is None else SpliceEnd.TRAILERS)

    def _finish_splice(self, end: SpliceEnd, *, error: StreamClosedError | None = None) -> None:
        done, self._done = self._done, None
        sink, self._sink = self._sink, None
        if sink is not None and sink._source is self:  # noqa: SLF001
            sink._source = None  # noqa: SLF001
        if end is SpliceEnd.SINK_FAILED:
            # The rest of the source is nobody's any more.
            self._sink = sink
        if done is not None:
            trailers = self.trailers if end is SpliceEnd.TRAILERS else None
            done(SpliceResult(end=end, trailers=trailers, error=error, spliced_bytes=self._spliced))


class HttpunkConnection(asyncio.Protocol):
    """See ``interface.ConnectionProtocol``."""

    def __init__(  # noqa: PLR0913 - made by the engine only
        self,
        *,
        is_client: bool,
        limits: Limits,
        context: object,
        on_stream: Callable[[Stream], None] | None,
        on_lost: Callable[[], None] | None,
    ) -> None:
        extra: dict[str, Any] = (
            {"enable_push": False}
            if is_client
            else {
                "max_concurrent_streams": limits.max_concurrent_streams,
                "max_pending_accept_reset_streams": 20,
                "max_local_error_reset_streams": 1024,
                "auto_date_header": False,
            }
        )
        self.state = H2Streams(
            "client" if is_client else "server",
            initial_window_size=limits.initial_window_size,
            connection_window=limits.connection_window,
            max_frame_size=limits.max_frame_size,
            max_header_list_size=limits.max_header_list_size,
            max_send_buf_size=limits.max_send_buffer,
            data_frame_budget=None,
            **extra,
        )
        self.is_client = is_client
        self.context = context
        self.last_received = 0.0
        self._limits = limits
        self._on_stream = on_stream
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._spare = HttpunkStream(self)
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._slots: deque[asyncio.Future[None]] = deque()
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._ping_number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._dirty = False
        self._paused = False
        self._going_away = False
        self._early_pings = 0
        self._last_ping = float("-inf")

    # --- state ---

    @property
    def closed(self) -> bool:
        return self._closed.done()

    @property
    def accepts_streams(self) -> bool:
        return (
            self.is_client
            and self._ready.done()
            and not self._going_away
            and not self._closed.done()
            and not self.state.is_closed()
        )

    @property
    def open_streams(self) -> int:
        return self.state.num_open_streams

    async def wait_ready(self) -> None:
        await asyncio.shield(self._ready)

    async def wait_closed(self) -> None:
        await asyncio.shield(self._closed)

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream transport, by construction
        self._transport = transport
        self.last_received = self._loop.time()
        self._ready.add_done_callback(_retrieve)
        self.state.begin()
        self._flush()
        self._schedule(self._limits.handshake_timeout_seconds, self._check_handshake)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def eof_received(self) -> bool | None:
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self._transport = None
        self._fail(StreamClosedError(f"connection lost: {exc}" if exc else "EOF"))

    def data_received(self, data: bytes) -> None:
        if self._closed.done():
            return
        self.last_received = self._loop.time()
        try:
            for frame in self.state.receive(data):
                try:
                    self._dispatch(frame)
                except H2StreamError as exc:
                    self._spare = HttpunkStream(self)
                    if exc.args[2] != "remote":
                        verdict = self.state.reset_on_error(exc.args[0], exc.args[1])
                        if verdict.handle is not None:
                            verdict.handle.fail(StreamClosedError("protocol error", code=exc.args[1]))
                        self.act(verdict.flags)
            flags = self.state.maybe_goaway_reply()
            if flags:
                self.act(flags)
        except H2Error as exc:
            reason = exc.args[0] if exc.args and isinstance(exc.args[0], int) else ErrorCode.PROTOCOL_ERROR
            self._break(StreamClosedError(f"protocol error: {exc}", code=int(reason)), int(reason))
            return
        if self._dirty:
            self._flush()

    # --- frames ---

    def _dispatch(self, frame: object) -> None:  # noqa: C901 - one arm per frame
        state, kind = self.state, type(frame)
        if kind is H2FrameData:
            verdict = state.recv_data(frame)
            stream = verdict.handle
            if stream is not None:
                if verdict.payload is not None:
                    stream.take_data(verdict.payload, budgeted=verdict.budgeted)
                if verdict.eof:
                    stream.take_end(None)
            self.act(verdict.flags)
        elif kind is H2FrameHeaders:
            self._take_headers(frame)
        elif kind is H2FrameWindowUpdate:
            for stream in state.recv_window_update(frame):
                stream.resume()
        elif kind is H2FrameSettings:
            initial, woken, flags = state.recv_settings(frame)
            for stream in woken:
                stream.resume()
            self.act(flags)
            if initial and not self._ready.done():
                self._ready.set_result(None)
                self._schedule_keepalive()
        elif kind is H2FramePing:
            self._take_ping(frame)
        elif kind is H2FrameRstStream:
            if (reset := state.recv_reset(frame)) is not None:
                stream, stop, _, flags = reset
                self.act(flags)
                stream.fail(self.stopped(stop))
        elif kind is H2FrameGoAway:
            aborted, flags = state.recv_go_away(frame)
            self._going_away = True
            for stream, _ in aborted:
                stream.fail(
                    StreamClosedError("the server is shutting down", code=frame.error_code, unprocessed=True)  # type: ignore[attr-defined]
                )
            self.act(flags)
            self._wake_slots()
        elif kind is H2FrameStreamError:
            raise H2StreamError(frame.stream_id, frame.error_code, "library")  # type: ignore[attr-defined]

    def _take_headers(self, frame: Any) -> None:
        verdict = self.state.recv_headers(frame, self._spare)
        if verdict.kind == H2_HEADERS_OPENED:
            stream, self._spare = self._spare, HttpunkStream(self)
            stream.id = verdict.stream_id
            stream.request = RequestHead(
                method=frame.method or "",
                scheme=frame.scheme or "",
                authority=frame.authority or "",
                path=frame.path or "",
                headers=frame.headers.items(),
            )
            self.state.accepted(stream.id)
            if verdict.eof:
                stream.take_end(None)
            self.act(verdict.flags)
            if self._on_stream is not None:
                self._on_stream(stream)
            return
        if verdict.kind == H2_HEADERS_HEAD:
            head = ResponseHead(status=frame.status, headers=frame.headers.items(), end_stream=verdict.eof)
            verdict.handle.take_head(head)
        elif verdict.kind == H2_HEADERS_TRAILERS:
            verdict.handle.take_end(frame.headers.items())
        self.act(verdict.flags)

    def _take_ping(self, frame: Any) -> None:
        if frame.ack:
            waiter = self._pings.pop(bytes(frame.data), None)
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
            return
        interval = self._limits.min_ping_interval_seconds
        if interval is not None:
            now = self._loop.time()
            self._early_pings = self._early_pings + 1 if now - self._last_ping < interval else 0
            self._last_ping = now
            if self._early_pings > 2:
                self._break(StreamClosedError("too many pings"), ErrorCode.ENHANCE_YOUR_CALM)
                return
        self.act(self.state.recv_ping(frame))

    def stopped(self, stop: Any) -> StreamClosedError:
        """Turn a verdict's reason into the error of a stream."""
        code = stop.reason
        unprocessed = code == ErrorCode.REFUSED_STREAM
        text = f"stream was reset with code {code}" if code is not None else "stream was cut off"
        return StreamClosedError(text, code=code, unprocessed=unprocessed)

    # --- out ---

    def act(self, flags: int) -> None:
        """Do what a verdict asks for."""
        if flags & H2_FLAG_WAKE:
            self._mark()
        if flags & H2_FLAG_SLOT_FREED:
            self._wake_slots()
        if flags & H2_FLAG_CAPACITY and (stream := self.state.next_capacity_wake()) is not None:
            stream.resume()

    def credit(self, stream: HttpunkStream, size: int, *, budgeted: bool) -> None:
        """Give bytes that were consumed back to the peer's window."""
        if budgeted:
            self.state.release_data_frame(stream.id, size)
        self.act(self.state.release_capacity(stream.id, size))

    def send_head(self, stream: HttpunkStream, status: int, headers: HeaderList, *, end_stream: bool) -> None:
        """Queue a response's head."""
        self._early_pings = 0
        verdict = self.state.send_response_head(stream.id, status, HeaderMap(headers), end_stream)
        self.act(verdict.flags)

    def reset(self, stream: HttpunkStream, code: ErrorCode) -> None:
        """Reset a stream from this side."""
        verdict = self.state.reset_stream(stream.id, int(code))
        self.act(verdict.flags)
        stream.fail(StreamClosedError("cancelled locally", code=int(code), remote=False))

    def _mark(self) -> None:
        if not self._dirty:
            self._dirty = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._dirty = False
        if self._paused or self._transport is None:
            return
        batch, _ = self.state.take_pending()
        if batch:
            self._transport.write(bytes(batch))
        batch.release()
        for stream in self.state.credit_written():
            stream.resume()

    # --- opening ---

    async def open_stream(  # noqa: PLR0913 - the parts of a request's head
        self, method: str, scheme: str, authority: str, path: str, headers: HeaderList, *, end_stream: bool = False
    ) -> Stream:
        while self.accepts_streams and not self.state.try_claim_slot():
            slot = self._loop.create_future()
            self._slots.append(slot)
            await slot
        if not self.accepts_streams:
            raise ConnectionUnavailableError("the connection is closing", unprocessed=True)
        stream = HttpunkStream(self)
        stream.request = RequestHead(method=method, scheme=scheme, authority=authority, path=path, headers=headers)
        number = self.state.open_stream(
            method, path, HeaderMap(headers), end_stream, False, stream, scheme=scheme, authority=authority
        )
        if number is None:
            raise ConnectionUnavailableError("the connection is closing", unprocessed=True)
        stream.id = number
        stream._send_closed = end_stream  # noqa: SLF001
        self._mark()
        return stream

    def _wake_slots(self) -> None:
        slots, self._slots = self._slots, deque()
        for slot in slots:
            if not slot.done():
                slot.set_result(None)

    # --- life ---

    async def ping(self) -> float:
        if self._transport is None or self._closed.done():
            raise ConnectionUnavailableError("the connection is closed", unprocessed=True)
        began = self._loop.time()
        await asyncio.shield(self._send_ping())
        return self._loop.time() - began

    def _send_ping(self) -> asyncio.Future[None]:
        self._ping_number += 1
        payload = self._ping_number.to_bytes(8, "big")
        waiter = self._pings[payload] = self._loop.create_future()
        waiter.add_done_callback(_retrieve)
        if self._transport is not None:
            self._flush()
            self._transport.write(PING_HEAD + payload)
        return waiter

    def _schedule(self, seconds: float, check: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, check)

    def _check_handshake(self) -> None:
        if not self._ready.done():
            self._break(StreamClosedError("no SETTINGS in time"), ErrorCode.SETTINGS_TIMEOUT)

    def _schedule_keepalive(self) -> None:
        idle = self._limits.keepalive_idle_seconds
        if idle is None:
            if self._timer is not None:
                self._timer.cancel()
            return
        self._schedule(max(0.01, self.last_received + idle - self._loop.time()), self._check_idle)

    def _check_idle(self) -> None:
        idle = self._limits.keepalive_idle_seconds
        if idle is None or self._closed.done():
            return
        if self._loop.time() - self.last_received < idle:
            self._schedule_keepalive()
            return
        asked = self._loop.time()
        self._send_ping()

        def check_answer() -> None:
            if self.last_received < asked:
                self._break(StreamClosedError("keepalive timeout"), ErrorCode.NO_ERROR)
            else:
                self._schedule_keepalive()

        self._schedule(self._limits.keepalive_timeout_seconds, check_answer)

    def go_away(self) -> None:
        self._going_away = True
        if not self.is_client:
            self.act(self.state.begin_graceful_shutdown())

    def close(self, message: str = "closed locally", *, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        if not self._closed.done():
            self._break(StreamClosedError(message, remote=False), int(code))

    def abort(self, message: str = "aborted") -> None:
        transport = self._transport
        self._fail(StreamClosedError(message, remote=False))
        if transport is not None:
            transport.abort()

    def _break(self, error: StreamClosedError, reason: int) -> None:
        """Say goodbye, flush, close and cut everything off."""
        transport = self._transport
        if transport is not None:
            self.act(self.state.send_goaway(reason))
            self._paused = False
            self._flush()
            transport.close()
        self._fail(error)

    def _fail(self, error: StreamClosedError) -> None:
        if self._closed.done():
            return
        self._closed.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        for stream, _ in self.state.fail(None, str(error)):
            stream.fail(error)
        unavailable = ConnectionUnavailableError(str(error), code=error.code, remote=error.remote)
        if not self._ready.done():
            self._ready.set_exception(unavailable)
        pings, self._pings = self._pings, {}
        for waiter in pings.values():
            if not waiter.done():
                waiter.set_exception(unavailable)
        self._wake_slots()
        if self._on_lost is not None:
            self._on_lost()


def _retrieve(future: asyncio.Future[None]) -> None:
    """Mark a failure as seen, so that nobody is warned of one that nobody waited for."""
    if not future.cancelled():
        future.exception()


class HttpunkEngine:
    """See ``interface.Engine``."""

    def server(
        self,
        on_stream: Callable[[Stream], None],
        *,
        limits: Limits,
        context: object,
        on_lost: Callable[[], None] | None = None,
    ) -> HttpunkConnection:
        return HttpunkConnection(is_client=False, limits=limits, context=context, on_stream=on_stream, on_lost=on_lost)

    def client(
        self, *, limits: Limits, context: object, on_lost: Callable[[], None] | None = None
    ) -> HttpunkConnection:
        return HttpunkConnection(is_client=True, limits=limits, context=context, on_stream=None, on_lost=on_lost)
