"""PostgreSQL goes away in the middle and comes back: reads go on, writes fail at once, and everything works again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import DictRow

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore import Datastore, DatastoreUnavailableError, open_datastore
from praefect.datastore.embedded import EmbeddedPostgres
from praefect.datastore.migrations import Migrator
from praefect.datastore.pool import connect
from praefect.domain.repository import (
    NewRepository,
    RelativePath,
    ReplicaPath,
    RepositoryId,
    Storage,
    VirtualStorage,
)
from tests.support.postgres import LAYOUTS

VS = VirtualStorage("default")
PATH = RelativePath("a/b.git")
ONE, TWO = Storage("gitaly-1"), Storage("gitaly-2")
PASSWORD = "secret"


@asynccontextmanager
async def server_in(directory: Path) -> AsyncIterator[DatabaseConfig]:
    async with EmbeddedPostgres(directory) as server:
        await server.provision(role="praefect", password=PASSWORD, database="praefect")
        yield DatabaseConfig(host=server.host, port=server.port, user="praefect", password=PASSWORD, dbname="praefect")


@asynccontextmanager
async def listening(datastore: Datastore) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(datastore.notifications.run(), name="listen")
        await datastore.notifications.wait_connected()
        yield
        task.cancel()


async def migrate(config: DatabaseConfig) -> None:
    async with await connect(config) as connection:
        async for _ in Migrator(connection).up():
            pass


@asynccontextmanager
async def competitor(config: DatabaseConfig) -> AsyncIterator[psycopg.AsyncConnection[DictRow]]:
    """A connection that is dropped in the end, so that it may die before."""
    connection = await connect(config)
    try:
        yield connection
    finally:
        await connection.close()


async def create(datastore: Datastore) -> RepositoryId:
    repository_id = await datastore.repositories.reserve_repository_id(VS, PATH)
    await datastore.repositories.create_repository(
        NewRepository(
            repository_id=repository_id,
            virtual_storage=VS,
            relative_path=PATH,
            replica_path=ReplicaPath("@r"),
            primary=ONE,
            updated=(TWO,),
            outdated=(),
            store_assignments=False,
        )
    )
    return repository_id


def postmaster_of(directory: Path) -> int:
    return int((directory / "cluster" / "postmaster.pid").read_text().splitlines()[0])


async def wait_frozen(datastore: Datastore) -> None:
    while not datastore.cache.is_frozen:  # noqa: ASYNC110 - the listener tells nobody else
        await asyncio.sleep(0.005)


async def wait_thawed(datastore: Datastore) -> None:
    await datastore.notifications.wait_connected()
    assert not datastore.cache.is_frozen


async def test_killed_server_is_survived_by_reads_and_come_back_to_by_writes(tmp_path: Path) -> None:
    async with server_in(tmp_path) as config:
        await migrate(config)
        async with open_datastore(config, layouts=LAYOUTS) as datastore:
            repository_id = await create(datastore)  # before anybody listens, so that no late notification drops it
            async with listening(datastore):
                before = await datastore.cache.get(VS, PATH)
                os.kill(postmaster_of(tmp_path), signal.SIGKILL)
                await wait_frozen(datastore)
                served = await datastore.cache.get(VS, PATH)
                while not served.is_possibly_stale:  # orphaned sessions may answer for a moment
                    served = await datastore.cache.get(VS, PATH)
                assert served.storages == before.storages == {ONE, TWO}
                with pytest.raises(DatastoreUnavailableError):
                    await datastore.repositories.increment_generation(repository_id, ONE, [TWO])
                with pytest.raises(DatastoreUnavailableError):
                    await datastore.cache.get(VS, RelativePath("never/read.git"))
                async with server_in(tmp_path):
                    # Nobody restarted anything of ours; the acknowledged records are there.
                    await datastore.repositories.increment_generation(repository_id, ONE, [])
                    await wait_thawed(datastore)
                    after = await datastore.cache.get(VS, PATH)
                    assert after.storages == {ONE}
                    assert not after.is_possibly_stale


async def test_statements_work_at_once_with_many_connections_that_died(tmp_path: Path) -> None:
    async with server_in(tmp_path) as config:
        await migrate(config)
        async with open_datastore(config, layouts=LAYOUTS) as datastore:
            async with asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(datastore.repositories.repository_exists(VS, PATH), name=f"read {number}")
            os.kill(postmaster_of(tmp_path), signal.SIGKILL)
            async with server_in(tmp_path), asyncio.TaskGroup() as group:
                for number in range(40):
                    group.create_task(datastore.repositories.repository_exists(VS, PATH), name=f"read {number}")


async def test_statements_in_flight_when_the_server_dies_fail_as_unavailable(tmp_path: Path) -> None:
    async with server_in(tmp_path) as config:
        await migrate(config)
        async with open_datastore(config, layouts=LAYOUTS) as datastore:
            repository_id = await create(datastore)
            async with competitor(config) as other:
                await other.execute("BEGIN")
                await other.execute("SELECT FROM repositories FOR UPDATE")
                failed: list[str] = []

                async def write() -> None:
                    try:
                        await datastore.repositories.increment_generation(repository_id, ONE, [TWO])
                    except DatastoreUnavailableError:
                        failed.append("unavailable")

                async with asyncio.TaskGroup() as group:
                    for number in range(3):
                        group.create_task(write(), name=f"write {number}")
                    while True:
                        cursor = await other.execute("SELECT count(*) AS waiting FROM pg_locks WHERE NOT granted")
                        row = await cursor.fetchone()
                        if row is not None and row["waiting"] == 3:
                            break
                    os.kill(postmaster_of(tmp_path), signal.SIGQUIT)
            assert failed == ["unavailable"] * 3


async def test_callers_deadline_holds_against_a_silent_server(tmp_path: Path) -> None:
    async with server_in(tmp_path) as config:
        await migrate(config)
        async with open_datastore(config, layouts=LAYOUTS) as datastore:
            repository_id = await create(datastore)
            async with await connect(config) as other:
                await other.execute("BEGIN")
                await other.execute("SELECT FROM repositories FOR UPDATE")
                loop = asyncio.get_running_loop()
                began = loop.time()
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await datastore.repositories.increment_generation(repository_id, ONE, [TWO])
                # The driver alone would ask the server to cancel and wait for seconds; this is no measure of speed.
                assert loop.time() - began < 4
            # The abandoned statement may have been done or not, but the connections that are left are fit.
            assert await datastore.repositories.repository_exists(VS, PATH)


async def test_server_that_was_never_there_is_reported_at_once_and_used_when_it_comes(tmp_path: Path) -> None:
    socket = tmp_path / "socket"
    config = DatabaseConfig(host=str(socket), port=5432, user="praefect", password=PASSWORD, dbname="praefect")
    async with open_datastore(config, layouts=LAYOUTS) as datastore:
        with pytest.raises(DatastoreUnavailableError):
            await datastore.repositories.repository_exists(VS, PATH)
        async with server_in(tmp_path):
            await migrate(config)
            assert not await datastore.repositories.repository_exists(VS, PATH)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"dbname": "missing"}, 'database "missing" does not exist'),
        ({"sslmode": "require", "host": "127.0.0.1", "port": 1}, "refused"),
    ],
)
async def test_reason_is_one_line_without_the_password(
    tmp_path: Path, change: dict[str, str | int], reason: str
) -> None:
    async with server_in(tmp_path) as config:
        values = {name: getattr(config, name) for name in ("host", "port", "user", "password", "dbname")}
        broken = DatabaseConfig(**{**values, **change})
        async with open_datastore(broken, layouts=LAYOUTS) as datastore:
            with pytest.raises(DatastoreUnavailableError, match=reason) as raised:
                await datastore.repositories.repository_exists(VS, PATH)
        assert "\n" not in str(raised.value)
        assert PASSWORD not in str(raised.value)
        assert PASSWORD not in repr(broken)
