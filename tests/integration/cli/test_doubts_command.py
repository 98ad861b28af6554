"""``praefect doubts``, ``praefect explain`` and what ``check`` says of doubts, against a real database."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from psycopg import sql

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore import Datastore, open_datastore
from praefect.datastore.own_schema import SchemaRefusedError
from praefect.datastore.pool import connect
from praefect.domain.doubts import Doubt, Incarnation, OpenResult
from praefect.domain.replication import Change, ReplicationJob
from praefect.domain.repository import (
    NewRepository,
    RelativePath,
    ReplicaPath,
    RepositoryId,
    Storage,
    VirtualStorage,
)
from tests.support.postgres import (
    LAYOUTS,
    Rows,
    connection,
    database,
    datastore,
    empty_database,
    postgres_server,
)
from tests.support.praefect_cli import Result, run_praefect

__all__ = ["connection", "database", "datastore", "empty_database", "postgres_server"]

VS, PATH = VirtualStorage("default"), RelativePath("a.git")
ONE, TWO, THREE = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")
DEAD = Incarnation("dead")


class Cli:
    def __init__(self, path: Path) -> None:
        self._path = path

    async def __call__(self, *words: str) -> Result:
        return await run_praefect("-config", str(self._path), *words)


def write_config(path: Path, database: DatabaseConfig) -> Cli:
    nodes = "".join(
        f'[[virtual_storage.node]]\nstorage = "gitaly-{number}"\naddress = "unix:{path.parent}/{number}.sock"\n'
        for number in (1, 2, 3)
    )
    path.write_text(
        f"""listen_addr = "127.0.0.1:1"

[database]
host = "{database.host}"
port = {database.port}
user = "{database.user}"
password = "{database.password}"
dbname = "{database.dbname}"

