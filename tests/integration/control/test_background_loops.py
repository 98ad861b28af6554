"""Verification, the search for unknown repositories and reconciliation against nodes and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from praefect.control.clean import RepositoryCleaner
from praefect.control.reconcile import Reconciler
from praefect.control.verify import ExpiredLeases, VerificationResult, Verifier
from praefect.observability.log import capture
from praefect.proto import internal_pb2, praefect_pb2, repository_pb2, shared_pb2
from praefect.services.probes import NodeWalker, ReplicaProbe
from praefect.transport.grpc.status import StatusCode
from tests.support.eventually import eventually
from tests.support.scripted_cluster import ALL, G1, G2, G3, VS, Cluster
from tests.support.scripted_node import NodeCall, answering, failing

# --- verification ---


def verifier(cluster: Cluster, *, delete_invalid: bool = True) -> Verifier:
    return Verifier(
        nodes=cluster.parts.layouts,
        health=cluster.parts.health,
        records=cluster.parts.datastore.verification,
        probe=ReplicaProbe(cluster.parts.nodes),
        interval=timedelta(days=7),
        delete_invalid=delete_invalid,
    )


def script_existence(cluster: Cluster) -> None:
    """Have the first node hold its replicas, the second not, and the third fail."""
    exists = repository_pb2.RepositoryExistsResponse
    cluster.nodes[G1].on("RepositoryExists", answering(exists(exists=True)))
    cluster.nodes[G2].on("RepositoryExists", answering(exists(exists=False)))
    cluster.nodes[G3].on("RepositoryExists", failing(StatusCode.INTERNAL, "disk on fire"))


async def verified(cluster: Cluster) -> dict[object, tuple[bool, bool]]:
    """Return of each replica whether it is verified and whether it is leased."""
    rows = await cluster.rows.run(
        "SELECT storage, verified_at IS NOT NULL, verification_leased_until IS NOT NULL FROM storage_repositories"
    )
    return {storage: (bool(is_verified), bool(is_leased)) for storage, is_verified, is_leased in rows}


async def test_replicas_are_asked_for_and_missing_ones_forgotten(cluster: Cluster) -> None:
    script_existence(cluster)
    repository = await cluster.repository()
    with capture() as lines:
        report = await verifier(cluster).run_once()

    assert {replica.storage: result for replica, result in report.results.items()} == {
        G1: VerificationResult.VALID,
        G2: VerificationResult.INVALID,
        G3: VerificationResult.ERROR,
    }
    assert await verified(cluster) == {G1: (True, False), G3: (False, False)}
    [asked] = cluster.nodes[G1].requests("RepositoryExists", repository_pb2.RepositoryExistsRequest)
    assert asked.repository == shared_pb2.Repository(storage_name=G1, relative_path=repository.replica_path)
    assert cluster.nodes[G1].called("RepositoryExists")[0].raw.deadline is not None
    [removed] = [line for line in lines if line["msg"] == "removing metadata records of non-existent replicas"]
    assert removed["perform_deletions"] is True
    assert removed["replicas"] == {VS: {"a.git": [G2]}}
    [failed] = [line for line in lines if line["msg"] == "failed to verify replica's existence"]
    assert (failed["storage"], failed["relative_path"]) == (G3, "a.git")
    # The last thing known of a lost repository stays.
    await cluster.rows.run("DELETE FROM storage_repositories WHERE storage <> %s", G1)
    cluster.nodes[G1].on("RepositoryExists", answering(repository_pb2.RepositoryExistsResponse()))
    await cluster.rows.run("UPDATE storage_repositories SET verified_at = NULL")
    await verifier(cluster).run_once()
    assert await cluster.generations(repository) == {"": 0}


async def test_missing_replicas_may_be_kept(cluster: Cluster) -> None:
    script_existence(cluster)
    await cluster.repository()
    with capture() as lines:
        await verifier(cluster, delete_invalid=False).run_once()
    assert await verified(cluster) == {G1: (True, False), G2: (True, False), G3: (False, False)}
    [kept] = [line for line in lines if line["msg"] == "removing metadata records of non-existent replicas"]
    assert kept["perform_deletions"] is False


async def test_unhealthy_nodes_are_not_asked(cluster: Cluster) -> None:
    script_existence(cluster)
    await cluster.repository()
    await cluster.lose(G1, G2)
    report = await verifier(cluster).run_once()
    assert [replica.storage for replica in report.results] == [G3]


async def test_what_was_verified_lately_is_left_alone(cluster: Cluster) -> None:
    script_existence(cluster)
    await cluster.repository()
    await cluster.rows.run("UPDATE storage_repositories SET verified_at = now() - interval '6 days'")
    assert (await verifier(cluster).run_once()).results == {}


async def test_leases_of_silent_verifiers_are_given_back(cluster: Cluster) -> None:
    await cluster.repository()
    await cluster.rows.run(
        "UPDATE storage_repositories SET verification_leased_until = now() - interval '31 seconds' WHERE storage <> %s",
        G3,
    )
    with capture() as lines:
        assert await ExpiredLeases(records=cluster.parts.datastore.verification).run_once() == 2
    [line] = [line for line in lines if line["msg"] == "released stale verification leases"]
    assert line["leases_released"] == {VS: {"a.git": [G1, G2]}}


# --- the search for unknown repositories ---


def cleaner(cluster: Cluster) -> RepositoryCleaner:
    return RepositoryCleaner(
        nodes=cluster.parts.layouts,
        records=cluster.parts.datastore.cleanups,
        walker=NodeWalker(cluster.parts.nodes),
        run_interval=timedelta(hours=24),
        batch_size=2,
    )


def walked(path: str, age: timedelta) -> internal_pb2.WalkReposResponse:
    modified = Timestamp()
    modified.FromDatetime(datetime.now(UTC) - age)
    return internal_pb2.WalkReposResponse(relative_path=path, modification_time=modified)


async def test_unknown_repositories_are_reported_one_storage_at_a_time(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    old, young = timedelta(hours=25), timedelta(hours=23)
    for node in cluster.nodes.values():
        node.on(
            "WalkRepos",
            answering(
                walked(repository.replica_path, old), walked("lost/1", old), walked("lost/2", old), walked("new", young)
            ),
        )
    await cluster.parts.datastore.cleanups.populate(cluster.parts.layouts)
    found = {}
    with capture() as lines:
        for _ in ALL:
            report = await cleaner(cluster).run_once()
            assert report.cleanup is not None
            found[report.cleanup.storage] = set(report.unknown)
        assert (await cleaner(cluster).run_once()).cleanup is None

    lost = {"lost/1", "lost/2"}
    assert found == {G1: lost, G2: lost | {repository.replica_path}, G3: lost | {repository.replica_path}}
    warnings = [line for line in lines if line["msg"] == "repository is not managed by praefect"]
    assert len(warnings) == 8
    assert {(line["level"], line["virtual_storage"]) for line in warnings} == {("warning", VS)}
    assert {line["relative_replica_path"] for line in warnings if line["storage"] == G1} == lost
    assert [len(node.called("RemoveRepository")) for node in cluster.nodes.values()] == [0, 0, 0]


async def test_storage_is_released_although_its_node_fails(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.on("WalkRepos", failing(StatusCode.INTERNAL, "no"))
    await cluster.parts.datastore.cleanups.populate(cluster.parts.layouts)
    with capture() as lines:
        await cleaner(cluster).run_once()
    assert [line["error"] for line in lines if line["msg"] == "failed to exec action on repositories"] == ["no"]
    rows = await cluster.rows.run("SELECT last_run IS NOT NULL, triggered_at FROM storage_cleanups ORDER BY storage")
    assert rows == [(True, None), (False, None), (False, None)]


# --- reconciliation ---


def reconciler(cluster: Cluster) -> Reconciler:
    return Reconciler(
        nodes=cluster.parts.layouts, health=cluster.parts.health, records=cluster.parts.datastore.reconciler
    )


async def test_outdated_replicas_get_jobs(cluster: Cluster) -> None:
    await cluster.repository(generation=2, replicas={G1: 2, G2: 1})
    with capture() as lines:
        report = await reconciler(cluster).run_once()
    assert {(job.source_storage, job.target_storage, job.change) for job in report.jobs} == {
        (G1, G2, "update"),
        (G1, G3, "update"),
    }
    assert await cluster.jobs() == [(G1, G2, "update"), (G1, G3, "update")]
    [line] = [line for line in lines if line["msg"] == "reconciliation jobs scheduled"]
    scheduled = line["scheduled_jobs"]
    assert isinstance(scheduled, list)
    assert {job["target_storage"] for job in scheduled} == {G2, G3}
    assert (await reconciler(cluster).run_once()).jobs == ()


async def test_unassigned_replicas_are_removed_one_at_a_time(cluster: Cluster) -> None:
    await cluster.repository(assigned=(G1,))
    report = await reconciler(cluster).run_once()
    [job] = report.jobs
    assert (job.change, job.source_storage) == ("delete_replica", None)
    assert job.target_storage in {G2, G3}


async def test_one_healthy_storage_is_not_enough(cluster: Cluster) -> None:
    await cluster.repository(generation=2, replicas={G1: 2, G2: 1})
    await cluster.lose(G2, G3)
    with capture() as lines:
        assert (await reconciler(cluster).run_once()).jobs == ()
    skipped = "reconciliation skipped for virtual storage due to not having enough healthy storages"
    assert [line["virtual_storage"] for line in lines if line["msg"] == skipped] == [VS]


async def test_smaller_factor_is_carried_out(cluster: Cluster) -> None:
    """A replication factor that shrinks ends in removed replicas, on disk and in the records."""
    repository = await cluster.repository(primary=G2)
    request = praefect_pb2.SetReplicationFactorRequest(
        virtual_storage="default", relative_path="a.git", replication_factor=1
    )
    await cluster.call("/gitaly.PraefectInfoService/SetReplicationFactor", request)
    removed: list[str] = []

    async def remove(call: NodeCall) -> None:
        removed.append(call.node.name)
        await call.answer()

    for node in cluster.nodes.values():
        node.on("RemoveRepository", remove)
    for number in (1, 2):
        await reconciler(cluster).run_once()
        cluster.parts.job_enqueued(VS)

        async def done(expected: int = number) -> bool:
            return len(removed) == expected and not await cluster.jobs()

        await eventually(done)
    assert set(removed) == {G1, G3}
    assert await cluster.generations(repository) == {"": 0, G2: 0}
