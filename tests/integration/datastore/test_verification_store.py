"""Verification: leases of replicas and what becomes of results."""

from datetime import timedelta

import pytest

from praefect.datastore import Datastore
from praefect.datastore.verification import VerificationDepth
from praefect.domain.replication import ReplicaToVerify
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage
from tests.support.postgres import Rows

VS = VirtualStorage("default")
ONE, TWO = Storage("gitaly-1"), Storage("gitaly-2")
HEALTHY = {VS: (ONE, TWO)}
WEEK = timedelta(days=7)


@pytest.fixture(autouse=True)
async def _replicas(connection: Rows) -> None:
    await connection.run(
        "INSERT INTO repositories (repository_id, virtual_storage, relative_path, replica_path, generation) "
        "VALUES (1, 'default', 'a', '@a', 0)"
    )
    await connection.run(
        "INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id) "
        "VALUES ('default', 'a', 'gitaly-1', 0, 1), ('default', 'a', 'gitaly-2', 0, 1)"
    )


def replica(storage: Storage) -> ReplicaToVerify:
    return ReplicaToVerify(
        repository_id=RepositoryId(1),
        virtual_storage=VS,
        relative_path=RelativePath("a"),
        replica_path=ReplicaPath("@a"),
        storage=storage,
    )


async def acquire(datastore: Datastore, limit: int = 25) -> set[Storage]:
    return {found.storage for found in await datastore.verification.acquire(HEALTHY, WEEK, limit)}


async def complete(
    datastore: Datastore,
    *,
    valid: tuple[Storage, ...] = (),
    invalid: tuple[Storage, ...] = (),
    failed: tuple[Storage, ...] = (),
    delete_invalid: bool = True,
) -> None:
    await datastore.verification.complete(
        valid=[replica(storage) for storage in valid],
        invalid=[replica(storage) for storage in invalid],
        failed=[replica(storage) for storage in failed],
        delete_invalid=delete_invalid,
    )


async def stored(connection: Rows) -> dict[object, tuple[object, object]]:
    """Return for each storage whether it was verified and whether it is leased."""
    rows = await connection.run(
        "SELECT storage, verified_at IS NOT NULL, verification_leased_until IS NOT NULL FROM storage_repositories"
    )
    return {row[0]: (row[1], row[2]) for row in rows}


async def test_each_replica_is_leased_once(datastore: Datastore) -> None:
    assert await datastore.verification.acquire({VS: (ONE,)}, WEEK, 25) == [replica(ONE)]
    assert await acquire(datastore) == {TWO}
    assert await acquire(datastore) == set()


async def test_no_more_than_a_batch_is_leased(datastore: Datastore) -> None:
    assert len(await acquire(datastore, limit=1)) == 1


async def test_replicas_that_were_verified_lately_wait(datastore: Datastore, connection: Rows) -> None:
    await connection.run("UPDATE storage_repositories SET verified_at = now() WHERE storage = 'gitaly-1'")
    assert await acquire(datastore) == {TWO}


async def test_replicas_that_were_never_verified_come_first(datastore: Datastore, connection: Rows) -> None:
    await connection.run(
        "UPDATE storage_repositories SET verified_at = now() - interval '8 days' WHERE storage = 'gitaly-1'"
    )
    assert await acquire(datastore, limit=1) == {TWO}
    assert await acquire(datastore, limit=1) == {ONE}


async def test_results_give_leases_back(datastore: Datastore, connection: Rows) -> None:
    await acquire(datastore)
    await complete(datastore, valid=(ONE,), failed=(TWO,))
    assert await stored(connection) == {ONE: (True, False), TWO: (False, False)}


async def test_records_of_missing_replicas_are_deleted(datastore: Datastore, connection: Rows) -> None:
    await acquire(datastore)
    await complete(datastore, invalid=(ONE, TWO))
    assert await stored(connection) == {}
    assert await datastore.repositories.repository_exists(VS, RelativePath("a"))


async def test_records_of_missing_replicas_are_kept_if_asked(datastore: Datastore, connection: Rows) -> None:
    await acquire(datastore)
    await complete(datastore, invalid=(ONE, TWO), delete_invalid=False)
    assert await stored(connection) == {ONE: (True, False), TWO: (True, False)}


async def test_results_of_a_deleted_repository_are_dropped(datastore: Datastore, connection: Rows) -> None:
    await acquire(datastore)
    await datastore.repositories.delete_repository(VS, RelativePath("a"))
    await complete(datastore, valid=(ONE,), invalid=(TWO,))
    assert await stored(connection) == {}


async def test_expired_leases_are_given_back_after_a_while(datastore: Datastore, connection: Rows) -> None:
    await acquire(datastore)
    assert await datastore.verification.release_expired(25) == []
    await connection.run("UPDATE storage_repositories SET verification_leased_until = now() - interval '29 seconds'")
    assert await datastore.verification.release_expired(25) == []
    await connection.run("UPDATE storage_repositories SET verification_leased_until = now() - interval '31 seconds'")
    assert len(await datastore.verification.release_expired(1)) == 1
    assert len(await datastore.verification.release_expired(25)) == 1
    assert await acquire(datastore) == {ONE, TWO}


async def test_marked_replicas_are_verified_again(datastore: Datastore, connection: Rows) -> None:
    async def verify() -> None:
        await connection.run("UPDATE storage_repositories SET verified_at = now()")

    store = datastore.verification
    assert await store.mark_repository(RepositoryId(1)) == 0
    await verify()
    assert await store.mark_repository(RepositoryId(1)) == 2
    await verify()
    assert await store.mark_virtual_storage(VirtualStorage("other")) == 0
    assert await store.mark_virtual_storage(VS) == 2
    await verify()
    assert await store.mark_storage(VS, ONE) == 1
    assert await stored(connection) == {ONE: (False, False), TWO: (True, False)}


async def test_depths_are_counted(datastore: Datastore, connection: Rows) -> None:
    await connection.run(
        "UPDATE storage_repositories SET verified_at = now() - interval '8 days' WHERE storage = 'gitaly-1'"
    )
    assert sorted(await datastore.verification.get_depths(WEEK), key=lambda depth: depth.storage) == [
        VerificationDepth(virtual_storage=VS, storage=ONE, unverified=0, expired=1),
        VerificationDepth(virtual_storage=VS, storage=TWO, unverified=1, expired=0),
    ]
