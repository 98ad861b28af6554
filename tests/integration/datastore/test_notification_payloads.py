"""What the triggers announce, which all Praefects on one database hear."""

import json

import pytest

from tests.support.postgres import Rows

REPOSITORIES, REPLICAS = "repositories_updates", "storage_repositories_updates"


@pytest.fixture(autouse=True)
async def _records(connection: Rows) -> None:
    await connection.run(
        "INSERT INTO repositories (repository_id, virtual_storage, relative_path, generation) "
        "VALUES (1, 'a', 'r1', 0), (2, 'a', 'r2', 0), (3, 'b', 'r1', 0)"
    )
    await connection.run(
        "INSERT INTO storage_repositories VALUES ('a', 'r1', 's1', 0, 1), ('a', 'r1', 's2', 0, 1), "
        "('a', 'r2', 's1', 0, 2), ('b', 'r1', 's1', 0, 3)"
    )
    await connection.run(f"LISTEN {REPOSITORIES}")
    await connection.run(f"LISTEN {REPLICAS}")
    await connection.run("LISTEN repository_reference_write_lock_releases")


async def heard(connection: Rows, statement: str) -> list[tuple[str, str]]:
    await connection.run(statement)
    return [(one.channel, one.payload) async for one in connection.connection.notifies(timeout=0)]


def payload(*changes: tuple[str, list[str]]) -> str:
    return json.dumps([{"relative_paths": paths, "virtual_storage": name} for name, paths in changes])


async def test_an_insert_is_announced_per_virtual_storage(connection: Rows) -> None:
    announced = await heard(
        connection,
        "INSERT INTO storage_repositories VALUES ('b', 'r1', 's2', 0, 3), ('a', 'r2', 's2', 0, 2), "
        "('a', 'r1', 's3', 0, 1), ('a', 'r2', 's3', 0, 2)",
    )
    assert announced == [(REPLICAS, payload(("a", ["r1", "r2"]), ("b", ["r1"])))]
    assert announced[0][1] == (
        '[{"relative_paths": ["r1", "r2"], "virtual_storage": "a"}, {"relative_paths": ["r1"], "virtual_storage": "b"}]'
    )


async def test_a_change_of_generation_is_announced(connection: Rows) -> None:
    announced = await heard(
        connection, "UPDATE storage_repositories SET generation = 1 WHERE repository_id = 1 AND storage = 's1'"
    )
    assert announced == [(REPLICAS, payload(("a", ["r1"])))]


async def test_a_change_of_path_is_announced_for_both(connection: Rows) -> None:
    announced = await heard(connection, "UPDATE storage_repositories SET relative_path = 'r9' WHERE repository_id = 2")
    assert announced == [(REPLICAS, payload(("a", ["r2", "r9"])))]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE storage_repositories SET verified_at = now(), verification_leased_until = now()",
        "UPDATE storage_repositories SET generation = 7 WHERE false",
        "DELETE FROM storage_repositories WHERE false",
        "DELETE FROM repositories WHERE false",
        "UPDATE repositories SET generation = 7",
        "INSERT INTO repositories (repository_id, virtual_storage, relative_path) VALUES (9, 'a', 'new')",
    ],
)
async def test_what_readers_do_not_care_about_is_silent(connection: Rows, statement: str) -> None:
    assert await heard(connection, statement) == []


async def test_a_deleted_replica_is_announced(connection: Rows) -> None:
    announced = await heard(connection, "DELETE FROM storage_repositories WHERE storage = 's2'")
    assert announced == [(REPLICAS, payload(("a", ["r1"])))]


async def test_a_deleted_repository_is_announced_twice(connection: Rows) -> None:
    announced = await heard(connection, "DELETE FROM repositories WHERE repository_id = 1")
    assert announced == [(REPOSITORIES, payload(("a", ["r1"]))), (REPLICAS, payload(("a", ["r1"])))]


async def test_a_released_write_lock_is_announced_by_its_name(connection: Rows) -> None:
    announced = await heard(
        connection,
        "INSERT INTO repository_reference_write_locks VALUES ('a|r1', 1, now()); "
        "UPDATE repository_reference_write_locks SET holder_txn_id = 2; "
        "DELETE FROM repository_reference_write_locks",
    )
    assert announced == [("repository_reference_write_lock_releases", "a|r1")]
