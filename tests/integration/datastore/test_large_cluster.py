"""With many repositories the statements that each request runs use indexes, and none announces more than it may."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from praefect.datastore import Datastore
from praefect.datastore.queries import load_queries
from praefect.domain.repository import RelativePath, Storage, VirtualStorage
from tests.support.postgres import Rows

VS = VirtualStorage("default")
COUNT = 4000
ONE = RelativePath("@hashed/00/01/" + "1".zfill(64) + ".git")

# What runs per request, per second and per job. The values stand for any: the plan must not depend on them.
HOT: Mapping[tuple[str, str], Mapping[str, object]] = {
    ("repositories", "get_id"): {"virtual_storage": VS, "relative_path": ONE},
    ("repositories", "get_replica_path"): {"repository_id": 1},
    ("repositories", "consistent_storages_by_id"): {"repository_id": 1},
    ("repositories", "consistent_storages_by_path"): {"virtual_storage": VS, "relative_path": ONE},
    ("repositories", "reserve_id"): {"virtual_storage": VS, "relative_path": ONE},
    ("repositories", "exists"): {"virtual_storage": VS, "relative_path": ONE},
    ("repositories", "list_paths"): {"virtual_storage": VS, "after": ONE, "size": 100},
    ("repositories", "increment_generation"): {"repository_id": 1, "storages": ["gitaly-1", "gitaly-2"]},
    ("repositories", "get_generations"): {"repository_id": 1, "source": "gitaly-1", "target": "gitaly-2"},
    ("election", "elect"): {"repository_id": 1},
    ("metadata", "read"): {
        "keep": "all",
        "repository_id": 1,
        "virtual_storage": None,
        "virtual_storages": [VS, VS, VS],
        "storages": ["gitaly-1", "gitaly-2", "gitaly-3"],
    },
    ("assignments", "get"): {"repository_id": 1, "storages": ["gitaly-1", "gitaly-2"]},
    ("queue", "dequeue"): {
        "virtual_storage": "other",
        "target": "gitaly-4",
        "changes": ["update", "delete_replica"],
        "size": 10,
    },
    ("queue", "enqueue"): {
        "lock_id": "default|gitaly-2|a",
        "virtual_storage": VS,
        "relative_path": ONE,
        "target": "gitaly-2",
        "change": "update",
        "job": "{}",
        "meta": "{}",
    },
    ("cleanups", "find_unknown"): {"virtual_storage": VS, "storage": "gitaly-1", "replica_paths": ["@cluster/1"]},
}
LARGE = {"repositories", "storage_repositories", "repository_assignments", "replication_queue"}


@pytest.fixture
async def many(connection: Rows) -> Rows:
    """Many repositories on three storages, the third one behind, each with assignments and a waiting job."""
    await connection.run("ALTER TABLE storage_repositories DISABLE TRIGGER USER")
    for statement in (
        """
        INSERT INTO repositories (virtual_storage, relative_path, generation, "primary", replica_path)
        SELECT
            'default',
            '@hashed/' || lpad((n % 100)::text, 2, '0') || '/01/' || lpad(n::text, 64, '0') || '.git',
            5,
            'gitaly-1',
            '@cluster/' || n
        FROM generate_series(1, 4000) AS n
        """,
        """
        INSERT INTO storage_repositories
            (virtual_storage, relative_path, storage, generation, repository_id, verified_at)
        SELECT virtual_storage, relative_path, storage, replicas.generation, repository_id, now()
        FROM repositories
        CROSS JOIN (VALUES ('gitaly-1', 5), ('gitaly-2', 5), ('gitaly-3', 3)) AS replicas (storage, generation)
        """,
        """
        INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id)
        SELECT virtual_storage, relative_path, storage, repository_id FROM storage_repositories
        """,
        """
        INSERT INTO replication_queue_lock (id) SELECT 'default|gitaly-3|' || relative_path FROM repositories
        """,
        """
        INSERT INTO replication_queue (lock_id, job, meta)
        SELECT
            'default|gitaly-3|' || relative_path,
            jsonb_build_object(
                'repository_id', repository_id,
                'change', 'update',
                'virtual_storage', virtual_storage,
                'relative_path', relative_path,
                'source_node_storage', 'gitaly-1',
                'target_node_storage', 'gitaly-3'
            ),
            '{}'
        FROM repositories
        """,
        """
        INSERT INTO node_status
            (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at)
        SELECT 'praefect-1', 'default', storage, now(), now()
        FROM unnest(ARRAY['gitaly-1', 'gitaly-2', 'gitaly-3']) AS storage
        """,
    ):
        await connection.run(statement)
    await connection.run("ALTER TABLE storage_repositories ENABLE TRIGGER USER")
    await connection.run("ANALYZE")
    return connection


def scanned_wholly(plan: object) -> Iterator[str]:
    """Yield the tables that a plan reads from end to end."""
    if isinstance(plan, list):
        for part in plan:
            yield from scanned_wholly(part)
    elif isinstance(plan, dict):
        if plan.get("Node Type") == "Seq Scan":
            yield str(plan["Relation Name"])
        for part in plan.values():
            yield from scanned_wholly(part)


async def tables_read_wholly(rows: Rows, statement: str, parameters: Mapping[str, object]) -> set[str]:
    cursor = await rows.connection.execute(f"EXPLAIN (FORMAT JSON) {statement}".encode(), parameters)
    row = await cursor.fetchone()
    assert row is not None
    return LARGE.intersection(scanned_wholly(row["QUERY PLAN"]))


async def test_statements_of_each_request_read_no_large_table_wholly(many: Rows) -> None:
    offenders = {
        f"{module}.{name}": tables
        for (module, name), parameters in HOT.items()
        if (tables := await tables_read_wholly(many, load_queries(module)[name], parameters))
    }
    assert offenders == {}
    # What counts all rows must be found, or nothing would be.
    assert await tables_read_wholly(many, load_queries("queue")["count_events"], {}) == {"replication_queue"}


async def test_marking_a_virtual_storage_announces_nothing(many: Rows, datastore: Datastore) -> None:
    await many.run("LISTEN storage_repositories_updates")
    assert await datastore.verification.mark_virtual_storage(VS) == 3 * COUNT
    assert await datastore.verification.mark_virtual_storage(VS) == 0
    assert [notification async for notification in many.connection.notifies(timeout=0)] == []


async def test_repairs_of_a_whole_storage_are_scheduled_at_once(many: Rows, datastore: Datastore) -> None:
    await many.run("DELETE FROM replication_queue")
    healthy = {VS: [Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")]}
    jobs = await datastore.reconciler.schedule(healthy)
    assert len(jobs) == COUNT
    assert {job.target_storage for job in jobs} == {"gitaly-3"}
    assert {job.source_storage for job in jobs} == {"gitaly-1", "gitaly-2"}


async def test_all_degraded_repositories_are_told_in_order(many: Rows, datastore: Datastore) -> None:
    listed = [found async for found in datastore.repositories.dataloss(VS, include_partially_available=True)]
    paths = [row[0] for row in await many.run("SELECT relative_path FROM repositories ORDER BY repository_id")]
    assert [found.relative_path for found in listed] == paths
    assert {replica.behind_by for replica in listed[0].replicas if replica.storage == "gitaly-3"} == {2}
    assert [found async for found in datastore.repositories.dataloss(VS, include_partially_available=False)] == []


async def test_walk_lists_every_path_once(many: Rows, datastore: Datastore) -> None:
    walked = [path async for path in datastore.repositories.list_paths(VS)]
    assert len(walked) == len(set(walked)) == COUNT
