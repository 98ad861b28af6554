"""The replication queue: enqueueing, taking, acknowledging, and what happens to silent workers."""

from dataclasses import replace

import pytest

from praefect.datastore import Datastore
from praefect.datastore.queue import QueueDepth, UnsupportedEventStateError
from praefect.domain.replication import (
    Change,
    DuplicateReplicationEventError,
    EventState,
    ReplicationEvent,
    ReplicationJob,
)
from praefect.domain.repository import RelativePath, RepositoryId, Storage, VirtualStorage
from tests.support.postgres import Rows

VS = VirtualStorage("default")
SOURCE, TARGET = Storage("gitaly-1"), Storage("gitaly-2")
JOB = ReplicationJob(
    repository_id=RepositoryId(1),
    change=Change.UPDATE,
    virtual_storage=VS,
    relative_path=RelativePath("a/b.git"),
    source_node_storage=SOURCE,
    target_node_storage=TARGET,
)
LOCK = "default|gitaly-2|a/b.git"


async def enqueue(datastore: Datastore, wanted: ReplicationJob = JOB) -> ReplicationEvent:
    return await datastore.queue.enqueue(wanted, correlation_id="corr")


async def dequeue(datastore: Datastore, target: Storage = TARGET, limit: int = 10) -> list[ReplicationEvent]:
    return list(await datastore.queue.dequeue(VS, target, limit))


async def stored(connection: Rows) -> tuple[list[object], list[object], list[object]]:
    """Return the three tables: states of events by id, acquired locks, holds."""
    events = await connection.run("SELECT id, state::text, attempt FROM replication_queue ORDER BY id")
    locks = await connection.run("SELECT id, acquired FROM replication_queue_lock ORDER BY id")
    holds = await connection.run("SELECT job_id, lock_id FROM replication_queue_job_lock ORDER BY job_id")
    return list(events), list(locks), list(holds)


async def test_a_job_goes_through_the_queue(datastore: Datastore, connection: Rows) -> None:
    event = await enqueue(datastore)
    assert (event.state, event.attempt, event.lock_id, event.job) == (EventState.READY, 3, LOCK, JOB)
    assert await stored(connection) == ([(1, "ready", 3)], [(LOCK, False)], [])

    (taken,) = await dequeue(datastore)
    assert (taken.id, taken.state, taken.attempt) == (1, EventState.IN_PROGRESS, 2)
    assert (taken.job, taken.correlation_id, taken.created_at) == (JOB, "corr", event.created_at)
    assert taken.updated_at is not None
    assert await stored(connection) == ([(1, "in_progress", 2)], [(LOCK, True)], [(1, LOCK)])

    assert await datastore.queue.acknowledge(EventState.COMPLETED, [1]) == [1]
    assert await stored(connection) == ([], [(LOCK, False)], [])


async def test_a_job_is_stored_as_all_praefects_store_it(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    (row,) = await connection.run("SELECT job::text, meta::text FROM replication_queue")
    document = (
        '{"change": "update", "params": null, "replica_path": "", "relative_path": "a/b.git", "repository_id": 1, '
        '"virtual_storage": "default", "source_node_storage": "gitaly-1", "target_node_storage": "gitaly-2"}'
    )
    assert row == (document, '{"correlation_id": "corr"}')


async def test_times_are_utc_whatever_the_session_says(datastore: Datastore, connection: Rows) -> None:
    await connection.run(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET TimeZone = %L', current_database(), 'Asia/Tokyo'); END $$"
    )
    await enqueue(datastore)
    assert await connection.run(
        "SELECT abs(extract(epoch FROM created_at - now() AT TIME ZONE 'UTC')) < 60 FROM replication_queue"
    ) == [(True,)]


async def test_a_ready_twin_is_refused(datastore: Datastore) -> None:
    await enqueue(datastore)
    with pytest.raises(DuplicateReplicationEventError) as refused:
        await enqueue(datastore, replace(JOB, source_node_storage=Storage("gitaly-3")))
    assert str(refused.value) == ('replication event "" -> "default" -> "gitaly-2" -> "a/b.git" already exists')


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, change=Change.DELETE_REPLICA),
        replace(JOB, target_node_storage=Storage("gitaly-3")),
        replace(JOB, relative_path=RelativePath("c")),
        replace(JOB, virtual_storage=VirtualStorage("other")),
    ],
    ids=["change", "target", "path", "virtual storage"],
)
async def test_a_different_job_is_no_twin(datastore: Datastore, other: ReplicationJob) -> None:
    await enqueue(datastore)
    await enqueue(datastore, other)


async def test_a_job_in_progress_is_no_twin(datastore: Datastore) -> None:
    await enqueue(datastore)
    await dequeue(datastore)
    await enqueue(datastore)


