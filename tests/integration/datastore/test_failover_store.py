"""Moves by hand compare what decided about them, and change nothing where that has changed."""

from __future__ import annotations

import asyncio

import pytest

from praefect.datastore import Datastore
from praefect.domain.failover import Move, RepositoryState, move_to
from praefect.domain.repository import RelativePath, Storage, VirtualStorage
from tests.support.postgres import Rows

VS = VirtualStorage("default")
ONE, TWO, THREE = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")


async def record(connection: Rows, path: str, number: int, generation: int, replicas: dict[Storage, int]) -> None:
    await connection.run(
        'INSERT INTO repositories (repository_id, virtual_storage, relative_path, generation, "primary") '
        "VALUES (%s, 'default', %s, %s, 'gitaly-1')",
        number,
        path,
        generation,
    )
    for storage, held in replicas.items():
        await connection.run(
            "INSERT INTO storage_repositories VALUES ('default', %s, %s, %s, %s)", path, storage, held, number
        )


async def see(datastore: Datastore, *storages: Storage) -> None:
    await datastore.health.record("p1", [(VS, storage, storage in storages) for storage in (ONE, TWO, THREE)])


async def states(datastore: Datastore, path: str | None = None) -> list[RepositoryState]:
    wanted = None if path is None else RelativePath(path)
    return [state async for state in datastore.failover.list_states(VS, wanted)]


async def plan(datastore: Datastore, target: Storage, *, accepts_loss: bool = False) -> Move:
    move = move_to((await states(datastore, "a"))[0], target, accepts_loss=accepts_loss)
    assert isinstance(move, Move)
    return move


async def primary(connection: Rows) -> object:
    return (await connection.run('SELECT "primary", generation FROM repositories'))[0]


async def test_states_say_what_is_known_on_every_storage(datastore: Datastore, connection: Rows) -> None:
    await record(connection, "a", 1, 4, {ONE: 4, TWO: 3})
    await record(connection, "b", 2, 0, {ONE: 0})
    await connection.run("INSERT INTO repository_assignments VALUES ('default', 'a', 'gitaly-2', 1)")
    await connection.run(
        "INSERT INTO replication_queue (job) VALUES "
        """('{"change": "delete_replica", "repository_id": 1, "target_node_storage": "gitaly-1"}')"""
    )
    await see(datastore, ONE)
    found = await states(datastore)
    assert [(state.relative_path, state.primary, state.generation) for state in found] == [("a", ONE, 4), ("b", ONE, 0)]
    assert [
        (one.storage, one.generation, one.is_healthy, one.is_assigned, one.is_leaving) for one in found[0].replicas
    ] == [(ONE, 4, True, False, True), (TWO, 3, False, True, False), (THREE, -1, False, False, False)]
    assert await states(datastore, "b") == found[1:]
    assert await states(datastore, "c") == []


async def test_all_pages_are_read(datastore: Datastore, connection: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praefect.datastore.failover.PAGE", 2)
    for number in range(5):
        await record(connection, f"p{number}", number + 1, 0, {ONE: 0})
    assert [state.relative_path for state in await states(datastore)] == ["p0", "p1", "p2", "p3", "p4"]


async def test_a_move_changes_the_primary_and_nothing_else(datastore: Datastore, connection: Rows) -> None:
    await record(connection, "a", 1, 4, {ONE: 4, TWO: 4})
    await see(datastore, ONE, TWO)
    move = await plan(datastore, TWO)
    assert await datastore.failover.move(move)
    assert await primary(connection) == (TWO, 4)
    assert not await datastore.failover.move(move)


@pytest.mark.parametrize(
    "change",
    [
        """UPDATE repositories SET "primary" = 'gitaly-3'""",
        "UPDATE repositories SET generation = 5",
        "UPDATE storage_repositories SET generation = 3 WHERE storage = 'gitaly-2'",
        "UPDATE node_status SET last_seen_active_at = now() - interval '1 minute' WHERE node_name = 'gitaly-2'",
        "DELETE FROM repositories",
    ],
)
async def test_a_move_does_nothing_once_something_changed(datastore: Datastore, connection: Rows, change: str) -> None:
    await record(connection, "a", 1, 4, {ONE: 4, TWO: 4})
    await see(datastore, ONE, TWO)
    move = await plan(datastore, TWO)
    await connection.run(change)
    assert not await datastore.failover.move(move)
    assert await connection.run("""SELECT FROM repositories WHERE "primary" = 'gitaly-2'""") == []


async def test_an_accepted_loss_makes_the_target_the_latest(datastore: Datastore, connection: Rows) -> None:
    await record(connection, "a", 1, 4, {ONE: 4, TWO: 2, THREE: 3})
    await see(datastore, TWO)
    assert await datastore.failover.move(await plan(datastore, TWO, accepts_loss=True))
    assert await primary(connection) == (TWO, 5)
    replicas = await connection.run("SELECT storage, generation FROM storage_repositories ORDER BY storage")
    assert replicas == [(ONE, 4), (TWO, 5), (THREE, 3)]


@pytest.mark.parametrize(
    "change",
    [
        """UPDATE repositories SET "primary" = 'gitaly-3'""",
        "UPDATE repositories SET generation = 5",
        "UPDATE storage_repositories SET generation = 4 WHERE storage = 'gitaly-2'",
        "UPDATE node_status SET last_seen_active_at = now() - interval '1 minute' WHERE node_name = 'gitaly-2'",
    ],
)
async def test_another_loss_than_the_accepted_one_is_not_taken(
    datastore: Datastore, connection: Rows, change: str
) -> None:
    await record(connection, "a", 1, 4, {ONE: 4, TWO: 2})
    await see(datastore, TWO)
    move = await plan(datastore, TWO, accepts_loss=True)
    await connection.run(change)
    before = await connection.run("SELECT * FROM storage_repositories ORDER BY storage")
    assert not await datastore.failover.move(move)
    assert await connection.run("SELECT * FROM storage_repositories ORDER BY storage") == before


@pytest.mark.parametrize("accepts_loss", [False, True])
async def test_a_move_that_waits_for_a_write_looks_again(
    datastore: Datastore, connection: Rows, accepts_loss: bool
) -> None:
    await record(connection, "a", 1, 4, {ONE: 4, TWO: 3 if accepts_loss else 4})
    await see(datastore, ONE, TWO)
    move = await plan(datastore, TWO, accepts_loss=accepts_loss)
    async with asyncio.TaskGroup() as tasks, connection.connection.transaction():
        await connection.run("UPDATE repositories SET generation = 5")
        await connection.run("UPDATE storage_repositories SET generation = 5 WHERE storage = 'gitaly-1'")
        moving = tasks.create_task(datastore.failover.move(move), name="move")
        while not await connection.run("SELECT FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - the server's
            await asyncio.sleep(0)
    assert moving.result() is False
    assert await primary(connection) == (ONE, 5)


async def test_of_two_moves_at_once_one_happens(datastore: Datastore, connection: Rows) -> None:
    await record(connection, "a", 1, 4, {ONE: 4, TWO: 4, THREE: 4})
    await see(datastore, ONE, TWO, THREE)
    moves = [await plan(datastore, target) for target in (TWO, THREE)]
    async with asyncio.TaskGroup() as tasks:
        results = [tasks.create_task(datastore.failover.move(move), name="move") for move in moves]
    assert sorted(result.result() for result in results) == [False, True]
