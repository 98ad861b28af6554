"""What the stores do when somebody else changes the same rows at the same moment.

A competitor's transaction holds a row; the store's statement is started and waits for it; the competitor commits. That
the statement waits is seen in the server's lock table, so that the order of events is certain.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TypeVar

import pytest

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore import Datastore
from praefect.datastore.pool import connect
from praefect.domain.replication import Change, DuplicateReplicationEventError, EventState, ReplicationJob
from praefect.domain.repository import (
    NewRepository,
    RelativePath,
    ReplicaPath,
    RepositoryExistsError,
    RepositoryId,
    Storage,
    VirtualStorage,
)
from tests.support.postgres import Rows

T = TypeVar("T")

VS = VirtualStorage("default")
PATH = RelativePath("a/b.git")
ONE, TWO, THREE = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")


@asynccontextmanager
async def while_it_waits(
    database: DatabaseConfig, statement: Coroutine[object, object, T], competitor: str
) -> AsyncIterator[asyncio.Task[T]]:
    """Run the competitor's statements, then ours until it waits, then let the competitor commit."""
    async with await connect(database) as other, asyncio.TaskGroup() as group:
        await other.execute("BEGIN")
        await other.execute(competitor.encode())
        task = group.create_task(statement, name="statement that waits")
        while not task.done():
            async with await connect(database) as observer:
                cursor = await observer.execute(
                    "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE datname = current_database()"
                    " AND NOT granted"
                )
                if await cursor.fetchone() is not None:
                    break
        assert not task.done(), "the statement did not wait"
        await other.execute("COMMIT")
        yield task


async def create(
    datastore: Datastore, *replicas: Storage, path: RelativePath = PATH, assigned: bool = False
) -> RepositoryId:
    repository_id = await datastore.repositories.reserve_repository_id(VS, path)
    await datastore.repositories.create_repository(
        NewRepository(
            repository_id=repository_id,
            virtual_storage=VS,
            relative_path=path,
            replica_path=ReplicaPath(f"@cluster/{repository_id}"),
            primary=replicas[0],
            updated=tuple(replicas[1:]),
            outdated=(),
            store_assignments=assigned,
        )
    )
    return repository_id


async def record_healthy(datastore: Datastore, *storages: Storage) -> None:
    await datastore.health.record("praefect-1", [(VS, storage, storage in storages) for storage in (ONE, TWO, THREE)])


def job(repository_id: RepositoryId, change: Change = Change.UPDATE, target: Storage = TWO) -> ReplicationJob:
    return ReplicationJob(
        repository_id=repository_id,
        change=change,
        virtual_storage=VS,
        relative_path=PATH,
        source_node_storage=ONE if change is Change.UPDATE else None,
        target_node_storage=target,
    )


async def generations(connection: Rows) -> tuple[object, dict[object, object]]:
    (repository,) = await connection.run("SELECT generation FROM repositories")
    replicas = await connection.run("SELECT storage, generation FROM storage_repositories")
    return repository[0], {row[0]: row[1] for row in replicas}


async def test_elector_keeps_the_choice_of_the_one_it_waited_for(
    datastore: Datastore, database: DatabaseConfig
) -> None:
    repository_id = await create(datastore, ONE, TWO, THREE)
    await record_healthy(datastore, TWO, THREE)
    async with while_it_waits(
        database,
        datastore.election.elect_primary(VS, repository_id),
        "UPDATE repositories SET \"primary\" = 'gitaly-3'",
    ) as election:
        pass
    elected = election.result()
    assert (elected.storage, elected.changed) == (THREE, False)


async def test_elector_replaces_an_invalid_choice_of_the_one_it_waited_for(
    datastore: Datastore, database: DatabaseConfig
) -> None:
    repository_id = await create(datastore, ONE, TWO)
    await record_healthy(datastore, TWO)
    async with while_it_waits(
        database,
        datastore.election.elect_primary(VS, repository_id),
        "UPDATE repositories SET \"primary\" = 'gitaly-3'",
    ) as election:
        pass
    elected = election.result()
    assert (elected.storage, elected.previous, elected.changed) == (TWO, THREE, True)


async def test_electors_racing_agree(datastore: Datastore) -> None:
    repository_id = await create(datastore, ONE, TWO, THREE)
    await record_healthy(datastore, TWO, THREE)
    async with asyncio.TaskGroup() as group:
        elections = [
            group.create_task(datastore.election.elect_primary(VS, repository_id), name=f"elector {number}")
            for number in range(12)
        ]
    results = [election.result() for election in elections]
    assert len({result.storage for result in results}) == 1
    assert results[0].storage in {TWO, THREE}
    assert sum(result.changed for result in results) == 1


