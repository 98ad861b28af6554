"""The serving side: finds the handler of a request, runs it as a task, and turns what it raises into a status."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Self

from praefect.domain.errors import PraefectError
from praefect.observability.correlation import correlation_id
from praefect.observability.log import get_logger
from praefect.transport.grpc.server_call import (
    ACCEPT_ENCODING,
    DEFAULT_MESSAGES,
    Interruption,
    MessageOptions,
    ServerCall,
)
from praefect.transport.grpc.service import service_handlers
from praefect.transport.grpc.status import Status, StatusCode, encode_trailers, leading_error, status_of
from praefect.transport.http2.interface import ErrorCode, StreamClosedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from google.protobuf.descriptor import ServiceDescriptor

    from praefect.transport.http2.interface import Connection, ConnectionProtocol, Engine, HeaderList, Limits, Stream

    Handler = Callable[[ServerCall], Awaitable[None]]
    Authenticate = Callable[[ServerCall], None]
    Observe = Callable[[ServerCall], Callable[[], None] | None]
    Around = Callable[[ServerCall], AbstractAsyncContextManager[object]]

_log = get_logger("grpc")

_CONTENT_TYPE = re.compile(rb"application/grpc(?:[+;].*)?")
_HEALTH = "grpc.health.v1.Health"
_CLOSE_SECONDS = 1.0
_FAREWELL_SECONDS = 1.0


class Server:
    """A set of services, and the calls running on them.

    Enter it before connections arrive; leaving it cancels what still runs and closes the connections. ``drain`` first,
    to let calls end by themselves.
    """

    def __init__(
        self,
        *,
        authenticate: Authenticate | None = None,
        exempt_services: Sequence[str] = (_HEALTH,),
        fallback: Handler | None = None,
        observers: Sequence[Observe] = (),
        limiters: Sequence[Around] = (),
        messages: MessageOptions = DEFAULT_MESSAGES,
    ) -> None:
        """Make a server without services.

        Args:
            authenticate: raises if the caller may not call; runs before the first message is read.
            exempt_services: services that need no authentication.
            fallback: handles every well-formed method that is not registered; without it those are answered
                UNIMPLEMENTED before authentication.
            observers: told of each call before authentication, in the task that handles it, first is outermost; what
                they return is called, last first, when ``call.status`` is set and not yet sent.
            limiters: entered inside authentication, around the handler; they see its exceptions, and what they raise
                refuses the call.
            messages: what request messages may be.
        """
        self._authenticate = authenticate
        self._exempt = frozenset(exempt_services)
        self._fallback = fallback
        self._observers = tuple(observers)
        self._limiters = tuple(limiters)
        self._messages = messages
        self._encodings = (b"identity", b"gzip") if messages.gzip else (b"identity",)
        self._handlers: dict[str, Handler] = {}
        self._services: dict[str, ServiceDescriptor | None] = {}
        self._connections: set[Connection] = set()
        self._calls: set[ServerCall] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._draining = False
        self._tasks = asyncio.TaskGroup()

    # --- set-up ---

    def add_service(self, descriptor: ServiceDescriptor, implementation: object) -> None:
        """Serve a service by an object with one method per RPC, named in snake case.

        Shapes: ``async def unary(request, call) -> Response``; ``def server_streaming(request, call)`` an async
        generator; ``async def client_streaming(requests, call) -> Response``; ``def bidi(requests, call)`` an async
        generator. An RPC the object lacks is answered UNIMPLEMENTED.
        """
        self._services[descriptor.full_name] = descriptor
        self._handlers.update(service_handlers(descriptor, implementation))

    def add_raw(self, method: str, handler: Handler) -> None:
        """Serve one method by a handler of raw messages; it wins over the same method of a service."""
        self._services.setdefault(method[1:].rpartition("/")[0], None)
        self._handlers[method] = handler

    @property
    def services(self) -> tuple[ServiceDescriptor, ...]:
        """The services added by descriptor, for reflection."""
        return tuple(descriptor for descriptor in self._services.values() if descriptor is not None)

    # --- lifecycle ---

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping = True
        for call in tuple(self._calls):
            call.interrupt(Interruption.STOPPING)
        # What ends the body is not an error of the calls: it leaves as it is, not within a group.
        await self._tasks.__aexit__(None, None, None)
        await self._close_connections()

    async def drain(self, grace_seconds: float) -> bool:
        """Say goodbye on all connections and wait for running calls; returns whether all ended within the time.

        Connections that still arrive are told the same at once. Calls that did not end are left running; leaving the
        server cancels them.
        """
        self._draining = True
        for connection in tuple(self._connections):
            connection.go_away()
        try:
            async with asyncio.timeout(grace_seconds):
                await self._idle.wait()
                # What a client sent before it read the goodbye arrives before its answer to it, with which the
                # connection ends; closing earlier would reset calls that are on their way.
                await self._wait_for_farewells()
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    @property
    def running_calls(self) -> int:
        """How many handlers run now."""
        return len(self._calls)

    async def _wait_for_farewells(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                while self._connections:
                    await next(iter(self._connections)).wait_closed()
                    await asyncio.sleep(0)

    async def _close_connections(self) -> None:
        connections = tuple(self._connections)
        for connection in connections:
            connection.close("server stopped")
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                for connection in connections:
                    await connection.wait_closed()
        except TimeoutError:
            # A peer that does not read cannot keep the process alive.
            for connection in connections:
                connection.abort("server stopped")

    # --- connections ---

    def protocol(self, engine: Engine, *, limits: Limits, context: object) -> ConnectionProtocol:
        """Make the protocol of one accepted connection; the server forgets it when it is lost.

        Args:
            engine: the HTTP/2 implementation.
            limits: what the connection may cost.
            context: who is at the other end; handlers see it as ``call.peer``.
        """
        connection: ConnectionProtocol

        def lost() -> None:
            self._connections.discard(connection)

        connection = engine.server(self.handle, limits=limits, context=context, on_lost=lost)
        self._connections.add(connection)
        if self._draining:
            # Once it is made; a client that is told before its first request sends that elsewhere.
            asyncio.get_running_loop().call_soon(connection.go_away)
        return connection

    # --- calls ---

    def handle(self, stream: Stream) -> None:
        """Take a new request; called by the HTTP/2 driver."""
        refusal = self._refuse(stream)
        if refusal is not None:
            self._answer(stream, *refusal)
            return
        call = ServerCall(stream, self._messages)
        try:
            call.start_deadline(asyncio.get_running_loop())
        except PraefectError as exc:
            self._answer(stream, 400, status_of(exc))
            return
        handler = self._handlers.get(call.method, self._fallback)
        assert handler is not None  # noqa: S101 - _refuse answers otherwise
        self._calls.add(call)
        self._idle.clear()
        call.attach(self._tasks.create_task(self._serve(call, handler), name=f"grpc {call.method}"))
        stream.on_close(call.on_client_gone)

    def _refuse(self, stream: Stream) -> tuple[int, Status] | None:
        """Return the HTTP status and the status of requests that no handler sees."""
        if self._stopping:
            return 200, Status(StatusCode.UNAVAILABLE, "server is stopping")
        request = stream.request
        content_type = b""
        encoding = b"identity"
        for name, value in request.headers:
            if name == "content-type":
                content_type = value
            elif name == "grpc-encoding":
                encoding = value
        if not _CONTENT_TYPE.fullmatch(content_type):
            shown = content_type.decode("ascii", "replace")
            text = f'invalid gRPC request content-type "{shown}"'
            return 415, Status(StatusCode.INVALID_ARGUMENT, text)
        if request.method != "POST":
            text = f'Received a HEADERS frame with :method "{request.method}" which should be POST'
            return 405, Status(StatusCode.INTERNAL, text)
        if encoding not in self._encodings:
            shown = encoding.decode("ascii", "replace")
            text = f'grpc: Decompressor is not installed for grpc-encoding "{shown}"'
            return 200, Status(StatusCode.UNIMPLEMENTED, text)
        return self._refuse_method(request.path)

    def _refuse_method(self, path: str) -> tuple[int, Status] | None:
        if path in self._handlers:
            return None
        service, slash, method = path.removeprefix("/").rpartition("/")
        if not slash or not path.startswith("/"):
            return 200, Status(StatusCode.UNIMPLEMENTED, f'malformed method name: "{path}"')
        if self._fallback is not None:
            return None
        if service in self._services:
            return 200, Status(StatusCode.UNIMPLEMENTED, f"unknown method {method} for service {service}")
        return 200, Status(StatusCode.UNIMPLEMENTED, f"unknown service {service}")

    async def _serve(self, call: ServerCall, handler: Handler) -> None:
        try:
            if call.begin():
                correlation_id.set(call.correlation_id)
                ends = [observe(call) for observe in self._observers]
                await self._run(call, handler)
                for end in reversed(ends):
                    if end is not None:
                        end()
                await call.flush()
        except StreamClosedError:
            # The client left while it was given the rest; there is nobody to tell.
            pass
        except asyncio.CancelledError:
            # Within the flush, or from the owner of the server; a handler's own is dealt with in _run.
            if call.interruption is None:
                raise
        except Exception as exc:  # noqa: BLE001 - an observer's fault must not end the server
            _log.error("call observer failed", grpc_method=call.method, exc_info=exc)
            call.conclude(status_of(exc))
        finally:
            if call.status is None:
                call.conclude((call.interruption or Interruption.STOPPING).value)
            call.send_status()
            self._calls.discard(call)
            if not self._calls:
                self._idle.set()

    async def _run(self, call: ServerCall, handler: Handler) -> None:
        try:
            if self._authenticate is not None and call.service not in self._exempt:
                self._authenticate(call)
            if self._limiters:
                await self._limit(call, handler, 0)
            else:
                await handler(call)
        except asyncio.CancelledError:
            if call.interruption is None:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            call.conclude(call.interruption.value)
        except PraefectError as exc:
            call.failure = exc
            call.conclude(status_of(exc))
        except Exception as exc:  # noqa: BLE001 - a handler's crash is its caller's answer, never the server's end
            call.failure = exc
            if not isinstance(leading_error(exc), PraefectError):
                _log.error("grpc panic", method=call.method, exc_info=exc)
            call.conclude(status_of(exc))
        else:
            call.conclude(None)

    async def _limit(self, call: ServerCall, handler: Handler, index: int) -> None:
        if index == len(self._limiters):
            await handler(call)
            return
        async with self._limiters[index](call):
            await self._limit(call, handler, index + 1)

    def _answer(self, stream: Stream, http_status: int, status: Status) -> None:
        """Answer a request that no handler sees."""
        headers: HeaderList = [("content-type", b"application/grpc"), *encode_trailers(status)]
        if self._messages.gzip:
            headers.append(ACCEPT_ENCODING)
        stream.send_head(http_status, headers, end_stream=True)
        if not stream.received_end:
            stream.reset(ErrorCode.NO_ERROR)
