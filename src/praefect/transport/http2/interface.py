"""What the rest of the program knows of HTTP/2: connections, streams and splicing. Both engines implement it.

The driver is synchronous: one ``data_received`` decodes a whole read and acts on every frame at once, and everything
written in one turn of the event loop leaves in one write. ``receive`` and ``send`` are for code that wants to await;
``splice`` joins two streams inside the driver without a task or a queue between them.

Names of header fields are lowercase ``str``, values ``bytes``; pseudo-header fields are never among them.

Source: RFC 9113.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from praefect.domain.errors import UnavailableError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

HeaderList = list[tuple[str, bytes]]
"""Header fields in order, names lowercase, duplicates kept."""


class ErrorCode(enum.IntEnum):
    """Reasons of RST_STREAM and GOAWAY. Source: RFC 9113 section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class StreamClosedError(UnavailableError):
    """The stream ended before its time: the peer reset it or the connection broke.

    Attributes:
        code: the peer's RST_STREAM or GOAWAY code, ``None`` when the connection broke without one.
        remote: whether the other side (or the network) ended it, and not this side.
        unprocessed: whether the peer certainly did not act on the request (REFUSED_STREAM, GOAWAY below this id, or
            the request never left), so that sending it again elsewhere is safe.
    """

    def __init__(
        self, message: str, *, code: int | None = None, remote: bool = True, unprocessed: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.remote = remote
        self.unprocessed = unprocessed


class ConnectionUnavailableError(StreamClosedError):
    """The connection takes no new streams: it is closed, closing, or the peer sent GOAWAY."""


def renewed(error: StreamClosedError) -> StreamClosedError:
    """Copy an error that is kept, to be raised without sharing its traceback."""
    return type(error)(str(error), code=error.code, remote=error.remote, unprocessed=error.unprocessed)


class RequestHead(NamedTuple):
    """The head of a request: pseudo-header fields apart from the rest."""

    method: str
    scheme: str
    authority: str
    path: str
    headers: HeaderList


class ResponseHead(NamedTuple):
    """The head of a response; ``end_stream`` is true for an answer without a body (gRPC: trailers-only)."""

    status: int
    headers: HeaderList
    end_stream: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection may cost. Sizes in bytes, times in seconds."""

    initial_window_size: int = 1 << 19
    connection_window: int = 1 << 28  # room for hundreds of slow streams, so that they cannot stop the others
    max_frame_size: int = 16384
    max_header_list_size: int = 1 << 20
    max_concurrent_streams: int | None = None  # advertised by a server; None: not advertised
    max_send_buffer: int = 1 << 20  # of one stream, between two writes
    keepalive_idle_seconds: float | None = 20.0  # PING after so long without inbound bytes; None: never
    keepalive_timeout_seconds: float = 20.0  # the connection is dead so long after an unanswered PING
    keepalive_interval_seconds: float = 0.0  # between two PINGs, unless the peer has sent HEADERS or DATA since
    min_ping_interval_seconds: float | None = None  # server: more than two earlier PINGs → ENHANCE_YOUR_CALM; None: off
    handshake_timeout_seconds: float = 120.0  # until the peer's first SETTINGS


class SpliceEnd(enum.Enum):
    """How one direction of a splice ended."""

    END_STREAM = "end_stream"  # the source half-closed without trailers; passed on
    TRAILERS = "trailers"  # the source sent trailers, or a head alone; kept for the caller, NOT passed on
    SOURCE_FAILED = "source_failed"  # the source was reset or its connection broke; the sink is untouched
    SINK_FAILED = "sink_failed"  # the sink was reset or broke; the rest of the source is discarded and credited


@dataclass(slots=True)
class SpliceResult:
    """What one direction of a splice came to."""

    end: SpliceEnd
    trailers: HeaderList | None = None  # with TRAILERS
    error: StreamClosedError | None = None  # with SOURCE_FAILED and SINK_FAILED
    spliced_bytes: int = 0


class Stream(Protocol):
    """One HTTP/2 stream, seen from either side. All methods belong to the connection's event loop.

    Received DATA is buffered up to the stream's window and credited back to the peer only when ``receive`` has handed
    it out, or, when spliced, when the sink's socket took it: a slow consumer therefore bounds what is buffered.
    """

    @property
    def id(self) -> int:
        """The stream's number."""

    @property
    def connection(self) -> Connection:
        """The connection the stream lives on."""

    @property
    def request(self) -> RequestHead:
        """The request's head, on both sides."""

    @property
    def head(self) -> ResponseHead | None:
        """Client side: the head of the response, once it has arrived."""

    @property
    def trailers(self) -> HeaderList | None:
        """The peer's trailers, once ``receive`` has returned ``b""`` (or a splice ended with TRAILERS)."""

    @property
    def error(self) -> StreamClosedError | None:
        """Why the stream was cut off, if it was."""

    @property
    def received_end(self) -> bool:
        """Whether the peer has half-closed and everything it sent was handed out."""

    async def response(self) -> ResponseHead:
        """Client side: wait for the head of the response.

        Raises:
            StreamClosedError: the stream ended without one.
        """

    async def receive(self) -> bytes:
        """Return the next received bytes (of any size, never empty), or ``b""`` once the peer has half-closed.

        Raises:
            StreamClosedError: the stream was cut off; raised only after what had arrived before was handed out.
        """

    def receive_nowait(self) -> bytes | None:
        """Return what ``receive`` would return at once, ``None`` if it would wait; raise as ``receive``."""

    def send_head(self, status: int, headers: HeaderList, *, end_stream: bool = False) -> None:
        """Server side: queue the response's head; with ``end_stream`` it is the whole response.

        Raises:
            ValueError: a field may not be sent; nothing was.
            RuntimeError: the head was sent before. What follows it raises this if it was not.
        """

    async def send(self, data: bytes, *, end_stream: bool = False) -> None:
        """Send ``data`` whole; return when both windows and the transport took it (back-pressure).

        ``send(b"", end_stream=True)`` half-closes; ``send(b"")`` sends nothing and waits for what was sent before. A
        cancelled ``send`` still sends all it was given, only unobserved; ``reset`` drops it.

        Raises:
            StreamClosedError: the peer reset the stream or the connection broke.
        """

    def send_trailers(self, headers: HeaderList) -> None:
        """Queue trailers and half-close; data sent before, also data still waiting for windows, goes first.

        Once a server's response has left, the rest of the request is refused (RST_STREAM with NO_ERROR) and dropped.
        Nothing happens if the stream was cut off or half-closed before.

        Raises:
            ValueError: a field may not be sent; nothing was.
        """

    def reset(self, code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Cut the stream off, unless it is over; local waiters see ``StreamClosedError`` with ``remote=False``."""

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once when the stream is cut off; soon, if it already is.

        That is when the peer resets the stream, the connection is lost or ``reset`` was called, and never at a normal
        end. A server uses it to cancel the handler.
        """

    def splice_to(
        self,
        sink: Stream,
        done: Callable[[SpliceResult], None],
        *,
        first: Callable[[], None] | None = None,
        passed: Callable[[bytes | bytearray], None] | None = None,
    ) -> None:
        """Pass all further received bytes on to ``sink``, both engine streams of this package, inside the driver.

        Buffered bytes go first. An END_STREAM without trailers is passed on; trailers are not: they are in the result
        and the caller decides. A response that was a head alone counts as trailers, its fields. ``first`` is called
        once right before anything is passed on (a proxy sends the response's head there). ``passed`` is shown the
        bytes that the sink took over, in order.

        ``done`` is called exactly once, from the driver, possibly before this method returns: when the source has
        ended or was cut off, or the sink was. Bytes that the sink's windows did not take by then leave before anything
        that is sent later. While spliced, ``receive`` must not be used on this stream, nor ``send`` on the sink.
        """


class Connection(Protocol):
    """One HTTP/2 connection on any asyncio transport: a socket, TLS or a yamux stream."""

    @property
    def is_client(self) -> bool:
        """Whether this side opens the streams."""

    @property
    def closed(self) -> bool:
        """Whether the transport is gone."""

    @property
    def accepts_streams(self) -> bool:
        """Client side: whether ``open_stream`` may work now (ready, no GOAWAY, not closing)."""

    @property
    def open_streams(self) -> int:
        """How many streams are neither finished nor reset."""

    @property
    def context(self) -> object:
        """What the owner attached at creation: the peer's identity, for whoever handles the streams."""

    def last_heard(self) -> float:
        """Return the loop time of the last bytes from the peer, be it on a session underneath: evidence of life."""

    async def wait_ready(self) -> None:
        """Client side: wait until the peer's first SETTINGS arrived.

        Raises:
            ConnectionUnavailableError: the connection ended first.
        """

    async def open_stream(
        self, method: str, scheme: str, authority: str, path: str, headers: HeaderList, *, end_stream: bool = False
    ) -> Stream:
        """Client side: open a stream; waits only for the handshake and while the peer's limit of streams is reached.

        Raises:
            ValueError: the head may not be sent; no stream was opened.
            ConnectionUnavailableError: the connection takes no new streams (``unprocessed`` is true).
        """

    async def ping(self) -> float:
        """Send a PING, wait for its answer and return the round trip in seconds.

        Raises:
            ConnectionUnavailableError: the connection ended first.
        """

    def go_away(self) -> None:
        """Accept no new streams (server: graceful double GOAWAY); existing ones go on, and the last one closes."""

    def close(self, message: str = "closed locally", *, code: ErrorCode = ErrorCode.NO_ERROR) -> None:
        """Send GOAWAY, flush and close the transport; all open streams are cut off."""

    def abort(self, message: str = "aborted") -> None:
        """Drop the transport at once, without waiting for buffers to drain."""

    async def wait_closed(self) -> None:
        """Wait until the transport is gone."""


class Engine(Protocol):
    """Makes the ``asyncio.Protocol`` of a connection; one implementation per HTTP/2 library."""

    def server(
        self,
        on_stream: Callable[[Stream], None],
        *,
        limits: Limits,
        context: object,
        on_lost: Callable[[], None] | None = None,
    ) -> ConnectionProtocol:
        """The listening side; ``on_stream`` is called, from the driver, for each new request."""

    def client(
        self, *, limits: Limits, context: object, on_lost: Callable[[], None] | None = None
    ) -> ConnectionProtocol:
        """The dialling side."""


class ConnectionProtocol(Connection, Protocol):
    """A connection that is also an ``asyncio.Protocol``, to be given to a transport.

    Bytes that somebody peeked before the switch of protocols are given to ``data_received`` right after
    ``connection_made``.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """See ``asyncio.BaseProtocol``."""

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""

    def eof_received(self) -> bool | None:
        """See ``asyncio.Protocol``."""

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