async def test_increments_add_up(datastore: Datastore, connection: Rows) -> None:
    repository_id = await create(datastore, ONE, TWO, THREE)
    async with asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(
                datastore.repositories.increment_generation(repository_id, ONE, [TWO]), name=f"write {number}"
            )
    assert await generations(connection) == (30, {ONE: 30, TWO: 30, THREE: 0})


async def test_replica_that_fell_behind_while_we_waited_is_not_counted(
    datastore: Datastore, database: DatabaseConfig, connection: Rows
) -> None:
    repository_id = await create(datastore, ONE, TWO, THREE)
    competitor = """
        UPDATE repositories SET generation = 1;
        UPDATE storage_repositories SET generation = 1 WHERE storage <> 'gitaly-3'
    """
    async with while_it_waits(
        database, datastore.repositories.increment_generation(repository_id, ONE, [THREE]), competitor
    ):
        pass
    assert await generations(connection) == (2, {ONE: 2, TWO: 1, THREE: 0})


async def test_generation_is_not_lowered_by_a_replication_that_ends_late(
    datastore: Datastore, database: DatabaseConfig, connection: Rows
) -> None:
    repository_id = await create(datastore, ONE, TWO)
    competitor = "UPDATE repositories SET generation = 7; UPDATE storage_repositories SET generation = 7"
    async with while_it_waits(
        database, datastore.repositories.set_generation(repository_id, THREE, PATH, 3), competitor
    ):
        pass
    assert await generations(connection) == (7, {ONE: 7, TWO: 7, THREE: 3})


async def test_repository_is_kept_if_a_replica_is_recorded_while_its_last_invalid_one_is_removed(
    datastore: Datastore, database: DatabaseConfig, connection: Rows
) -> None:
    repository_id = await create(datastore, ONE)
    competitor = f"""
        SELECT FROM repositories FOR UPDATE;
        INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
        VALUES ('default', 'a/b.git', 'gitaly-2', 0, {repository_id})
    """
    async with while_it_waits(
        database, datastore.repositories.delete_invalid_repository(repository_id, ONE), competitor
    ):
        pass
    assert await generations(connection) == (0, {TWO: 0})


async def test_repository_goes_with_the_last_of_two_invalid_replicas(datastore: Datastore, connection: Rows) -> None:
    repository_id = await create(datastore, ONE, TWO)
    async with asyncio.TaskGroup() as group:
        for storage in (ONE, TWO):
            group.create_task(
                datastore.repositories.delete_invalid_repository(repository_id, storage), name=f"invalid {storage}"
            )
    assert await connection.run("SELECT FROM repositories") == []


@pytest.mark.parametrize(("already", "wanted"), [("", 2), ("'gitaly-2'", 2), ("'gitaly-1', 'gitaly-2', 'gitaly-3'", 1)])
async def test_replication_factor_counts_what_the_one_before_assigned(
    datastore: Datastore, database: DatabaseConfig, connection: Rows, already: str, wanted: int
) -> None:
    repository_id = await create(datastore, ONE, TWO, THREE)
    rows = f"""
        INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id)
        SELECT 'default', 'a/b.git', storage, {repository_id} FROM unnest(ARRAY[{already}]::text[]) AS s (storage);
    """
    async with while_it_waits(
        database,
        datastore.assignments.set_replication_factor(VS, PATH, wanted),
        f"SELECT FROM repositories FOR UPDATE; {rows}",
    ) as task:
        pass
    stored = await connection.run("SELECT storage FROM repository_assignments ORDER BY storage")
    assert [row[0] for row in stored] == list(task.result())
    assert len(stored) == wanted


@pytest.mark.parametrize(
    ("first", "second"), [([ONE, TWO], [ONE, TWO]), ([ONE], [TWO, THREE])], ids=["same storages", "other storages"]
)
async def test_of_two_creators_of_one_path_one_hears_that_it_exists(
    datastore: Datastore, connection: Rows, first: list[Storage], second: list[Storage]
) -> None:
    async def attempt(replicas: list[Storage]) -> bool:
        repository_id = await datastore.repositories.reserve_repository_id(VS, PATH)
        await both_reserved.wait()
        new = NewRepository(
            repository_id=repository_id,
            virtual_storage=VS,
            relative_path=PATH,
            replica_path=ReplicaPath("@r"),
            primary=replicas[0],
            updated=tuple(replicas[1:]),
            outdated=(),
            store_assignments=True,
        )
        try:
            await datastore.repositories.create_repository(new)
        except RepositoryExistsError:
            return False
        return True

    both_reserved = asyncio.Barrier(2)
    async with asyncio.TaskGroup() as group:
        attempts = [group.create_task(attempt(replicas), name="creator") for replicas in (first, second)]
    assert sorted(one.result() for one in attempts) == [False, True]
    assert len(await connection.run("SELECT FROM repositories")) == 1