[[virtual_storage]]
name = "default"
{nodes}"""
    )
    return Cli(path)


@pytest.fixture
def praefect(tmp_path: Path, database: DatabaseConfig) -> Cli:
    return write_config(tmp_path / "config.toml", database)


async def create(datastore: Datastore) -> RepositoryId:
    number = await datastore.repositories.reserve_repository_id(VS, PATH)
    await datastore.repositories.create_repository(
        NewRepository(
            repository_id=number,
            virtual_storage=VS,
            relative_path=PATH,
            replica_path=ReplicaPath(f"disk/{number}"),
            primary=ONE,
            updated=(TWO,),
            outdated=(),
            store_assignments=False,
        )
    )
    return number


async def interrupt(datastore: Datastore, number: RepositoryId, *, creates: bool = False) -> None:
    await datastore.doubts.take_lease(DEAD, "another")
    doubt = Doubt(
        incarnation=DEAD,
        number=1,
        repository_id=number,
        virtual_storage=VS,
        relative_path=PATH,
        replica_path=ReplicaPath(f"disk/{number}"),
        full_method="/gitaly.OperationService/UserCommitFiles",
        creates=creates,
    )
    assert await datastore.doubts.open(doubt) is OpenResult.OPENED


async def test_doubts_are_listed(praefect: Cli, datastore: Datastore) -> None:
    assert (await praefect("doubts")).ok() == "0 in doubt, 0 of them interrupted.\n"
    await interrupt(datastore, await create(datastore))
    lines = (await praefect("doubts")).ok().splitlines()
    assert lines[0].startswith("default a.git: UserCommitFiles since ")
    assert lines[0].endswith(": being written")
    await datastore.doubts.release_lease(DEAD)
    lines = (await praefect("doubts")).ok().splitlines()
    assert lines[0].endswith(": interrupted, to be settled")
    assert lines[1] == "1 in doubt, 1 of them interrupted."


async def test_what_cannot_be_settled_is_said_and_kept(praefect: Cli, datastore: Datastore) -> None:
    await interrupt(datastore, await create(datastore))
    assert (await praefect("doubts", "-settle")).ok() == "0 settled, 0 left.\n"  # somebody writes it
    await datastore.doubts.release_lease(DEAD)
    result = await praefect("doubts", "-settle")
    assert result == Result(
        1, "default a.git: out of reach\n0 settled, 1 left.\n", "1 repositories could not be settled\n"
    )
    [doubt] = await datastore.doubts.list(only_lapsed=True)
    assert doubt.key == (DEAD, 1)


async def test_a_doubt_of_a_removed_repository_is_dropped(praefect: Cli, datastore: Datastore) -> None:
    await interrupt(datastore, await create(datastore))
    await datastore.doubts.release_lease(DEAD)
    await datastore.repositories.delete_repository(VS, PATH)
    assert (await praefect("doubts", "-settle")).ok() == "default a.git: settled\n1 settled, 0 left.\n"
    assert await datastore.doubts.list(only_lapsed=False) == []


async def test_explain(praefect: Cli, datastore: Datastore, connection: Rows) -> None:
    number = await create(datastore)
    await connection.run(
        "INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at) "
        "SELECT 'p', 'default', name, now(), now() FROM unnest(ARRAY['gitaly-1', 'gitaly-2']) AS names (name) "
        "ON CONFLICT DO NOTHING"
    )
    await datastore.queue.enqueue(
        ReplicationJob(
            repository_id=number,
            change=Change.UPDATE,
            virtual_storage=VS,
            relative_path=PATH,
            source_node_storage=ONE,
            target_node_storage=THREE,
        ),
        correlation_id="1",
    )
    assert (await praefect("explain", "-repository", "a.git")).ok().splitlines() == [
        "Repository: a.git of virtual storage default",
        f"  ID {number}, on disks disk/{number}, generation 0",
        "Readable: yes, from gitaly-1, gitaly-2",
        "Writable: yes, through its primary gitaly-1",
        "Replicas:",
        "  gitaly-1: up to date, primary",
        "  gitaly-2: up to date",
        "  gitaly-3: no replica, no Praefect reaches it, a repair from gitaly-1 is ready, 3 attempts left",
        "Doubts: none",
        "What helps:",
        "  nothing to do for replicas that are behind: the reconciler queues repairs for those that are reachable",
    ]
    await interrupt(datastore, number)
    await datastore.doubts.release_lease(DEAD)
    lines = (await praefect("explain", "-repository", "a.git", "-virtual-storage", "default")).ok().splitlines()
    assert "Readable: no, an interrupted write has not been settled" in lines
    assert "Writable: no, an interrupted write has not been settled" in lines
    assert "  praefect doubts -settle, once one of the nodes with the newest generation is reachable" in lines
    result = await praefect("explain", "-repository", "missing.git")
    assert (result.code, result.stdout, result.stderr) == (
        1,
        "",
        'repository not found\nknown repositories of "default": "a.git"\n',
    )


async def test_without_the_right_to_make_a_schema_the_grant_is_named(
    empty_database: DatabaseConfig, tmp_path: Path
) -> None:
    async with await connect(empty_database) as owner:
        names = sql.Identifier(empty_database.dbname), sql.Identifier(empty_database.user)
        await owner.execute(sql.SQL("REVOKE CREATE ON DATABASE {} FROM {}").format(*names))
        cursor = await owner.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        if (await cursor.fetchone() or {}).get("rolsuper"):
            pytest.skip("the role of these tests may do everything")
    async with open_datastore(empty_database, layouts=LAYOUTS) as datastore:
        with pytest.raises(SchemaRefusedError) as refused:
            await datastore.own_schema.prepare()
    grant = f'GRANT CREATE ON DATABASE "{empty_database.dbname}" TO "{empty_database.user}"'
    assert refused.value.grant == grant
    output = (await write_config(tmp_path / "poor.toml", empty_database)("check", "-q")).stdout
    assert "Checking interrupted writes...Failed (warning) error: the schema praefect_own cannot be " in output
    assert grant in output


async def test_the_schema_is_made_once_by_many(empty_database: DatabaseConfig) -> None:
    async with (
        open_datastore(empty_database, layouts=LAYOUTS) as one,
        open_datastore(empty_database, layouts=LAYOUTS) as two,
        asyncio.TaskGroup() as group,
    ):
        for store in (one, two, one, two):
            group.create_task(store.own_schema.prepare(), name="prepare")
