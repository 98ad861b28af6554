"""Records of repositories: creation, generations, consistent storages, metadata, data loss."""

import asyncio

import pytest

from praefect.datastore import Datastore
from praefect.datastore.repositories import RepositoryIdInUseError
from praefect.domain.repository import (
    NewRepository,
    RelativePath,
    ReplicaPath,
    RepositoryExistsError,
    RepositoryId,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
    WriteToOutdatedNodesError,
)
from tests.support.postgres import Rows

VS = VirtualStorage("default")
PATH = RelativePath("a/b.git")
ONE, TWO, THREE = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")


def new_repository(
    repository_id: RepositoryId,
    *,
    path: RelativePath = PATH,
    primary: Storage = ONE,
    updated: tuple[Storage, ...] = (TWO,),
    outdated: tuple[Storage, ...] = (),
    store_assignments: bool = False,
) -> NewRepository:
    return NewRepository(
        repository_id=repository_id,
        virtual_storage=VS,
        relative_path=path,
        replica_path=ReplicaPath(f"@cluster/{repository_id}"),
        primary=primary,
        updated=updated,
        outdated=outdated,
        store_assignments=store_assignments,
    )


@pytest.fixture
async def repository(datastore: Datastore) -> RepositoryId:
    """A repository on gitaly-1, its primary, and gitaly-2, both healthy; gitaly-3 has no replica."""
    repository_id = await datastore.repositories.reserve_repository_id(VS, PATH)
    await datastore.repositories.create_repository(new_repository(repository_id))
    return repository_id


async def see(datastore: Datastore, *storages: Storage) -> None:
    """Let one Praefect see these storages of the virtual storage, and no others."""
    await datastore.health.record("p1", [(VS, storage, storage in storages) for storage in (ONE, TWO, THREE)])


async def test_an_unknown_repository_is_not_found(datastore: Datastore) -> None:
    store = datastore.repositories
    with pytest.raises(RepositoryNotFoundError):
        await store.get_repository_id(VS, PATH)
    with pytest.raises(RepositoryNotFoundError):
        await store.get_replica_path(RepositoryId(1))
    with pytest.raises(RepositoryNotFoundError):
        await store.get_consistent_storages(VS, PATH)
    with pytest.raises(RepositoryNotFoundError):
        await store.get_metadata_by_path(VS, PATH)
    with pytest.raises(RepositoryNotFoundError):
        await store.delete_repository(VS, PATH)
    with pytest.raises(RepositoryNotFoundError):
        await store.increment_generation(RepositoryId(1), ONE, [])
    with pytest.raises(RepositoryNotFoundError):
        await store.set_authoritative_storage(VS, PATH, ONE)
    assert not await store.repository_exists(VS, PATH)


async def test_a_created_repository_is_found(datastore: Datastore, repository: RepositoryId) -> None:
    store = datastore.repositories
    assert await store.get_repository_id(VS, PATH) == repository
    assert await store.get_replica_path(repository) == f"@cluster/{repository}"
    assert await store.repository_exists(VS, PATH)
    consistent = await store.get_consistent_storages(VS, PATH)
    assert consistent == await store.get_consistent_storages_by_id(repository)
    assert consistent.replica_path == f"@cluster/{repository}"
    assert consistent.storages == {ONE, TWO}


async def test_a_taken_path_gets_no_id(datastore: Datastore, repository: RepositoryId) -> None:
    with pytest.raises(RepositoryExistsError):
        await datastore.repositories.reserve_repository_id(VS, PATH)


@pytest.mark.parametrize("primary", [ONE, THREE], ids=["same storage", "other storage"])
async def test_the_loser_of_two_creations_is_told(
    datastore: Datastore, repository: RepositoryId, primary: Storage
) -> None:
    late = new_repository(RepositoryId(repository + 1), primary=primary, updated=())
    with pytest.raises(RepositoryExistsError):
        await datastore.repositories.create_repository(late)


async def test_an_id_is_used_once(datastore: Datastore, repository: RepositoryId) -> None:
    late = new_repository(repository, path=RelativePath("other"), primary=THREE, updated=())
    with pytest.raises(RepositoryIdInUseError, match=f"repository id {repository} already in use"):
        await datastore.repositories.create_repository(late)