async def test_job_is_taken_by_one_worker_only(datastore: Datastore, connection: Rows) -> None:
    count = 300
    await connection.run(
        "INSERT INTO replication_queue_lock (id) SELECT 'default|gitaly-2|' || n FROM generate_series(1, %s) AS n",
        count,
    )
    await connection.run(
        "INSERT INTO replication_queue (lock_id, job, meta) SELECT 'default|gitaly-2|' || n, jsonb_build_object("
        "'change', 'update', 'virtual_storage', 'default', 'relative_path', n::text, 'target_node_storage', 'gitaly-2',"
        " 'source_node_storage', 'gitaly-1', 'repository_id', n), '{}' FROM generate_series(1, %s) AS n",
        count,
    )
    taken: list[int] = []

    async def work() -> None:
        while len(taken) < count:
            events = await datastore.queue.dequeue(VS, TWO, 10)
            taken.extend(event.id for event in events)
            await datastore.queue.acknowledge(EventState.COMPLETED, [event.id for event in events])

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(work(), name=f"worker {number}")
    assert len(taken) == len(set(taken)) == count
    assert await connection.run("SELECT FROM replication_queue_lock WHERE acquired") == []
    assert await connection.run("SELECT FROM replication_queue") == []


async def test_worker_skips_what_another_has_locked(
    datastore: Datastore, database: DatabaseConfig, connection: Rows
) -> None:
    repository_id = await create(datastore, ONE)
    await datastore.queue.enqueue(job(repository_id), correlation_id="c")
    async with await connect(database) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT FROM replication_queue FOR UPDATE")
        assert await datastore.queue.dequeue(VS, TWO, 10) == []
        await other.execute("ROLLBACK")
    assert len(await datastore.queue.dequeue(VS, TWO, 10)) == 1


async def test_like_job_that_is_taken_while_we_enqueue_is_no_duplicate(
    datastore: Datastore, database: DatabaseConfig, connection: Rows
) -> None:
    repository_id = await create(datastore, ONE)
    await datastore.queue.enqueue(job(repository_id), correlation_id="c")
    async with while_it_waits(
        database,
        datastore.queue.enqueue(job(repository_id), correlation_id="d"),
        "UPDATE replication_queue SET state = 'in_progress'",
    ):
        pass
    states = await connection.run("SELECT state::text FROM replication_queue ORDER BY id")
    assert [row[0] for row in states] == ["in_progress", "ready"]


async def test_duplicate_of_a_job_behind_one_in_progress_survives_its_acknowledgement(
    datastore: Datastore, connection: Rows
) -> None:
    repository_id = await create(datastore, ONE)
    first = await datastore.queue.enqueue(job(repository_id), correlation_id="c")
    await connection.run("UPDATE replication_queue SET state = 'failed'")
    second = await datastore.queue.enqueue(job(repository_id), correlation_id="d")
    (running,) = await datastore.queue.dequeue(VS, TWO, 10)
    assert running.id == first.id
    with pytest.raises(DuplicateReplicationEventError):
        await datastore.queue.enqueue(job(repository_id), correlation_id="e")
    await datastore.queue.acknowledge(EventState.COMPLETED, [running.id])
    assert [event.id for event in await datastore.queue.dequeue(VS, TWO, 10)] == [second.id]


async def test_lock_that_an_event_comes_to_need_is_not_removed(
    datastore: Datastore, database: DatabaseConfig, connection: Rows
) -> None:
    repository_id = await create(datastore, ONE)
    await connection.run("INSERT INTO replication_queue_lock (id) VALUES ('default|gitaly-2|a/b.git')")
    competitor = """
        INSERT INTO replication_queue_lock (id) VALUES ('default|gitaly-2|a/b.git')
            ON CONFLICT (id) DO UPDATE SET id = excluded.id;
        INSERT INTO replication_queue (lock_id, job) VALUES ('default|gitaly-2|a/b.git', '{"change": "update",
            "virtual_storage": "default", "relative_path": "a/b.git", "target_node_storage": "gitaly-2"}')
    """
    # It may wait for the competitor's row or skip it; in both cases the row must still be there.
    async with await connect(database) as other:
        await other.execute("BEGIN")
        await other.execute(competitor.encode())
        async with asyncio.TaskGroup() as group:
            removal = group.create_task(datastore.queue.remove_unused_locks(), name="remove locks")
            while not removal.done():
                waiting = await connection.run("SELECT FROM pg_locks WHERE NOT granted")
                if waiting:
                    break
            await other.execute("COMMIT")
    del repository_id
    assert len(await datastore.queue.dequeue(VS, TWO, 10)) == 1


