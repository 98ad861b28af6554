"""A database as upstream 18.9 leaves it: our praefect starts on it, serves, repairs, and goes on writing such rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from praefect.app.cluster import Cluster
from praefect.app.layout import DATABASE, ROLE
from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore.migrations import Migrator
from praefect.datastore.pool import connect
from tests.support.cluster import ClusterClient, relative_path
from tests.support.eventually import eventually
from tests.support.git_client import commit_file, git
from tests.support.postgres import Rows
from tests.support.praefect_cli import Result, run_praefect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

MIGRATIONS_OF_18_9 = 42
UPSTREAM_NAME = "praefect-0.example.org:0.0.0.0:2305"

# Rows as the reference on the database has them, of one repository that reached generation 7 on two of three nodes.
UPSTREAM_ROWS = """
INSERT INTO repositories (virtual_storage, relative_path, generation, "primary", repository_id, replica_path)
    VALUES ('default', %(path)s, 7, %(primary)s, 4711, %(replica_path)s);
SELECT setval('repositories_repository_id_seq', 4711);
INSERT INTO storage_repositories
    SELECT 'default', %(path)s, storage, CASE storage WHEN %(outdated)s THEN 5 ELSE 7 END, 4711, now(), NULL
    FROM unnest(%(storages)s::text[]) AS storage;
INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at)
    SELECT %(praefect)s, 'default', storage, now() - interval '5 minutes', now() - interval '5 minutes'
    FROM unnest(%(storages)s::text[]) AS storage;
INSERT INTO replication_queue_lock VALUES ('default|' || %(outdated)s || '|' || %(path)s, true);
INSERT INTO replication_queue (state, attempt, lock_id, job, meta, updated_at)
    VALUES ('in_progress', 2, 'default|' || %(outdated)s || '|' || %(path)s, %(job)s::jsonb,
        '{"correlation_id": "01HUPSTREAM"}', (now() AT TIME ZONE 'UTC') - interval '5 minutes');
INSERT INTO replication_queue_job_lock
    SELECT id, lock_id, (now() AT TIME ZONE 'UTC') - interval '5 minutes' FROM replication_queue;
INSERT INTO storage_cleanups
    SELECT 'default', storage, (now() AT TIME ZONE 'UTC') - interval '1 hour', NULL
    FROM unnest(%(storages)s::text[]) AS storage;
INSERT INTO virtual_storages VALUES ('default', true);
"""


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository on the nodes' disks, behind on one of them."""

    path: str
    replica_path: str
    primary: str
    outdated: str


def _database(cluster: Cluster) -> DatabaseConfig:
    assert cluster.postgres is not None
    return DatabaseConfig(
        host=cluster.postgres.host,
        port=cluster.postgres.port,
        user=ROLE,
        password=cluster.secrets.sql_password,
        dbname=DATABASE,
        sslmode="disable",
    )


async def _leave_as_upstream_does(cluster: Cluster, repository: Repository) -> None:
    """Replace everything in the database by what upstream's praefect would have written."""
    names = cluster.layout.node_names
    source = next(name for name in names if name != repository.outdated)
    job = {
        "change": "update",
        "params": None,
        "replica_path": "",
        "relative_path": repository.path,
        "repository_id": 4711,
        "virtual_storage": "default",
        "source_node_storage": source,
        "target_node_storage": repository.outdated,
    }
    async with await connect(_database(cluster)) as connection:
        await connection.execute("DROP SCHEMA public CASCADE")
        await connection.execute("DROP SCHEMA IF EXISTS praefect_own CASCADE")
        await connection.execute("CREATE SCHEMA public")
        async for _ in Migrator(connection).up(limit=MIGRATIONS_OF_18_9):
            pass
        values = {
            "path": repository.path,
            "primary": repository.primary,
            "replica_path": repository.replica_path,
            "outdated": repository.outdated,
            "storages": list(names),
            "praefect": UPSTREAM_NAME,
            "job": json.dumps(job),
        }
        for statement in UPSTREAM_ROWS.split(";\n"):
            if statement.strip():
                await connection.execute(statement.encode(), values)