async def age_ready(connection: Rows) -> None:
    await connection.run(
        "UPDATE replication_queue SET created_at = created_at - interval '1 hour' WHERE state = 'ready'"
    )


async def test_completion_removes_older_twins(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    (running,) = await dequeue(datastore)
    await enqueue(datastore)
    await age_ready(connection)
    await datastore.queue.acknowledge(EventState.COMPLETED, [running.id])
    assert await stored(connection) == ([], [(LOCK, False)], [])


async def test_completion_keeps_younger_twins(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    (running,) = await dequeue(datastore)
    await enqueue(datastore)
    await datastore.queue.acknowledge(EventState.COMPLETED, [running.id])
    assert (await stored(connection))[0] == [(2, "ready", 3)]


async def test_a_write_behind_a_running_job_is_not_forgotten(datastore: Datastore, connection: Rows) -> None:
    """The twin was older than the running job; a write that relies on it makes it younger."""
    await enqueue(datastore)
    (running,) = await dequeue(datastore)
    await enqueue(datastore)
    await age_ready(connection)
    with pytest.raises(DuplicateReplicationEventError):
        await enqueue(datastore)
    await datastore.queue.acknowledge(EventState.COMPLETED, [running.id])
    assert (await stored(connection))[0] == [(2, "ready", 3)]


async def test_a_waiting_twin_keeps_its_place(datastore: Datastore, connection: Rows) -> None:
    event = await enqueue(datastore)
    with pytest.raises(DuplicateReplicationEventError):
        await enqueue(datastore)
    assert await connection.run("SELECT created_at FROM replication_queue") == [
        (event.created_at.replace(tzinfo=None),)
    ]


async def test_completion_keeps_twins_from_another_source(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    (running,) = await dequeue(datastore)
    await enqueue(datastore, replace(JOB, source_node_storage=Storage("gitaly-3")))
    await age_ready(connection)
    await datastore.queue.acknowledge(EventState.COMPLETED, [running.id])
    assert (await stored(connection))[0] == [(2, "ready", 3)]


async def test_a_failed_job_is_taken_again(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    for attempt in (2, 1, 0):
        (taken,) = await dequeue(datastore)
        assert taken.attempt == attempt
        assert await datastore.queue.acknowledge(EventState.FAILED, [taken.id]) == [taken.id]
        assert await stored(connection) == ([(1, "failed", attempt)], [(LOCK, False)], [])


async def test_a_dead_job_is_gone(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    (taken,) = await dequeue(datastore)
    assert await datastore.queue.acknowledge(EventState.DEAD, [taken.id]) == [taken.id]
    assert await stored(connection) == ([], [(LOCK, False)], [])


async def test_removals_are_tried_for_ever(datastore: Datastore) -> None:
    await enqueue(datastore, replace(JOB, change=Change.DELETE_REPLICA, source_node_storage=None))
    for _ in range(5):
        (taken,) = await dequeue(datastore)
        assert taken.attempt == 3
        await datastore.queue.acknowledge(EventState.FAILED, [taken.id])


async def test_only_jobs_in_progress_are_acknowledged(datastore: Datastore) -> None:
    event = await enqueue(datastore)
    assert await datastore.queue.acknowledge(EventState.COMPLETED, [event.id, 99]) == []
    assert await datastore.queue.acknowledge(EventState.COMPLETED, []) == []


async def test_a_job_does_not_end_ready(datastore: Datastore) -> None:
    with pytest.raises(UnsupportedEventStateError, match='event state is not supported: "ready"'):
        await datastore.queue.acknowledge(EventState.READY, [1])


async def test_one_worker_at_a_time_works_on_a_repository(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    await dequeue(datastore)
    await enqueue(datastore)
    await enqueue(datastore, replace(JOB, change=Change.DELETE_REPLICA))
    assert await dequeue(datastore) == []


async def test_two_changes_of_one_repository_share_a_lock(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    await enqueue(datastore, replace(JOB, change=Change.DELETE_REPLICA))
    assert [event.id for event in await dequeue(datastore)] == [1, 2]
    await datastore.queue.acknowledge(EventState.COMPLETED, [1])
    assert (await stored(connection))[1:] == ([(LOCK, True)], [(2, LOCK)])
    await datastore.queue.acknowledge(EventState.COMPLETED, [2])
    assert (await stored(connection))[1:] == ([(LOCK, False)], [])


async def test_the_oldest_jobs_are_taken_first(datastore: Datastore, connection: Rows) -> None:
    for name in ("a", "b", "c"):
        await enqueue(datastore, replace(JOB, relative_path=RelativePath(name)))
    await connection.run(
        "UPDATE replication_queue SET created_at = now() AT TIME ZONE 'UTC' - id * interval '1 minute'"
    )
    assert [event.job.relative_path for event in await dequeue(datastore, limit=2)] == ["b", "c"]
    assert [event.job.relative_path for event in await dequeue(datastore, limit=2)] == ["a"]


async def test_names_are_no_patterns(datastore: Datastore) -> None:
    await enqueue(datastore, replace(JOB, target_node_storage=Storage("gitaly-1")))
    assert await dequeue(datastore, Storage("gitaly_1")) == []
    assert await dequeue(datastore, Storage("gitaly%")) == []


async def test_an_unknown_change_is_left_to_others(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    await connection.run("""UPDATE replication_queue SET job = job || '{"change": "transmogrify"}'""")
    assert await dequeue(datastore) == []


async def test_missing_keys_are_borne(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    await connection.run(
        "UPDATE replication_queue SET job = job - 'params' - 'replica_path' - 'repository_id' "
        """|| '{"source_node_storage": null}', meta = NULL"""
    )
    (event,) = await dequeue(datastore)
    assert (event.job.repository_id, event.job.source_node_storage, event.job.replica_path) == (0, None, None)
    assert event.correlation_id == ""


async def silence(connection: Rows) -> None:
    await connection.run("UPDATE replication_queue_job_lock SET triggered_at = triggered_at - interval '11 seconds'")


async def test_jobs_of_a_silent_worker_are_put_back(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    await dequeue(datastore)
    assert await datastore.queue.acknowledge_stale() == 0
    await silence(connection)
    assert await datastore.queue.acknowledge_stale() == 1
    assert await stored(connection) == ([(1, "failed", 2)], [(LOCK, False)], [])


async def test_a_job_without_attempts_dies_with_its_worker(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    await connection.run("UPDATE replication_queue SET attempt = 1")
    await dequeue(datastore)
    await silence(connection)
    assert await datastore.queue.acknowledge_stale() == 1
    assert await stored(connection) == ([], [(LOCK, False)], [])


async def test_a_worker_that_speaks_keeps_its_jobs(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    events = await dequeue(datastore)
    await silence(connection)
    assert await datastore.queue.refresh(events)
    assert await datastore.queue.acknowledge_stale() == 0


async def test_a_worker_hears_that_its_jobs_are_lost(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    events = await dequeue(datastore)
    await silence(connection)
    await datastore.queue.acknowledge_stale()
    assert not await datastore.queue.refresh(events)
    assert await datastore.queue.acknowledge(EventState.COMPLETED, [events[0].id]) == []


async def test_unused_locks_are_removed(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    await enqueue(datastore, replace(JOB, relative_path=RelativePath("kept")))
    (taken,) = await dequeue(datastore, limit=1)
    await datastore.queue.acknowledge(EventState.DEAD, [taken.id])
    assert await datastore.queue.remove_unused_locks() == 1
    assert await connection.run("SELECT id FROM replication_queue_lock") == [("default|gitaly-2|kept",)]


async def test_a_lock_that_nobody_holds_is_freed(datastore: Datastore, connection: Rows) -> None:
    await enqueue(datastore)
    await connection.run("UPDATE replication_queue_lock SET acquired = true")
    assert await dequeue(datastore) == []
    await datastore.queue.remove_unused_locks()
    assert len(await dequeue(datastore)) == 1


async def test_depths_are_counted(datastore: Datastore) -> None:
    for name in ("a", "b", "c"):
        await enqueue(datastore, replace(JOB, relative_path=RelativePath(name)))
    await dequeue(datastore, limit=1)
    assert sorted(await datastore.queue.get_depths(), key=lambda depth: depth.state) == [
        QueueDepth(virtual_storage=VS, target_node_storage=TARGET, state=EventState.IN_PROGRESS, events=1),
        QueueDepth(virtual_storage=VS, target_node_storage=TARGET, state=EventState.READY, events=2),
    ]


async def test_a_repositorys_events_are_deleted_but_for_those_in_progress(
    datastore: Datastore, connection: Rows
) -> None:
    await enqueue(datastore)
    (taken,) = await dequeue(datastore)
    await enqueue(datastore)
    await enqueue(datastore, replace(JOB, relative_path=RelativePath("other")))
    assert await datastore.queue.delete_events(VS, JOB.relative_path)
    assert [row[0] for row in await connection.run("SELECT id FROM replication_queue ORDER BY id")] == [taken.id, 3]
    await datastore.queue.acknowledge(EventState.COMPLETED, [taken.id])
    assert not await datastore.queue.delete_events(VS, JOB.relative_path)
