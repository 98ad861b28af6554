"""With many repositories nothing is announced that need not be, and what concerns all of them still works."""

from __future__ import annotations

import pytest

from praefect.datastore import Datastore
from praefect.domain.repository import Storage, VirtualStorage
from tests.support.postgres import Rows

VS = VirtualStorage("default")
COUNT = 4000


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
