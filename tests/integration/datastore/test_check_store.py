"""Checks: whether the database is fit to be used, and what is said if it is not."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore import Datastore, DatastoreUnavailableError, checks, open_datastore
from praefect.datastore.checks import CheckStore, LossySwitchOverError, ReadWriteCheckError, ServerTooOldError
from praefect.datastore.migrations import UnknownMigrationError
from praefect.datastore.pool import Database
from tests.support.postgres import LAYOUTS, Rows


@asynccontextmanager
async def checks_of(config: DatabaseConfig) -> AsyncIterator[CheckStore]:
    async with open_datastore(config, layouts=LAYOUTS) as datastore:
        yield datastore.checks


async def test_a_migrated_database_passes(datastore: Datastore, connection: Rows) -> None:
    await datastore.checks.ping()
    assert await datastore.checks.check_server_version() >= 110000
    assert await datastore.checks.count_missing_migrations() == 0
    await datastore.checks.check_read_write()
    assert await connection.run("SELECT count(*) FROM hello_world") == [(1,)]


async def test_an_empty_database_lacks_everything(empty_database: DatabaseConfig) -> None:
    async with checks_of(empty_database) as store:
        assert await store.count_missing_migrations() == 43
        with pytest.raises(ReadWriteCheckError) as refused:
            await store.check_read_write()
    assert str(refused.value) == (
        'error reading from table: ERROR: relation "hello_world" does not exist (SQLSTATE 42P01)'
    )


async def test_a_missing_migration_is_counted(datastore: Datastore, connection: Rows) -> None:
    await connection.run("DELETE FROM schema_migrations WHERE id = '20260224025459_repo_write_locks'")
    assert await datastore.checks.count_missing_migrations() == 1


async def test_an_unknown_migration_is_refused(datastore: Datastore, connection: Rows) -> None:
    await connection.run("INSERT INTO schema_migrations VALUES ('20990101000000_future', now())")
    with pytest.raises(UnknownMigrationError, match="unknown migration in database"):
        await datastore.checks.count_missing_migrations()


async def test_a_table_that_takes_nothing_is_told(datastore: Datastore, connection: Rows) -> None:
    await connection.run("ALTER TABLE hello_world ADD CHECK (id <> 1) NOT VALID")
    with pytest.raises(ReadWriteCheckError, match="error writing to table: ERROR: new row for relation"):
        await datastore.checks.check_read_write()


async def test_a_row_that_is_not_written_is_told(datastore: Datastore, connection: Rows) -> None:
    await connection.run("CREATE RULE swallow AS ON INSERT TO hello_world DO INSTEAD NOTHING")
    with pytest.raises(ReadWriteCheckError, match=r"^failed to insert row$"):
        await datastore.checks.check_read_write()


async def test_an_old_server_is_refused(datastore: Datastore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "OLDEST_SERVER", 10**9)
    with pytest.raises(ServerTooOldError, match=r"postgres server version too old: \d+"):
        await datastore.checks.check_server_version()


async def test_a_server_that_is_away_is_told(database: DatabaseConfig, tmp_path: Path) -> None:
    async with checks_of(replace(database, host=str(tmp_path))) as store:
        with pytest.raises(DatastoreUnavailableError, match=r"^send ping: "):
            await store.ping()
        with pytest.raises(DatastoreUnavailableError):
            await store.check_read_write()


async def test_a_wrong_password_is_told(database: DatabaseConfig) -> None:
    async with checks_of(replace(database, password="wrong")) as store:
        with pytest.raises(DatastoreUnavailableError, match="password authentication failed"):
            await store.ping()


async def test_a_missing_database_is_told(database: DatabaseConfig) -> None:
    async with checks_of(replace(database, dbname="nowhere")) as store:
        with pytest.raises(DatastoreUnavailableError, match='database "nowhere" does not exist'):
            await store.ping()


@pytest.mark.parametrize(
    ("settings", "host", "problem"),
    [
        ({}, "one", None),
        ({}, "one,two", "no standby is synchronous: .* synchronous_standby_names"),
        ({"synchronous_commit": "local"}, "one,two", "synchronous_commit is local: .* set it to on"),
        ({"synchronous_commit": "on", "synchronous_standby_names": "'*'"}, "one,two", None),
    ],
    ids=["alone", "two hosts", "nobody waits", "synchronous"],
)
async def test_a_switch_over_that_would_lose_something_is_told(
    settings: Mapping[str, str], host: str, problem: str | None
) -> None:
    class Answers:
        async def fetch_one(self, _query: str) -> dict[str, object]:
            return {
                "standbys": 0,
                "are_waited_for": "synchronous_standby_names" in settings,
                "commit_mode": settings.get("synchronous_commit", "on"),
            }

    store = CheckStore(cast("Database", Answers()), DatabaseConfig(host=host))
    with pytest.raises(LossySwitchOverError, match=problem) if problem else nullcontext():
        await store.check_standbys()


async def test_standbys_are_asked_for(datastore: Datastore) -> None:
    await datastore.checks.check_standbys()  # one server, on which nobody relies
