"""The database commands on a real PostgreSQL."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from praefect.config.praefect import DatabaseConfig
from praefect.datastore.migrations import load_migrations
from tests.support.postgres import Rows
from tests.support.praefect_cli import Result, run_praefect, write_config

NEWEST = "20260224025459_repo_write_locks"
NODES = {"gitaly-1": ("tcp://127.0.0.1:1", "")}


def config(tmp_path: Path, database: DatabaseConfig) -> str:
    return str(write_config(tmp_path / "config.toml", database=database, nodes=NODES))


@pytest.fixture
def empty(tmp_path: Path, empty_database: DatabaseConfig) -> str:
    return config(tmp_path, empty_database)


@pytest.fixture
def migrated(tmp_path: Path, database: DatabaseConfig) -> str:
    return config(tmp_path, database)


async def test_ping(empty: str) -> None:
    assert await run_praefect("-config", empty, "sql-ping") == Result(0, "praefect sql-ping: OK\n", "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"host": "127.0.0.1", "port": 1}, "refused"),
        ({"host": "127.0.0.1,127.0.0.1", "port": 1}, "refused"),
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
        ({"user": "nobody"}, 'nobody"'),
    ],
)
async def test_ping_names_the_reason_in_a_line(
    tmp_path: Path, empty_database: DatabaseConfig, change: dict[str, str | int], reason: str
) -> None:
    database = replace(empty_database, **change)  # type: ignore[arg-type]  # names of string and int fields
    result = await run_praefect("-config", config(tmp_path, database), "sql-ping")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr.startswith("sql open: send ping: ")
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
    assert empty_database.password not in result.stderr


async def test_migrating_an_empty_database_and_again(empty: str) -> None:
    result = await run_praefect("-config", empty, "sql-migrate")
    lines = result.ok().split("\n")
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    assert lines[:2] == ["praefect sql-migrate: migrations to apply: 43", ""]
    assert re.fullmatch(rf"=  {moment} 20200109161404_hello_world: migrating", lines[2])
    assert re.fullmatch(rf"== {moment} 20200109161404_hello_world: applied \([\d.]+(ms|µs|s)\)", lines[3])
    assert len(lines) == 2 + 2 * 43 + 3
    assert lines[-3:] == ["", "praefect sql-migrate: OK (applied 43 migrations)", ""]
    for words in ([], ["-verbose"]):
        again = await run_praefect("-config", empty, "sql-migrate", *words)
        assert again.ok() == "praefect sql-migrate: all migrations are up\n"


async def test_verbose_shows_statements(empty: str) -> None:
    lines = (await run_praefect("-config", empty, "sql-migrate", "-verbose")).ok().split("\n")
    assert lines[2].endswith("20200109161404_hello_world: migrating")
    assert re.match(r"\t\[CREATE TABLE hello_world", lines[3])


async def test_a_migration_that_fails_ends_the_run(empty: str, empty_database: DatabaseConfig) -> None:
    from praefect.datastore.pool import connect

    async with await connect(empty_database) as connection:
        await connection.execute("CREATE TABLE shard_primaries ()")
    result = await run_praefect("-config", empty, "sql-migrate")
    assert result.code == 1
    assert result.stdout.rstrip("\n").endswith("20200324001604_add_sql_election_tables: migrating")
    expected = (
        'fail: ERROR: relation "shard_primaries" already exists (SQLSTATE 42P07) '
        "handling 20200324001604_add_sql_election_tables"
    )
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d: {re.escape(expected)}\n", result.stderr)


async def test_migrations_this_version_does_not_know(migrated: str, connection: Rows) -> None:
    await connection.run("INSERT INTO schema_migrations VALUES ('20990101000000_new', now())")
    assert (await run_praefect("-config", migrated, "sql-migrate")).ok()
    unknown = (
        "Unable to create migration plan because of 20990101000000_new: unknown migration in database\n"
        "the database is newer than this version, it has 20990101000000_new; "
        "run a version that knows it, or take it back with that version's sql-migrate-down\n"
    )
    assert await run_praefect("-config", migrated, "sql-migrate", "-ignore-unknown=false") == Result(1, "", unknown)
    assert await run_praefect("-config", migrated, "sql-migrate-down", "1") == Result(1, "", unknown)
    status = (await run_praefect("-config", migrated, "sql-migrate-status")).ok()
    assert re.search(r"│ 20990101000000_new +│ unknown migration +│", status)


async def test_status_of_an_untouched_database(empty: str) -> None:
    status = (await run_praefect("-config", empty, "sql-migrate-status")).ok().split("\n")
    assert status[1].endswith("│ APPLIED │")
    assert len(status) == 3 + 43 + 2
    assert all(re.fullmatch(r"│ \d{14}_\S+ +│ no      │", row) for row in status[3:-2])
    assert len(status[0]) == 54 + 9 + 3


async def test_status_shows_when_migrations_were_applied(migrated: str, connection: Rows) -> None:
    await connection.run(
        "UPDATE schema_migrations SET applied_at = '2026-02-24 03:04:05.123456+00' WHERE id = %s", NEWEST
    )
    environment = {**os.environ, "PGTZ": "UTC", "TZ": "UTC"}
    status = (await run_praefect("-config", migrated, "sql-migrate-status", environment=environment)).ok()
    rows = status.split("\n")
    assert rows[-4] == f"│ {NEWEST:52} │ 2026-02-24 03:04:05.123456 │"
    assert rows[-3] == f"│ {'':52} │ +0000 UTC                  │"
    elsewhere = {**environment, "TZ": "Europe/Paris"}
    status = (await run_praefect("-config", migrated, "sql-migrate-status", environment=elsewhere)).ok()
    assert status.split("\n")[-3] == f"│ {'':52} │ +0000 +0000                │"


async def test_rolling_back_is_a_dry_run_first(migrated: str, connection: Rows) -> None:
    ids = [migration.migration_id for migration in load_migrations()]
    dry = await run_praefect("-config", migrated, "sql-migrate-down", "2")
    assert dry.ok() == (
        f"DRY RUN -- would roll back:\n\n- {ids[-1]}\n- {ids[-2]}\n\nTo apply these migrations run with -f\n"
    )
    assert await connection.run("SELECT count(*)::int FROM schema_migrations") == [(43,)]
    real = await run_praefect("-config", migrated, "sql-migrate-down", "-f", "2")
    assert real.ok() == 'OK (applied 2 "down" migrations)\n'
    assert await connection.run("SELECT count(*)::int FROM schema_migrations") == [(41,)]
    assert (
        (await run_praefect("-config", migrated, "sql-migrate"))
        .ok()
        .startswith("praefect sql-migrate: migrations to apply: 2\n")
    )


async def test_rolling_back_more_than_there_is(migrated: str) -> None:
    result = await run_praefect("-config", migrated, "sql-migrate-down", "100", "-f")
    assert result.ok() == 'OK (applied 43 "down" migrations)\n'
