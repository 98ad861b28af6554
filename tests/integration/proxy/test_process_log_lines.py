"""What praefect says of itself from start to stop."""

from __future__ import annotations

import socket

from praefect.config.praefect import BackgroundVerificationConfig, ReconciliationConfig, RepositoriesCleanupConfig
from praefect.config.praefect_sections import DatabaseConfig
from praefect.observability.log import capture
from praefect.proto import repository_pb2, server_pb2
from praefect.transport.grpc.status import Status, StatusCode
from tests.support.scripted_cluster import ALL, G1, VS, Cluster, running_cluster
from tests.support.scripted_node import NodeCall, agree

LAST_LINES = {
    "health manager exited": "error",
    "notifications listener terminated": "error",
    "metadata verifier finished": "error",
    "expired verification lease releaser finished": "error",
    "reconciler finished execution": "error",
    "repository cleaner finished execution": "info",
}
"""What upstream says at every stop, with these levels."""


async def test_start_and_stop(database: DatabaseConfig) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    with capture() as lines:
        async with running_cluster(
            database,
            prometheus_listen_addr=address,
            reconciliation=ReconciliationConfig(),
            background_verification=BackgroundVerificationConfig(),
            repositories_cleanup=RepositoriesCleanupConfig(),
        ) as cluster:
            path = cluster.config.socket_path
    expected: list[tuple[str, dict[str, object]]] = [
        ("grpc prometheus histograms enabled", {}),
        ("establishing database connection", {"database_address": f"{database.host}:{database.port}"}),
        ("database connection established", {}),
        ("election strategy", {"election_strategy": "per_repository"}),
        ("background started: gitaly nodes health monitoring", {}),
        ("reads distribution caching is enabled by configuration", {}),
        ("listening at address", {"address": path, "schema": "unix"}),
        ("listening", {"address": path, "schema": "unix"}),
        ("Starting prometheus listener", {"address": address}),
        ("background started: processing of the replication events", {}),
        ("background started: processing of the stale replication events", {}),
        ("background started: processing of the replication job locks clean up", {}),
        (
            "background verifier started",
            {"config": {"verification_interval": "168h0m0s", "delete_invalid_records": True}},
        ),
    ]
    told = [line["msg"] for line in lines]
    assert [message for message in told if message in dict(expected)] == [message for message, _ in expected]
    for message, fields in expected:
        [line] = [line for line in lines if line["msg"] == message]
        assert line["level"] == "info"
        assert {key: line[key] for key in fields} == fields

    started = {"health manager started", "processing started", "automatic reconciler started"}
    stopped = {"health manager stopped", "processing stopped", "automatic reconciler stopped"}
    assert started | stopped <= set(told)
    for message, level in LAST_LINES.items():
        [line] = [line for line in lines if line["msg"] == message]
        assert (line["level"], line["error"]) == (level, "context canceled"), message
    assert told.index("wait: stop action completed") < told.index("wait: all servers done")
    [reconciler] = [line for line in lines if line["msg"] == "automatic reconciler started"]
    assert reconciler["storages"] == {VS: list(ALL)}


async def test_loops_that_are_off_are_told_of(database: DatabaseConfig) -> None:
    with capture() as lines:
        async with running_cluster(database):
            pass
    levels = {str(line["msg"]): line["level"] for line in lines}
    assert levels["background verifier is disabled"] == "info"
    [cleaner] = [message for message in levels if message.startswith("Repository cleanup background task disabled")]
    assert levels[cleaner] == "warning"
    for absent in (
        "reconciler finished execution",
        "metadata verifier finished",
        "repository cleaner finished execution",
    ):
        assert absent not in levels


async def test_unreachable_nodes_are_told_of_every_round(cluster: Cluster) -> None:
    cluster.nodes[G1].gate.cut()
    with capture() as lines:
        await cluster.parts.health.run_once()
    failures = [line for line in lines if line["msg"] == "failed checking node health"]
    assert failures
    for line in failures:
        assert (line["component"], line["level"]) == ("HealthManager", "error")
        assert (line["virtual_storage"], line["storage"]) == (VS, G1)
        assert line["error"]
        assert line["correlation_id"]


async def test_node_without_server_info_is_told_of(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.gate.cut()
    with capture() as lines:
        await cluster.call("/gitaly.ServerService/ServerInfo", server_pb2.ServerInfoRequest())
    assert [line["storage"] for line in lines if line["msg"] == "error getting server info"] == [G1]


async def test_write_that_is_not_recorded_is_told_of(cluster: Cluster) -> None:
    repository = await cluster.repository()

    async def lose_record(call: NodeCall) -> None:
        await agree(call)
        await cluster.rows.run("DELETE FROM repositories")

    cluster.nodes[G1].on("WriteRef", lose_record)
    request = repository_pb2.WriteRefRequest(repository=repository.message)
    text = "increment generation: repository not found"
    with capture() as lines:
        assert await cluster.status("/gitaly.RepositoryService/WriteRef", request) == Status(StatusCode.INTERNAL, text)
    [line] = [line for line in lines if line["msg"] == "coordinator proxy stream finalizer failure"]
    assert (line["level"], line["error"]) == ("error", text)
