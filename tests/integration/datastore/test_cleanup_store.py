"""The search for unknown repositories: who looks at which storage, and what is unknown there."""

from datetime import timedelta

import pytest

from praefect.datastore import Datastore
from praefect.domain.replication import StorageCleanup
from praefect.domain.repository import ReplicaPath, Storage, VirtualStorage
from tests.support.postgres import Rows

VS = VirtualStorage("default")
ONE, TWO = Storage("gitaly-1"), Storage("gitaly-2")
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
async def _storages(datastore: Datastore) -> None:
    for _ in range(2):
        await datastore.cleanups.populate({VS: (ONE, TWO)})


def cleanup(storage: Storage) -> StorageCleanup:
    return StorageCleanup(virtual_storage=VS, storage=storage)


async def test_storages_are_taken_in_turn(datastore: Datastore) -> None:
    assert await datastore.cleanups.acquire(DAY) == cleanup(ONE)
    assert await datastore.cleanups.acquire(DAY) == cleanup(TWO)
    assert await datastore.cleanups.acquire(DAY) is None


async def test_a_storage_rests_after_it_was_looked_at(datastore: Datastore, connection: Rows) -> None:
    await datastore.cleanups.acquire(DAY)
    await datastore.cleanups.release(cleanup(ONE))
    await connection.run(
        "UPDATE storage_cleanups SET last_run = now() - interval '23 hours' WHERE last_run IS NOT NULL"
    )
    assert await datastore.cleanups.acquire(DAY) == cleanup(TWO)
    assert await datastore.cleanups.acquire(DAY) is None
    await connection.run(
        "UPDATE storage_cleanups SET last_run = now() - interval '25 hours' WHERE last_run IS NOT NULL"
    )
    assert await datastore.cleanups.acquire(DAY) == cleanup(ONE)


async def test_who_falls_silent_is_replaced(datastore: Datastore, connection: Rows) -> None:
    await datastore.cleanups.acquire(DAY)
    await datastore.cleanups.acquire(DAY)
    await connection.run("UPDATE storage_cleanups SET triggered_at = triggered_at - interval '31 seconds'")
    await datastore.cleanups.refresh(cleanup(ONE))
    assert await datastore.cleanups.acquire(DAY) == cleanup(TWO)


async def test_paths_without_a_replica_here_are_unknown(datastore: Datastore, connection: Rows) -> None:
    await connection.run(
        "INSERT INTO repositories (repository_id, virtual_storage, relative_path, replica_path, generation) "
        "VALUES (1, 'default', 'a', '@a', 0), (2, 'other', 'b', '@b', 0)"
    )
    await connection.run(
        "INSERT INTO storage_repositories VALUES ('default', 'a', 'gitaly-1', 0, 1), ('other', 'b', 'gitaly-1', 0, 2)"
    )
    asked = [ReplicaPath(path) for path in ("@z", "@a", "@b")]
    assert await datastore.cleanups.find_unknown(VS, ONE, asked) == ["@z", "@b"]
    assert await datastore.cleanups.find_unknown(VS, TWO, asked) == ["@z", "@a", "@b"]
    assert await datastore.cleanups.find_unknown(VS, ONE, []) == []