async def test_acknowledgement_and_stale_sweep_do_not_block_each_other(
    datastore: Datastore, database: DatabaseConfig, connection: Rows
) -> None:
    repository_id = await create(datastore, ONE)
    await datastore.queue.enqueue(job(repository_id), correlation_id="c")
    (event,) = await datastore.queue.dequeue(VS, TWO, 10)
    await connection.run("UPDATE replication_queue_job_lock SET triggered_at = triggered_at - interval '2 minutes'")
    # An acknowledgement that has locked its event and not yet removed its hold.
    async with await connect(database) as other:
        await other.execute("BEGIN")
        await other.execute("SELECT FROM replication_queue WHERE id = %s FOR UPDATE", [event.id])
        async with asyncio.TaskGroup() as group:
            sweep = group.create_task(datastore.queue.acknowledge_stale(), name="sweep")
            while not sweep.done() and not await connection.run("SELECT FROM pg_locks WHERE NOT granted"):
                pass
            await other.execute("DELETE FROM replication_queue_job_lock WHERE job_id = %s", [event.id])
            await other.execute("DELETE FROM replication_queue WHERE id = %s", [event.id])
            await other.execute("UPDATE replication_queue_lock SET acquired = false")
            await other.execute("COMMIT")
    assert await connection.run("SELECT FROM replication_queue") == []
    assert await connection.run("SELECT FROM replication_queue_lock WHERE acquired") == []


async def test_update_and_removal_in_progress_together_free_their_lock_with_the_last(
    datastore: Datastore, connection: Rows
) -> None:
    repository_id = await create(datastore, ONE, TWO)
    await datastore.queue.enqueue(job(repository_id), correlation_id="c")
    await datastore.queue.enqueue(job(repository_id, Change.DELETE_REPLICA), correlation_id="d")
    first, second = await datastore.queue.dequeue(VS, TWO, 10)
    await datastore.queue.acknowledge(EventState.COMPLETED, [first.id])
    assert await connection.run("SELECT acquired FROM replication_queue_lock") == [(True,)]
    await datastore.queue.acknowledge(EventState.FAILED, [second.id])
    assert await connection.run("SELECT acquired FROM replication_queue_lock") == [(False,)]


async def test_reconcilers_racing_schedule_each_job_once(datastore: Datastore, connection: Rows) -> None:
    for number in range(20):
        await create(datastore, ONE, TWO, path=RelativePath(f"r/{number}.git"))
    healthy = {VS: [ONE, TWO, THREE]}
    async with asyncio.TaskGroup() as group:
        passes = [
            group.create_task(datastore.reconciler.schedule(healthy), name=f"reconciler {number}")
            for number in range(8)
        ]
    scheduled = [job.relative_path for one in passes for job in one.result()]
    assert len(scheduled) == len(set(scheduled)) == 20
    assert len(await connection.run("SELECT FROM replication_queue")) == 20


async def test_removal_queued_by_another_is_left_out(
    datastore: Datastore, database: DatabaseConfig, connection: Rows
) -> None:
    repository_id = await create(datastore, ONE, TWO)
    await connection.run(
        "INSERT INTO repository_assignments SELECT 'default', 'a/b.git', 'gitaly-1', %s", repository_id
    )
    competitor = f"""
        INSERT INTO replication_queue_lock (id) VALUES ('default|gitaly-2|a/b.git');
        INSERT INTO replication_queue (lock_id, job) VALUES ('default|gitaly-2|a/b.git', '{{"change": "delete_replica",
            "virtual_storage": "default", "relative_path": "a/b.git", "target_node_storage": "gitaly-2",
            "repository_id": {repository_id}}}')
    """
    async with while_it_waits(database, datastore.reconciler.schedule({VS: [ONE, TWO]}), competitor) as schedule:
        pass
    assert schedule.result() == []
    assert len(await connection.run("SELECT FROM replication_queue")) == 1


async def test_lease_is_given_to_one_verifier(datastore: Datastore) -> None:
    for number in range(20):
        await create(datastore, ONE, TWO, path=RelativePath(f"r/{number}.git"))
    async with asyncio.TaskGroup() as group:
        acquisitions = [
            group.create_task(
                datastore.verification.acquire({VS: [ONE, TWO]}, timedelta(days=7), 7), name=f"verifier {number}"
            )
            for number in range(6)
        ]
    leased = [replica for acquisition in acquisitions for replica in acquisition.result()]
    rest = await datastore.verification.acquire({VS: [ONE, TWO]}, timedelta(days=7), 100)
    assert len(leased) + len(rest) == len({*leased, *rest}) == 40
