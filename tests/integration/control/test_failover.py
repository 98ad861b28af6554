"""Primaries move on this process's own evidence, and only when nobody else has seen them since."""

from __future__ import annotations

import asyncio

import pytest

from praefect.domain.repository import Storage
from praefect.observability.log import capture
from praefect.proto import repository_pb2
from praefect.transport.grpc.status import OK, Status, StatusCode
from tests.support.eventually import eventually
from tests.support.scripted_cluster import G1, G2, G3, VS, Cluster, Repository
from tests.support.scripted_node import NodeCall, hang

WRITE = "/gitaly.RepositoryService/WriteRef"
REFUSED = Status(StatusCode.UNAVAILABLE, "mutator call: route repository mutator: primary gitaly is not healthy")


@pytest.fixture(autouse=True)
def _evidence_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("praefect.control.election.EVIDENCE_SECONDS", 0.0)


async def write(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(WRITE, repository_pb2.WriteRefRequest(repository=repository.message))


async def primary(cluster: Cluster) -> object:
    [[name]] = await cluster.rows.run('SELECT "primary" FROM repositories')
    return name


async def kill(cluster: Cluster, *storages: Storage) -> None:
    """Have nodes die and this process notice, while the database still calls them healthy."""
    for storage in storages:
        cluster.nodes[storage].gate.cut()
    await cluster.parts.health.run_once()
    healthy = {row[0] for row in await cluster.rows.run("SELECT storage FROM healthy_storages")}
    assert healthy == {G1, G2, G3}


async def other_praefect_saw(cluster: Cluster, storage: Storage, *, seconds_ago: float, until: float = 0) -> None:
    await cluster.rows.run(
        "INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at) "
        "VALUES ('another', %s, %s, now(), now() - make_interval(secs => %s))",
        VS,
        storage,
        seconds_ago - until,
    )


async def test_dead_primary_is_replaced_at_once(cluster: Cluster) -> None:
    """Upstream waits about ten seconds until all praefects agree."""
    repository = await cluster.repository()
    await kill(cluster, G1)

    with capture() as lines:
        assert await write(cluster, repository) == OK
    moved = await primary(cluster)
    assert moved in {G2, G3}
    [line] = [line for line in lines if line["msg"] == "primary node changed"]
    assert (line["repository_id"], line["previous_primary"], line["current_primary"]) == (repository.id, G1, moved)
    assert await cluster.generations(repository) == {"": 1, G1: 0, G2: 1, G3: 1}


async def test_forced_read_moves_a_dead_primary_too(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await kill(cluster, G1)
    size = repository_pb2.RepositorySizeRequest(repository=repository.message)
    assert await cluster.status("/gitaly.RepositoryService/RepositorySize", size) == OK
    assert await primary(cluster) in {G2, G3}


async def test_write_that_met_the_death_is_followed_by_one_that_succeeds(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G1].gate.cut()
    assert (await write(cluster, repository)).code is StatusCode.UNAVAILABLE

    async def works() -> bool:
        return await write(cluster, repository) == OK

    await eventually(works)
    assert await primary(cluster) in {G2, G3}


async def test_primary_that_another_praefect_sees_is_not_taken(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await kill(cluster, G1)
    await other_praefect_saw(cluster, G1, seconds_ago=0, until=60)
    assert await write(cluster, repository) == REFUSED
    assert await primary(cluster) == G1


async def test_primary_that_another_praefect_saw_when_it_looked_last_is_not_taken(cluster: Cluster) -> None:
    """It looks every second or two: it may be this process alone that does not reach the node."""
    repository = await cluster.repository()
    await kill(cluster, G1)
    await other_praefect_saw(cluster, G1, seconds_ago=0.5)
    await cluster.rows.run("UPDATE node_status SET last_contact_attempt_at = last_seen_active_at")
    assert await write(cluster, repository) == REFUSED
    assert await primary(cluster) == G1


async def test_praefect_that_has_stopped_looking_does_not_count(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await kill(cluster, G1)
    await other_praefect_saw(cluster, G1, seconds_ago=4)
    await cluster.rows.run("UPDATE node_status SET last_contact_attempt_at = last_seen_active_at")
    assert await write(cluster, repository) == OK
    assert await primary(cluster) in {G2, G3}


async def test_what_another_praefect_saw_before_does_not_count(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await other_praefect_saw(cluster, G1, seconds_ago=5)
    await kill(cluster, G1)
    assert await write(cluster, repository) == OK
    assert await primary(cluster) in {G2, G3}


async def test_outdated_replicas_do_not_become_primary(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0, G3: 0})
    await kill(cluster, G1)
    assert await write(cluster, repository) == REFUSED
    assert await primary(cluster) == G1


async def test_nodes_this_process_does_not_reach_do_not_become_primary(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0, G2: 0})
    await kill(cluster, G1, G2)
    assert await write(cluster, repository) == REFUSED
    assert await primary(cluster) == G1


async def test_primary_rests_between_moves(cluster: Cluster) -> None:
    """A primary that comes and goes is not followed back and forth."""
    repository = await cluster.repository(replicas={G1: 0, G2: 0})
    await kill(cluster, G1)
    assert await write(cluster, repository) == OK
    assert await primary(cluster) == G2
    # Somebody moves it back although the pause is not over, and it is unreachable again.
    await cluster.rows.run('UPDATE repositories SET "primary" = %s', G1)
    await cluster.rows.run("UPDATE storage_repositories SET generation = 1")
    assert await write(cluster, repository) == REFUSED
    assert await primary(cluster) == G1


async def test_new_primary_that_dies_too_is_replaced(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await kill(cluster, G1)
    assert await write(cluster, repository) == OK
    second = await primary(cluster)
    assert second in {G2, G3}
    await kill(cluster, Storage(str(second)))
    assert await write(cluster, repository) == OK
    assert await primary(cluster) == ({G2, G3} - {second}).pop()


async def test_two_writes_at_once_agree_on_the_new_primary(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await kill(cluster, G1)
    async with asyncio.TaskGroup() as tasks:
        writes = [tasks.create_task(write(cluster, repository)) for _ in range(8)]
    assert [task.result() for task in writes] == [OK] * 8
    new = await primary(cluster)
    primaries = {
        name
        for name, node in cluster.nodes.items()
        for call in node.called("WriteRef")
        if call.transaction is not None and call.transaction.primary
    }
    assert primaries == {new}


async def test_silent_node_ends_its_calls(cluster: Cluster) -> None:
    """What waits on a hung node is sent elsewhere once its connection has been given up."""
    repository = await cluster.repository(replicas={G1: 0, G2: 0})
    info = repository_pb2.RepositoryInfoRequest(repository=repository.message)

    fallen_silent: list[str] = []

    async def fall_silent_once(call: NodeCall) -> None:
        if not fallen_silent:
            fallen_silent.append(call.node.name)
            call.node.gate.silence()
            await hang(call)
        await call.answer()

    for storage in (G1, G2):
        cluster.nodes[storage].on("RepositoryInfo", fall_silent_once)
    assert await cluster.status("/gitaly.RepositoryService/RepositoryInfo", info) == OK
    assert len(fallen_silent) == 1
    cluster.nodes[Storage(fallen_silent[0])].gate.speak()
