"""Election: the stored primary stays while it is valid, and is replaced by a valid one otherwise."""

import asyncio

import pytest

from praefect.datastore import Datastore
from praefect.domain.repository import RepositoryId, RepositoryNotFoundError, Storage, VirtualStorage
from tests.support.postgres import Rows

VS = VirtualStorage("default")
ONE, TWO, THREE = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")
REPOSITORY = RepositoryId(1)


async def record(connection: Rows, primary: Storage | None, generation: int, replicas: dict[Storage, int]) -> None:
    await connection.run(
        'INSERT INTO repositories (repository_id, virtual_storage, relative_path, generation, "primary") '
        "VALUES (1, 'default', 'a', %s, %s)",
        generation,
        primary,
    )
    for storage, held in replicas.items():
        await connection.run("INSERT INTO storage_repositories VALUES ('default', 'a', %s, %s, 1)", storage, held)


async def assign(connection: Rows, *storages: Storage) -> None:
    for storage in storages:
        await connection.run("INSERT INTO repository_assignments VALUES ('default', 'a', %s, 1)", storage)


async def see(datastore: Datastore, *storages: Storage) -> None:
    await datastore.health.record("p1", [(VS, storage, storage in storages) for storage in (ONE, TWO, THREE)])


async def elect(datastore: Datastore) -> tuple[Storage | None, Storage | None, bool]:
    elected = await datastore.election.elect_primary(VS, REPOSITORY)
    return elected.storage, elected.previous, elected.changed


async def test_an_unknown_repository_is_not_found(datastore: Datastore) -> None:
    with pytest.raises(RepositoryNotFoundError):
        await elect(datastore)


async def test_a_valid_primary_stays(datastore: Datastore, connection: Rows) -> None:
    await record(connection, ONE, 0, {ONE: 0, TWO: 0})
    await see(datastore, ONE, TWO)
    assert await elect(datastore) == (ONE, ONE, False)


async def test_an_unhealthy_primary_is_replaced(datastore: Datastore, connection: Rows) -> None:
    await record(connection, ONE, 0, {ONE: 0, TWO: 0})
    await see(datastore, TWO, THREE)
    assert await elect(datastore) == (TWO, ONE, True)
    assert await elect(datastore) == (TWO, TWO, False)
    assert await connection.run('SELECT "primary" FROM repositories') == [(TWO,)]


async def test_an_outdated_primary_is_replaced(datastore: Datastore, connection: Rows) -> None:
    await record(connection, ONE, 3, {ONE: 2, TWO: 2, THREE: 3})
    await see(datastore, ONE, TWO, THREE)
    assert await elect(datastore) == (THREE, ONE, True)


async def test_without_candidates_the_primary_stays(datastore: Datastore, connection: Rows) -> None:
    await record(connection, ONE, 0, {ONE: 0, TWO: 0})
    assert await elect(datastore) == (ONE, ONE, False)


async def test_without_primary_and_candidates_there_is_none(datastore: Datastore, connection: Rows) -> None:
    await record(connection, None, 0, {ONE: 0})
    assert await elect(datastore) == (None, None, False)


async def test_the_first_primary_is_elected(datastore: Datastore, connection: Rows) -> None:
    await record(connection, None, 0, {ONE: 0})
    await see(datastore, ONE)
    assert await elect(datastore) == (ONE, None, True)


async def test_an_assigned_candidate_is_preferred(datastore: Datastore, connection: Rows) -> None:
    await record(connection, ONE, 0, {ONE: 0, TWO: 0, THREE: 0})
    await assign(connection, TWO)
    await see(datastore, ONE, TWO, THREE)
    assert await elect(datastore) == (TWO, ONE, True)


async def test_an_unassigned_candidate_stands_in(datastore: Datastore, connection: Rows) -> None:
    await record(connection, ONE, 0, {ONE: 0, TWO: 0})
    await assign(connection, ONE, THREE)
    await see(datastore, TWO)
    assert await elect(datastore) == (TWO, ONE, True)


async def test_a_replica_about_to_go_is_no_candidate(datastore: Datastore, connection: Rows) -> None:
    await record(connection, ONE, 0, {ONE: 0, TWO: 0, THREE: 0})
    await connection.run(
        "INSERT INTO replication_queue (job) VALUES "
        """('{"change": "delete_replica", "repository_id": 1, "target_node_storage": "gitaly-2"}')"""
    )
    await see(datastore, TWO, THREE)
    assert await elect(datastore) == (THREE, ONE, True)


async def test_concurrent_elections_agree(datastore: Datastore, connection: Rows) -> None:
    await record(connection, ONE, 0, {ONE: 0, TWO: 0, THREE: 0})
    await see(datastore, TWO, THREE)
    async with asyncio.TaskGroup() as elections:
        results = [elections.create_task(elect(datastore)) for _ in range(16)]
    assert len({result.result()[0] for result in results}) == 1


@pytest.mark.parametrize(
    ("voters", "positive", "is_healthy"), [(1, 1, True), (2, 1, True), (3, 1, False), (3, 2, True)]
)
async def test_half_of_the_praefects_decide(datastore: Datastore, voters: int, positive: int, is_healthy: bool) -> None:
    for number in range(voters):
        await datastore.health.record(f"p{number}", [(VS, ONE, number < positive), (VS, TWO, False)])
    assert await datastore.health.get_healthy_storages() == ({"default": [ONE]} if is_healthy else {})


async def test_a_silent_storage_keeps_when_it_was_seen(datastore: Datastore, connection: Rows) -> None:
    await see(datastore, ONE)
    seen = await connection.run("SELECT last_seen_active_at FROM node_status WHERE node_name = 'gitaly-1'")
    await see(datastore)
    assert await connection.run("SELECT last_seen_active_at FROM node_status WHERE node_name = 'gitaly-1'") == seen
    assert await connection.run("SELECT count(DISTINCT last_contact_attempt_at) FROM node_status") == [(1,)]