async def test_assignments_are_stored_only_if_asked(datastore: Datastore, connection: Rows) -> None:
    store = datastore.repositories
    await store.create_repository(new_repository(RepositoryId(1), outdated=(THREE,), store_assignments=True))
    await store.create_repository(new_repository(RepositoryId(2), path=RelativePath("c"), outdated=(THREE,)))
    assigned = await connection.run("SELECT repository_id, storage FROM repository_assignments ORDER BY storage")
    assert assigned == [(1, ONE), (1, TWO), (1, THREE)]
    replicas = await connection.run("SELECT storage FROM storage_repositories WHERE repository_id = 1 ORDER BY storage")
    assert replicas == [(ONE,), (TWO,)]


async def test_a_deleted_repository_leaves_its_places(
    datastore: Datastore, repository: RepositoryId, connection: Rows
) -> None:
    assert await datastore.repositories.delete_repository(VS, PATH) == (f"@cluster/{repository}", [ONE, TWO])
    assert await connection.run("SELECT count(*) FROM storage_repositories") == [(0,)]


async def test_a_repository_without_replicas_can_be_deleted(datastore: Datastore, repository: RepositoryId) -> None:
    for storage in (ONE, TWO):
        assert await datastore.repositories.delete_replica(repository, storage)
    assert await datastore.repositories.delete_repository(VS, PATH) == (f"@cluster/{repository}", [])


async def test_paths_are_listed_page_by_page(datastore: Datastore, connection: Rows) -> None:
    await connection.run(
        "INSERT INTO repositories (virtual_storage, relative_path) "
        "SELECT 'default', to_char(n, 'FM00000') FROM generate_series(1, 2000) AS n"
    )
    await connection.run("INSERT INTO repositories (virtual_storage, relative_path) VALUES ('other', 'x')")
    assert [path async for path in datastore.repositories.list_paths(VS)] == [f"{n:05}" for n in range(1, 2001)]


async def generations(connection: Rows) -> dict[object, object]:
    rows = await connection.run(
        "SELECT 'repository', generation FROM repositories "
        "UNION ALL SELECT storage, generation FROM storage_repositories"
    )
    return {row[0]: row[1] for row in rows}


async def test_a_write_outdates_the_others(datastore: Datastore, repository: RepositoryId, connection: Rows) -> None:
    await datastore.repositories.increment_generation(repository, ONE, [])
    assert await generations(connection) == {"repository": 1, ONE: 1, TWO: 0}
    assert (await datastore.repositories.get_consistent_storages(VS, PATH)).storages == {ONE}


async def test_an_outdated_replica_is_not_counted_as_written(
    datastore: Datastore, repository: RepositoryId, connection: Rows
) -> None:
    await datastore.repositories.increment_generation(repository, ONE, [])
    await datastore.repositories.increment_generation(repository, ONE, [TWO])
    assert await generations(connection) == {"repository": 2, ONE: 2, TWO: 0}


async def test_a_write_to_outdated_nodes_only_is_refused(
    datastore: Datastore, repository: RepositoryId, connection: Rows
) -> None:
    await datastore.repositories.increment_generation(repository, ONE, [])
    with pytest.raises(WriteToOutdatedNodesError):
        await datastore.repositories.increment_generation(repository, TWO, [THREE])
    assert await generations(connection) == {"repository": 1, ONE: 1, TWO: 0}


async def test_concurrent_writes_add_up(datastore: Datastore, repository: RepositoryId, connection: Rows) -> None:
    async with asyncio.TaskGroup() as writes:
        for _ in range(20):
            writes.create_task(datastore.repositories.increment_generation(repository, ONE, [TWO]))
    assert await generations(connection) == {"repository": 20, ONE: 20, TWO: 20}


async def test_replica_generations_are_read_together(datastore: Datastore, repository: RepositoryId) -> None:
    await datastore.repositories.increment_generation(repository, ONE, [])
    assert await datastore.repositories.get_replica_generations(repository, ONE, TWO) == (1, 0)
    assert await datastore.repositories.get_replica_generations(repository, ONE, THREE) == (1, None)


async def test_a_copied_replica_is_recorded(datastore: Datastore, repository: RepositoryId, connection: Rows) -> None:
    await datastore.repositories.set_generation(repository, THREE, PATH, 0)
    assert await generations(connection) == {"repository": 0, ONE: 0, TWO: 0, THREE: 0}
    await datastore.repositories.set_generation(repository, THREE, PATH, 2)
    assert await generations(connection) == {"repository": 2, ONE: 0, TWO: 0, THREE: 2}
    await datastore.repositories.set_generation(repository, THREE, PATH, 1)
    assert await generations(connection) == {"repository": 2, ONE: 0, TWO: 0, THREE: 1}