async def _praefect(cluster: Cluster, *words: str) -> Result:
    return await run_praefect("-config", str(cluster.layout.praefect_config), *words)


async def test_our_praefect_takes_over(own: ClusterClient, tmp_path: Path) -> None:
    cluster = own.cluster
    project = await own.create_project("moved")
    work = await own.clone("moved", tmp_path)
    metadata = await own.metadata(project["id"])
    outdated = next(name for name in cluster.layout.node_names if name != metadata.primary)
    cluster.child(outdated).kill()
    await cluster.child(outdated).wait()
    head = await commit_file(work, "file.txt", "newest\n")
    (await own.push(work)).ok()
    await cluster.child("praefect").stop()
    await cluster.start_node(outdated)
    repository = Repository(relative_path(project["id"]), metadata.replica_path, metadata.primary, outdated)
    await _leave_as_upstream_does(cluster, repository)

    # It starts without the migration that upstream's release does not know, and serves what was there.
    await cluster.start_praefect()
    again = await own.clone("moved", tmp_path, "again")
    assert (await git(again, "rev-parse", "HEAD")).output == head
    found = await own.metadata(project["id"])
    assert (found.repository_id, found.generation, found.primary) == (4711, 7, metadata.primary)

    # The job that upstream's process died with is done, and the node that was behind catches up.
    async def repaired() -> bool:
        replicas = (await own.metadata(project["id"])).replicas
        return all(replica.generation == replicas[0].generation for replica in replicas)

    await eventually(repaired, within_seconds=120)
    assert all(refs == {"refs/heads/main": head} for refs in (await own.references(project["id"])).values())

    # Writes go on from upstream's generation.
    newer = await commit_file(work, "file.txt", "newer\n")
    (await own.push(work)).ok()
    assert (await own.metadata(project["id"])).generation == 8
    assert all(refs == {"refs/heads/main": newer} for refs in (await own.references(project["id"])).values())

    await _assert_rows_are_upstreams(cluster)


async def _assert_rows_are_upstreams(cluster: Cluster) -> None:
    """What we wrote into upstream's tables has the shape that upstream reads."""
    async with await connect(_database(cluster)) as connection:
        rows = Rows(connection)
        assert await rows.run("SELECT count(*) FROM schema_migrations") == [(MIGRATIONS_OF_18_9,)]
        assert await rows.run(
            "SELECT DISTINCT virtual_storage, generation, repository_id FROM storage_repositories"
        ) == [("default", 8, 4711)]
        names = {name for (name,) in await rows.run("SELECT DISTINCT praefect_name FROM node_status")}
        assert UPSTREAM_NAME in names
        assert len(names) == 2
        assert await rows.run("SELECT state FROM replication_queue") == []
        assert await rows.run("SELECT id FROM replication_queue_lock WHERE acquired") == []


async def test_schema_goes_down_to_upstreams_release_and_up_again(own: ClusterClient, tmp_path: Path) -> None:
    cluster = own.cluster
    project = await own.create_project("kept")
    work = await own.clone("kept", tmp_path)
    await cluster.child("praefect").stop()

    assert (await _praefect(cluster, "sql-migrate-down", "-f", "1")).code == 0
    await cluster.start_praefect()
    await commit_file(work, "file.txt", "on the older schema\n")
    (await own.push(work)).ok()
    assert (await _praefect(cluster, "sql-migrate")).code == 0
    head = await commit_file(work, "file.txt", "on the newer schema\n")
    (await own.push(work)).ok()

    assert all(refs == {"refs/heads/main": head} for refs in (await own.references(project["id"])).values())
    assert (await _praefect(cluster, "sql-migrate-status")).stdout.count("unknown migration") == 0
