"""The calling side: one connection, made on demand and kept, and the calls on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

from google.protobuf.message import Message

from praefect.observability.correlation import correlation_id
from praefect.transport.grpc.client_call import ClientCall
from praefect.transport.grpc.connector import DEFAULT_CONNECT, ConnectOptions, Connector
from praefect.transport.grpc.deadline import format_timeout
from praefect.transport.grpc.framing import DEFAULT_MAX_MESSAGE_BYTES
from praefect.transport.grpc.metadata import Metadata, MetadataLike, as_metadata
from praefect.transport.grpc.retry import NO_RETRY, PREVIOUS_ATTEMPTS, RetryPolicy
from praefect.transport.grpc.server_call import ACCEPT_ENCODING, CORRELATION_KEY
from praefect.transport.grpc.service import parse_message
from praefect.transport.grpc.status import Status, StatusCode, StatusError, status_from_stream_error
from praefect.transport.grpc.token import HEADER as AUTHORIZATION
from praefect.transport.grpc.token import make_token
from praefect.transport.http2.interface import ConnectionUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
    from types import TracebackType

    from praefect.transport.grpc.connector import Connect
    from praefect.transport.http2.interface import Connection, HeaderList, Stream

M = TypeVar("M", bound=Message)

_NO_RESPONSE = Status(
    StatusCode.INTERNAL, "cardinality violation: received no response message from non-server-streaming RPC"
)
_TWO_RESPONSES = Status(
    StatusCode.INTERNAL,
    "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOptions:
    """What the calls of a channel have in common.

    Attributes:
        authority: the ``:authority`` of requests.
        scheme: ``http`` or ``https``.
        user_agent: the ``user-agent`` of requests.
        content_type: ``application/grpc`` with or without a subtype.
        max_message_bytes: larger response messages are refused.
        retry: which typed unary and server-streaming calls are sent again.
        observe: given the type of each call and the call before it is opened; may add metadata. What it returns is told
            how the call ended.
        connect: how connections are made.
    """

    authority: str = "localhost"
    scheme: str = "http"
    user_agent: str = "praefect"
    content_type: str = "application/grpc"
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
    retry: RetryPolicy = NO_RETRY
    observe: Callable[[str, ClientCall], Callable[[Status], None]] | None = None
    connect: ConnectOptions = field(default=DEFAULT_CONNECT)


DEFAULT_OPTIONS = ChannelOptions()


class Channel:
    """Calls to one peer over one kept connection.

    Nothing is connected before the first call. If connecting fails, calls fail at once until the backoff has passed.
    Use it as a context manager, or ``close`` it.
    """

    def __init__(
        self, connect: Connect, *, token: str | None = None, options: ChannelOptions = DEFAULT_OPTIONS
    ) -> None:
        """Make a channel.

        Args:
            connect: makes a connection; called again whenever the one before takes no more streams.
            token: the secret that each call proves to know, also if empty; ``None`` sends no token.
            options: see there.
        """
        self._connector = Connector(connect, options.connect)
        self._secret = None if token is None else token.encode()
        self._options = options
        self._token: tuple[int, bytes] = (0, b"")
        self._fields: HeaderList = [
            ("te", b"trailers"),
            ("content-type", options.content_type.encode()),
            ("user-agent", options.user_agent.encode()),
        ]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection, ending all calls on it."""
        await self._connector.close()

    @property
    def options(self) -> ChannelOptions:
        """What the calls have in common."""
        return self._options

    @property
    def connection(self) -> Connection | None:
        """The connection in use, ``None`` before the first one; it may have been lost."""
        return self._connector.connection

    @property
    def connected(self) -> bool:
        """Whether there is a connection that takes calls now."""
        return self._connector.usable is not None

    async def connect(self) -> Connection:
        """Return the connection, making it if need be.

        Raises:
            StatusError: UNAVAILABLE, it cannot be made.
        """
        return await self._connector.ready()

    def retry_now(self) -> None:
        """Let the next call try to connect even if an attempt has just failed."""
        self._connector.retry_now()

    # --- calls of raw messages ---

    def call(
        self,
        method: str,
        *,
        metadata: MetadataLike = (),
        deadline: float | None = None,
        accept_gzip: bool = False,
        kind: str = "bidi_stream",
    ) -> ClientCall:
        """Prepare a call; entering it opens the stream.

        Args:
            method: the full name, ``/package.Service/Method``.
            metadata: copied; without a correlation id the current one is added.
            deadline: loop time at which the call is given up; the peer is told what is left of it.
            accept_gzip: whether the response may be compressed; never for a call whose bytes are passed on.
            kind: the type of the call as metrics name it.
        """
        fields = as_metadata(metadata)
        current = correlation_id.get()
        if current and CORRELATION_KEY not in fields:
            fields.append(CORRELATION_KEY, current)
        return ClientCall(
            self._open_gzip if accept_gzip else self._open_plain,
            method,
            fields,
            deadline=deadline,
            max_message_bytes=self._options.max_message_bytes,
            began=None if self._options.observe is None else partial(self._options.observe, kind),
        )

    async def _open_gzip(self, method: str, metadata: Metadata, deadline: float | None) -> Stream:
        return await self._open(method, metadata, deadline, accept=[ACCEPT_ENCODING])

    async def _open_plain(self, method: str, metadata: Metadata, deadline: float | None) -> Stream:
        return await self._open(method, metadata, deadline, accept=[])

    async def _open(self, method: str, metadata: Metadata, deadline: float | None, *, accept: HeaderList) -> Stream:
        """Open the stream of a call; a connection that went away meanwhile is replaced once.

        Raises:
            StatusError: UNAVAILABLE, no connection could be made.
        """
        options = self._options
        try:
            connection = await self._connector.ready()
            headers = self._headers(metadata, deadline, accept)
            return await connection.open_stream("POST", options.scheme, options.authority, method, headers)
        except ConnectionUnavailableError:
            connection = await self._connector.ready()
        try:
            headers = self._headers(metadata, deadline, accept)
            return await connection.open_stream("POST", options.scheme, options.authority, method, headers)
        except ConnectionUnavailableError as exc:
            raise status_from_stream_error(exc).error() from exc

    def _headers(self, metadata: Metadata, deadline: float | None, accept: HeaderList) -> HeaderList:
        headers = [*self._fields, *accept]
        if deadline is not None:
            headers.append(("grpc-timeout", format_timeout(deadline - asyncio.get_running_loop().time())))
        if self._secret is not None:
            headers.append((AUTHORIZATION, self._authorization(self._secret)))
        headers.extend(metadata.to_headers())
        return headers

    def _authorization(self, secret: bytes) -> bytes:
        # A token depends on nothing but the second it is made in.
        now = int(time.time())
        if self._token[0] != now:
            self._token = (now, make_token(secret, now).encode())
        return self._token[1]

    # --- typed calls ---

    async def unary(
        self,
        method: str,
        request: Message,
        response_type: type[M],
        *,
        metadata: MetadataLike = (),
        timeout: float | None = None,
    ) -> M:
        """Send one message and return the one message of the response.

        Args:
            method: the full name, ``/package.Service/Method``.
            request: the message to send.
            response_type: the class of the response.
            metadata: of the request.
            timeout: seconds after which the call is given up; the peer is told.

        Raises:
            StatusError: the call did not end OK.
        """
        call, first = await self._start("unary", method, request, metadata, timeout)
        try:
            return await _single_response(call, first, response_type)
        finally:
            call.cancel()

    async def server_stream(
        self,
        method: str,
        request: Message,
        response_type: type[M],
        *,
        metadata: MetadataLike = (),
        timeout: float | None = None,
    ) -> AsyncGenerator[M, None]:
        """Send one message and iterate over the messages of the response; see ``unary``.

        Whoever stops early closes the generator (``contextlib.aclosing``), which resets the stream.
        """
        call, message = await self._start("server_stream", method, request, metadata, timeout)
        try:
            while message is not None:
                yield _parse(message, response_type)
                message = await call.receive()
        finally:
            call.cancel()

    async def client_stream(
        self,
        method: str,
        requests: Iterable[Message] | AsyncIterable[Message],
        response_type: type[M],
        *,
        metadata: MetadataLike = (),
        timeout: float | None = None,
    ) -> M:
        """Send many messages and return the one message of the response; see ``unary``."""
        raw = self.call(method, metadata=metadata, deadline=_deadline(timeout), accept_gzip=True, kind="client_stream")
        async with raw:
            await TypedCall(raw, response_type).send_all(requests)
            return await _single_response(raw, await raw.receive(), response_type)

    @asynccontextmanager
    async def bidi(
        self,
        method: str,
        response_type: type[M],
        *,
        metadata: MetadataLike = (),
        timeout: float | None = None,
    ) -> AsyncIterator[TypedCall[M]]:
        """Open a call to send and receive messages in any order; see ``unary``."""
        deadline = _deadline(timeout)
        async with self.call(method, metadata=metadata, deadline=deadline, accept_gzip=True) as call:
            yield TypedCall(call, response_type)

    async def _start(
        self, kind: str, method: str, request: Message, metadata: MetadataLike, timeout: float | None
    ) -> tuple[ClientCall, bytes | None]:
        """Send the request, again if the policy allows, until a response begins; the caller cancels the call."""
        data = request.SerializeToString()
        deadline = _deadline(timeout)
        policy = self._options.retry
        attempts = policy.attempts(method)
        backoff = policy.backoff() if attempts > 1 else None
        fields = as_metadata(metadata)
        for previous in range(attempts):
            if previous and backoff is not None:
                fields.set(PREVIOUS_ATTEMPTS, str(previous))
                await asyncio.sleep(backoff.next_delay())
            call = self.call(method, metadata=fields, deadline=deadline, accept_gzip=True, kind=kind)
            try:
                await call.open()
                await call.send(data, last=True)
                return call, await call.receive()
            except StatusError as exc:
                call.cancel()
                if previous == attempts - 1 or call.response_began or exc.code not in policy.codes:
                    raise
            except BaseException:
                call.cancel()
                raise
        raise AssertionError  # the last attempt returns or raises


