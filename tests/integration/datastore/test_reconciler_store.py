"""Reconciliation: which repairs and removals are queued, and which must not be."""

import pytest

from praefect.datastore import Datastore
from praefect.domain.replication import ScheduledJob
from praefect.domain.repository import Storage, VirtualStorage
from tests.support.postgres import Rows

VS = VirtualStorage("default")
ONE, TWO, THREE = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")
HEALTHY = {VS: (ONE, TWO, THREE)}


async def record(connection: Rows, generation: int, replicas: dict[Storage, int], *assigned: str) -> None:
    await connection.run(
        "INSERT INTO repositories (repository_id, virtual_storage, relative_path, generation) "
        "VALUES (1, 'default', 'a', %s)",
        generation,
    )
    for storage, held in replicas.items():
        await connection.run("INSERT INTO storage_repositories VALUES ('default', 'a', %s, %s, 1)", storage, held)
    for storage_name in assigned:
        await connection.run("INSERT INTO repository_assignments VALUES ('default', 'a', %s, 1)", storage_name)


async def queue(connection: Rows, change: str, target: str, source: str | None = None, state: str = "ready") -> None:
    await connection.run(
        "INSERT INTO replication_queue (state, job) VALUES (%s::replication_job_state, jsonb_build_object("
        "'repository_id', 1, 'change', %s::text, 'source_node_storage', %s::text, 'target_node_storage', %s::text))",
        state,
        change,
        source,
        target,
    )


async def schedule(
    datastore: Datastore, healthy: dict[VirtualStorage, tuple[Storage, ...]] | None = None
) -> list[tuple[str, str | None, str]]:
    jobs = await datastore.reconciler.schedule(HEALTHY if healthy is None else healthy)
    return [(job.change.value, job.source_storage, job.target_storage) for job in jobs]


async def test_nothing_is_done_where_all_is_well(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 0, {ONE: 0, TWO: 0, THREE: 0})
    assert await schedule(datastore) == []


async def test_outdated_and_missing_replicas_are_updated(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 2, {ONE: 2, TWO: 1})
    assert await schedule(datastore) == [("update", ONE, THREE), ("update", ONE, TWO)]
    assert await connection.run("SELECT id, acquired FROM replication_queue_lock ORDER BY id") == [
        ("default|gitaly-2|a", False),
        ("default|gitaly-3|a", False),
    ]


async def test_a_scheduled_job_is_told_and_stored(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 0, {ONE: 0}, ONE, TWO)
    (job,) = await datastore.reconciler.schedule(HEALTHY)
    assert isinstance(job, ScheduledJob)
    (row,) = await connection.run(
        "SELECT lock_id, state::text, attempt, job::text, meta ->> 'correlation_id' FROM replication_queue"
    )
    document = (
        '{"change": "update", "relative_path": "a", "repository_id": 1, "virtual_storage": "default", '
        '"source_node_storage": "gitaly-1", "target_node_storage": "gitaly-2"}'
    )
    assert row == ("default|gitaly-2|a", "ready", 3, document, job.correlation_id)
    assert len(await datastore.queue.dequeue(VS, TWO, 10)) == 1


async def test_a_second_pass_adds_nothing(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 2, {ONE: 2, TWO: 1})
    assert len(await schedule(datastore)) == 2
    assert await schedule(datastore) == []


async def test_only_healthy_storages_take_part(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 2, {ONE: 2, TWO: 1})
    assert await schedule(datastore, {VS: (TWO, THREE)}) == []
    assert await schedule(datastore, {VS: (ONE, THREE)}) == [("update", ONE, THREE)]
    assert await schedule(datastore, {VirtualStorage("other"): (ONE, TWO)}) == []


async def test_only_assigned_storages_are_updated(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 1, {ONE: 1}, ONE, TWO)
    assert await schedule(datastore) == [("update", ONE, TWO)]


async def test_a_source_about_to_go_is_none(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 1, {ONE: 1, TWO: 0})
    await queue(connection, "delete_replica", ONE)
    assert await schedule(datastore) == []


@pytest.mark.parametrize("state", ["ready", "in_progress", "failed"])
async def test_a_pending_update_is_not_repeated(datastore: Datastore, connection: Rows, state: str) -> None:
    await record(connection, 1, {ONE: 1, THREE: 1})
    await queue(connection, "update", TWO, ONE, state)
    assert await schedule(datastore) == []


async def test_an_unassigned_replica_is_removed(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 1, {ONE: 1, TWO: 1, THREE: 1}, ONE, TWO)
    assert await schedule(datastore) == [("delete_replica", None, THREE)]


async def test_one_replica_is_removed_at_a_time(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 1, {ONE: 1, TWO: 1, THREE: 1}, ONE)
    assert len(await schedule(datastore)) == 1
    assert await schedule(datastore) == []


async def test_without_assignments_nothing_is_removed(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 1, {ONE: 1, TWO: 1, THREE: 1})
    assert await schedule(datastore) == []


async def test_the_newest_replica_is_never_removed(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 2, {ONE: 1, TWO: 1, THREE: 2}, ONE, TWO)
    assert await schedule(datastore, {VS: (THREE,)}) == []


@pytest.mark.parametrize("held", [1, -1])
async def test_a_replica_stays_until_all_assigned_ones_exist(datastore: Datastore, connection: Rows, held: int) -> None:
    await record(connection, 1, {ONE: 1, THREE: held}, ONE, "gitaly-2")
    assert ("delete_replica", None, THREE) not in await schedule(datastore)


async def test_an_unconfigured_assignment_counts(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 1, {ONE: 1, THREE: 1}, ONE, "not-configured")
    assert await schedule(datastore) == []


@pytest.mark.parametrize(
    ("change", "source", "target"),
    [("update", THREE, TWO), ("update", ONE, THREE), ("delete_replica", None, TWO)],
    ids=["source", "target", "other removal"],
)
async def test_a_replica_that_is_used_is_not_removed(
    datastore: Datastore, connection: Rows, change: str, source: str | None, target: str
) -> None:
    await record(connection, 1, {ONE: 1, TWO: 1, THREE: 1}, ONE, TWO)
    await queue(connection, change, target, source)
    assert await schedule(datastore) == []


async def test_two_processes_do_not_schedule_at_once(datastore: Datastore, connection: Rows) -> None:
    await record(connection, 2, {ONE: 2, TWO: 1})
    async with connection.connection.transaction():
        await connection.run("SELECT pg_advisory_xact_lock(1)")
        assert await schedule(datastore) == []
    assert len(await schedule(datastore)) == 2


async def test_the_furthest_behind_and_most_written_come_first(datastore: Datastore, connection: Rows) -> None:
    for number, generation, held in ((1, 5, 4), (2, 9, 8), (3, 9, 2), (4, 7, None)):
        await connection.run(
            "INSERT INTO repositories (repository_id, virtual_storage, relative_path, generation) "
            "VALUES (%s, 'default', %s, %s)",
            number,
            str(number),
            generation,
        )
        for storage, at in ((ONE, generation), (TWO, held)):
            if at is not None:
                await connection.run(
                    "INSERT INTO storage_repositories VALUES ('default', %s, %s, %s, %s)",
                    str(number),
                    storage,
                    at,
                    number,
                )

    await datastore.reconciler.schedule({VS: (ONE, TWO)})

    jobs = await datastore.queue.dequeue(VS, TWO, 10)
    assert [job.job.repository_id for job in jobs] == [4, 3, 2, 1]
