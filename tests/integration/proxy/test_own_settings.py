"""Settings upstream does not have: primaries by hand, designated ones, a minimum of copies, bounded writes."""

from __future__ import annotations

import asyncio

from praefect.config.praefect import FailoverConfig
from praefect.config.praefect_sections import DatabaseConfig
from praefect.observability.log import capture
from praefect.proto import ref_pb2, repository_pb2, shared_pb2
from praefect.transport.grpc.status import OK, Status, StatusCode
from tests.support.scripted_cluster import ALL, G1, G2, G3, Cluster, Repository, running_cluster
from tests.support.scripted_node import NodeCall, agree

FIND = "/gitaly.RefService/FindLocalBranches"
WRITE = "/gitaly.RepositoryService/WriteRef"
CREATE = "/gitaly.RepositoryService/CreateRepository"
PRIMARY_ONLY = [("gitaly-route-repository-accessor-policy", "primary-only")]
COMMAND = "praefect failover -virtual-storage default -repository a.git -to STORAGE -apply"


async def read(cluster: Cluster, repository: Repository, *, primary_only: bool = False) -> Status:
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    return await cluster.status(FIND, request, metadata=PRIMARY_ONLY if primary_only else ())


async def write(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(WRITE, repository_pb2.WriteRefRequest(repository=repository.message))


async def create(cluster: Cluster, path: str = "new.git") -> Status:
    repository = shared_pb2.Repository(storage_name="default", relative_path=path)
    return await cluster.status(CREATE, repository_pb2.CreateRepositoryRequest(repository=repository))


async def primaries(cluster: Cluster) -> list[object]:
    return [row[0] for row in await cluster.rows.run('SELECT "primary" FROM repositories ORDER BY repository_id')]


# --- failover.manual ---


async def test_primaries_stay_and_writes_say_what_to_do(database: DatabaseConfig) -> None:
    async with running_cluster(database, failover=FailoverConfig(manual=True)) as cluster:
        repository = await cluster.repository()
        assert await write(cluster, repository) == OK
        await cluster.lose(G1, consensus=True)

        advice = f'"gitaly-1" is down and primaries are moved by hand (failover.manual): {COMMAND}'
        assert await write(cluster, repository) == Status(
            StatusCode.UNAVAILABLE, f"mutator call: route repository mutator: primary gitaly is not healthy: {advice}"
        )
        assert await read(cluster, repository) == OK
        assert await read(cluster, repository, primary_only=True) == Status(
            StatusCode.UNAVAILABLE, f"accessor call: route repository accessor: primary gitaly is not healthy: {advice}"
        )
        assert await primaries(cluster) == [G1]

        await cluster.rows.run('UPDATE repositories SET "primary" = %s', G2)
        assert await write(cluster, repository) == OK
        await cluster.find(G1)
        assert await primaries(cluster) == [G2]


async def test_primary_that_is_behind_is_named(database: DatabaseConfig) -> None:
    async with running_cluster(database, failover=FailoverConfig(manual=True)) as cluster:
        repository = await cluster.repository(generation=1, replicas={G1: 0, G2: 1, G3: 1})
        assert await write(cluster, repository) == Status(
            StatusCode.FAILED_PRECONDITION,
            "repository is in read-only mode: "
            f'"gitaly-1" is behind and primaries are moved by hand (failover.manual): {COMMAND}',
        )


async def test_first_primary_is_still_elected(database: DatabaseConfig) -> None:
    async with running_cluster(database, failover=FailoverConfig(manual=True)) as cluster:
        repository = await cluster.repository(primary=None, replicas={G3: 0})
        assert await write(cluster, repository) == OK
        assert await primaries(cluster) == [G3]


# --- failover.prefer_designated ---


async def test_new_repositories_get_the_designated_primary(database: DatabaseConfig) -> None:
    failover = FailoverConfig(prefer_designated=True)
    async with running_cluster(database, failover=failover, designated=G2) as cluster:
        for number in range(6):
            assert await create(cluster, f"{number}.git") == OK
        assert await primaries(cluster) == [G2] * 6
        assert len(cluster.nodes[G1].called("CreateRepository")) == 6
        await cluster.lose(G2)
        assert await create(cluster, "meanwhile.git") == OK
        assert (await primaries(cluster))[-1] in {G1, G3}


async def test_without_the_setting_the_flag_means_nothing(database: DatabaseConfig) -> None:
    async with running_cluster(database, designated=G2) as cluster:
        for number in range(25):
            assert await create(cluster, f"{number}.git") == OK
        assert set(await primaries(cluster)) == set(ALL)


# --- virtual_storage.minimum_copies ---


async def test_write_that_too_few_replicas_would_hold_is_refused(database: DatabaseConfig) -> None:
    async with running_cluster(database, minimum_copies=2) as cluster:
        repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 1, G3: 0})
        assert await write(cluster, repository) == OK
        await cluster.lose(G2)
        assert await write(cluster, repository) == Status(
            StatusCode.UNAVAILABLE,
            "mutator call: route repository mutator: only 1 of at least 2 up-to-date replicas can take part",
        )
        assert await cluster.generations(repository) == {"": 2, G1: 2, G2: 2, G3: 0}
        assert await read(cluster, repository) == OK
        assert await create(cluster) == OK
        await cluster.lose(G3)
        assert await create(cluster, "other.git") == Status(
            StatusCode.UNAVAILABLE,
            "route repository creation: only 1 of at least 2 up-to-date replicas can take part",
        )