class TypedCall(Generic[M]):
    """A call in progress that speaks protobuf messages; ``raw`` is the call below."""

    __slots__ = ("_response_type", "raw")

    def __init__(self, raw: ClientCall, response_type: type[M]) -> None:
        self.raw = raw
        self._response_type = response_type

    async def send(self, request: Message, *, last: bool = False) -> bool:
        """Send one message; see ``ClientCall.send``."""
        return await self.raw.send(request.SerializeToString(), last=last)

    async def send_all(self, requests: Iterable[Message] | AsyncIterable[Message]) -> None:
        """Send all messages and half-close; stops early if the call ends meanwhile."""
        if isinstance(requests, AsyncIterable):
            async for request in requests:
                if not await self.send(request):
                    return
        else:
            for request in requests:
                if not await self.send(request):
                    return
        await self.half_close()

    async def half_close(self) -> bool:
        """End the request; see ``ClientCall.send``."""
        return await self.raw.half_close()

    async def receive(self) -> M | None:
        """Return the next message of the response, ``None`` once the call ended OK; raises as ``ClientCall``."""
        data = await self.raw.receive()
        return None if data is None else _parse(data, self._response_type)

    async def messages(self) -> AsyncIterator[M]:
        """Iterate over the messages of the response; raises as ``receive``."""
        while (message := await self.receive()) is not None:
            yield message


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else asyncio.get_running_loop().time() + timeout


def _parse(data: bytes, response_type: type[M]) -> M:
    return cast("M", parse_message(data, response_type))


async def _single_response(call: ClientCall, first: bytes | None, response_type: type[M]) -> M:
    if first is None:
        raise _NO_RESPONSE.error()
    if await call.receive() is not None:
        raise _TWO_RESPONSES.error()
    return _parse(first, response_type)
