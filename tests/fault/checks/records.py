"""What the database says of repositories, replicas, jobs and doubts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from praefect.app.cluster import Cluster
from praefect.app.layout import DATABASE, ROLE


@dataclass(frozen=True, slots=True)
class Record:
    """A repository; generations by storage."""

    relative_path: str
    replica_path: str
    generation: int | None
    replicas: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Records:
    """Everything recorded; ``pending`` has the rows that should be gone once all is quiet, by table."""

    repositories: Mapping[str, Record]
    pending: Mapping[str, Sequence[str]]


@asynccontextmanager
async def _connect(cluster: Cluster) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    assert cluster.postgres is not None
    async with await psycopg.AsyncConnection.connect(
        host=cluster.postgres.host,
        port=cluster.postgres.port,
        user=ROLE,
        password=cluster.secrets.sql_password,
        dbname=DATABASE,
        autocommit=True,
    ) as connection:
        yield connection


async def read_records(cluster: Cluster) -> Records:
    """Read all of it."""
    async with _connect(cluster) as connection:
        cursor = await connection.execute("SELECT repository_id, storage, generation FROM storage_repositories")
        replicas: dict[object, dict[str, int]] = {}
        for repository_id, storage, generation in await cursor.fetchall():
            replicas.setdefault(repository_id, {})[str(storage)] = int(str(generation))
        cursor = await connection.execute(
            "SELECT repository_id, relative_path, replica_path, generation FROM repositories"
        )
        repositories = {
            str(path): Record(
                str(path), str(replica), None if number is None else int(str(number)), replicas.pop(identity, {})
            )
            for identity, path, replica, number in await cursor.fetchall()
        }
        pending = {
            "storage_repositories without a repository": [str(one) for one in replicas.items()],
            "replication_queue": await _rows(
                connection, sql.SQL("SELECT to_json(q)::text FROM replication_queue q WHERE state <> 'dead'")
            ),
            "replication_queue_lock": await _rows(
                connection, sql.SQL("SELECT to_json(q)::text FROM replication_queue_lock q WHERE acquired")
            ),
        }
        cursor = await connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_name = 'doubts'"
        )
        for schema, table in await cursor.fetchall():
            query = sql.SQL("SELECT to_json(d)::text FROM {}.{} d").format(
                sql.Identifier(str(schema)), sql.Identifier(str(table))
            )
            pending["doubts"] = await _rows(connection, query)
            if pending["doubts"]:
                leases = sql.SQL("SELECT to_json(l)::text FROM {}.leases l").format(sql.Identifier(str(schema)))
                pending["doubts"] += ["leases:", *await _rows(connection, leases)]
    return Records(repositories, {name: rows for name, rows in pending.items() if rows})


async def _rows(connection: psycopg.AsyncConnection[tuple[object, ...]], query: sql.SQL | sql.Composed) -> list[str]:
    return [str(row[0]) for row in await (await connection.execute(query)).fetchall()]
