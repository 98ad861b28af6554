"""Notifications: a connection of its own that hears what changed, and notices when it no longer would.

The connection is probed: silence does not tell a quiet server from one that is gone. Its loss is known at once where
the server or its machine says so, and after ``PROBE_SECONDS`` and ``PROBE_LIMIT_SECONDS`` at the latest where nobody
does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import psycopg
from psycopg import sql
from psycopg.rows import DictRow

from praefect.datastore.errors import DatastoreUnavailableError, QueryError, translated
from praefect.observability.log import get_logger

REPOSITORIES_UPDATES: Final = "repositories_updates"
STORAGE_REPOSITORIES_UPDATES: Final = "storage_repositories_updates"

PROBE_SECONDS: Final = 1.0
PROBE_LIMIT_SECONDS: Final = 2.0
CONNECT_LIMIT_SECONDS: Final = 5.0
RECONNECT_SECONDS: Final = 0.25
"""Upstream waits 5 s; writes and the cache shall be back within one second of the server's return."""

_log = get_logger("resilient_listener")


class NotificationHandler(Protocol):
    """Whom the listener tells. The methods return at once and do not fail."""

    def connected(self) -> None:
        """From now on every change is announced; those before may have been missed."""

    def disconnected(self) -> None:
        """From now on changes may be missed."""

    def notified(self, channel: str, payload: str) -> None:
        """A change was announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerObserver:
    """Whom to tell of the connection; the metrics belong to whoever builds the listener."""

    connected: Callable[[], None] = lambda: None
    disconnected: Callable[[], None] = lambda: None


class NotificationListener:
    """Keeps a connection that listens, and passes on what it hears.

    Args:
        connect: opens a connection in autocommit mode that keeps its session, so not through a transaction pooler.
        channels: what to listen to.
        handlers: whom to tell, in order.
        observer: whom to tell of connections made and lost.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[psycopg.AsyncConnection[DictRow]]],
        channels: Sequence[str],
        handlers: Sequence[NotificationHandler],
        *,
        observer: ListenerObserver | None = None,
    ) -> None:
        self._connect = connect
        self._channels = tuple(channels)
        self._handlers = tuple(handlers)
        self._observer = observer or ListenerObserver()
        self._is_connected = asyncio.Event()

    async def wait_connected(self) -> None:
        """Return when the connection listens."""
        await self._is_connected.wait()

    async def run(self) -> None:
        """Listen until cancelled, connecting again whenever the connection is lost."""
        reported = ""
        while True:
            try:
                await self._listen()
            except (DatastoreUnavailableError, QueryError, TimeoutError) as exc:
                # While the server is away each attempt fails alike: one line for all of them.
                text = str(exc) or "timed out"
                if text != reported:
                    _log.error("listening was interrupted", channels=list(self._channels), error=text)
                reported = "" if self._is_connected.is_set() else text
            finally:
                self._lose()
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen(self) -> None:
        async with asyncio.timeout(CONNECT_LIMIT_SECONDS):
            connection = await self._connect()
        try:
            with translated():
                async with asyncio.timeout(PROBE_LIMIT_SECONDS):
                    for channel in self._channels:
                        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                self._gain()
                while True:
                    await self._hear(connection)
                    async with asyncio.timeout(PROBE_LIMIT_SECONDS):
                        await connection.execute("SELECT 1")
        finally:
            connection.pgconn.finish()  # at once: there is nothing to say goodbye for

    async def _hear(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        """Pass on what comes until the next probe is due; what arrives during a probe is heard after it."""
        async for notification in connection.notifies(timeout=PROBE_SECONDS):
            for handler in self._handlers:
                handler.notified(notification.channel, notification.payload)

    def _gain(self) -> None:
        self._is_connected.set()
        self._observer.connected()
        for handler in self._handlers:
            handler.connected()

    def _lose(self) -> None:
        if self._is_connected.is_set():
            self._is_connected.clear()
            self._observer.disconnected()
            for handler in self._handlers:
                handler.disconnected()
