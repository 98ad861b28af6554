"""The fast engine: ``httpunk``'s connection state machine as a codec of our driver.

``H2Streams`` holds frames, HPACK, windows and stream states and does no I/O. It is young and not in the package's
public namespace: pinned exactly, and used here only.

Two of its traits matter. A header block that does not decode, also one with a control character in a value, ends the
connection. A block beyond its limit loses fields silently; it is therefore told twice our limit, which the driver
enforces on what it sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from httpunk._httpunk import (
    H2_FLAG_CAPACITY,
    H2_FLAG_SLOT_FREED,
    H2_FLAG_WAKE,
    H2_HEADERS_HEAD,
    H2_HEADERS_OPENED,
    H2_HEADERS_TRAILERS,
    H2Codec,
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
    H2UserError,
    HeaderMap,
)

from praefect.transport.http2.codec import DONE, ConnectionFault
from praefect.transport.http2.interface import ErrorCode, RequestHead, ResponseHead
from praefect.transport.http2.stream import EngineStream

if TYPE_CHECKING:
    import asyncio

    from praefect.transport.http2.driver import DriverConnection
    from praefect.transport.http2.interface import HeaderList, Limits

_PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00"
_MAX_LOCAL_RESETS = 1024
_MAX_UNACCEPTED_RESETS = 20


class HttpunkCodec:
    """See ``codec.Codec``."""

    __slots__ = ("_driver", "_extra", "_spare", "_state", "drained")

    def __init__(self, driver: DriverConnection, limits: Limits, is_client: bool) -> None:
        role: dict[str, Any] = (
            {"enable_push": False}
            if is_client
            else {
                "max_concurrent_streams": limits.max_concurrent_streams,
                "max_pending_accept_reset_streams": _MAX_UNACCEPTED_RESETS,
                "max_local_error_reset_streams": _MAX_LOCAL_RESETS,
                "auto_date_header": False,
            }
        )
        self._state = H2Streams(
            "client" if is_client else "server",
            initial_window_size=limits.initial_window_size,
            connection_window=limits.connection_window,
            max_frame_size=limits.max_frame_size,
            max_header_list_size=2 * limits.max_header_list_size,
            max_send_buf_size=limits.max_send_buffer,
            data_frame_budget=None,
            **role,
        )
        self._driver = driver
        self._spare = EngineStream(driver)  # becomes the next request's stream
        self._extra = bytearray()  # frames that the state machine cannot make
        self.drained = False

    # --- out ---

    def begin(self) -> None:
        """See ``codec.Codec``."""
        self._state.begin()

    def write_to(self, transport: asyncio.WriteTransport) -> None:
        """See ``codec.Codec``."""
        batch, _ = self._state.take_pending()
        if batch:
            transport.write(bytes(batch))
        batch.release()
        if self._extra:
            extra, self._extra = self._extra, bytearray()
            transport.write(extra)
        for stream in self._state.credit_written():
            self._driver.block(stream)  # type: ignore[arg-type]  # handles are our streams

    def can_open(self) -> bool:
        """See ``codec.Codec``."""
        return self._state.can_open()

    def open(self, stream: EngineStream, head: RequestHead, *, end_stream: bool) -> bool:
        """See ``codec.Codec``."""
        headers = _header_map(head.headers)
        if not self._state.try_claim_slot():
            return False
        number = self._state.open_stream(
            head.method, head.path, headers, end_stream, False, stream, scheme=head.scheme, authority=head.authority
        )
        if number is None:
            return False
        stream.id = number
        return True

    def send_head(self, stream: EngineStream, status: int, headers: HeaderList, *, end_stream: bool) -> None:
        """See ``codec.Codec``."""
        try:
            verdict = self._state.send_response_head(stream.id, status, HeaderMap(headers), end_stream)
        except H2UserError as exc:
            raise ValueError(*exc.args) from exc
        if (flags := verdict.flags) & ~H2_FLAG_WAKE:
            self._act(flags)

    def send_data(self, stream: EngineStream, data: bytes, offset: int, end_stream: bool) -> int:
        """See ``codec.Codec``."""
        verdict = self._state.send_data(stream.id, data, offset, end_stream)
        if verdict.stopped is not None:
            self._driver.got_violation(stream, verdict.stopped.reason or ErrorCode.CANCEL)
            return offset
        if (flags := verdict.flags) & ~H2_FLAG_WAKE:
            self._act(flags)
        return DONE if verdict.done else offset + verdict.sent

    def send_trailers(self, stream: EngineStream, headers: HeaderList) -> None:
        """See ``codec.Codec``."""
        if (flags := self._state.send_trailers(stream.id, _header_map(headers)).flags) & ~H2_FLAG_WAKE:
            self._act(flags)

    def reset(self, stream: EngineStream, code: int) -> None:
        """See ``codec.Codec``."""
        if (flags := self._state.reset_stream(stream.id, code).flags) & ~H2_FLAG_WAKE:
            self._act(flags)

    def credit(self, stream: EngineStream, size: int) -> None:
        """See ``codec.Codec``."""
        if flags := self._state.release_capacity(stream.id, size):
            self._act(flags)

    def ping(self, payload: bytes) -> None:
        """See ``codec.Codec``."""
        self._extra += _PING + payload

    def drain(self) -> None:
        """See ``codec.Codec``."""
        self._act(self._state.begin_graceful_shutdown())

    def go_away(self, code: int, debug: bytes) -> None:
        """See ``codec.Codec``."""
        state = self._state
        self._extra += H2Codec(role="server").serialize_go_away(state.last_processed_id, code, debug)

    def _act(self, flags: int) -> None:
        """Do what a verdict asks for."""
        if flags & H2_FLAG_WAKE:
            self._driver.mark()
        if flags & H2_FLAG_SLOT_FREED:
            self._driver.got_slot()
        if flags & H2_FLAG_CAPACITY and (stream := self._state.next_capacity_wake()) is not None:
            self._driver.block(stream)  # type: ignore[arg-type]  # handles are our streams

    # --- in ---

    def receive(self, data: bytes) -> None:
        """See ``codec.Codec``."""
        state, driver = self._state, self._driver
        got_data, recv_data = driver.got_data, state.recv_data
        try:
            for frame in state.receive(data):
                try:
                    if type(frame) is H2FrameData:
                        verdict = recv_data(frame)
                        stream: Any = verdict.handle
                        if stream is not None:
                            payload = verdict.payload
                            if payload is not None:
                                if verdict.budgeted:
                                    state.release_data_frame(stream.id, len(payload))
                                got_data(stream, payload, end=verdict.eof)
                            else:
                                got_data(stream, b"", end=verdict.eof)
                        if flags := verdict.flags:
                            self._act(flags)
                    elif type(frame) is H2FrameHeaders:
                        self._headers(frame)
                    else:
                        self._dispatch(frame)
                except H2StreamError as exc:
                    self._reset_violator(*exc.args)
        except H2Error as exc:
            raise _fault(exc) from exc

    def _dispatch(self, frame: Any) -> None:
        state, driver, kind = self._state, self._driver, type(frame)
        if kind is H2FrameWindowUpdate:
            for stream in state.recv_window_update(frame):
                driver.got_window(stream)  # type: ignore[arg-type]  # handles are our streams
        elif kind is H2FramePing:
            self._act(state.recv_ping(frame))
            if frame.ack and state.shutdown_final:
                self.drained = True
            driver.got_ping(frame.data, ack=frame.ack)
        elif kind is H2FrameSettings:
            self._settings(frame)
        else:
            self._dispatch_end(frame)

    def _dispatch_end(self, frame: Any) -> None:
        state, driver, kind = self._state, self._driver, type(frame)
        if kind is H2FrameRstStream:
            if (reset := state.recv_reset(frame)) is not None:
                self._act(reset[3])
                driver.got_reset(reset[0], frame.error_code)  # type: ignore[arg-type]  # handles are our streams
        elif kind is H2FrameGoAway:
            _, flags = state.recv_go_away(frame)
            driver.got_go_away(frame.last_stream_id, frame.error_code, frame.debug_data)
            self._act(flags)
        elif kind is H2FrameStreamError:
            self._reset_violator(frame.stream_id, frame.error_code, "library")

    def _headers(self, frame: H2FrameHeaders) -> None:
        driver = self._driver
        verdict = self._state.recv_headers(frame, self._spare)
        kind = verdict.kind
        stream: Any = verdict.handle
        # The state machine does not mind pseudo-header fields in the wrong place, nor that one is missing.
        if kind == H2_HEADERS_OPENED:
            stream, self._spare = self._spare, EngineStream(driver)
            stream.id = verdict.stream_id
            self._state.accepted(stream.id)
            if frame.status is not None:
                driver.refuse(stream, ErrorCode.PROTOCOL_ERROR)
                return
            head = RequestHead(
                frame.method or "", frame.scheme or "", frame.authority or "", frame.path or "", frame.headers.items()
            )
            driver.got_request(stream, head, end=verdict.eof)
        elif kind == H2_HEADERS_HEAD:
            if frame.status is None or _is_request(frame):
                driver.reset_violator(stream, ErrorCode.PROTOCOL_ERROR, "the response's head is malformed")
            else:
                driver.got_response(stream, ResponseHead(frame.status, frame.headers.items(), verdict.eof))
        elif kind == H2_HEADERS_TRAILERS:
            if frame.status is not None or _is_request(frame):
                driver.reset_violator(stream, ErrorCode.PROTOCOL_ERROR, "the trailers are malformed")
            else:
                driver.got_trailers(stream, frame.headers.items())
        if flags := verdict.flags:
            self._act(flags)

    def _settings(self, frame: H2FrameSettings) -> None:
        _, woken, flags = self._state.recv_settings(frame)
        self._act(flags)
        if not frame.ack:
            self._driver.got_settings(limits_changed=frame.max_concurrent_streams is not None)
        for stream in woken:
            self._driver.got_window(stream)  # type: ignore[arg-type]  # handles are our streams

    def _reset_violator(self, number: int, code: int, initiator: str) -> None:
        if initiator == "remote":
            return  # the peer's own reset coming to light again; nothing is sent back
        self._spare = EngineStream(self._driver)  # the frame may have consumed it
        verdict = self._state.reset_on_error(number, code)
        stream: Any = verdict.handle
        if stream is not None:
            self._driver.got_violation(stream, code)
        self._act(verdict.flags)


def _is_request(frame: H2FrameHeaders) -> bool:
    return not (frame.method is frame.path is frame.scheme is frame.authority is None)


def _header_map(headers: HeaderList) -> HeaderMap:
    """Validate names and values.

    Raises:
        ValueError: a field may not be sent.
    """
    fields = HeaderMap(headers)
    try:
        H2Codec.check_send_headers(fields)
    except H2UserError as exc:
        raise ValueError(*exc.args) from exc
    return fields


def _fault(exc: H2Error) -> ConnectionFault:
    first = exc.args[0] if exc.args else None
    code = int(first) if isinstance(first, int) else ErrorCode.PROTOCOL_ERROR
    return ConnectionFault(code, str(exc.args[-1]) if exc.args else "protocol error")
