"""One call as its caller sees it: the request's messages out, the response's messages and the status in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from praefect.transport.grpc.framing import (
    DEFAULT_MAX_MESSAGE_BYTES,
    FramingError,
    MessageCounter,
    MessageDecoder,
    MessageTooLargeError,
    frame,
)
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.status import (
    Status,
    StatusCode,
    StatusError,
    decode_trailers,
    field,
    status_from_http,
    status_from_stream_error,
    status_of,
)
from praefect.transport.http2.interface import ErrorCode, StreamClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType

    from praefect.transport.http2.interface import HeaderList, ResponseHead, Stream

    OpenStream = Callable[[str, Metadata, float | None], Awaitable[Stream]]
    Began = Callable[["ClientCall"], Callable[[Status], None]]

EXPIRED = Status(StatusCode.DEADLINE_EXCEEDED, "context deadline exceeded")
CANCELLED = Status(StatusCode.CANCELLED, "context canceled")
_REPLAY_BYTES = 256 << 10
"""How much of a request is kept to be sent again if the peer certainly did not look at it."""


class ClientCall:
    """One call on the calling side. Enter it to open its stream; leaving it before its end resets the stream.

    Attributes:
        method: the full name, ``/package.Service/Method``.
        metadata: the request's metadata; may be changed until the call is entered.
        deadline: loop time at which the call is given up, ``None`` for never.
        status: how the call ended; ``None`` until ``receive`` has returned ``None`` or raised.
        trailing_metadata: empty until the call ended.
        sent: counts the messages sent; who writes to the stream itself feeds it.
        received: counts the messages received; who reads the stream itself feeds it.
        error: why the stream broke, if it did and ``cancel`` or the deadline did not do it.
    """

    __slots__ = (
        "_began",
        "_decoder",
        "_ended",
        "_expired",
        "_half_closed",
        "_head",
        "_max_message_bytes",
        "_open_stream",
        "_replay",
        "_replay_bytes",
        "_stream",
        "_timer",
        "deadline",
        "error",
        "metadata",
        "method",
        "received",
        "sent",
        "status",
        "trailing_metadata",
    )

    def __init__(
        self,
        open_stream: OpenStream,
        method: str,
        metadata: Metadata,
        *,
        deadline: float | None = None,
        max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
        began: Began | None = None,
    ) -> None:
        """Prepare a call.

        Args:
            open_stream: opens its stream.
            method: see the attributes, as for ``metadata`` and ``deadline``.
            metadata: see there.
            deadline: see there.
            max_message_bytes: larger messages of the response are refused.
            began: given the call before it is opened; what it returns is told once how the call ended.
        """
        self.method = method
        self.metadata = metadata
        self.deadline = deadline
        self.status: Status | None = None
        self.trailing_metadata = Metadata()
        self.error: StreamClosedError | None = None
        self.sent = MessageCounter()
        self.received = MessageCounter()
        self._began = began
        self._ended: Callable[[Status], None] | None = None
        self._open_stream = open_stream
        self._stream: Stream | None = None
        self._head: ResponseHead | None = None
        self._decoder = MessageDecoder(limit=max_message_bytes)
        self._max_message_bytes = max_message_bytes
        self._half_closed = False
        self._expired = False
        self._timer: asyncio.TimerHandle | None = None
        self._replay: list[bytes] | None = []
        self._replay_bytes = 0

    def __repr__(self) -> str:
        return f"ClientCall({self.method!r}, status={self.status!r})"

    @property
    def stream(self) -> Stream:
        """The HTTP/2 stream of an entered call; a relay splices it."""
        if self._stream is None:
            message = "the call was not entered"
            raise RuntimeError(message)
        return self._stream

    @property
    def response_began(self) -> bool:
        """Whether the response's head came before its trailers; the call then cannot be sent again unnoticed."""
        return self._head is not None and not self._head.end_stream

    # --- lifetime ---

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def open(self) -> None:
        """Open the stream; whoever does this instead of entering the call must ``cancel`` it in the end.

        Raises:
            StatusError: no connection could be made, or the deadline passed.
        """
        if self._began is not None:
            self._ended = self._began(self)
        if self.deadline is not None:
            loop = asyncio.get_running_loop()
            if self.deadline <= loop.time():
                raise self._end(EXPIRED)
            self._timer = loop.call_at(self.deadline, self._expire)
        try:
            self._stream = await self._open()
        except StatusError as exc:
            self._stop_timer()
            self._conclude(exc.status)
            raise
        except BaseException:
            self._stop_timer()
            self._conclude(CANCELLED)
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def cancel(self) -> Status:
        """Give the call up, unless it is over, and return how it ended."""
        self._stop_timer()
        stream = self._stream
        status = self._conclude(self.status or (EXPIRED if self._expired else CANCELLED))
        if stream is not None:
            # Nothing happens if it is over. The peer may have ended the call without waiting for the rest of the
            # request, or this side may have refused its answer.
            stream.reset(ErrorCode.CANCEL)
        return status

    # --- request ---

    async def send(self, message: bytes, *, last: bool = False) -> bool:
        """Send one message; with ``last`` the request ends with it.

        Returns:
            whether the stream took it. ``False`` means that the call is over; ``receive`` tells how it ended.
        """
        self.sent.count += 1
        return await self._send_bytes(frame(message), last=last)

    async def send_framed(self, data: bytes, *, last: bool = False) -> bool:
        """Send bytes that are messages with their prefixes already, or parts of such; see ``send``."""
        self.sent.feed(data)
        return await self._send_bytes(data, last=last)

    async def half_close(self) -> bool:
        """End the request; see ``send``."""
        return await self._send_bytes(b"", last=True)

    def spliced(self) -> None:
        """Say that the rest of the request is sent by a splice, so that it cannot be sent again from here."""
        self._replay = None

    async def _send_bytes(self, data: bytes, *, last: bool) -> bool:
        if last:
            self._half_closed = True
        if self._replay is not None:
            self._replay.append(data)
            self._replay_bytes += len(data)
            if self._replay_bytes > _REPLAY_BYTES:
                self._replay = None
        try:
            await self.stream.send(data, end_stream=last)
        except StreamClosedError:
            return False
        return True

    # --- response ---

    async def response(self) -> ResponseHead:
        """Wait for the response's head, sending the request once more if the peer certainly did not look at it.

        Raises:
            StatusError: the stream ended without a head, or the head is not gRPC's.
        """
        if self._head is None:
            head = await self._first_head()
            content_type = field(head.headers, "content-type")
            is_grpc = content_type is not None and content_type.startswith(b"application/grpc")
            # A status wins over everything else. Source: gRPC, HTTP to gRPC status mapping.
            if field(head.headers, "grpc-status") is None and (head.status != 200 or not is_grpc):
                raise self._end(status_from_http(head.status, content_type))
            self._decoder = MessageDecoder(limit=self._max_message_bytes, gzip=self._encoding(head) == "gzip")
            self._head = head
            self._replay = None
        return self._head

    async def initial_metadata(self) -> Metadata:
        """Wait for the response's head and return its metadata; empty if the response is only trailers.

        Raises:
            StatusError: as ``response``.
        """
        head = await self.response()
        return Metadata() if head.end_stream else Metadata.from_headers(head.headers)

    async def receive(self) -> bytes | None:
        """Return the next message of the response, ``None`` once the call ended OK.

        Raises:
            StatusError: the call ended otherwise.
        """
        if self.status is not None:
            self._raise_unless_ok(self.status)
            return None
        head = await self.response()
        if head.end_stream:
            self._raise_unless_ok(self.finish(head.headers))
            return None
        try:
            return await self._next_message()
        except StreamClosedError as exc:
            raise self._end(self._note_broken(exc)) from exc
        except (MessageTooLargeError, FramingError) as exc:
            self.stream.reset(ErrorCode.CANCEL)
            raise self._end(status_of(exc)) from exc

    async def messages(self) -> AsyncIterator[bytes]:
        """Iterate over the messages of the response; raises as ``receive``."""
        while (message := await self.receive()) is not None:
            yield message

    def finish(self, trailers: HeaderList | None) -> Status:
        """Take the status out of trailers that a splice received."""
        self._stop_timer()
        status = decode_trailers(trailers) if trailers is not None else None
        if trailers is not None:
            self.trailing_metadata = Metadata.from_headers(trailers)
        if status is None:
            text = "server closed the stream without sending trailers"
            status = Status(StatusCode.INTERNAL, text) if trailers is None else Status(StatusCode.UNKNOWN)
        return self._conclude(status)

    def fail(self, error: StreamClosedError) -> Status:
        """Take the status out of the failure of a spliced stream."""
        self._stop_timer()
        return self._conclude(self._note_broken(error))

    async def drain(self) -> Status:
        """Read the response to its end without looking at it, and return how the call ended."""
        try:
            head = await self.response()
            if head.end_stream:
                return self.finish(head.headers)
            while data := await self.stream.receive():
                self.received.feed(data)
        except StreamClosedError as exc:
            return self.fail(exc)
        except StatusError as exc:
            return exc.status
        return self.finish(self.stream.trailers)

    async def _next_message(self) -> bytes | None:
        decoder, stream = self._decoder, self.stream
        message = decoder.next()
        while message is None:
            data = await stream.receive()
            if not data:
                decoder.finish()
                self._raise_unless_ok(self.finish(stream.trailers))
                return None
            decoder.feed(data)
            message = decoder.next()
        self.received.count += 1
        return message

    async def _first_head(self) -> ResponseHead:
        try:
            return await self.stream.response()
        except StreamClosedError as exc:
            if not exc.unprocessed or self._replay is None or self._expired:
                raise self._end(self._note_broken(exc)) from exc
        await self._send_again(self._replay)
        try:
            return await self.stream.response()
        except StreamClosedError as exc:
            raise self._end(self._note_broken(exc)) from exc

    async def _send_again(self, pieces: list[bytes]) -> None:
        self._replay = None
        self._stream = await self._open()
        for index, piece in enumerate(pieces):
            last = self._half_closed and index == len(pieces) - 1
            try:
                await self._stream.send(piece, end_stream=last)
            except StreamClosedError:
                return

    def _encoding(self, head: ResponseHead) -> str:
        return (field(head.headers, "grpc-encoding") or b"identity").decode("ascii", "replace")

    # --- end ---

    async def _open(self) -> Stream:
        if self.deadline is None:
            return await self._open_stream(self.method, self.metadata, None)
        try:
            async with asyncio.timeout_at(self.deadline):
                return await self._open_stream(self.method, self.metadata, self.deadline)
        except TimeoutError as exc:
            raise self._end(EXPIRED) from exc

    def _raise_unless_ok(self, status: Status) -> None:
        if not status.ok:
            raise status.error(remote=True)

    def _end(self, status: Status) -> StatusError:
        self._stop_timer()
        return self._conclude(status).error(remote=True)

    def _conclude(self, status: Status) -> Status:
        """Fix how the call ended, and tell it the first time."""
        self.status = status
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(status)
        return status

    def _note_broken(self, error: StreamClosedError) -> Status:
        if self._expired:
            return EXPIRED
        if self.status is not None:
            return self.status  # this side has given the call up
        self.error = error
        return status_from_stream_error(error, connection_lost=self.stream.connection.closed)

    def _expire(self) -> None:
        self._timer = None
        self._expired = True
        if self._stream is not None:
            self._stream.reset(ErrorCode.CANCEL)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