async def test_one_copy_is_enough_by_default(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0, G3: 0})
    with capture() as lines:
        assert await write(cluster, repository) == OK
    assert "write is held by one replica only" in {line["msg"] for line in lines}
    assert cluster.parts.metrics.single_copies.labels("default").value == 1


async def test_one_assigned_storage_is_no_lack_of_copies(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0}, assigned=(G1,))
    assert await write(cluster, repository) == OK
    assert cluster.parts.metrics.single_copies.labels("default").value == 0


# --- writes in flight ---


async def test_writes_in_flight_are_bounded(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    running, most = 0, 0
    full = asyncio.Event()

    async def count(call: NodeCall) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 64:
            full.set()
        await full.wait()
        await agree(call)
        running -= 1

    cluster.nodes[G1].on("WriteRef", count)
    async with asyncio.TaskGroup() as tasks:
        writes = [tasks.create_task(write(cluster, repository)) for _ in range(80)]
    assert [task.result() for task in writes] == [OK] * 80
    assert most == 64


# --- the log ---


async def test_lines_of_a_call_say_where_it_goes(cluster: Cluster) -> None:
    repository = await cluster.repository(assigned=(G1, G2))
    await cluster.lose(G2)

    async def fields_of(method: str, work: object) -> dict[str, object]:
        with capture() as lines:
            assert await work == OK  # type: ignore[misc]  # a call about to be made
        [line] = [line for line in lines if line["msg"] == "finished streaming call with code OK"]
        assert line["grpc.method"] == method
        return {key: line.get(key) for key in ("virtual_storage", "relative_path", "route")}

    known = {"virtual_storage": "default", "relative_path": "a.git"}
    assert await fields_of("WriteRef", write(cluster, repository)) == {
        **known,
        "route": {
            "repository_id": repository.id,
            "replica_path": repository.replica_path,
            "additional_replica_path": "",
            "primary": G1,
            "secondaries": [],
            "replication_targets": [G2],
        },
    }
    found = await fields_of("FindLocalBranches", read(cluster, repository))
    route = found.pop("route")
    assert found == known
    assert isinstance(route, dict)
    assert route.pop("storage") in {G1, G3}
    assert route == {"replica_path": repository.replica_path}
    maintenance = cluster.status(
        "/gitaly.RepositoryService/OptimizeRepository",
        repository_pb2.OptimizeRepositoryRequest(repository=repository.message),
    )
    assert await fields_of("OptimizeRepository", maintenance) == {
        **known,
        "route": {"replica_path": repository.replica_path, "storages": [G1]},
    }
