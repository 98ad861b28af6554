"""The other engine: python-hyper's ``h2`` as a codec of our driver. Slower, older, and independent of the first.

Frames reach the library one by one, so that what came before a fault still counts. GOAWAY is kept from it, both ways:
it would close the connection at once, while streams below the last one have to go on.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    PingReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import NoAvailableStreamIDError, ProtocolError
from h2.settings import SettingCodes, Settings

from praefect.transport.http2.codec import DONE, ConnectionFault
from praefect.transport.http2.fields import (
    MalformedFieldsError,
    decode,
    decode_request,
    decode_response,
    encode,
)
from praefect.transport.http2.interface import ErrorCode, ResponseHead
from praefect.transport.http2.stream import EngineStream

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from h2.errors import ErrorCodes

    from praefect.transport.http2.driver import DriverConnection
    from praefect.transport.http2.interface import HeaderList, Limits, RequestHead

_DEFAULT_WINDOW = 65535
_UNLIMITED = (1 << 31) - 1
_DRAIN = b"draining"
_PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00"
_GOAWAY = 7
_PREFACE_BYTES = 24


class _Library(H2Connection):
    @property
    def open_inbound_streams(self) -> int:
        """Hide the number: the library would end the connection where one stream too many is to be refused."""
        _ = super().open_inbound_streams  # forgets closed streams
        return 0

    def _terminate_connection(self, error_code: ErrorCodes) -> None:
        """Leave the GOAWAY to the driver, which knows more to say."""


class H2Codec:
    """See ``codec.Codec``."""

    __slots__ = (
        "_buffer",
        "_connection_window",
        "_draining",
        "_driver",
        "_farewell",
        "_is_client",
        "_last_accepted",
        "_library",
        "_max_frame_size",
        "_max_streams",
        "_preface_left",
        "_waiting",
        "drained",
    )

    def __init__(self, driver: DriverConnection, limits: Limits, is_client: bool) -> None:
        library = self._library = _Library(
            H2Configuration(
                client_side=is_client,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        values: dict[SettingCodes, int] = {
            SettingCodes.INITIAL_WINDOW_SIZE: limits.initial_window_size,
            SettingCodes.MAX_FRAME_SIZE: limits.max_frame_size,
            SettingCodes.MAX_HEADER_LIST_SIZE: 2 * limits.max_header_list_size,
        }
        if is_client:
            values[SettingCodes.ENABLE_PUSH] = 0
        elif limits.max_concurrent_streams is not None:
            values[SettingCodes.MAX_CONCURRENT_STREAMS] = limits.max_concurrent_streams
        library.local_settings = Settings(client=is_client, initial_values=values)
        library.max_inbound_frame_size = limits.max_frame_size
        library.decoder.max_header_list_size = 2 * limits.max_header_list_size
        self._driver = driver
        self._is_client = is_client
        self._connection_window = limits.connection_window
        self._max_frame_size = limits.max_frame_size
        self._max_streams = limits.max_concurrent_streams
        self._preface_left = 0 if is_client else _PREFACE_BYTES
        self._buffer = bytearray()
        self._farewell = bytearray()
        self._waiting: dict[EngineStream, None] = {}  # for windows, longest first
        self._last_accepted = _UNLIMITED
        self._draining = False
        self.drained = False

    # --- out ---

    def begin(self) -> None:
        """See ``codec.Codec``."""
        self._library.initiate_connection()
        if self._connection_window > _DEFAULT_WINDOW:
            self._library.increment_flow_control_window(self._connection_window - _DEFAULT_WINDOW)

    def write_to(self, transport: asyncio.WriteTransport) -> None:
        """See ``codec.Codec``."""
        data = self._library.data_to_send() + bytes(self._farewell)
        self._farewell.clear()
        if data:
            transport.write(data)

    def can_open(self) -> bool:
        """See ``codec.Codec``."""
        library = self._library
        return library.open_outbound_streams < library.remote_settings.max_concurrent_streams

    def open(self, stream: EngineStream, head: RequestHead, *, end_stream: bool) -> bool:
        """See ``codec.Codec``."""
        fields = encode(head.headers)
        pseudo = [
            (b":method", head.method.encode()),
            (b":scheme", head.scheme.encode()),
            (b":authority", head.authority.encode()),
            (b":path", head.path.encode()),
        ]
        if not head.path.startswith("/") or any(b"\n" in value or b"\r" in value for _, value in pseudo):
            message = "the request's line cannot be sent"
            raise ValueError(message)
        try:
            number = self._library.get_next_available_stream_id()
        except NoAvailableStreamIDError:
            return False
        self._library.send_headers(number, pseudo + fields, end_stream=end_stream)
        stream.id = number
        return True

    def send_head(self, stream: EngineStream, status: int, headers: HeaderList, *, end_stream: bool) -> None:
        """See ``codec.Codec``."""
        fields = [(b":status", b"%d" % status), *encode(headers)]
        self._library.send_headers(stream.id, fields, end_stream=end_stream)
        if end_stream:
            self._ended(stream)

    def send_data(self, stream: EngineStream, data: bytes, offset: int, end_stream: bool) -> int:
        """See ``codec.Codec``."""
        library, number, size = self._library, stream.id, len(data) - offset
        try:
            room = min(library.local_flow_control_window(number), library.max_outbound_frame_size, size)
            if room <= 0 < size:
                self._waiting[stream] = None
                return offset
            last = room == size
            library.send_data(number, data[offset : offset + room], end_stream=end_stream and last)
        except ProtocolError:
            self._driver.got_violation(stream, ErrorCode.STREAM_CLOSED)
            return offset
        if not last:
            return offset + room
        if end_stream:
            self._ended(stream)
        return DONE

    def send_trailers(self, stream: EngineStream, headers: HeaderList) -> None:
        """See ``codec.Codec``."""
        if headers:
            self._library.send_headers(stream.id, encode(headers), end_stream=True)
        else:
            self._library.end_stream(stream.id)  # it cannot make an empty block
        self._ended(stream)

    def reset(self, stream: EngineStream, code: int) -> None:
        """See ``codec.Codec``."""
        self._settle(stream)
        try:
            self._library.reset_stream(stream.id, code)
        except ProtocolError:
            return  # over already

    def credit(self, stream: EngineStream, size: int) -> None:
        """See ``codec.Codec``."""
        if size:
            self._library.acknowledge_received_data(size, stream.id)
            self._driver.mark()

    def ping(self, payload: bytes) -> None:
        """See ``codec.Codec``."""
        self._library.ping(payload)

    def drain(self) -> None:
        """See ``codec.Codec``."""
        self._draining = True
        self._go_away(_UNLIMITED, ErrorCode.NO_ERROR, b"")
        self._farewell += _PING + _DRAIN

    def go_away(self, code: int, debug: bytes) -> None:
        """See ``codec.Codec``."""
        self._go_away(self._library.highest_inbound_stream_id, code, debug)

    def _go_away(self, last_id: int, code: int, debug: bytes) -> None:
        body = struct.pack(">II", last_id, code) + debug
        self._farewell += struct.pack(">I", len(body))[1:] + bytes((_GOAWAY, 0, 0, 0, 0, 0)) + body

    def _ended(self, stream: EngineStream) -> None:
        """A server whose response is complete wants no more of the request. Source: RFC 9113 section 8.1."""
        self._waiting.pop(stream, None)
        if not self._is_client and not stream.ended:
            self.reset(stream, ErrorCode.NO_ERROR)

    def _settle(self, stream: EngineStream) -> None:
        self._waiting.pop(stream, None)
        self.credit(stream, stream.settle())

    # --- in ---

    def receive(self, data: bytes) -> None:
        """See ``codec.Codec``."""
        driver = self._driver
        try:
            for frame in self._frames(data):
                for event in self._library.receive_data(frame):
                    self._dispatch(event)
                if driver.closing:
                    return
        except ProtocolError as exc:
            raise ConnectionFault(int(exc.error_code), str(exc)) from exc
        driver.mark()

    def _frames(self, data: bytes) -> Iterator[bytes]:
        """Cut what arrived into whole frames, GOAWAY apart, and refuse those that are too long by their head."""
        if self._preface_left:
            preface, data = data[: self._preface_left], data[self._preface_left :]
            self._preface_left -= len(preface)
            yield preface
        buffer = self._buffer
        buffer += data
        while len(buffer) >= 9:
            length = int.from_bytes(buffer[:3], "big")
            if length > self._max_frame_size:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "frame exceeds the limit")
            if len(buffer) < 9 + length:
                return
            frame = bytes(buffer[: 9 + length])
            del buffer[: 9 + length]
            if frame[3] == _GOAWAY:
                self._went_away(frame)
            else:
                yield frame

    def _went_away(self, frame: bytes) -> None:
        if len(frame) < 17:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY is too short")
        if any(frame[5:9]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        last_id, code = struct.unpack(">II", frame[9:17])
        self._driver.got_go_away(last_id & _UNLIMITED, code, frame[17:])

    def _dispatch(self, event: Event) -> None:
        driver = self._driver
        if isinstance(event, DataReceived):
            self._got_data(event)
        elif isinstance(event, RequestReceived):
            self._got_request(event)
        elif isinstance(event, ResponseReceived | TrailersReceived):
            self._got_headers(event)
        elif isinstance(event, WindowUpdated):
            self._got_window(event.stream_id or 0)
        elif isinstance(event, RemoteSettingsChanged):
            driver.got_settings(limits_changed=SettingCodes.MAX_CONCURRENT_STREAMS in event.changed_settings)
            if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
                self._got_window(0)
        elif isinstance(event, PingReceived):
            driver.got_ping(event.ping_data or b"", ack=False)
        elif isinstance(event, PingAckReceived):
            self._got_answer(event.ping_data or b"")
        elif isinstance(event, StreamReset):
            self._got_reset(event)

    def _got_request(self, event: RequestReceived) -> None:
        stream = EngineStream(self._driver)
        stream.id = event.stream_id or 0
        if stream.id > self._last_accepted or (
            self._max_streams is not None and len(self._driver.streams) >= self._max_streams
        ):
            self._driver.refuse(stream, ErrorCode.REFUSED_STREAM)
            return
        try:
            head = decode_request(event.headers or ())
        except MalformedFieldsError:
            self._driver.refuse(stream, ErrorCode.PROTOCOL_ERROR)
            return
        self._driver.got_request(stream, head, end=event.stream_ended is not None)

    def _got_headers(self, event: ResponseReceived | TrailersReceived) -> None:
        driver = self._driver
        stream = driver.streams.get(event.stream_id or 0)
        if stream is None:
            return
        fields = event.headers or ()
        try:
            if isinstance(event, TrailersReceived):
                driver.got_trailers(stream, decode(fields))
            else:
                status, headers = decode_response(fields)
                end = event.stream_ended is not None
                driver.got_response(stream, ResponseHead(status=status, headers=headers, end_stream=end))
        except MalformedFieldsError as exc:
            driver.reset_violator(stream, ErrorCode.PROTOCOL_ERROR, str(exc))

    def _got_data(self, event: DataReceived) -> None:
        stream = self._driver.streams.get(event.stream_id or 0)
        data = event.data or b""
        surplus = event.flow_controlled_length or 0
        if stream is not None:
            surplus -= len(data)
        if surplus:
            self._library.acknowledge_received_data(surplus, event.stream_id or 0)
        if stream is not None:
            self._driver.got_data(stream, bytes(data), end=event.stream_ended is not None)

    def _got_window(self, number: int) -> None:
        if number == 0:
            waiting, self._waiting = self._waiting, {}
            for stream in waiting:
                self._driver.got_window(stream)
        elif (waiter := self._driver.streams.get(number)) is not None and waiter in self._waiting:
            del self._waiting[waiter]
            self._driver.got_window(waiter)

    def _got_answer(self, payload: bytes) -> None:
        if payload == _DRAIN and self._draining and not self.drained:
            self.drained = True
            self._last_accepted = self._library.highest_inbound_stream_id
            self.go_away(ErrorCode.NO_ERROR, b"")
        self._driver.got_ping(payload, ack=True)

    def _got_reset(self, event: StreamReset) -> None:
        stream = self._driver.streams.get(event.stream_id or 0)
        if stream is None:
            return
        self._settle(stream)
        code = int(event.error_code or 0)
        if event.remote_reset:
            self._driver.got_reset(stream, code)
        else:
            self._driver.got_violation(stream, code)
