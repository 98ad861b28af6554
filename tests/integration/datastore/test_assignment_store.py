"""Assignments: which storages shall hold a repository, and changing how many."""

import pytest

from praefect.datastore import Datastore
from praefect.datastore.assignments import VirtualStorageNotFoundError
from praefect.domain.repository import RelativePath, RepositoryId, RepositoryNotFoundError, Storage, VirtualStorage
from tests.support.postgres import Rows

VS, PATH, REPOSITORY = VirtualStorage("default"), RelativePath("a"), RepositoryId(1)
ALL = ["gitaly-1", "gitaly-2", "gitaly-3"]


@pytest.fixture(autouse=True)
async def _repository(connection: Rows) -> None:
    await connection.run(
        'INSERT INTO repositories (repository_id, virtual_storage, relative_path, "primary") '
        "VALUES (1, 'default', 'a', 'gitaly-2')"
    )


async def assign(connection: Rows, *storages: str) -> None:
    for storage in storages:
        await connection.run("INSERT INTO repository_assignments VALUES ('default', 'a', %s, 1)", storage)


async def set_factor(datastore: Datastore, factor: int) -> list[Storage]:
    return list(await datastore.assignments.set_replication_factor(VS, PATH, factor))


async def test_without_assignments_all_storages_are_meant(datastore: Datastore) -> None:
    assert await datastore.assignments.get_assignments(VS, REPOSITORY) == ALL


async def test_assignments_are_listed_as_configured(datastore: Datastore, connection: Rows) -> None:
    await assign(connection, "gitaly-3", "gitaly-1", "not-configured")
    assert await datastore.assignments.get_assignments(VS, REPOSITORY) == ["gitaly-1", "gitaly-3"]


async def test_assignments_to_unconfigured_storages_are_not_seen(datastore: Datastore, connection: Rows) -> None:
    await assign(connection, "not-configured")
    assert await datastore.assignments.get_assignments(VS, REPOSITORY) == ALL


async def test_an_unknown_virtual_storage_is_refused(datastore: Datastore) -> None:
    with pytest.raises(VirtualStorageNotFoundError, match='virtual storage "nowhere" not found'):
        await datastore.assignments.get_assignments(VirtualStorage("nowhere"), REPOSITORY)


async def test_the_primary_is_assigned_first(datastore: Datastore) -> None:
    assert await set_factor(datastore, 1) == ["gitaly-2"]


async def test_storages_are_added_up_to_the_factor(datastore: Datastore, connection: Rows) -> None:
    await assign(connection, "gitaly-1")
    assert await set_factor(datastore, 2) == ["gitaly-1", "gitaly-2"]
    assert await set_factor(datastore, 3) == ALL
    assert await set_factor(datastore, 3) == ALL


async def test_the_primary_is_never_released(datastore: Datastore, connection: Rows) -> None:
    await assign(connection, *ALL)
    remaining = await set_factor(datastore, 2)
    assert len(remaining) == 2
    assert "gitaly-2" in remaining
    assert await set_factor(datastore, 1) == ["gitaly-2"]
    assert await connection.run("SELECT storage FROM repository_assignments") == [("gitaly-2",)]


async def test_unconfigured_storages_are_left_alone(datastore: Datastore, connection: Rows) -> None:
    await assign(connection, "not-configured")
    assert await set_factor(datastore, 1) == ["gitaly-2"]
    assert len(await connection.run("SELECT FROM repository_assignments")) == 2


async def test_an_unknown_repository_is_not_found(datastore: Datastore) -> None:
    with pytest.raises(RepositoryNotFoundError):
        await datastore.assignments.set_replication_factor(VS, RelativePath("other"), 1)
