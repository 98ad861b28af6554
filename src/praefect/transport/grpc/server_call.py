"""One call as its handler sees it: the request's messages in, the response's messages and the status out."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from praefect.observability.correlation import new_correlation_id
from praefect.transport.grpc.caller import Caller, describe_caller
from praefect.transport.grpc.deadline import parse_timeout
from praefect.transport.grpc.framing import DEFAULT_MAX_MESSAGE_BYTES, MessageCounter, MessageDecoder, frame
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.status import OK, Status, StatusCode, encode_trailers, field
from praefect.transport.http2.interface import ErrorCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.transport.http2.interface import HeaderList, Stream
    from praefect.transport.peer import Peer

CORRELATION_KEY = "x-gitlab-correlation-id"
ACCEPT_ENCODING = ("grpc-accept-encoding", b"identity,gzip")


class Interruption(enum.Enum):
    """Why a handler was cancelled from outside; the value is the status that the call then ends with.

    A call cut off by a stopping server may have had effects, so it is not UNAVAILABLE, which invites a blind retry.
    """

    CLIENT_GONE = Status(StatusCode.CANCELLED, "context canceled")
    DEADLINE = Status(StatusCode.DEADLINE_EXCEEDED, "context deadline exceeded")
    STOPPING = Status(StatusCode.CANCELLED, "server is stopping")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOptions:
    """What the messages of requests may be: their size in bytes once decompressed, and whether gzip is accepted."""

    max_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    gzip: bool = True


DEFAULT_MESSAGES = MessageOptions()


class ServerCall:
    """One call on the serving side.

    Attributes:
        stream: the HTTP/2 stream; a relay splices it.
        method: the full name, ``/package.Service/Method``.
        service: the full name of the service.
        name: the method's name within its service.
        metadata: the request's metadata.
        deadline: loop time at which the client gives up, ``None`` if it waits for ever.
        correlation_id: the client's, or a new one.
        initial_metadata: sent with the response's head; may be changed until then.
        trailing_metadata: sent with the status; may be changed until the handler returns.
        status: how the call ended; ``None`` until the handler returned.
        failure: the error that the handler raised, if it did.
        received_bytes: payload of the messages received so far.
        sent_bytes: payload of the messages sent so far.
        received: counts the messages received; who reads the stream itself feeds it.
        sent: counts the messages sent; who writes to the stream itself feeds it.
        interruption: set once the client went away or its deadline passed; the handler is then cancelled.
    """

    __slots__ = (
        "_accepts_gzip",
        "_begun",
        "_caller",
        "_decoder",
        "_head_sent",
        "_outcome",
        "_spliced",
        "_status_sent",
        "_task",
        "_timer",
        "content_type",
        "correlation_id",
        "deadline",
        "encoding",
        "failure",
        "initial_metadata",
        "interruption",
        "metadata",
        "method",
        "name",
        "received",
        "received_bytes",
        "sent",
        "sent_bytes",
        "service",
        "status",
        "stream",
        "trailing_metadata",
        "user_agent",
    )

    def __init__(self, stream: Stream, messages: MessageOptions = DEFAULT_MESSAGES) -> None:
        request = stream.request
        headers = request.headers
        self.stream = stream
        self.method = method = request.path
        separator = method.rfind("/")
        self.service = method[1:separator]
        self.name = method[separator + 1 :]
        self.metadata = Metadata.from_headers(headers)
        self.content_type = field(headers, "content-type") or b""
        self.encoding = (field(headers, "grpc-encoding") or b"identity").decode("ascii", "replace")
        self.user_agent = (field(headers, "user-agent") or b"").decode("utf-8", "replace")
        self.correlation_id = self.metadata.first(CORRELATION_KEY) or new_correlation_id()
        self.initial_metadata = Metadata()
        self.trailing_metadata = Metadata()
        self.deadline: float | None = None
        self.status: Status | None = None
        self.failure: BaseException | None = None
        self.interruption: Interruption | None = None
        self.received = MessageCounter()
        self.sent = MessageCounter()
        self.received_bytes = 0
        self.sent_bytes = 0
        self._decoder = MessageDecoder(limit=messages.max_bytes, gzip=self.encoding == "gzip")
        self._accepts_gzip = messages.gzip
        self._head_sent = False
        self._spliced = False
        self._status_sent = False
        self._outcome: Status | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = False
        self._caller: Caller | None = None
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"ServerCall({self.method!r}, {self.peer!r})"

    @property
    def peer(self) -> Peer:
        """Who is calling."""
        return cast("Peer", self.stream.connection.context)

    @property
    def caller(self) -> Caller:
        """What the caller says of itself."""
        caller = self._caller
        if caller is None:
            self._caller = caller = describe_caller(self.metadata)
        return caller

    @property
    def compressed(self) -> bool:
        """Whether the request's messages may be compressed, so that its bytes cannot be passed on as they are."""
        return self.encoding != "identity"

    @property
    def head_sent(self) -> bool:
        """Whether the response has begun."""
        return self._head_sent

    # --- what handlers use ---

    async def receive(self) -> bytes | None:
        """Return the next message of the request, ``None`` once the client has half-closed.

        Raises:
            MessageTooLargeError: the message exceeds the limit.
            FramingError: the bytes are no messages.
            StreamClosedError: the client went away.
        """
        decoder = self._decoder
        message = decoder.next()
        while message is None:
            data = await self.stream.receive()
            if not data:
                decoder.finish()
                return None
            decoder.feed(data)
            message = decoder.next()
        self.received.count += 1
        self.received_bytes += len(message)
        return message

    async def messages(self) -> AsyncIterator[bytes]:
        """Iterate over the messages until the client half-closes; raises as ``receive``."""
        while (message := await self.receive()) is not None:
            yield message

    def take_rest(self) -> bytes:
        """Hand out the received bytes behind the last message; a relay sends them before it splices the stream."""
        return self._decoder.take_rest()

    def send_initial_metadata(self) -> None:
        """Send the response's head now, unless it is sent already."""
        if not self._head_sent:
            self._head_sent = True
            self.stream.send_head(200, self._head())

    async def send(self, message: bytes) -> None:
        """Send one message of the response; returns when the windows and the transport took it.

        Raises:
            StreamClosedError: the client went away.
        """
        self.send_initial_metadata()
        self.sent.count += 1
        self.sent_bytes += len(message)
        await self.stream.send(frame(message))

    def finish(self, status: Status, trailing_metadata: Metadata | None = None) -> None:
        """Decide how the call ends when the handler returns without an error; otherwise it ends with OK.

        Args:
            status: what the client gets once the handler has returned.
            trailing_metadata: replaces what was collected so far.
        """
        self._outcome = status
        if trailing_metadata is not None:
            self.trailing_metadata = trailing_metadata

    # --- what the server uses ---

    def start_deadline(self, loop: asyncio.AbstractEventLoop) -> None:
        """Read ``grpc-timeout`` and let the clock run.

        Raises:
            MalformedTimeoutError: the header has another form.
        """
        value = field(self.stream.request.headers, "grpc-timeout")
        if value is not None:
            self.deadline = loop.time() + parse_timeout(value)
            self._timer = loop.call_at(self.deadline, self.interrupt, Interruption.DEADLINE)

    def attach(self, task: asyncio.Task[None]) -> None:
        """Name the task that an interruption cancels once it has begun; cancelled before, it would never run."""
        self._task = task

    def begin(self) -> bool:
        """Say that the task has begun; returns whether the call is still worth handling."""
        self._begun = True
        return self.interruption is None

    def interrupt(self, reason: Interruption) -> None:
        """Cancel the handler, once."""
        if self.interruption is not None or self._status_sent:
            return
        self.interruption = reason
        if self._begun and self._task is not None:
            self._task.cancel()

    def on_client_gone(self) -> None:
        """Cancel the handler because nobody waits for it any more."""
        self.interrupt(Interruption.CLIENT_GONE)

    def conclude(self, status: Status | None) -> Status:
        """Fix the status the call ends with.

        A call whose time is up or whose client is gone gets that code whatever went wrong, with its own message and
        details.

        Args:
            status: what the handler's error stands for, ``None`` if it returned.
        """
        if status is None:
            status = self._outcome or OK
        if not status.ok and self.interruption is not None:
            status = Status(self.interruption.value.code, status.message, status.details)
        self.status = status
        return status

    def mark_spliced(self) -> None:
        """Note that the response is written by a splice, which may leave bytes behind that wait for windows."""
        self._spliced = True

    async def flush(self) -> None:
        """Wait until the client's windows took what a splice left behind, if a reset would drop it.

        Raises:
            StreamClosedError: the client went away.
        """
        if self._spliced and self._head_sent and not self.stream.received_end:
            await self.stream.send(b"")

    def send_status(self) -> None:
        """Send the status: as trailers, or as the whole response if nothing was sent."""
        if self._status_sent:
            return
        self._status_sent = True
        if self._timer is not None:
            self._timer.cancel()
        if self.stream.error is not None:
            return
        headers = encode_trailers(self.status or OK, self.trailing_metadata)
        if self._head_sent:
            self.stream.send_trailers(headers)
        else:
            self._head_sent = True
            self.stream.send_head(200, self._head() + headers, end_stream=True)
        if not self.stream.received_end:
            # Tells a client that is still sending to stop; it has its whole answer. Source: RFC 9113 section 8.1.
            self.stream.reset(ErrorCode.NO_ERROR)

    def _head(self) -> HeaderList:
        headers: HeaderList = [("content-type", self.content_type or b"application/grpc")]
        if self._accepts_gzip:
            headers.append(ACCEPT_ENCODING)
        headers.extend(self.initial_metadata.to_headers())
        return headers
