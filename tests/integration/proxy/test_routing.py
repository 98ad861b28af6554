"""Where calls go, and what a client gets when they cannot go anywhere: all of praefect, real records, real deaths."""

from __future__ import annotations

from collections import Counter

import pytest

from praefect.config.praefect_sections import DatabaseConfig
from praefect.domain.repository import Storage
from praefect.proto import objectpool_pb2, ref_pb2, remote_pb2, repository_pb2, shared_pb2
from praefect.transport.grpc.status import OK, Status, StatusCode
from tests.support.scripted_cluster import ALL, G1, G2, G3, Cluster, Repository, running_cluster

FIND = "/gitaly.RefService/FindLocalBranches"
WRITE = "/gitaly.RepositoryService/WriteRef"
OPTIMIZE = "/gitaly.RepositoryService/OptimizeRepository"
SIZE = "/gitaly.RepositoryService/RepositorySize"
CREATE = "/gitaly.RepositoryService/CreateRepository"
PRIMARY_ONLY = [("gitaly-route-repository-accessor-policy", "primary-only")]

ACCESSOR = "accessor call: route repository accessor: "
MUTATOR = "mutator call: route repository mutator: "
MAINTENANCE = "routing repository maintenance: "


def _unavailable(text: str) -> Status:
    return Status(StatusCode.UNAVAILABLE, text)


def _internal(text: str) -> Status:
    return Status(StatusCode.INTERNAL, text)


NOT_FOUND = Status(StatusCode.NOT_FOUND, "repository not found")
READ_ONLY = Status(StatusCode.FAILED_PRECONDITION, "repository is in read-only mode")


async def read(cluster: Cluster, repository: Repository, *, primary_only: bool = False) -> Status:
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    return await cluster.status(FIND, request, metadata=PRIMARY_ONLY if primary_only else ())


