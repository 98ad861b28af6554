"""Doubts that are opened while another write of the same repository is being recorded."""

from __future__ import annotations

import asyncio

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore import Datastore
from praefect.datastore.pool import connect
from praefect.domain.doubts import Doubt, Incarnation, OpenResult
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage
from tests.support.eventually import eventually
from tests.support.postgres import Rows

VS, PATH = VirtualStorage("default"), RelativePath("a.git")
ONE, TWO = Storage("gitaly-1"), Storage("gitaly-2")
OWN = Incarnation("own")


async def test_doubt_counts_the_replicas_of_one_moment(
    database: DatabaseConfig, datastore: Datastore, connection: Rows
) -> None:
    """The repository's row may be newer than the snapshot; its replicas must not be looked for at that generation."""
    await datastore.own_schema.prepare()
    await datastore.doubts.take_lease(OWN, "praefect-1")
    await connection.run(
        "INSERT INTO repositories (repository_id, virtual_storage, relative_path, replica_path, generation) "
        "VALUES (1, 'default', 'a.git', 'disk', 0)"
    )
    for storage in (ONE, TWO):
        await connection.run("INSERT INTO storage_repositories VALUES ('default', 'a.git', %s, 0, 1)", storage)
    doubt = Doubt(
        incarnation=OWN,
        number=1,
        repository_id=RepositoryId(1),
        virtual_storage=VS,
        relative_path=PATH,
        replica_path=ReplicaPath("disk"),
        full_method="/gitaly.RepositoryService/WriteRef",
        creates=False,
    )

    async def waits() -> bool:
        return bool(await connection.run("SELECT FROM pg_locks WHERE NOT granted"))

    async with await connect(database) as other, asyncio.TaskGroup() as tasks:
        # Another write is being recorded; ours waits, its snapshot taken, for the repository's row.
        await other.execute("BEGIN")
        await other.execute("SELECT FROM repositories FOR UPDATE")
        await other.execute("UPDATE repositories SET generation = 1")
        await other.execute("UPDATE storage_repositories SET generation = 1")
        opening = tasks.create_task(datastore.doubts.open(doubt), name="open")
        await eventually(waits)
        await other.execute("COMMIT")
    assert opening.result() is OpenResult.OPENED

    [stored] = await datastore.doubts.list(only_lapsed=False)
    assert set(stored.storages) == {ONE, TWO}
    assert await datastore.doubts.record_increment(doubt, ONE, [TWO])
    assert await connection.run("SELECT generation FROM repositories") == [(2,)]
    assert await connection.run("SELECT generation FROM storage_repositories") == [(2,), (2,)]