async def test_nothing_is_recorded_of_a_repository_that_is_gone(datastore: Datastore, connection: Rows) -> None:
    await datastore.repositories.set_generation(RepositoryId(7), ONE, PATH, 3)
    assert await generations(connection) == {}


async def test_the_authoritative_storage_outdates_all_others(
    datastore: Datastore, repository: RepositoryId, connection: Rows
) -> None:
    await datastore.repositories.set_authoritative_storage(VS, PATH, TWO)
    await datastore.repositories.set_authoritative_storage(VS, PATH, THREE)
    assert await generations(connection) == {"repository": 2, ONE: 0, TWO: 1, THREE: 2}


async def test_the_last_invalid_replica_takes_the_repository_along(
    datastore: Datastore, repository: RepositoryId
) -> None:
    await datastore.repositories.delete_invalid_repository(repository, ONE)
    assert (await datastore.repositories.get_consistent_storages(VS, PATH)).storages == {TWO}
    await datastore.repositories.delete_invalid_repository(repository, TWO)
    assert not await datastore.repositories.repository_exists(VS, PATH)


async def test_a_replica_without_a_record_cannot_be_deleted(datastore: Datastore, repository: RepositoryId) -> None:
    assert not await datastore.repositories.delete_replica(repository, THREE)


async def test_metadata_shows_what_shall_be(datastore: Datastore, repository: RepositoryId) -> None:
    await see(datastore, ONE, THREE)
    metadata = await datastore.repositories.get_metadata(repository)
    assert metadata == await datastore.repositories.get_metadata_by_path(VS, PATH)
    assert (metadata.primary, metadata.generation, metadata.explicitly_assigned) == (ONE, 0, False)
    assert [
        (replica.storage, replica.generation, replica.assigned, replica.healthy, replica.valid_primary)
        for replica in metadata.replicas
    ] == [(ONE, 0, True, True, True), (TWO, 0, True, False, False), (THREE, -1, True, True, False)]


async def test_metadata_tells_unassigned_replicas(
    datastore: Datastore, repository: RepositoryId, connection: Rows
) -> None:
    await connection.run(
        "INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id) "
        "VALUES ('default', %s, 'gitaly-3', %s), ('default', %s, 'not-configured', %s)",
        PATH,
        repository,
        PATH,
        repository,
    )
    metadata = await datastore.repositories.get_metadata(repository)
    assert metadata.explicitly_assigned
    assert [(replica.storage, replica.assigned) for replica in metadata.replicas] == [
        (ONE, False),
        (TWO, False),
        (THREE, True),
    ]


async def losses(datastore: Datastore, *, partially: bool) -> list[tuple[object, bool]]:
    return [
        (loss.relative_path, loss.unavailable)
        async for loss in datastore.repositories.dataloss(VS, include_partially_available=partially)
    ]


async def test_dataloss_tells_degraded_from_unavailable(datastore: Datastore, repository: RepositoryId) -> None:
    await datastore.repositories.create_repository(new_repository(RepositoryId(50), path=RelativePath("2")))
    await datastore.repositories.set_generation(RepositoryId(50), THREE, RelativePath("2"), 0)
    await see(datastore, ONE, TWO, THREE)
    assert await losses(datastore, partially=False) == []
    assert await losses(datastore, partially=True) == [(PATH, False)]
    assert await datastore.repositories.count_unavailable() == {"default": 0, "other": 0}

    await datastore.repositories.increment_generation(repository, ONE, [])
    await see(datastore)
    await expire(datastore)
    assert await losses(datastore, partially=False) == [(PATH, True), ("2", True)]
    assert await datastore.repositories.count_unavailable() == {"default": 2, "other": 0}
    (loss, _) = [loss async for loss in datastore.repositories.dataloss(VS, include_partially_available=False)]
    assert [(replica.storage, replica.behind_by) for replica in loss.replicas] == [(ONE, 0), (TWO, 1), (THREE, 2)]


async def expire(datastore: Datastore) -> None:
    """Let everything that was seen have been seen too long ago."""
    await datastore.repositories._database.execute(
        "UPDATE node_status SET last_seen_active_at = last_seen_active_at - interval '11 seconds'"
    )