async def write(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(WRITE, repository_pb2.WriteRefRequest(repository=repository.message))


async def maintain(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(OPTIMIZE, repository_pb2.OptimizeRepositoryRequest(repository=repository.message))


async def outcomes(cluster: Cluster, repository: Repository) -> tuple[Status, Status, Status]:
    return (
        await read(cluster, repository),
        await write(cluster, repository),
        await maintain(cluster, repository),
    )


def seen(cluster: Cluster, method: str) -> dict[Storage, int]:
    """Return how often each node was called, those that were not left out."""
    return {name: len(node.called(method)) for name, node in cluster.nodes.items() if node.called(method)}


async def create(cluster: Cluster, relative_path: str = "new.git") -> Status:
    repository = shared_pb2.Repository(storage_name="default", relative_path=relative_path)
    return await cluster.status(CREATE, repository_pb2.CreateRepositoryRequest(repository=repository))


# --- the table of states ---


async def test_healthy_cluster_serves_everything(cluster: Cluster) -> None:
    repository = await cluster.repository()
    assert await outcomes(cluster, repository) == (OK, OK, OK)
    assert seen(cluster, "WriteRef") == {G1: 1, G2: 1, G3: 1}
    assert seen(cluster, "OptimizeRepository") == {G1: 1, G2: 1, G3: 1}
    [[primary]] = [[name for name in ALL if cluster.nodes[name].calls[-2].transaction.primary]]  # type: ignore[union-attr]
    assert primary == G1


async def test_dead_primary_is_replaced_by_the_consensus(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await cluster.lose(G1, consensus=True)

    assert await outcomes(cluster, repository) == (OK, OK, OK)

    [[elected]] = await cluster.rows.run('SELECT "primary" FROM repositories')
    assert elected in {G2, G3}
    assert seen(cluster, "WriteRef") == {G2: 1, G3: 1}
    assert seen(cluster, "OptimizeRepository") == {G2: 1, G3: 1}
    assert await cluster.generations(repository) == {"": 1, G1: 0, G2: 1, G3: 1}
    assert await cluster.jobs() == [(elected, G1, "update")]


async def test_dead_primary_that_others_see_is_waited_for(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await cluster.lose(G1)

    assert await read(cluster, repository) == OK
    assert await read(cluster, repository, primary_only=True) == _unavailable(
        f"{ACCESSOR}primary gitaly is not healthy"
    )
    assert await write(cluster, repository) == _unavailable(f"{MUTATOR}primary gitaly is not healthy")
    assert await maintain(cluster, repository) == OK


async def test_outdated_primary_without_an_alternative_is_read_only(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 0, G2: 1, G3: 0})
    await cluster.lose(G2, consensus=True)

    assert await outcomes(cluster, repository) == (
        _unavailable(f"{ACCESSOR}no suitable node to serve the request"),
        READ_ONLY,
        OK,
    )
    assert seen(cluster, "OptimizeRepository") == {G1: 1, G3: 1}
    assert await read(cluster, repository, primary_only=True) == OK


async def test_only_acknowledged_copy_down_is_unavailable(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0, G3: 0})
    await cluster.lose(G1, consensus=True)

    assert await outcomes(cluster, repository) == (
        _unavailable(f"{ACCESSOR}no suitable node to serve the request"),
        _unavailable(f"{MUTATOR}primary gitaly is not healthy"),
        OK,
    )


async def test_without_primary_and_candidate_there_is_no_primary(cluster: Cluster) -> None:
    repository = await cluster.repository(primary=None, generation=1, replicas={G1: 1, G2: 0, G3: 0})
    await cluster.lose(G1, consensus=True)

    assert await outcomes(cluster, repository) == (
        _unavailable(f"{ACCESSOR}no suitable node to serve the request"),
        _internal(f"{MUTATOR}get primary: no primary"),
        OK,
    )
    assert await read(cluster, repository, primary_only=True) == _internal(f"{ACCESSOR}get primary: no primary")


async def test_primary_must_be_assigned(cluster: Cluster) -> None:
    repository = await cluster.repository(primary=G2, generation=1, replicas={G1: 0, G2: 1}, assigned=(G1,))

    assert await outcomes(cluster, repository) == (OK, _internal(f"{MUTATOR}primary node is not assigned"), OK)
    assert seen(cluster, "FindLocalBranches") == {G2: 1}
    assert seen(cluster, "OptimizeRepository") == {G1: 1}


async def test_repository_without_a_current_replica_is_not_found(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=2, replicas={G1: 1, G3: 1})

    assert await outcomes(cluster, repository) == (NOT_FOUND, NOT_FOUND, OK)
    assert seen(cluster, "OptimizeRepository") == {G1: 1, G3: 1}
    await cluster.lose(G1)
    assert await write(cluster, repository) == _unavailable(f"{MUTATOR}primary gitaly is not healthy")


async def test_repository_without_replicas_and_primary(cluster: Cluster) -> None:
    repository = await cluster.repository(primary=None, replicas={})

    assert await outcomes(cluster, repository) == (
        NOT_FOUND,
        _internal(f"{MUTATOR}get primary: no primary"),
        _unavailable(f"{MAINTENANCE}no healthy nodes"),
    )


async def test_nothing_is_served_while_every_node_is_down(cluster: Cluster) -> None:
    repository = await cluster.repository()
    unknown = Repository(
        id=repository.id, virtual_storage="default", relative_path="unknown.git", replica_path=repository.replica_path
    )
    await cluster.lose(*ALL)

    for one in (repository, unknown):
        assert await outcomes(cluster, one) == (
            _unavailable(f"{ACCESSOR}no healthy nodes"),
            _unavailable(f"{MUTATOR}no healthy nodes"),
            _unavailable(f"{MAINTENANCE}no healthy nodes"),
        )
    assert await create(cluster) == _unavailable("route repository creation: no healthy nodes")
    assert await cluster.status(
        "/gitaly.RemoteService/FindRemoteRepository",
        remote_pb2.FindRemoteRepositoryRequest(remote="https://example.com/a.git", storage_name="default"),
    ) == _unavailable('accessor storage scoped: route storage accessor "default": no healthy nodes')

    await cluster.find(*ALL)
    assert await outcomes(cluster, repository) == (OK, OK, OK)


# --- reads ---


async def test_reads_are_spread_over_up_to_date_nodes_assigned_or_not(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0, G3: 1}, assigned=(G1,))
    for _ in range(40):
        assert await read(cluster, repository) == OK

    assert set(seen(cluster, "FindLocalBranches")) == {G1, G3}
    counted = {s: cluster.parts.metrics.reads.labels("default", s).value for s in (G1, G3)}
    assert counted == Counter(seen(cluster, "FindLocalBranches"))


async def test_unhealthy_nodes_get_no_reads(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G2].serving = False
    await cluster.parts.health.run_once()
    for _ in range(20):
        assert await read(cluster, repository) == OK
    assert set(seen(cluster, "FindLocalBranches")) == {G1, G3}


@pytest.mark.parametrize("method", ["RepositorySize", "GetObjectDirectorySize"])
async def test_sizes_are_asked_of_the_primary(cluster: Cluster, method: str) -> None:
    repository = await cluster.repository(primary=G3)
    for _ in range(10):
        request = getattr(repository_pb2, f"{method}Request")(repository=repository.message)
        await cluster.call(f"/gitaly.RepositoryService/{method}", request)
    assert seen(cluster, method) == {G3: 10}
    assert cluster.parts.metrics.reads.labels("default", G3).value == 10


async def test_first_policy_counts(cluster: Cluster) -> None:
    repository = await cluster.repository(primary=G3)
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    key = PRIMARY_ONLY[0][0]
    for _ in range(10):
        await cluster.call(FIND, request, metadata=[(key, "primary-only"), (key, "other")])
    assert seen(cluster, "FindLocalBranches") == {G3: 10}
    for _ in range(30):
        await cluster.call(FIND, request, metadata=[(key, "other"), (key, "primary-only")])
    assert set(seen(cluster, "FindLocalBranches")) == {G1, G2, G3}


async def test_read_of_a_warm_repository_needs_no_database(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await cluster.heard()
    for _ in range(5):
        assert await read(cluster, repository) == OK
    cache = cluster.parts.metrics.cache
    assert [cache.labels("default", kind).value for kind in ("miss", "populate", "hit")] == [1, 1, 4]


# --- writes ---


async def test_secondaries_that_cannot_take_part_get_jobs(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=3, replicas={G1: 3, G2: 2, G3: 3})
    await cluster.lose(G3)

    assert await write(cluster, repository) == OK

    assert seen(cluster, "WriteRef") == {G1: 1}
    assert await cluster.generations(repository) == {"": 4, G1: 4, G2: 2, G3: 3}
    assert await cluster.jobs() == [(G1, G2, "update"), (G1, G3, "update")]


async def test_unassigned_replicas_are_left_behind(cluster: Cluster) -> None:
    repository = await cluster.repository(assigned=(G1, G2))

    assert await write(cluster, repository) == OK

    assert seen(cluster, "WriteRef") == {G1: 1, G2: 1}
    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 0}
    assert await cluster.jobs() == []


async def test_assignments_to_storages_that_are_not_configured_do_not_count(cluster: Cluster) -> None:
    repository = await cluster.repository(assigned=(Storage("gone"),))
    assert await write(cluster, repository) == OK
    assert seen(cluster, "WriteRef") == {G1: 1, G2: 1, G3: 1}


# --- maintenance ---


async def test_maintenance_goes_to_existing_assigned_replicas_even_outdated_ones(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=5, replicas={G1: 5, G2: 1, G3: 5}, assigned=(G1, G2))
    await cluster.lose(G1)

    assert await maintain(cluster, repository) == OK

    assert seen(cluster, "OptimizeRepository") == {G2: 1}
    assert await cluster.generations(repository) == {"": 5, G1: 5, G2: 1, G3: 5}
    assert cluster.nodes[G2].calls[0].transaction is None


# --- creation ---


async def test_new_repository_goes_everywhere(cluster: Cluster) -> None:
    assert await create(cluster) == OK

    [[number, replica_path, generation, primary]] = await cluster.rows.run(
        'SELECT repository_id, replica_path, generation, "primary" FROM repositories'
    )
    assert (number, replica_path, generation) == (1, "@cluster/repositories/6b/86/1", 0)
    assert seen(cluster, "CreateRepository") == {G1: 1, G2: 1, G3: 1}
    assert await cluster.rows.run("SELECT storage, generation FROM storage_repositories ORDER BY 1") == [
        (G1, 0),
        (G2, 0),
        (G3, 0),
    ]
    assert await cluster.rows.run("SELECT * FROM repository_assignments") == []
    for name, node in cluster.nodes.items():
        [call] = node.calls
        assert call.request.repository == shared_pb2.Repository(storage_name=name, relative_path=str(replica_path))
        assert call.transaction is not None
        assert call.transaction.primary == (name == primary)


async def test_new_repository_waits_for_a_dead_node(cluster: Cluster) -> None:
    await cluster.lose(G2)
    assert await create(cluster) == OK

    [[primary]] = await cluster.rows.run('SELECT "primary" FROM repositories')
    assert await cluster.rows.run("SELECT storage FROM storage_repositories ORDER BY 1") == [(G1,), (G3,)]
    assert await cluster.jobs() == [(primary, G2, "update")]


async def test_primaries_of_new_repositories_are_spread(cluster: Cluster) -> None:
    for number in range(30):
        assert await create(cluster, f"new-{number}.git") == OK
    assert {row[0] for row in await cluster.rows.run('SELECT "primary" FROM repositories')} == set(ALL)


@pytest.mark.parametrize(("factor", "copies"), [(1, 1), (2, 2), (3, 3)])
async def test_replication_factor_limits_copies(database: DatabaseConfig, factor: int, copies: int) -> None:
    async with running_cluster(database, default_replication_factor=factor) as limited:
        assert await create(limited) == OK
        assert len(seen(limited, "CreateRepository")) == copies
        assigned = await limited.rows.run("SELECT storage FROM repository_assignments")
        assert {storage for (storage,) in assigned} == set(seen(limited, "CreateRepository"))


async def test_pool_path_of_the_client_makes_a_pool_path_on_disk(cluster: Cluster) -> None:
    name = "0f" + "ab" + "0" * 60
    assert await create(cluster, f"prefix/@pools/0f/ab/{name}.git") == OK
    assert await cluster.rows.run("SELECT replica_path FROM repositories") == [("@cluster/pools/6b/86/1",)]


async def test_pool_goes_to_its_origins_primary_and_others_get_jobs(cluster: Cluster) -> None:
    origin = await cluster.repository(primary=G2)
    pool = shared_pb2.ObjectPool(repository=shared_pb2.Repository(storage_name="default", relative_path="pool.git"))
    request = objectpool_pb2.CreateObjectPoolRequest(object_pool=pool, origin=origin.message)

    assert await cluster.status("/gitaly.ObjectPoolService/CreateObjectPool", request) == OK

    assert seen(cluster, "CreateObjectPool") == {G2: 1}
    rows = await cluster.rows.run(
        "SELECT storage FROM storage_repositories JOIN repositories USING (repository_id) "
        "WHERE repositories.relative_path = 'pool.git' AND storage_repositories.generation = 0"
    )
    assert (G2,) in rows
    await cluster.lose(G2)
    request.object_pool.repository.relative_path = "second.git"
    assert await cluster.status("/gitaly.ObjectPoolService/CreateObjectPool", request) == _unavailable(
        "route repository creation: primary gitaly is not healthy"
    )


@pytest.mark.parametrize("method", ["ReplicateRepository", "RestoreRepository"])
async def test_some_creations_update_what_exists(cluster: Cluster, method: str) -> None:
    repository = await cluster.repository()
    request = getattr(repository_pb2, f"{method}Request")(repository=repository.message)

    assert await cluster.status(f"/gitaly.RepositoryService/{method}", request) == OK

    assert await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 1}
    assert cluster.nodes[G1].calls[0].request.repository.relative_path == repository.replica_path
    request.repository.relative_path = "new.git"
    assert await cluster.status(f"/gitaly.RepositoryService/{method}", request) == OK
    assert await cluster.rows.run("SELECT generation FROM repositories WHERE relative_path = 'new.git'") == [(0,)]


async def test_update_by_a_creation_names_what_it_tried(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 0, G2: 1, G3: 0})
    await cluster.lose(G2, consensus=True)
    request = repository_pb2.RestoreRepositoryRequest(repository=repository.message)
    assert await cluster.status("/gitaly.RepositoryService/RestoreRepository", request) == Status(
        StatusCode.FAILED_PRECONDITION, "route repository creation: repository is in read-only mode"
    )
