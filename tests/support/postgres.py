"""PostgreSQL for tests: a server per test process, a fresh migrated database per test.

The server is the embedded one, or the one that ``PRAEFECT_TEST_DSN`` names (a role that may create databases). The
schema is applied once, to a template that every test's database is copied from.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore import Datastore, open_datastore
from praefect.datastore.embedded import EmbeddedPostgres
from praefect.datastore.migrations import Migrator
from praefect.datastore.pool import connect
from praefect.domain.repository import Storage, VirtualStorage
from tests.support.eventually import eventually

ROLE = "praefect"
UNSAFE_BUT_FAST: Mapping[str, str] = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
LAYOUTS: Mapping[VirtualStorage, tuple[Storage, ...]] = {
    VirtualStorage("default"): (Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")),
    VirtualStorage("other"): (Storage("gitaly-1"), Storage("gitaly-4")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A server and a database on it whose schema is complete."""

    admin: DatabaseConfig
    template: str


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with asyncio.Runner() as runner, _running_server(runner) as admin:
        template = f"praefect_template_{secrets.token_hex(4)}"
        runner.run(create_database(admin, template))
        runner.run(_migrate(replace(admin, dbname=template)))
        yield PostgresServer(admin=admin, template=template)
        runner.run(drop_database(admin, template))


@pytest.fixture
async def database(postgres_server: PostgresServer) -> AsyncIterator[DatabaseConfig]:
    """A migrated database of the test's own."""
    name = f"praefect_test_{secrets.token_hex(8)}"
    await create_database(postgres_server.admin, name, template=postgres_server.template)
    yield replace(postgres_server.admin, dbname=name)
    await drop_database(postgres_server.admin, name)


@pytest.fixture
async def empty_database(postgres_server: PostgresServer) -> AsyncIterator[DatabaseConfig]:
    """A database without any schema."""
    name = f"praefect_test_{secrets.token_hex(8)}"
    await create_database(postgres_server.admin, name)
    yield replace(postgres_server.admin, dbname=name)
    await drop_database(postgres_server.admin, name)


@pytest.fixture
async def datastore(database: DatabaseConfig) -> AsyncIterator[Datastore]:
    """Stores over a database of the test's own, configured with ``LAYOUTS``."""
    async with open_datastore(database, layouts=LAYOUTS) as opened:
        yield opened


@pytest.fixture
async def connection(database: DatabaseConfig) -> AsyncIterator[Rows]:
    """A connection of the test's own, to look behind the stores."""
    async with await connect(database) as opened:
        yield Rows(opened)


class Rows:
    """Runs statements that a test writes in place."""

    def __init__(self, connection: psycopg.AsyncConnection[dict[str, object]]) -> None:
        self.connection = connection

    async def run(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run a statement, ``%s`` standing for parameters, and return its rows as tuples."""
        cursor = self.connection.cursor(row_factory=tuple_row)
        await cursor.execute(statement.encode(), parameters or None)
        return [] if cursor.description is None else await cursor.fetchall()


async def create_database(admin: DatabaseConfig, name: str, *, template: str = "template0") -> None:
    async with await connect(admin) as connection:
        # Copying files is several times as fast as the default, which logs every block.
        strategy = "STRATEGY FILE_COPY" if connection.info.server_version >= 150000 else ""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8' " + strategy)
        await connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))


async def drop_database(admin: DatabaseConfig, name: str) -> None:
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
    async with await connect(admin) as connection:

        async def dropped() -> bool:
            try:
                await connection.execute(statement.format(sql.Identifier(name)))
            except psycopg.errors.InsufficientPrivilege:
                return False  # a worker of the server's own is in it for a moment
            return True

        await eventually(dropped)


@contextmanager
def _running_server(runner: asyncio.Runner) -> Iterator[DatabaseConfig]:
    """Yield how to reach a server's maintenance database."""
    if dsn := os.environ.get("PRAEFECT_TEST_DSN"):
        values = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
        yield DatabaseConfig(
            host=values.get("host", ""),
            port=int(values.get("port", 0)),
            user=values.get("user", ""),
            password=values.get("password", ""),
            dbname=values.get("dbname", "postgres"),
            sslmode=values.get("sslmode", ""),
        )
        return
    with tempfile.TemporaryDirectory(prefix="praefect-tests-") as directory:
        server = EmbeddedPostgres(Path(directory), settings=UNSAFE_BUT_FAST)
        runner.run(server.__aenter__())
        try:
            password = secrets.token_urlsafe(16)
            runner.run(server.provision(role=ROLE, password=password, database=ROLE))
            yield DatabaseConfig(host=server.host, port=server.port, user=ROLE, password=password, dbname=ROLE)
        finally:
            runner.run(server.__aexit__(None, None, None))


async def _migrate(database: DatabaseConfig) -> None:
    async with await connect(database) as connection:
        async for _ in Migrator(connection).up():
            pass
    async with open_datastore(database, layouts=LAYOUTS) as datastore:
        await datastore.own_schema.prepare()
