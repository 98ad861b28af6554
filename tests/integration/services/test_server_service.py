"""The cluster seen as one server: versions, disks, signing key, readiness."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from praefect.config.praefect_sections import DatabaseConfig
from praefect.proto import server_pb2
from praefect.transport.grpc.status import Status, StatusCode
from tests.support.scripted_cluster import ALL, G1, G2, G3, Cluster, running_cluster
from tests.support.scripted_node import ScriptedNode, answering, failing, hang

Info = server_pb2.ServerInfoResponse
Disk = server_pb2.DiskStatisticsResponse
INFO = "/gitaly.ServerService/ServerInfo"
DISK = "/gitaly.ServerService/DiskStatistics"
SIGNATURE = "/gitaly.ServerService/ServerSignature"
READY = "/gitaly.ServerService/ReadinessCheck"


def _describe(node: ScriptedNode, *, version: str = "18.9.0", **changes: object) -> None:
    """Have a node report its storage and one more."""
    status = Info.StorageStatus(
        storage_name=node.name, readable=True, writeable=True, fs_type="EXT_2_3_4", filesystem_id=f"disk of {node.name}"
    )
    for key, value in changes.items():
        setattr(status, key, value)
    other = Info.StorageStatus(storage_name="another", readable=True, writeable=True)
    node.on("ServerInfo", answering(Info(server_version=version, git_version="2.55", storage_statuses=[other, status])))


def _describe_all(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        _describe(node)


# --- ServerInfo ---


async def test_virtual_storage_is_described_by_one_of_its_nodes(cluster: Cluster) -> None:
    _describe_all(cluster)
    response = await cluster.call(INFO, server_pb2.ServerInfoRequest(), timeout=30)

    namespace = uuid.UUID("1ef1a8c6-cf52-4d0a-92a6-ca643e8bc7c5")
    assert response == Info(
        server_version="18.9.0",
        git_version="2.55",
        storage_statuses=[
            Info.StorageStatus(
                storage_name="default",
                readable=True,
                writeable=True,
                fs_type="EXT_2_3_4",
                filesystem_id=str(uuid.uuid5(namespace, "default")),
                replication_factor=3,
            )
        ],
    )
    [call] = [call for node in cluster.nodes.values() for call in node.calls]
    assert call.raw.deadline is not None


async def test_filesystem_id_of_a_single_node_is_its_own(database: DatabaseConfig) -> None:
    async with running_cluster(database, storages=[G1]) as cluster:
        _describe_all(cluster)
        response = await cluster.call(INFO, server_pb2.ServerInfoRequest())
        assert isinstance(response, Info)
        [status] = response.storage_statuses
        assert (status.filesystem_id, status.replication_factor) == ("disk of gitaly-1", 1)


async def test_nodes_that_fail_are_left_out(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.on("ServerInfo", failing(StatusCode.INTERNAL, "no"))
    assert await cluster.call(INFO, server_pb2.ServerInfoRequest()) == Info()
    await cluster.lose(*ALL)
    assert await cluster.call(INFO, server_pb2.ServerInfoRequest()) == Info()


async def test_dead_node_is_not_the_one_that_describes(cluster: Cluster) -> None:
    _describe_all(cluster)
    await cluster.lose(G1)
    for _ in range(3):
        response = await cluster.call(INFO, server_pb2.ServerInfoRequest())
        assert isinstance(response, Info)
        assert [status.storage_name for status in response.storage_statuses] == ["default"]


async def test_node_that_does_not_know_its_storage_is_left_out(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        _describe(node, storage_name="unexpected")
    response = await cluster.call(INFO, server_pb2.ServerInfoRequest())
    assert response == Info(server_version="18.9.0", git_version="2.55")


# --- DiskStatistics ---


async def test_every_disk_is_reported_under_its_own_name(cluster: Cluster) -> None:
    for number, node in enumerate(cluster.nodes.values()):
        node.on(
            "DiskStatistics",
            answering(Disk(storage_statuses=[Disk.StorageStatus(storage_name=node.name, used=number, available=9)])),
        )
    response = await cluster.call(DISK, server_pb2.DiskStatisticsRequest(), metadata=[("username", "root")])
    assert response == Disk(
        storage_statuses=[
            Disk.StorageStatus(storage_name=name, used=number, available=9) for number, name in enumerate(ALL)
        ]
    )
    assert all("username" not in node.calls[0].metadata for node in cluster.nodes.values())


async def test_missing_disk_is_an_internal_error(cluster: Cluster) -> None:
    cluster.nodes[G2].on("DiskStatistics", failing(StatusCode.NOT_FOUND, "no"))
    assert await cluster.status(DISK, server_pb2.DiskStatisticsRequest()) == Status(
        StatusCode.INTERNAL, "error when requesting disk statistics from internal storage gitaly-2"
    )


# --- ServerSignature ---


def _sign(node: ScriptedNode, key: bytes) -> None:
    node.on("ServerSignature", answering(server_pb2.ServerSignatureResponse(public_key=key)))


async def test_nodes_share_a_key(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        _sign(node, b"key")
    request = server_pb2.ServerSignatureRequest()
    assert await cluster.call(SIGNATURE, request) == server_pb2.ServerSignatureResponse(public_key=b"key")

    _sign(cluster.nodes[G2], b"another key")
    assert await cluster.status(SIGNATURE, request) == Status(
        StatusCode.INTERNAL, 'signature mismatch with Praefect storage "gitaly-2"'
    )
    cluster.nodes[G2].on("ServerSignature", failing(StatusCode.FAILED_PRECONDITION, "no key"))
    assert await cluster.status(SIGNATURE, request) == Status(
        StatusCode.FAILED_PRECONDITION,
        'request signature from Praefect storage "gitaly-2": rpc error: code = FailedPrecondition desc = no key',
    )


# --- ReadinessCheck ---


async def _readiness(cluster: Cluster, timeout: timedelta | None = None) -> dict[str, str]:
    duration = None
    if timeout is not None:
        duration = Duration()
        duration.FromTimedelta(timeout)
    response = await cluster.call(READY, server_pb2.ReadinessCheckRequest(timeout=duration))
    assert isinstance(response, server_pb2.ReadinessCheckResponse)
    if response.HasField("ok_response"):
        return {}
    failed = response.failure_response.failed_checks
    assert [check.name for check in failed] == sorted(check.name for check in failed)
    return {check.name: check.error_message for check in failed}


async def test_cluster_without_fault_is_ready(cluster: Cluster) -> None:
    _describe_all(cluster)
    await cluster.repository()
    assert await _readiness(cluster) == {}


async def test_every_fault_is_named(cluster: Cluster) -> None:
    _describe_all(cluster)
    _describe(cluster.nodes[G2], writeable=False)
    await cluster.repository(generation=1, replicas={G1: 0})
    await cluster.rows.run("DELETE FROM schema_migrations WHERE id = '20200113151438_1_test_migration'")
    await cluster.rows.run("DROP TABLE hello_world")
    cluster.nodes[G3].gate.cut()

    failures = await _readiness(cluster)

    assert failures.pop("database read/write").startswith("error reading from table: ")
    addresses = ", ".join(sorted([cluster.nodes[G2].address, cluster.nodes[G3].address]))
    assert failures == {
        "gitaly node connectivity & disk access": f"the following nodes are not healthy: {addresses}",
        "praefect migrations": "1 migrations have not been run",
        "unavailable repositories": "repositories unavailable",
    }


@pytest.mark.parametrize("fault", ["twice", "missing", "unreadable", "not serving"])
async def test_node_must_serve_its_storage_once_and_wholly(cluster: Cluster, fault: str) -> None:
    _describe_all(cluster)
    node = cluster.nodes[G1]
    match fault:
        case "twice":
            status = Info.StorageStatus(storage_name=node.name, readable=True, writeable=True)
            node.on("ServerInfo", answering(Info(storage_statuses=[status, status])))
        case "missing":
            _describe(node, storage_name="unexpected")
        case "unreadable":
            _describe(node, readable=False)
        case _:
            node.serving = False
    assert await _readiness(cluster) == {
        "gitaly node connectivity & disk access": f"the following nodes are not healthy: {node.address}"
    }


async def test_checks_take_no_longer_than_asked(cluster: Cluster) -> None:
    _describe_all(cluster)
    cluster.nodes[G1].on("ServerInfo", hang)
    failures = await _readiness(cluster, timedelta(milliseconds=300))
    assert failures == {"gitaly node connectivity & disk access": "context deadline exceeded"}
