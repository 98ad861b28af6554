"""The schema is upstream's, column by column and index by index, and is so again after a way down and up."""

from __future__ import annotations

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore.migrations import Migrator
from praefect.datastore.pool import connect
from tests.support.postgres import Rows

# Written from the reference on the database, section 3, not from our own files. Order counts; "?" may be null.
TABLES = """
hello_world: id integer?
node_status: id bigint, praefect_name varchar(511), shard_name varchar(255), node_name varchar(255),
    last_contact_attempt_at timestamptz?, last_seen_active_at timestamptz?
replication_queue: id bigint, state replication_job_state, created_at timestamp, updated_at timestamp?, attempt integer,
    lock_id text?, job jsonb?, meta jsonb?
replication_queue_job_lock: job_id bigint, lock_id text, triggered_at timestamp
replication_queue_lock: id text, acquired boolean
repositories: virtual_storage text, relative_path text, generation bigint?, primary text?, repository_id bigint,
    replica_path text?
repository_assignments: virtual_storage text, relative_path text, storage text, repository_id bigint
repository_reference_write_locks: lock_id text, holder_txn_id bigint, expired_at timestamptz
schema_migrations: id text, applied_at timestamptz?
shard_primaries: id bigint, shard_name varchar(255), node_name varchar(255), elected_by_praefect varchar(255),
    elected_at timestamptz, read_only boolean, demoted boolean, previous_writable_primary text?
storage_cleanups: virtual_storage text, storage text, last_run timestamp?, triggered_at timestamp?
storage_repositories: virtual_storage text, relative_path text, storage text, generation bigint, repository_id bigint,
    verified_at timestamptz?, verification_leased_until timestamptz?
virtual_storages: virtual_storage text, repositories_imported boolean
healthy_storages: virtual_storage varchar(255)?, storage varchar(255)?
repository_generations: virtual_storage text?, relative_path text?, generation bigint?
valid_primaries: repository_id bigint?, virtual_storage text?, relative_path text?, storage text?
"""

INDEXES = {
    "delete_replica_unique_index",
    "node_status_pkey",
    "replication_queue_job_lock_pk",
    "replication_queue_lock_pkey",
    "replication_queue_pkey",
    "replication_queue_target_index",
    "repositories_pkey",
    "repository_assignments_new_pkey",
    "repository_assignments_pkey",
    "repository_lookup_index",
    "repository_reference_write_locks_expired_at_idx",
    "repository_reference_write_locks_pkey",
    "repository_replica_path_index",
    "schema_migrations_pkey",
    "shard_name_on_node_status_idx",
    "shard_name_on_shard_primaries_idx",
    "shard_node_names_on_node_status_idx",
    "shard_primaries_pkey",
    "storage_cleanups_pkey",
    "storage_repositories_new_pkey",
    "storage_repositories_pkey",
    "verification_leases",
    "verification_queue",
    "virtual_storages_pkey",
    "virtual_target_on_replication_queue_idx",
}

FOREIGN_KEYS = {
    "replication_queue_job_lock_job_id_fkey",
    "replication_queue_job_lock_lock_id_fkey",
    "repository_assignments_repository_id_fkey",
    "repository_assignments_virtual_storage_relative_path_fkey",
    "storage_repositories_repository_id_fkey",
}

COLUMNS = """
SELECT table_name, string_agg(
    column_name || ' ' || replace(coalesce(nullif(data_type, 'USER-DEFINED'), udt_name), ' without time zone', '')
        || coalesce('(' || character_maximum_length || ')', '') || CASE is_nullable WHEN 'YES' THEN '?' ELSE '' END,
    ', ' ORDER BY ordinal_position)
FROM information_schema.columns WHERE table_schema = 'public' GROUP BY table_name ORDER BY table_name
"""


async def _catalog(rows: Rows) -> dict[str, list[tuple[object, ...]]]:
    return {
        "columns": await rows.run(COLUMNS),
        "indexes": await rows.run("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"),
        "constraints": await rows.run(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE connamespace = 'public'::regnamespace AND contype <> 'n' ORDER BY 1"
        ),
        "views": await rows.run("SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1"),
        "functions": await rows.run(
            "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1"
        ),
        "triggers": await rows.run(
            "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2"
        ),
    }


async def test_every_column_index_and_foreign_key_is_upstreams(connection: Rows) -> None:
    catalog = await _catalog(connection)

    expected = dict(line.split(": ") for line in TABLES.strip().replace(",\n    ", ", ").splitlines())
    found = {
        str(table): str(columns)
        .replace("character varying", "varchar")
        .replace("timestamp with time zone", "timestamptz")
        for table, columns in catalog["columns"]
    }
    assert found == expected
    assert {name for name, _ in catalog["indexes"]} == INDEXES
    assert {
        name for name, definition in catalog["constraints"] if str(definition).startswith("FOREIGN")
    } == FOREIGN_KEYS


async def test_schema_is_the_same_after_going_all_the_way_down_and_up_again(database: DatabaseConfig) -> None:
    async with await connect(database) as opened:
        rows = Rows(opened)
        before = await _catalog(rows)
        gone = [one async for one in Migrator(opened).down(1000)]
        assert [name for name, _ in await rows.run(COLUMNS)] == ["schema_migrations"]
        back = [one async for one in Migrator(opened).up()]

        assert len(gone) == len(back) == 43
        assert await _catalog(rows) == before
