"""What an engine's library is wrapped into: frames, HPACK, windows and stream states, without any I/O.

The driver owns sockets, timers, queues and waiters and is the same for both engines; a codec turns bytes into calls of
the driver (``got_…``) and calls into bytes. It never calls back while it is asked to send, but for ``block`` and
``got_violation``; that there is something to write is known to whoever asked, ``credit`` excepted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from praefect.transport.http2.driver import DriverConnection
    from praefect.transport.http2.interface import HeaderList, Limits, RequestHead
    from praefect.transport.http2.stream import EngineStream

    CodecFactory = Callable[["DriverConnection", Limits, bool], "Codec"]

DONE = -1
"""What ``send_data`` returns when all was taken."""


class ConnectionFault(Exception):  # noqa: N818 - never an answer; it ends the connection
    """The peer broke the protocol in a way that ends the connection."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Codec(Protocol):
    """One connection's protocol state. Sizes are bytes; what is sent waits in the codec until ``write_to``.

    Attributes:
        drained: whether the graceful GOAWAY begun by ``drain`` is complete.
    """

    drained: bool

    def begin(self) -> None:
        """Queue the preface, SETTINGS and the connection's window."""

    def receive(self, data: bytes) -> None:
        """Decode and tell the driver of each frame, in order.

        Raises:
            ConnectionFault: the connection must end.
        """

    def write_to(self, transport: asyncio.WriteTransport) -> None:
        """Write everything queued in one go."""

    def can_open(self) -> bool:
        """Whether the peer's limit of concurrent streams leaves room."""

    def open(self, stream: EngineStream, head: RequestHead, *, end_stream: bool) -> bool:
        """Queue a request's head and number the stream; ``False`` if no number is left.

        Raises:
            ValueError: the head cannot be sent.
        """

    def send_head(self, stream: EngineStream, status: int, headers: HeaderList, *, end_stream: bool) -> None:
        """Queue a response's head.

        Raises:
            ValueError: it cannot be sent.
        """

    def send_data(self, stream: EngineStream, data: bytes, offset: int, end_stream: bool) -> int:
        """Queue at most one frame of ``data[offset:]``; return the new offset, or ``DONE`` when nothing is left.

        The offset is unchanged if the windows are closed; the driver's ``got_window`` then announces that they opened.
        With nothing left and ``end_stream``, the stream is half-closed.
        """

    def send_trailers(self, stream: EngineStream, headers: HeaderList) -> None:
        """Queue trailers and half-close.

        Raises:
            ValueError: they cannot be sent.
        """

    def reset(self, stream: EngineStream, code: int) -> None:
        """Queue RST_STREAM; what the stream owed to the connection's window is given back."""

    def credit(self, stream: EngineStream, size: int) -> None:
        """Give back received bytes of a stream that was not reset."""

    def ping(self, payload: bytes) -> None:
        """Queue a PING of eight bytes."""

    def drain(self) -> None:
        """Server: begin a graceful GOAWAY; the codec finishes it when the PING that goes with it is answered."""

    def go_away(self, code: int, debug: bytes) -> None:
        """Queue the last GOAWAY."""
