"""Connections: how they are made from the configuration, and the pool that runs statements on them.

Nearly every statement is a transaction of its own at READ COMMITTED, without prepared statements and without session
state, so that a pooler that hands out connections per transaction may stand before PostgreSQL.

The pool has no background work: who needs a connection takes an idle one or opens one, and hears at once if that is
refused. psycopg_pool retries with growing pauses while callers wait: a write would hang where it shall fail, and a
server that is back would be noticed late.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row

from praefect.config.praefect_sections import ConnectionConfig
from praefect.datastore.connection import PromptConnection
from praefect.datastore.errors import ConflictError, DatastoreUnavailableError, translated

T = TypeVar("T")

POOL_SIZE: Final = 24
"""Most connections at once; callers beyond wait in order."""

IDLE_SIZE: Final = 8
"""How many connections are kept when nobody needs them."""

_ATTEMPTS: Final = 3
"""How often a statement is run that PostgreSQL undoes to end a deadlock."""


_ALWAYS: Final[Mapping[str, int | str]] = {
    "fallback_application_name": "praefect",
    "gssencmode": "disable",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""A peer that vanished without a word is noticed within about ten seconds."""


def connection_parameters(config: ConnectionConfig) -> dict[str, str | int]:
    """Return what libpq needs to connect; what the configuration leaves empty is left to libpq."""
    values: dict[str, str | int] = {
        "host": config.host,
        "port": config.port,
        "user": config.user,
        "password": config.password,
        "dbname": config.dbname,
        "sslmode": config.sslmode,
        "sslcert": config.sslcert,
        "sslkey": config.sslkey,
        "sslrootcert": config.sslrootcert,
        # Of several hosts the one that takes writes is meant, also after they have changed roles.
        "target_session_attrs": "read-write" if "," in config.host else "",
    }
    return {**_ALWAYS, **{name: value for name, value in values.items() if value}}


async def connect(config: ConnectionConfig) -> psycopg.AsyncConnection[DictRow]:
    """Open one connection of its own, in autocommit mode.

    Raises:
        DatastoreUnavailableError: PostgreSQL cannot be reached or refuses the log-in.
    """
    with translated():
        return await PromptConnection.connect(
            autocommit=True, prepare_threshold=None, row_factory=dict_row, **_arguments(config)
        )


class Session:
    """Runs statements on one connection."""

    def __init__(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        self._connection = connection

    async def fetch_all(self, query: LiteralString, **parameters: object) -> Sequence[DictRow]:
        """Run a statement and return its rows; raises as ``Database.fetch_all`` does."""
        with translated():
            return await (await self._connection.execute(query, parameters)).fetchall()

    async def execute(self, query: LiteralString, **parameters: object) -> int:
        """Run a statement and return how many rows it touched; raises as ``Database.fetch_all`` does."""
        with translated():
            return (await self._connection.execute(query, parameters)).rowcount

    async def run_script(self, script: str) -> None:
        """Run the statements of a migration; raises as ``Database.fetch_all`` does."""
        with translated():
            # Without parameters a script goes to the server as it is, several statements at once.
            await self._connection.execute(script.encode())


class Database:
    """Runs statements on pooled connections; made by ``open_database``."""

    def __init__(self, config: ConnectionConfig, *, size: int = POOL_SIZE, idle: int = IDLE_SIZE) -> None:
        self._config = config
        self._places = asyncio.Semaphore(size)
        self._most_idle = idle
        self._idle: list[psycopg.AsyncConnection[DictRow]] = []
        self._is_closed = False

    async def fetch_all(self, query: LiteralString, **parameters: object) -> Sequence[DictRow]:
        """Run a statement and return its rows.

        Raises:
            DatastoreUnavailableError: PostgreSQL is away; whether the statement took effect is not known.
            QueryError: PostgreSQL refused it.
        """
        return await self._run(lambda session: session.fetch_all(query, **parameters))

    async def fetch_one(self, query: LiteralString, **parameters: object) -> DictRow | None:
        """Run a statement and return its first row, None if it has none; raises as ``fetch_all`` does."""
        rows = await self.fetch_all(query, **parameters)
        return rows[0] if rows else None

    async def execute(self, query: LiteralString, **parameters: object) -> int:
        """Run a statement and return how many rows it touched; raises as ``fetch_all`` does."""
        return await self._run(lambda session: session.execute(query, **parameters))

    @asynccontextmanager
    async def transaction(self, *, undone: bool = False) -> AsyncIterator[Session]:
        """Run several statements in one transaction; raises as ``fetch_all`` does.

        Args:
            undone: Roll back at the end whatever happened.
        """
        async with self.connection() as connection:
            with translated():
                async with connection.transaction(force_rollback=undone):
                    yield Session(connection)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        """Lend a connection, for what needs more than one statement; raises as ``fetch_all`` does."""
        if self._is_closed:
            raise DatastoreUnavailableError("the connections to PostgreSQL are closed")
        async with self._places:
            connection = await self._take_idle() or await connect(self._config)
            try:
                with translated():
                    yield connection
            except DatastoreUnavailableError:
                # Its siblings are of the same dead server, or of one that takes no writes any more.
                await connection.close()
                await self.close_idle()
                raise
            finally:
                await self._give_back(connection)

    async def close(self) -> None:
        """Lend no more connections, and close those nobody uses; the others are closed when given back."""
        self._is_closed = True
        await self.close_idle()

    async def close_idle(self) -> None:
        """Close the connections that nobody uses."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    async def _run(self, statement: Callable[[Session], Awaitable[T]]) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self.connection() as connection:
                    return await statement(Session(connection))
            except ConflictError:
                # It was undone as a whole to let another go on, and is a transaction of its own.
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError

    async def _take_idle(self) -> psycopg.AsyncConnection[DictRow] | None:
        while self._idle:
            connection = self._idle.pop()
            if _is_quiet(connection):
                return connection
            await connection.close()
        return None

    async def _give_back(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        is_reusable = not connection.closed and connection.info.transaction_status is TransactionStatus.IDLE
        if is_reusable and not self._is_closed and len(self._idle) < self._most_idle:
            self._idle.append(connection)
        else:
            await connection.close()


@asynccontextmanager
async def open_database(config: ConnectionConfig) -> AsyncIterator[Database]:
    """Open the pool; PostgreSQL need not be there yet."""
    database = Database(config)
    try:
        yield database
    finally:
        await database.close()


def _is_quiet(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Tell whether an idle connection is as it was left.

    A server says nothing on an idle connection except that it ends it: where there is something to read, it is no good.
    """
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def _arguments(config: ConnectionConfig) -> dict[str, Any]:
    return dict(connection_parameters(config))
