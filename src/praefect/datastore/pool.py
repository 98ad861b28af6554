"""Connections: how they are made from the configuration, and the pool that runs single statements on them.

Every statement is a transaction of its own at READ COMMITTED, without prepared statements and without session state, so
that a pooler that hands out connections per transaction may stand before PostgreSQL.
"""

from __future__ import annotations

import logging
import select
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from praefect.config.praefect_sections import ConnectionConfig
from praefect.datastore.connection import PromptConnection
from praefect.datastore.errors import DatastoreUnavailableError, translated

POOL_SIZE: Final = 24
"""Most connections at once; those beyond the two that are kept are closed when idle for ten minutes."""

_KEPT_CONNECTIONS: Final = 2
_WAIT_SECONDS: Final = 5.0
_WAIT_WHILE_AWAY_SECONDS: Final = 0.25
_RECONNECT_SECONDS: Final = 1.0

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


class Database:
    """Runs statements on pooled connections; made by ``open_database``."""

    def __init__(self, pool: AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]) -> None:
        self._pool = pool
        self._is_away = False

    async def fetch_all(self, query: LiteralString, **parameters: object) -> Sequence[DictRow]:
        """Run a statement and return its rows.

        Raises:
            DatastoreUnavailableError: PostgreSQL is away; whether the statement took effect is not known.
            QueryError: PostgreSQL refused it.
        """
        async with self.connection() as connection:
            return await (await connection.execute(query, parameters)).fetchall()

    async def fetch_one(self, query: LiteralString, **parameters: object) -> DictRow | None:
        """Run a statement and return its first row, None if it has none; raises as ``fetch_all`` does."""
        async with self.connection() as connection:
            return await (await connection.execute(query, parameters)).fetchone()

    async def execute(self, query: LiteralString, **parameters: object) -> int:
        """Run a statement and return how many rows it touched; raises as ``fetch_all`` does."""
        async with self.connection() as connection:
            return (await connection.execute(query, parameters)).rowcount

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
        """Lend a connection, for what needs more than one statement; raises as ``fetch_all`` does."""
        # While PostgreSQL is known to be away nobody waits for it longer than a connection takes to be made.
        wait_seconds = _WAIT_WHILE_AWAY_SECONDS if self._is_away else _WAIT_SECONDS
        try:
            with translated():
                async with self._pool.connection(timeout=wait_seconds) as connection:
                    self._is_away = False
                    yield connection
        except DatastoreUnavailableError:
            self._is_away = True
            raise


@asynccontextmanager
async def open_database(config: ConnectionConfig) -> AsyncIterator[Database]:
    """Open the pool; PostgreSQL need not be there yet."""
    # The pool reports each failed attempt; whoever needed the connection gets an error and reports that.
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
    pool = AsyncConnectionPool[psycopg.AsyncConnection[DictRow]](
        connection_class=PromptConnection,
        kwargs={
            "autocommit": True,
            "prepare_threshold": None,
            "row_factory": dict_row,
            **connection_parameters(config),
        },
        min_size=_KEPT_CONNECTIONS,
        max_size=POOL_SIZE,
        open=False,
        check=_check,
        name="praefect",
        timeout=_WAIT_SECONDS,
        # Given up soon, because the next caller makes the next attempt: longer ones would back off to minutes.
        reconnect_timeout=_RECONNECT_SECONDS,
    )
    async with pool:
        yield Database(pool)


async def _check(connection: psycopg.AsyncConnection[Any]) -> None:
    """Raise if an idle connection was closed by the other side.

    An idle connection has nothing to say: only one with something to read is asked, which costs a round trip.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        await AsyncConnectionPool.check_connection(connection)


def _arguments(config: ConnectionConfig) -> dict[str, Any]:
    return dict(connection_parameters(config))
