"""The lines by which alerts know failures, each brought about: message, level, component and fields."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from praefect.domain.replication import Change, ReplicationJob
from praefect.domain.repository import RelativePath, RepositoryId
from praefect.observability.log import capture
from praefect.proto import praefect_pb2, repository_pb2
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.eventually import eventually
from tests.support.scripted_cluster import G1, G2, G3, VS, Cluster, Repository
from tests.support.scripted_node import NodeCall, answering, failing

STREAM, UNARY = "praefect.StreamServerInterceptor", "praefect.UnaryServerInterceptor"

Lines = list[dict[str, object]]


def the(lines: Lines, message: str) -> dict[str, object]:
    """Return the first line with a message."""
    told = [line for line in lines if line["msg"] == message]
    assert told, [line["msg"] for line in lines]
    return told[0]


async def wait_for(lines: Lines, message: str) -> dict[str, object]:
    async def is_told() -> bool:
        return any(line["msg"] == message for line in lines)

    await eventually(is_told)
    return the(lines, message)


async def test_crash_of_a_handler(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_arguments: object) -> NoReturn:
        raise LookupError("nothing there")

    monkeypatch.setattr(type(cluster.parts.datastore.repositories), "get_metadata", crash)
    method = "/gitaly.PraefectInfoService/GetRepositoryMetadata"
    with capture() as lines:
        await cluster.status(method, praefect_pb2.GetRepositoryMetadataRequest(repository_id=1))
    line = the(lines, "grpc panic")
    assert (line["level"], line["component"], line["method"]) == ("error", UNARY, method)
    assert str(line["error"]) == "nothing there"
    assert "in crash" in str(line["backtrace"])


async def test_maintenance_that_fails_on_a_node(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G3].on("OptimizeRepository", failing(StatusCode.INTERNAL, "disk on fire"))
    with capture() as lines:
        await cluster.status(
            "/gitaly.RepositoryService/OptimizeRepository",
            repository_pb2.OptimizeRepositoryRequest(repository=repository.message),
        )
    line = the(lines, "proxying maintenance RPC to node failed")
    assert (line["level"], line["component"], line["gitaly_storage"]) == ("error", STREAM, G3)
    assert line["error"] == "rpc error: code = Internal desc = disk on fire"


async def test_secondary_that_fails_after_its_vote(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G3].on("WriteRef", failing(StatusCode.INTERNAL, "disk on fire", votes=(b"\x01" * 20,)))
    for storage in (G1, G2):
        cluster.nodes[storage].on("WriteRef", answering(votes=(b"\x01" * 20,)))
    with capture() as lines:
        await cluster.status(
            "/gitaly.RepositoryService/WriteRef", repository_pb2.WriteRefRequest(repository=repository.message)
        )
    failed = the(lines, "proxying to secondary failed")
    assert (failed["level"], failed["component"], failed["gitaly_storage"]) == ("error", STREAM, G3)
    assert failed["error"] == "rpc error: code = Internal desc = disk on fire"


async def test_secondary_that_fails_once_the_others_have_decided(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def fail_late(_call: NodeCall) -> None:
        await cluster.nodes[G1].wait_ended("WriteRef")
        raise StatusError(StatusCode.INTERNAL, "disk on fire")

    cluster.nodes[G3].on("WriteRef", fail_late)
    with capture() as lines:
        await cluster.status(
            "/gitaly.RepositoryService/WriteRef", repository_pb2.WriteRefRequest(repository=repository.message)
        )
    line = the(lines, "canceling secondary voter failed")
    assert (line["level"], line["component"], line["gitaly_storage"]) == ("error", STREAM, G3)
    assert line["error"] == "cancel vote: subtransaction was already finished"


async def test_notification_that_nobody_understands(cluster: Cluster) -> None:
    with capture() as lines:
        cluster.parts.datastore.cache.notified(
            "repositories_updates", '[{"virtual_storage": "x", "relative_paths": []}]'
        )
        cluster.parts.datastore.cache.notified("repositories_updates", "?")
    unknown = the(lines, "cache not found")
    assert (unknown["level"], unknown["component"]) == ("error", "caching_storage_provider")
    assert unknown["virtual_storage"] == "x"
    broken = the(lines, "received payload can't be processed, cache disabled")
    assert (broken["level"], broken["component"]) == ("error", "caching_storage_provider")
    assert broken["channel"] == "repositories_updates"


async def test_listening_that_is_interrupted(cluster: Cluster) -> None:
    with capture() as lines:
        await cluster.rows.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        line = await wait_for(lines, "listening was interrupted")
    assert (line["level"], line["component"]) == ("error", "resilient_listener")
    assert line["channels"] == ["storage_repositories_updates", "repositories_updates"]
    assert line["error"]


async def run_job(cluster: Cluster, repository_id: RepositoryId, change: Change) -> None:
    await cluster.parts.datastore.queue.enqueue(
        ReplicationJob(
            repository_id=repository_id,
            change=change,
            virtual_storage=VS,
            relative_path=RelativePath("a.git"),
            target_node_storage=G2,
            source_node_storage=G1 if change is Change.UPDATE else None,
        ),
        correlation_id="from-the-client",
    )
    cluster.parts.job_enqueued(VS)

    async def is_done() -> bool:
        return not await cluster.jobs()

    await eventually(is_done)


async def test_copy_of_a_source_that_is_no_repository(cluster: Cluster) -> None:
    repository: Repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
    cluster.nodes[G2].on("ReplicateRepository", failing(StatusCode.NOT_FOUND, "invalid source repository"))
    with capture() as lines:
        await run_job(cluster, repository.id, Change.UPDATE)
    line = the(lines, "invalid repository record removed")
    assert (line["level"], line["component"]) == ("info", "replicator")
    assert (line["replication_job_source"], line["replication_job_target"]) == (G1, G2)
    assert line["correlation_id"] == "from-the-client"


async def test_removal_of_a_replica_without_a_record(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    cluster.nodes[G2].on("RemoveRepository", answering())
    with capture() as lines:
        await run_job(cluster, repository.id, Change.DELETE_REPLICA)
    line = the(lines, "deleted repository did not have a store entry")
    assert (line["level"], line["component"]) == ("info", "replicator")


async def test_lines_of_a_call_carry_its_fields(cluster: Cluster) -> None:
    repository = await cluster.repository()
    with capture() as lines:
        async with asyncio.timeout(30):
            await cluster.call(
                "/gitaly.RepositoryService/WriteRef",
                repository_pb2.WriteRefRequest(repository=repository.message),
                metadata=[("x-gitlab-correlation-id", "from-the-client")],
            )
    ordered = ["transaction completed", "transactional node states", "queueing replication jobs"]
    told = [line for line in lines if line["msg"] in ordered]
    assert [line["msg"] for line in told] == ordered
    for line in told:
        assert (line["component"], line["correlation_id"]) == (STREAM, "from-the-client")
        assert line["grpc.method"] == "WriteRef"
    votes = [line for line in lines if line["msg"] == "VoteTransaction: transaction committed"]
    assert {line["component"] for line in votes} == {"backchannel.PraefectServer"}
    assert the(lines, "Stream director received method")["level"] == "debug"
