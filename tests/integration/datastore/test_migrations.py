"""Migrations: the bookkeeping that others share, the schema they make, and the way from old databases."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.resources import files

import pytest

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore.migrations import (
    Migration,
    MigrationError,
    Migrator,
    UnknownMigrationError,
    load_migrations,
)
from praefect.datastore.pool import connect
from tests.support.postgres import PostgresServer, Rows, create_database, drop_database

ALL = [migration.migration_id for migration in load_migrations()]
WITHOUT_TRANSACTION = [
    "20210223130233_delete_replica_unique_index",
    "20210225101159_replication_queue_target_index",
    "20210927083631_repository_path_index",
]
LAST_OF_13_7 = "20201208163237_cleanup_notifiactions_payload"

# What the catalog says of everything in the schema, as text; names of columns that were dropped leave gaps, not rows.
CATALOG = """
SELECT 'column', table_name || '.' || column_name, concat_ws(' ',
    row_number() OVER (PARTITION BY table_name ORDER BY ordinal_position),
    data_type, udt_name, character_maximum_length, is_nullable, column_default)
FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'view', viewname, definition FROM pg_views WHERE schemaname = 'public'
UNION ALL SELECT 'function', proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger', tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'enum', enumtypid::regtype::text, string_agg(enumlabel, ' ' ORDER BY enumsortorder)
FROM pg_enum GROUP BY enumtypid
UNION ALL SELECT 'sequence', sequencename, data_type::text FROM pg_sequences WHERE schemaname = 'public'
ORDER BY 1, 2
"""


@pytest.fixture
async def rows(empty_database: DatabaseConfig) -> AsyncIterator[Rows]:
    """A connection to a database without any schema."""
    async with await connect(empty_database) as opened:
        yield Rows(opened)


async def up(rows: Rows, limit: int | None = None, migrations: list[Migration] | None = None) -> list[str]:
    migrator = Migrator(rows.connection, migrations)
    return [migration.migration_id async for migration in migrator.up(limit=limit)]


async def down(rows: Rows, count: int) -> list[str]:
    return [migration.migration_id async for migration in Migrator(rows.connection).down(count)]


async def recorded(rows: Rows) -> list[object]:
    return [row[0] for row in await rows.run("SELECT id FROM schema_migrations ORDER BY id")]


def test_the_list_is_the_shared_one() -> None:
    assert len(ALL) == 43
    assert ALL[0] == "20200109161404_hello_world"
    assert ALL[-1] == "20260224025459_repo_write_locks"
    assert ALL[17] == LAST_OF_13_7
    assert [migration.migration_id for migration in load_migrations() if not migration.is_transactional] == (
        WITHOUT_TRANSACTION
    )


async def test_all_are_applied_and_recorded(rows: Rows) -> None:
    assert await up(rows) == ALL
    assert await recorded(rows) == ALL
    assert await up(rows) == []
    assert await rows.run("SELECT id FROM hello_world") == [(1,)]


async def test_the_schema_file_is_what_migrations_make(rows: Rows, postgres_server: PostgresServer) -> None:
    await up(rows)
    made = await rows.run(CATALOG)
    name = "praefect_test_schema_file"
    await create_database(postgres_server.admin, name)
    try:
        async with await connect(replace(postgres_server.admin, dbname=name)) as other:
            await Rows(other).run(files("praefect.datastore").joinpath("schema.sql").read_text(encoding="utf-8"))
            assert await Rows(other).run(CATALOG) == made
    finally:
        await drop_database(postgres_server.admin, name)


async def test_each_step_back_leads_to_where_the_step_began(rows: Rows) -> None:
    """Go up one by one, and back one by one: the catalog is the same at each place."""
    before: list[object] = []
    for _ in ALL:
        await up(rows, limit=0)
        before.append(await rows.run(CATALOG))
        await up(rows, limit=1)
    differing = []
    for migration_id, expected in zip(reversed(ALL), reversed(before), strict=True):
        assert await down(rows, 1) == [migration_id]
        if await rows.run(CATALOG) != expected:
            differing.append(migration_id)
    # A generation that may be missing stays so until its table goes; of the queue, which two migrations make, the first
    # step back removes everything.
    assert differing == [
        "20200921154417_repositories_nullable_generation",
        "20200810055650_replication_queue_cleanup",
        "20200225220728_readd_job_queue",
    ]
    assert await recorded(rows) == []
    assert await rows.run("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1") == [
        ("schema_migrations",),
        ("schema_migrations_pkey",),
    ]
    assert await up(rows) == ALL


async def test_more_steps_back_than_there_are_are_fine(rows: Rows) -> None:
    await up(rows, limit=3)
    assert await down(rows, 99) == ALL[2::-1]
    assert await down(rows, 1) == []


async def test_older_missing_ones_are_caught_up_first(rows: Rows) -> None:
    await up(rows)
    await rows.run("DELETE FROM schema_migrations WHERE id IN (%s, %s)", ALL[1], ALL[10])
    assert await up(rows) == [ALL[1], ALL[10]]
    assert await recorded(rows) == ALL


async def test_a_step_back_never_goes_forward(rows: Rows) -> None:
    await up(rows)
    await rows.run("DELETE FROM schema_migrations WHERE id = %s", ALL[1])
    assert [migration.migration_id for migration in await Migrator(rows.connection).plan_down(1)] == [ALL[-1]]


async def test_unknown_ids_are_borne_on_the_way_up_only(rows: Rows) -> None:
    await up(rows, limit=5)
    await rows.run("INSERT INTO schema_migrations VALUES ('20990101000000_future', now())")
    migrator = Migrator(rows.connection)
    assert len(await migrator.plan_up(limit=1)) == 1
    with pytest.raises(UnknownMigrationError) as refused:
        await migrator.plan_up(tolerates_unknown=False)
    assert refused.value.migration_id == "20990101000000_future"
    with pytest.raises(UnknownMigrationError):
        await migrator.plan_down(1)


async def test_differences_are_read_and_nothing_is_written(rows: Rows) -> None:
    migrator = Migrator(rows.connection)
    untouched = await migrator.compare()
    assert (untouched.missing, untouched.unknown) == (tuple(ALL), ())
    assert await rows.run("SELECT to_regclass('schema_migrations')::text") == [(None,)]
    await up(rows, limit=2)
    await rows.run("INSERT INTO schema_migrations VALUES ('20990101000000_future', NULL)")
    found = await migrator.compare()
    assert (found.missing, found.unknown) == (tuple(ALL[2:]), ("20990101000000_future",))


async def test_status_tells_what_is_where(rows: Rows) -> None:
    await up(rows, limit=1)
    await rows.run("INSERT INTO schema_migrations VALUES ('20990101000000_future', NULL)")
    status = await Migrator(rows.connection).status()
    assert [one.migration_id for one in status] == [*ALL, "20990101000000_future"]
    assert (status[0].is_known, status[0].is_applied, status[0].applied_at is None) == (True, True, False)
    assert (status[1].is_known, status[1].is_applied, status[1].applied_at) == (True, False, None)
    assert (status[-1].is_known, status[-1].is_applied) == (False, True)


async def test_a_failed_migration_leaves_nothing(rows: Rows) -> None:
    broken = Migration(migration_id="1_broken", up="CREATE TABLE half (id integer); SELECT nonsense", down="")
    with pytest.raises(MigrationError) as failed:
        await up(rows, migrations=[broken])
    assert failed.value.migration_id == "1_broken"
    assert str(failed.value) == 'ERROR: column "nonsense" does not exist (SQLSTATE 42703) handling 1_broken'
    assert await recorded(rows) == []
    assert await rows.run("SELECT to_regclass('half')") == [(None,)]


async def test_one_that_another_process_applied_is_skipped(rows: Rows) -> None:
    (first,) = await Migrator(rows.connection).plan_up(limit=1)
    await up(rows)
    assert not await Migrator(rows.connection).apply(first)


async def test_data_of_an_old_database_is_carried_over(rows: Rows) -> None:
    await up(rows, limit=ALL.index(LAST_OF_13_7) + 1)
    await rows.run(
        "INSERT INTO repositories (virtual_storage, relative_path, generation) "
        "VALUES ('default', 'a', 3), ('default', 'b', 0)"
    )
    await rows.run(
        "INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation) "
        "VALUES ('default', 'a', 'gitaly-1', 3), ('default', 'orphan', 'gitaly-1', 0)"
    )
    await rows.run("INSERT INTO repository_assignments VALUES ('default', 'b', 'gitaly-2')")
    await rows.run("INSERT INTO replication_queue_lock VALUES ('gc', true), ('both', true), ('update', true)")
    for lock, change, state in [
        ("gc", "gc", "in_progress"),
        ("both", "pack_refs", "in_progress"),
        ("both", "update", "in_progress"),
        ("update", "update", "in_progress"),
        (None, "update", "dead"),
        (None, "update", "completed"),
        (None, "update", "cancelled"),
    ]:
        await rows.run(
            "INSERT INTO replication_queue (state, lock_id, job) VALUES (%s::replication_job_state, %s, %s::jsonb)",
            state,
            lock,
            json.dumps({"change": change}),
        )
    await rows.run(
        "INSERT INTO replication_queue_job_lock (job_id, lock_id) "
        "SELECT id, lock_id FROM replication_queue WHERE state = 'in_progress'"
    )

    await up(rows)

    repositories = await rows.run(
        "SELECT relative_path, replica_path, generation FROM repositories ORDER BY relative_path"
    )
    assert repositories == [("a", "a", 3), ("b", "b", 0)]
    assert await rows.run(
        "SELECT relative_path, storage, generation FROM storage_repositories JOIN repositories "
        "USING (repository_id, relative_path, generation)"
    ) == [("a", "gitaly-1", 3)]
    assert await rows.run("SELECT count(*) FROM storage_repositories") == [(1,)]
    assert await rows.run(
        "SELECT relative_path, storage FROM repository_assignments JOIN repositories "
        "USING (repository_id, relative_path)"
    ) == [("b", "gitaly-2")]
    assert await rows.run("SELECT job ->> 'change', lock_id FROM replication_queue ORDER BY id") == [
        ("update", "both"),
        ("update", "update"),
    ]
    assert await rows.run("SELECT id, acquired FROM replication_queue_lock ORDER BY id") == [
        ("both", True),
        ("gc", False),
        ("update", True),
    ]
