"""Keeps one client connection: made when somebody needs it, replaced when it takes no more streams."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from praefect.domain.errors import PraefectError
from praefect.runtime.backoff import ExponentialBackoff
from praefect.runtime.completions import Completions
from praefect.transport.grpc.status import Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from praefect.transport.http2.interface import Connection

    Connect = Callable[[], Awaitable[Connection]]

_CLOSE_SECONDS = 1.0
_HANDSHAKE = "authentication handshake failed: "
_CLOSING = Status(StatusCode.CANCELLED, "grpc: the client connection is closing")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectOptions:
    """How connections are made. Times in seconds.

    Attributes:
        timeout_seconds: how long a connection may take to be ready.
        backoff_initial_seconds: callers are refused for so long after a failed attempt.
        backoff_max_seconds: the bound of that time, which grows by 1.6 with each failure in a row.
    """

    timeout_seconds: float = 20.0
    backoff_initial_seconds: float = 1.0
    backoff_max_seconds: float = 120.0


DEFAULT_CONNECT = ConnectOptions()


def _describe(error: BaseException) -> str:
    """Return the error as Go prints it: the system's text in lower case, not asyncio's rendering of it."""
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        text = os.strerror(error.errno)
        return text[:1].lower() + text[1:]
    return str(error) or type(error).__name__


def _dial_failure(text: str) -> Status:
    if text.startswith(_HANDSHAKE):  # the connection was there
        return Status(StatusCode.UNAVAILABLE, f'connection error: desc = "transport: {text}"')
    return Status(StatusCode.UNAVAILABLE, f'connection error: desc = "transport: Error while dialing: {text}"')


class Connector:
    """One connection to one peer.

    An attempt belongs to nobody who waits for it: a waiter's cancellation or deadline does not end it, so that a peer
    that is slower to reach than its callers are patient is reached in the end.
    """

    def __init__(self, connect: Connect, options: ConnectOptions = DEFAULT_CONNECT) -> None:
        self._connect = connect
        self._options = options
        self._backoff = ExponentialBackoff(
            initial=options.backoff_initial_seconds,
            maximum=max(options.backoff_initial_seconds, options.backoff_max_seconds),
        )
        self._connection: Connection | None = None
        self._replaced: list[Connection] = []
        self._attempt: asyncio.Future[Connection | Status] | None = None
        self._attempt_scope: asyncio.Timeout | None = None
        self._failure = _CLOSING
        self._refuse_until = 0.0
        self._closed = False
        self._completions = Completions()
        self._entered = False

    @property
    def connection(self) -> Connection | None:
        """The connection in use, ``None`` before the first one; it may have been lost."""
        return self._connection

    @property
    def usable(self) -> Connection | None:
        """The connection, if it takes streams now."""
        connection = self._connection
        return connection if connection is not None and connection.accepts_streams else None

    async def ready(self) -> Connection:
        """Return a connection that takes streams, making one if need be.

        Raises:
            StatusError: UNAVAILABLE, no connection could be made now or a moment ago; CANCELLED, the owner closed it.
        """
        connection = self.usable
        if connection is not None:
            return connection
        if self._closed:
            raise _CLOSING.error()
        if self._attempt is None:
            if asyncio.get_running_loop().time() < self._refuse_until:
                raise self._failure.error()
            await self._start_attempt()
        assert self._attempt is not None  # noqa: S101 - just started
        outcome = await asyncio.shield(self._attempt)
        if isinstance(outcome, Status):
            raise outcome.error()
        return outcome

    def retry_now(self) -> None:
        """Forget the last failure: the next caller tries to connect."""
        self._refuse_until = 0.0
        self._backoff.reset()

    async def close(self) -> None:
        """Close the connection, ending all calls on it, and give up an attempt."""
        self._closed = True
        if self._attempt_scope is not None:
            self._attempt_scope.reschedule(asyncio.get_running_loop().time())
        if self._entered:
            await self._completions.__aexit__(None, None, None)
        connections = [*self._replaced, *([self._connection] if self._connection is not None else [])]
        for connection in connections:
            connection.close("closed by this side")
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                for connection in connections:
                    await connection.wait_closed()
        except TimeoutError:
            for connection in connections:
                connection.abort("closed by this side")

    async def _start_attempt(self) -> None:
        attempt = self._attempt = asyncio.get_running_loop().create_future()
        if not self._entered:
            self._entered = True
            await self._completions.__aenter__()
        # The bound only backs up the attempt's own, which can be cut short by close().
        bound = timedelta(seconds=self._options.timeout_seconds + 1)

        async def run() -> None:
            outcome: Connection | Status = _dial_failure("the dialer crashed")
            try:
                outcome = await self._dial()
            finally:
                self._attempt = None
                self._note(outcome)
                if not attempt.done():
                    attempt.set_result(outcome)

        self._completions.start(run, name="grpc dial", timeout=bound)

    async def _dial(self) -> Connection | Status:
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._options.timeout_seconds) as self._attempt_scope:
                connection = await self._connect()
                await connection.wait_ready()
        except TimeoutError:
            _abort(connection)
            return _CLOSING if self._closed else _dial_failure("i/o timeout")
        except (OSError, PraefectError) as exc:
            if connection is None:
                return _dial_failure(_describe(exc))
            _abort(connection)
            text = f'connection error: desc = "error reading server preface: {_describe(exc)}"'
            return Status(StatusCode.UNAVAILABLE, text)
        finally:
            self._attempt_scope = None
        if self._closed:
            _abort(connection)
            return _CLOSING
        return connection

    def _note(self, outcome: Connection | Status) -> None:
        if isinstance(outcome, Status):
            self._failure = outcome
            self._refuse_until = asyncio.get_running_loop().time() + self._backoff.next_delay()
            return
        self._backoff.reset()
        self._refuse_until = 0.0
        self._replaced = [connection for connection in self._replaced if not connection.closed]
        if self._connection is not None and not self._connection.closed:
            # It said goodbye and finishes the calls it has.
            self._replaced.append(self._connection)
        self._connection = outcome


def _abort(connection: Connection | None) -> None:
    if connection is not None:
        connection.abort("could not be made ready")
