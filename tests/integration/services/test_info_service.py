"""What operators ask praefect, and what they change through it."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from praefect.domain.repository import Storage
from praefect.proto import praefect_pb2, repository_pb2, shared_pb2
from praefect.transport.grpc.status import OK, Status, StatusCode
from tests.support.scripted_cluster import ALL, G1, G2, G3, Cluster, Repository
from tests.support.scripted_node import answering, failing

INVALID, INTERNAL = StatusCode.INVALID_ARGUMENT, StatusCode.INTERNAL
REPLICAS = "/gitaly.PraefectInfoService/RepositoryReplicas"
DATALOSS = "/gitaly.PraefectInfoService/Dataloss"
AUTHORITATIVE = "/gitaly.PraefectInfoService/SetAuthoritativeStorage"
UNVERIFIED = "/gitaly.PraefectInfoService/MarkUnverified"
FACTOR = "/gitaly.PraefectInfoService/SetReplicationFactor"
METADATA = "/gitaly.PraefectInfoService/GetRepositoryMetadata"

Details = praefect_pb2.RepositoryReplicasResponse.RepositoryDetails
Lost = praefect_pb2.DatalossResponse.Repository
Replica = praefect_pb2.GetRepositoryMetadataResponse.Replica


# --- RepositoryReplicas ---


def _replicas(repository: shared_pb2.Repository | None) -> praefect_pb2.RepositoryReplicasRequest:
    return praefect_pb2.RepositoryReplicasRequest(repository=repository)


async def test_replicas_are_shown_with_checksums_primary_first(cluster: Cluster) -> None:
    repository = await cluster.repository(primary=G2, assigned=(G1, G2))
    for node in cluster.nodes.values():
        node.on("CalculateChecksum", answering(repository_pb2.CalculateChecksumResponse(checksum=f"of {node.name}")))

    response = await cluster.call(REPLICAS, _replicas(repository.message))

    def details(storage: Storage) -> Details:
        named = shared_pb2.Repository(storage_name=storage, relative_path="a.git")
        return Details(repository=named, checksum=f"of {storage}")

    assert response == praefect_pb2.RepositoryReplicasResponse(primary=details(G2), replicas=[details(G1)])
    [asked] = cluster.nodes[G1].requests("CalculateChecksum", repository_pb2.CalculateChecksumRequest)
    assert asked.repository == shared_pb2.Repository(storage_name=G1, relative_path=repository.replica_path)


async def test_replicas_elect_a_primary(cluster: Cluster) -> None:
    repository = await cluster.repository(primary=None, replicas={G3: 0})
    await cluster.call(REPLICAS, _replicas(repository.message))
    assert await cluster.rows.run('SELECT "primary" FROM repositories') == [(G3,)]


async def test_replicas_of_nothing_are_an_internal_error(cluster: Cluster) -> None:
    expected = Status(INTERNAL, "get repository id: repository not found")
    for repository in (
        None,
        shared_pb2.Repository(storage_name="default", relative_path="unknown.git"),
        shared_pb2.Repository(storage_name="nowhere", relative_path="a.git"),
    ):
        assert await cluster.status(REPLICAS, _replicas(repository)) == expected


async def test_replicas_need_an_assigned_primary(cluster: Cluster) -> None:
    none = await cluster.repository("none.git", primary=None, replicas={})
    assert await cluster.status(REPLICAS, _replicas(none.message)) == Status(INTERNAL, "get primary: no primary")

    unassigned = await cluster.repository("b.git", primary=G2, generation=1, replicas={G1: 0, G2: 1}, assigned=(G1,))
    assert await cluster.status(REPLICAS, _replicas(unassigned.message)) == Status(
        INTERNAL, 'primary "gitaly-2" is not an assigned host'
    )

    gone = await cluster.repository("c.git", virtual_storage="gone", primary=G1)
    assert await cluster.status(REPLICAS, _replicas(gone.message)) == Status(
        INTERNAL, 'get host assignments: virtual storage "gone" not found'
    )


async def test_nodes_refusal_to_add_up_keeps_its_code(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G2].on("CalculateChecksum", failing(StatusCode.DATA_LOSS, "not a git repository"))
    assert await cluster.status(REPLICAS, _replicas(repository.message)) == Status(
        StatusCode.DATA_LOSS, "not a git repository"
    )


# --- Dataloss ---


async def _dataloss(cluster: Cluster, *, partially: bool = False) -> list[praefect_pb2.DatalossResponse]:
    request = praefect_pb2.DatalossRequest(virtual_storage="default", include_partially_replicated=partially)
    return [
        response async for response in cluster.client.server_stream(DATALOSS, request, praefect_pb2.DatalossResponse)
    ]


async def test_nothing_is_sent_while_nothing_is_lost(cluster: Cluster) -> None:
    await cluster.repository()
    assert await _dataloss(cluster) == []
    assert await _dataloss(cluster, partially=True) == []


async def test_unavailable_and_partially_available_repositories_are_told_apart(cluster: Cluster) -> None:
    await cluster.repository("partially.git", generation=2, replicas={G1: 2, G2: 1})
    await cluster.repository("lost.git", generation=2, replicas={G1: 1}, assigned=(G1, G3), primary=None)

    lost = Lost(
        relative_path="lost.git",
        unavailable=True,
        storages=[
            Lost.Storage(name=G1, behind_by=1, assigned=True, healthy=True),
            Lost.Storage(name=G3, behind_by=3, assigned=True, healthy=True),
        ],
    )
    partially = Lost(
        relative_path="partially.git",
        primary=G1,
        storages=[
            Lost.Storage(name=G1, behind_by=0, assigned=True, healthy=True, valid_primary=True),
            Lost.Storage(name=G2, behind_by=1, assigned=True, healthy=True),
            Lost.Storage(name=G3, behind_by=3, assigned=True, healthy=True),
        ],
    )
    assert await _dataloss(cluster) == [praefect_pb2.DatalossResponse(repositories=[lost])]
    assert await _dataloss(cluster, partially=True) == [praefect_pb2.DatalossResponse(repositories=[partially, lost])]
    assert await cluster.rows.run('SELECT "primary" FROM repositories ORDER BY repository_id') == [(G1,), (None,)]


async def test_long_reports_come_in_pieces(cluster: Cluster) -> None:
    long = "x" * 2000
    await cluster.rows.run(
        "INSERT INTO repositories (repository_id, virtual_storage, relative_path, replica_path, generation) "
        "SELECT number, 'default', %s || number, number, 0 FROM generate_series(1, 700) AS number",
        long,
    )
    responses = await _dataloss(cluster)
    assert len(responses) == 2
    paths = [repository.relative_path for response in responses for repository in response.repositories]
    assert paths == [f"{long}{number}" for number in range(1, 701)]
    assert responses[0].ByteSize() == pytest.approx(1 << 20, rel=0.01)


async def test_dataloss_of_an_unknown_virtual_storage(cluster: Cluster) -> None:
    async with cluster.client.call(DATALOSS) as call:
        await call.send(praefect_pb2.DatalossRequest(virtual_storage="nowhere").SerializeToString(), last=True)
        assert await call.drain() == Status(INTERNAL, 'unknown virtual storage: "nowhere"')


# --- SetAuthoritativeStorage ---


async def test_data_loss_is_accepted(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=3, replicas={G1: 3, G2: 1})

    def request(storage: str) -> praefect_pb2.SetAuthoritativeStorageRequest:
        return praefect_pb2.SetAuthoritativeStorageRequest(
            virtual_storage="default", relative_path="a.git", authoritative_storage=storage
        )

    assert await cluster.status(AUTHORITATIVE, request(G2)) == OK
    assert await cluster.generations(repository) == {"": 4, G1: 3, G2: 4}
    assert await cluster.status(AUTHORITATIVE, request(G3)) == OK
    assert await cluster.generations(repository) == {"": 5, G1: 3, G2: 4, G3: 5}
    assert await cluster.rows.run('SELECT "primary" FROM repositories') == [(G1,)]
    assert await cluster.jobs() == []


async def test_authoritative_storage_must_exist(cluster: Cluster) -> None:
    await cluster.repository()
    cases = [
        (("nowhere", "a.git", G1), 'unknown virtual storage: "nowhere"'),
        (("default", "a.git", "gone"), 'unknown authoritative storage: "gone"'),
        (("default", "unknown.git", G1), "repository does not exist on virtual storage"),
    ]
    for (virtual_storage, relative_path, storage), message in cases:
        request = praefect_pb2.SetAuthoritativeStorageRequest(
            virtual_storage=virtual_storage, relative_path=relative_path, authoritative_storage=storage
        )
        assert await cluster.status(AUTHORITATIVE, request) == Status(INVALID, message)


# --- MarkUnverified ---


async def test_replicas_are_marked_by_what_is_selected(cluster: Cluster) -> None:
    first, _ = await cluster.repository("a.git"), await cluster.repository("b.git", replicas={G1: 0})

    async def mark(**selector: object) -> int:
        await cluster.rows.run("UPDATE storage_repositories SET verified_at = now()")
        request = praefect_pb2.MarkUnverifiedRequest(**selector)  # type: ignore[arg-type]  # one of several
        response = await cluster.call(UNVERIFIED, request)
        assert isinstance(response, praefect_pb2.MarkUnverifiedResponse)
        [[unverified]] = await cluster.rows.run("SELECT count(*) FROM storage_repositories WHERE verified_at IS NULL")
        assert unverified == response.replicas_marked
        return response.replicas_marked

    storage = praefect_pb2.MarkUnverifiedRequest.Storage(virtual_storage="default", storage=G1)
    assert await mark(repository_id=first.id) == 3
    assert await mark(virtual_storage="default") == 4
    assert await mark(storage=storage) == 2
    assert await mark(repository_id=4711) == 0
    assert await mark(virtual_storage="nowhere") == 0


async def test_something_must_be_selected(cluster: Cluster) -> None:
    assert await cluster.status(UNVERIFIED, praefect_pb2.MarkUnverifiedRequest()) == Status(
        INTERNAL, "unknown selector: <nil>"
    )


# --- SetReplicationFactor ---


def _factor(
    factor: int, relative_path: str = "a.git", virtual_storage: str = "default"
) -> praefect_pb2.SetReplicationFactorRequest:
    return praefect_pb2.SetReplicationFactorRequest(
        virtual_storage=virtual_storage, relative_path=relative_path, replication_factor=factor
    )


async def test_factor_is_reached_around_the_primary(cluster: Cluster) -> None:
    await cluster.repository(primary=G2)

    async def storages(factor: int) -> list[str]:
        response = await cluster.call(FACTOR, _factor(factor))
        assert isinstance(response, praefect_pb2.SetReplicationFactorResponse)
        return list(response.storages)

    assert await storages(1) == [G2]
    two = await storages(2)
    assert len(two) == 2
    assert G2 in two
    assert await storages(3) == list(ALL)
    assert await storages(1) == [G2]


async def test_impossible_factors_are_refused_in_order(cluster: Cluster) -> None:
    cases = [
        (_factor(0, virtual_storage="nowhere"), 'virtual storage "nowhere" not found'),
        (_factor(0, "unknown.git"), "attempted to set replication factor 0 but minimum is 1"),
        (
            _factor(4, "unknown.git"),
            "attempted to set replication factor 4 but virtual storage only contains 3 storages",
        ),
        (_factor(1, "unknown.git"), 'repository "default"/"unknown.git" not found'),
    ]
    for request, message in cases:
        assert await cluster.status(FACTOR, request) == Status(INVALID, f"set replication factor: {message}")


async def test_new_assignments_count_at_once(cluster: Cluster) -> None:
    repository = await cluster.repository(primary=G2)
    await cluster.call(FACTOR, _factor(1))
    await cluster.call(
        "/gitaly.RepositoryService/WriteRef", repository_pb2.WriteRefRequest(repository=repository.message)
    )
    assert await cluster.generations(repository) == {"": 1, G1: 0, G2: 1, G3: 0}
    assert await cluster.jobs() == []


# --- GetRepositoryMetadata ---


async def _metadata(cluster: Cluster, repository: Repository) -> praefect_pb2.GetRepositoryMetadataResponse:
    by_id = await cluster.call(METADATA, praefect_pb2.GetRepositoryMetadataRequest(repository_id=repository.id))
    path = praefect_pb2.GetRepositoryMetadataRequest.Path(
        virtual_storage=repository.virtual_storage, relative_path=repository.relative_path
    )
    assert await cluster.call(METADATA, praefect_pb2.GetRepositoryMetadataRequest(path=path)) == by_id
    assert isinstance(by_id, praefect_pb2.GetRepositoryMetadataResponse)
    return by_id


async def test_everything_known_of_a_repository(cluster: Cluster) -> None:
    replicas = {G1: 2, G2: 1, Storage("unconfigured"): 0}
    repository = await cluster.repository(generation=2, replicas=replicas, assigned=(G1, G3))
    await cluster.rows.run(
        "UPDATE storage_repositories SET verified_at = '2026-02-24 03:04:05.25+00' WHERE storage = %s", G1
    )
    await cluster.lose(G2, consensus=True)

    assert await _metadata(cluster, repository) == praefect_pb2.GetRepositoryMetadataResponse(
        repository_id=repository.id,
        virtual_storage="default",
        relative_path="a.git",
        replica_path=repository.replica_path,
        primary=G1,
        generation=2,
        replicas=[
            Replica(
                storage=G1,
                assigned=True,
                generation=2,
                healthy=True,
                valid_primary=True,
                verified_at=Timestamp(seconds=1771902245, nanos=250_000_000),
            ),
            Replica(storage=G2, generation=1),
            Replica(storage=G3, assigned=True, generation=-1, healthy=True),
            Replica(storage="unconfigured", generation=0),
        ],
    )


async def test_metadata_of_nothing(cluster: Cluster) -> None:
    assert await cluster.status(METADATA, praefect_pb2.GetRepositoryMetadataRequest()) == Status(
        INTERNAL, "unknown query type: <nil>"
    )
    assert await cluster.status(METADATA, praefect_pb2.GetRepositoryMetadataRequest(repository_id=1)) == Status(
        StatusCode.NOT_FOUND, "repository not found"
    )
