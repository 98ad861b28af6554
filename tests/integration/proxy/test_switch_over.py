"""PostgreSQL switches over to the second host of the configuration while praefect runs."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from psycopg import sql

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore import open_datastore
from praefect.datastore.embedded import EmbeddedPostgres
from praefect.datastore.migrations import Migrator
from praefect.datastore.pool import connect
from praefect.proto import ref_pb2, repository_pb2, shared_pb2
from praefect.transport.grpc.status import StatusCode
from tests.support.eventually import eventually
from tests.support.postgres import UNSAFE_BUT_FAST
from tests.support.scripted_cluster import ALL, VS, running_cluster

READ = "/gitaly.RefService/FindLocalBranches"
WRITE = "/gitaly.RepositoryService/WriteRef"
PASSWORD = "secret"


async def start(server: EmbeddedPostgres) -> DatabaseConfig:
    """Return how to reach a server with the records of one repository, as replication would keep them on both."""
    await server.provision(role="praefect", password=PASSWORD, database="praefect")
    config = DatabaseConfig(host=server.host, port=server.port, user="praefect", password=PASSWORD, dbname="praefect")
    async with await connect(config) as connection:
        async for _ in Migrator(connection).up():
            pass
        await connection.execute(
            "INSERT INTO repositories (repository_id, virtual_storage, relative_path, replica_path, generation, "
            "\"primary\") VALUES (1, 'default', 'a.git', 'disk/1', 0, 'gitaly-1')"
        )
        for storage in ALL:
            await connection.execute(
                "INSERT INTO storage_repositories (repository_id, virtual_storage, relative_path, storage, generation) "
                "VALUES (1, 'default', 'a.git', %s, 0)",
                [storage],
            )
    async with open_datastore(config, layouts={}) as datastore:
        await datastore.own_schema.prepare()
    return config


async def take_writes(server: EmbeddedPostgres, *, does: bool) -> None:
    """Make a server refuse writes, as a standby does, or accept them, for those who connect from now on."""
    async with await server._connect_superuser() as connection:
        value = sql.Literal("off" if does else "on")
        await connection.execute(
            sql.SQL("ALTER DATABASE praefect SET default_transaction_read_only = {}").format(value)
        )


@pytest.mark.timeout(120)
async def test_everything_works_again_on_the_other_host(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(EmbeddedPostgres(tmp_path / name, settings=UNSAFE_BUT_FAST))
            for name in ("a", "b")
        ]
        old, new = servers
        first, second = [await start(server) for server in servers]
        await take_writes(new, does=False)
        both = DatabaseConfig(
            host=f"{first.host},{second.host}",
            port=first.port,
            user=first.user,
            password=PASSWORD,
            dbname=first.dbname,
        )
        cluster = await stack.enter_async_context(running_cluster(both, rows=first))
        repository = shared_pb2.Repository(storage_name=VS, relative_path="a.git")
        write = repository_pb2.WriteRefRequest(repository=repository, ref=b"refs/heads/main", revision=b"1" * 40)
        read = ref_pb2.FindLocalBranchesRequest(repository=repository)
        assert (await cluster.status(WRITE, write)).ok
        assert (await cluster.status(READ, read)).ok

        os.kill(old.process_id, signal.SIGKILL)
        await old.wait()
        assert (await cluster.status(WRITE, write)).code in (StatusCode.UNAVAILABLE, StatusCode.ABORTED)
        assert (await cluster.status(READ, read)).ok  # from what was known
        await take_writes(new, does=True)

        async def is_written() -> bool:
            return (await cluster.status(WRITE, write)).ok

        await eventually(is_written, within_seconds=60)
        # What is recorded there is heard and read.
        await cluster.parts.datastore.notifications.wait_connected()
        async with await connect(second) as connection:
            await connection.execute("UPDATE repositories SET generation = 9")
            await connection.execute("UPDATE storage_repositories SET generation = 9 WHERE storage = 'gitaly-3'")
        asked = len(cluster.nodes[ALL[2]].called("FindLocalBranches"))

        async def reads_from_the_only_current_one() -> bool:
            assert (await cluster.status(READ, read)).ok
            return len(cluster.nodes[ALL[2]].called("FindLocalBranches")) > asked

        await eventually(reads_from_the_only_current_one, within_seconds=60)
        assert (await cluster.status(WRITE, write)).ok

        # The old one returns as a standby: nobody goes back to it.
        await old.restart()
        await take_writes(old, does=False)
        assert (await cluster.status(WRITE, write)).ok
        async with await connect(second) as connection:
            cursor = await connection.execute("SELECT generation FROM repositories")
            assert await cursor.fetchall() == [{"generation": 11}]
