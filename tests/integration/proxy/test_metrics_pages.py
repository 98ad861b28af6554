"""What a scraper sees: names, labels and values on both pages, of a proxy that is used."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from praefect.config.praefect import AuthConfig, BackgroundVerificationConfig, PrometheusConfig, ReconciliationConfig
from praefect.config.praefect_sections import DatabaseConfig
from praefect.proto import praefect_pb2, ref_pb2, repository_pb2
from praefect.transport.dial import open_channel
from praefect.transport.grpc.status import OK, Status, StatusCode
from praefect.transport.grpc.token import make_token
from tests.support.eventually import eventually
from tests.support.scripted_cluster import ALL, G1, G2, G3, TOKEN, Cluster, running_cluster
from tests.support.scripted_node import answering, voting

FIND = "/gitaly.RefService/FindLocalBranches"
WRITE = "/gitaly.RepositoryService/WriteRef"
METADATA = "/gitaly.PraefectInfoService/GetRepositoryMetadata"


def free_address() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


async def get(address: str, path: str) -> tuple[str, str]:
    """Return head and body of a page."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return head, body


async def scrape(cluster: Cluster, path: str = "/metrics") -> dict[str, float]:
    """Return the value of each series, under its name and labels as printed."""
    head, body = await get(cluster.config.prometheus_listen_addr, path)
    assert head.startswith("HTTP/1.1 200 OK")
    assert "text/plain; version=0.0.4; charset=utf-8" in head
    lines = [line for line in body.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@asynccontextmanager
async def scraped_cluster(database: DatabaseConfig, **changes: Any) -> AsyncIterator[Cluster]:
    async with running_cluster(database, prometheus_listen_addr=free_address(), **changes) as cluster:
        yield cluster


def series(name: str, **labels: str) -> str:
    shown = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
    return f"{name}{{{shown}}}"


def only(page: Mapping[str, float], name: str) -> dict[str, float]:
    """Return the series of one metric, by their labels."""
    return {key[len(name) :]: value for key, value in page.items() if key.partition("{")[0] == name}


# --- from the start ---


async def test_series_that_are_there_from_the_start(database: DatabaseConfig) -> None:
    verification = BackgroundVerificationConfig(verification_interval=timedelta(days=7))
    async with scraped_cluster(
        database, reconciliation=ReconciliationConfig(), background_verification=verification
    ) as cluster:
        page = await scrape(cluster)

    for kind in ("update", "create", "delete", "delete_replica"):
        for name in ("latency", "delay"):
            assert page[series(f"gitaly_praefect_replication_{name}_count", type=kind)] == 0
    for storage in (G1, G2, G3):
        labels = {"virtual_storage": "default", "storage": storage}
        assert page[series("gitaly_praefect_verification_jobs_dequeued_total", **labels)] == 0
        for result in ("error", "invalid", "valid"):
            assert page[series("gitaly_praefect_verification_jobs_completed_total", **labels, result=result)] == 0
    assert page["gitaly_praefect_subtransactions_per_transaction_total_count"] == 0
    assert page["gitaly_praefect_reconciliation_scheduling_seconds_count"] == 0
    assert page["gitaly_praefect_stale_verification_leases_released_total"] == 0
    assert page[series("gitaly_praefect_notifications_reconnects_total", state="connected")] == 1
    assert 'gitaly_backchannel_yamux_write_size_bytes_bucket{le="1.048576e+06"}' in page
    assert only(page, "gitaly_praefect_transactions_total") == {}


SHOWN = {
    ("unary", "gitaly.PraefectInfoService", "GetRepositoryMetadata"),
    ("unary", "gitaly.PraefectInfoService", "MarkUnverified"),
    ("unary", "gitaly.PraefectInfoService", "RepositoryReplicas"),
    ("unary", "gitaly.PraefectInfoService", "SetAuthoritativeStorage"),
    ("unary", "gitaly.PraefectInfoService", "SetReplicationFactor"),
    ("server_stream", "gitaly.PraefectInfoService", "Dataloss"),
    ("unary", "gitaly.RefTransaction", "StopTransaction"),
    ("unary", "gitaly.RefTransaction", "VoteTransaction"),
    ("unary", "gitaly.ServerService", "DiskStatistics"),
    ("unary", "gitaly.ServerService", "ReadinessCheck"),
    ("unary", "gitaly.ServerService", "ServerInfo"),
    ("unary", "gitaly.ServerService", "ServerSignature"),
    ("unary", "grpc.health.v1.Health", "Check"),
    ("unary", "grpc.health.v1.Health", "List"),
    ("server_stream", "grpc.health.v1.Health", "Watch"),
    ("bidi_stream", "grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"),
    ("bidi_stream", "grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo"),
}


async def test_own_methods_are_shown_from_the_start(database: DatabaseConfig) -> None:
    async with scraped_cluster(database) as cluster:
        page = await scrape(cluster)
    started = {series("", grpc_type=kind, grpc_service=service, grpc_method=method) for kind, service, method in SHOWN}
    for name in ("started_total", "msg_received_total", "msg_sent_total"):
        assert set(only(page, f"grpc_server_{name}")) == started
    assert len(only(page, "grpc_server_handled_total")) == 17 * 17
    assert set(only(page, "grpc_server_handled_total").values()) == {0}


async def test_metrics_of_what_is_off_are_absent(database: DatabaseConfig) -> None:
    prometheus = PrometheusConfig(grpc_latency_buckets=())
    async with scraped_cluster(database, prometheus=prometheus) as cluster:
        page = await scrape(cluster)
        database_page = await scrape(cluster, "/db_metrics")
    assert only(page, "grpc_server_handling_seconds_count") == {}
    assert not [name for name in page if "verification" in name]
    assert not [name for name in page if "reconciliation" in name]
    assert not [name for name in database_page if "verification" in name]


# --- in use ---


async def test_what_is_in_doubt_or_behind_is_shown(database: DatabaseConfig) -> None:
    async with scraped_cluster(database) as cluster:
        await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
        await cluster.rows.run(
            "INSERT INTO praefect_own.disagreements (repository_id, virtual_storage, relative_path, storages) "
            "VALUES (1000, 'default', 'b.git', '{}')"
        )
        # No settler touches the doubt of a live lease.
        await cluster.rows.run(
            "INSERT INTO praefect_own.doubts (incarnation, number, owner, repository_id, virtual_storage, "
            "relative_path, replica_path, method, creates, storages) SELECT incarnation, 1000, incarnation, 1001, "
            "'default', 'c.git', 'disk/1001', '/gitaly.RefService/DeleteRefs', false, '{}' FROM praefect_own.leases"
        )
        page = await scrape(cluster)
        database_page = await scrape(cluster, "/db_metrics")
    assert database_page[series("praefect_open_doubts", virtual_storage="default", state="live")] == 1
    assert database_page[series("praefect_open_doubts", virtual_storage="default", state="lapsed")] == 0
    assert database_page[series("praefect_read_only_repositories", virtual_storage="default")] == 1
    behind = {
        storage: series("praefect_replicas_behind", virtual_storage="default", storage=storage) for storage in ALL
    }
    assert {storage: database_page[name] for storage, name in behind.items()} == {G1: 0, G2: 1, G3: 0}
    assert page[series("praefect_settlements_total", outcome="settled")] == 0
    assert page[series("praefect_comparisons_total", outcome="tied")] == 0


async def test_calls_are_counted(database: DatabaseConfig) -> None:
    async with scraped_cluster(database) as cluster:
        repository = await cluster.repository()
        metadata = [
            ("client_name", "gitlab-web"),
            ("call_site", "rest_api"),
            ("deadline_type", "regular"),
        ]
        read = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
        for _ in range(2):
            await cluster.call(FIND, read, metadata=metadata)
        await cluster.call(WRITE, repository_pb2.WriteRefRequest(repository=repository.message), timeout=None)
        assert not (await cluster.status(METADATA, praefect_pb2.GetRepositoryMetadataRequest())).ok
        async with cluster.client.call("/no.Such/Method") as call:
            await call.send(b"", last=True)
            await call.drain()
        page = await scrape(cluster)

    def typed(name: str, kind: str, service: str, method: str, **labels: str) -> float:
        return page[series(name, grpc_type=kind, grpc_service=service, grpc_method=method, **labels)]

    find = ("bidi_stream", "gitaly.RefService", "FindLocalBranches")
    assert typed("grpc_server_started_total", *find) == 2
    assert typed("grpc_server_handled_total", *find, grpc_code="OK") == 2
    assert typed("grpc_server_handling_seconds_count", *find) == 2
    assert typed("grpc_server_msg_received_total", *find) == 2
    assert typed("grpc_server_msg_sent_total", *find) == 2
    assert typed("grpc_client_msg_sent_total", *find) == 2
    assert typed("grpc_client_msg_received_total", *find) == 2
    assert typed("grpc_client_started_total", *find) == 2
    assert typed("grpc_client_handled_total", *find, grpc_code="OK") == 2
    assert typed("grpc_client_handling_seconds_count", *find) == 2
    write = ("bidi_stream", "gitaly.RepositoryService", "WriteRef")
    assert typed("grpc_client_handled_total", *write, grpc_code="OK") == 3
    vote = ("unary", "gitaly.RefTransaction", "VoteTransaction")
    assert typed("grpc_server_handled_total", *vote, grpc_code="OK") == 6
    assert typed("grpc_server_msg_received_total", *vote) == 6
    assert page[series("gitaly_feature_flag_checks_total", flag="praefect_serialized_write", enabled="false")] == 6
    assert typed("grpc_client_started_total", "unary", "grpc.health.v1.Health", "Check") >= 3
    assert typed("grpc_server_handled_total", "bidi_stream", "no.Such", "Method", grpc_code="Internal") == 1

    unknown = dict.fromkeys(
        ("client_name", "call_site", "auth_version", "deadline_type", "method_operation", "method_scope"), "unknown"
    )

    def requests(service: str, method: str, code: str, **labels: str) -> float:
        known = {**unknown, "grpc_service": service, "grpc_method": method, "grpc_code": code, **labels}
        return page[series("gitaly_service_client_requests_total", **known)]

    assert (
        requests(
            *find[1:],
            "OK",
            client_name="gitlab-web",
            call_site="rest_api",
            deadline_type="regular",
            auth_version="v2",
            method_operation="accessor",
            method_scope="repository",
        )
        == 2
    )
    assert (
        requests(
            *write[1:],
            "OK",
            auth_version="v2",
            deadline_type="none",
            method_operation="mutator",
            method_scope="repository",
        )
        == 1
    )
    assert requests("gitaly.PraefectInfoService", "GetRepositoryMetadata", "Internal", auth_version="v2") == 1
    assert requests(*vote[1:], "OK", deadline_type="none") == 6
    assert only(page, "gitaly_praefect_method_types") == {
        '{method_type="accessor"}': 2,
        '{method_type="mutator"}': 1,
    }


async def test_calls_are_counted_before_they_are_authenticated(cluster: Cluster) -> None:
    repository = await cluster.repository()
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    async with open_channel(cluster.address, token="wrong") as stranger, stranger.call(FIND) as call:
        await call.send(request.SerializeToString(), last=True)
        assert (await call.drain()).code is StatusCode.PERMISSION_DENIED
    assert cluster.parts.metrics.method_types.labels("accessor").value == 1


async def test_connections_are_counted_by_kind(database: DatabaseConfig) -> None:
    address = free_address()
    async with scraped_cluster(database, listen_addr=address) as cluster:
        repository = await cluster.repository()
        request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
        async with open_channel(f"tcp://{address}", token=TOKEN) as channel:
            await channel.unary(FIND, request, ref_pb2.FindLocalBranchesResponse)
            await channel.unary(FIND, request, ref_pb2.FindLocalBranchesResponse)
        await cluster.call(FIND, request)
        page = await scrape(cluster)
    assert only(page, "gitaly_praefect_connections_total") == {'{type="tcp"}': 1, '{type="unix"}': 1}


async def test_votes_are_counted(database: DatabaseConfig) -> None:
    async with scraped_cluster(database) as cluster:
        repository = await cluster.repository()
        cluster.nodes[G3].on("WriteRef", voting(b"\x02" * 20))
        await cluster.call(WRITE, repository_pb2.WriteRefRequest(repository=repository.message))
        page = await scrape(cluster)
    assert only(page, "gitaly_praefect_transactions_total") == {
        '{action="registered"}': 3,
        '{action="started"}': 5,
        '{action="committed"}': 4,
        '{action="failed"}': 1,
    }
    assert page[series("gitaly_praefect_transactions_delay_seconds_count", action="vote")] == 5
    assert page["gitaly_praefect_subtransactions_per_transaction_total_sum"] == 2
    assert page[series("gitaly_praefect_voters_per_transaction_total_sum", virtual_storage="default")] == 3
    buckets = [name for name in page if name.startswith("gitaly_praefect_voters_per_transaction_total_bucket")]
    assert len(buckets) == 4
    assert only(page, "gitaly_praefect_tx_replications_total") == {
        '{reason="updated"}': 1,
        '{reason="node-error-status"}': 1,
    }


async def test_jobs_are_counted(database: DatabaseConfig) -> None:
    async with scraped_cluster(database) as cluster:
        cluster.nodes[G2].on("ReplicateRepository", answering())
        repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0, G3: 1})
        await cluster.call(WRITE, repository_pb2.WriteRefRequest(repository=repository.message))

        async def repaired() -> bool:
            return (await cluster.generations(repository))[G2] == 2 and not await cluster.jobs()

        await eventually(repaired)
        page = await scrape(cluster)
    jobs = series(
        "gitaly_praefect_replication_jobs", virtual_storage="default", gitaly_storage=G2, change_type="update"
    )
    assert page[jobs] == 0
    assert page[series("gitaly_praefect_replication_latency_count", type="update")] == 1
    assert page[series("gitaly_praefect_replication_delay_count", type="update")] == 1
    replicate = {
        "grpc_type": "unary",
        "grpc_service": "gitaly.RepositoryService",
        "grpc_method": "ReplicateRepository",
    }
    assert page[series("grpc_client_handled_total", **replicate, grpc_code="OK")] == 1


# --- tokens ---


async def _try_token(cluster: Cluster, *values: str) -> Status:
    metadata = [("authorization", value) for value in values]
    async with (
        open_channel(cluster.address, token=None) as channel,
        channel.call(METADATA, metadata=metadata) as call,
    ):
        await call.send(b"", last=True)
        return await call.drain()


def _denied(text: str) -> Status:
    return Status(StatusCode.PERMISSION_DENIED, f"permission denied: {text}")


async def test_every_way_to_be_refused(cluster: Cluster) -> None:
    now = int(time.time())
    good = make_token(TOKEN.encode(), now)
    accepted = Status(StatusCode.INTERNAL, "unknown query type: <nil>")
    unauthenticated = Status(StatusCode.UNAUTHENTICATED, "authentication required")
    _, signature, stamp = good.removeprefix("Bearer ").split(".")
    cases: list[tuple[tuple[str, ...], Status]] = [
        ((), unauthenticated),
        (("Basic abc",), unauthenticated),
        (("Bearer v2.abc",), unauthenticated),
        ((f"Bearer v2.xyz.{stamp}",), unauthenticated),
        ((f"Bearer v1.{signature}.{stamp}",), _denied("invalid token version")),
        ((f"Bearer v2.{'0' * 64}.{stamp}",), _denied("wrong hmac signature")),
        ((make_token(b"other", now),), _denied("wrong hmac signature")),
        ((make_token(TOKEN.encode(), now - 40),), _denied("token has expired")),
        ((make_token(TOKEN.encode(), now + 40),), _denied("token's validity window is in future")),
        ((good,), accepted),
        ((good.replace("Bearer", "bearer"),), accepted),
        ((good, "Bearer nonsense"), accepted),
        (("Bearer nonsense", good), unauthenticated),
    ]
    for values, expected in cases:
        assert await _try_token(cluster, *values) == expected, values

    metrics = cluster.parts.metrics
    counted = {
        status: metrics.authentications.labels("true", status).value for status in ("ok", "unauthenticated", "denied")
    }
    assert counted == {"ok": 3, "unauthenticated": 5, "denied": 5}
    errors = {
        text: metrics.authentication_errors.labels("v2", text).value
        for text in ("wrong hmac signature", "token has expired", "token's validity window is in future")
    }
    assert list(errors.values()) == [2, 1, 1]


async def test_timestamp_must_be_a_number(cluster: Cluster) -> None:
    signature = hmac.new(TOKEN.encode(), b"abc", hashlib.sha256).hexdigest()
    assert await _try_token(cluster, f"Bearer v2.{signature}.abc") == _denied(
        'cannot parse timestamp: strconv.ParseInt: parsing "abc": invalid syntax'
    )
    assert cluster.parts.metrics.authentication_errors.labels("v2", "cannot parse timestamp").value == 1


async def test_refusals_are_counted_and_let_pass_during_a_transition(database: DatabaseConfig) -> None:
    async with running_cluster(database, auth=AuthConfig(token=TOKEN, transitioning=True)) as cluster:
        accepted = Status(StatusCode.INTERNAL, "unknown query type: <nil>")
        for values in ((), (make_token(b"other", int(time.time())),), (make_token(TOKEN.encode(), int(time.time())),)):
            assert await _try_token(cluster, *values) == accepted
        authentications = cluster.parts.metrics.authentications
        for status in ("unauthenticated", "denied", "would be ok"):
            assert authentications.labels("false", status).value == 1
        assert cluster.parts.metrics.authentication_errors.labels("v2", "wrong hmac signature").value == 1


async def test_without_a_secret_everybody_may_call(database: DatabaseConfig) -> None:
    async with running_cluster(database, auth=AuthConfig()) as cluster:
        assert await _try_token(cluster) == Status(StatusCode.INTERNAL, "unknown query type: <nil>")
        label = cluster.parts.metrics.authentications.labels("true", "server disabled authentication")
        assert label.value == 1


async def test_health_needs_no_token_and_reflection_does(cluster: Cluster) -> None:
    async with open_channel(cluster.address, token=None) as stranger:
        async with stranger.call("/grpc.health.v1.Health/Check") as call:
            await call.send(b"", last=True)
            assert await call.drain() == OK
        async with stranger.call("/grpc.health.v1.Health/Check") as call:
            await call.send(b"\x0a\x01x", last=True)
            assert await call.drain() == Status(StatusCode.NOT_FOUND, "unknown service")
        for method in (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            FIND,
            "/no.Such/Method",
            "/gitaly.RefTransaction/VoteTransaction",
            "/gitaly.RepositoryService/RepositoryExists",
        ):
            async with stranger.call(method) as call:
                await call.send(b"", last=True)
                assert await call.drain() == Status(StatusCode.UNAUTHENTICATED, "authentication required"), method


# --- the page that asks the database ---


def upstreams(page: Mapping[str, float]) -> dict[str, float]:
    """Return the series that upstream has too."""
    return {name: value for name, value in page.items() if name.startswith("gitaly_")}


async def test_database_page(database: DatabaseConfig) -> None:
    verification = BackgroundVerificationConfig(verification_interval=timedelta(days=7))
    async with scraped_cluster(database, background_verification=verification) as cluster:
        for node in cluster.nodes.values():
            node.serving = False  # so that neither the verifier nor a worker changes what is counted
        await cluster.parts.health.run_once()
        empty = await scrape(cluster, "/db_metrics")
        repository = await cluster.repository(generation=1, replicas={G1: 0, G2: 0})
        await cluster.rows.run(
            "UPDATE storage_repositories SET verified_at = now() - interval '8 days' WHERE storage = %s", G2
        )
        await cluster.rows.run(
            "INSERT INTO replication_queue (state, job, lock_id) SELECT 'failed', "
            "jsonb_build_object('virtual_storage', 'default', 'target_node_storage', 'gitaly-3', 'change', 'update', "
            "'relative_path', 'a.git'), NULL FROM generate_series(1, 2)"
        )
        assert repository.id
        page = await scrape(cluster, "/db_metrics")

    def verification_depth(storage: str, status: str) -> str:
        name = "gitaly_praefect_verification_queue_depth"
        return series(name, virtual_storage="default", storage=storage, status=status)

    zeros = {verification_depth(s, status): 0.0 for s in (G1, G2, G3) for status in ("unverified", "expired")}
    unavailable = series("gitaly_praefect_unavailable_repositories", virtual_storage="default")
    assert upstreams(empty) == {**zeros, unavailable: 0}
    assert upstreams(page) == {
        **zeros,
        verification_depth(G1, "unverified"): 1,
        verification_depth(G2, "expired"): 1,
        unavailable: 1,
        series("gitaly_praefect_replication_queue_depth", virtual_storage="default", target_node=G3, state="failed"): 2,
    }


async def test_failing_query_leaves_its_series_out(database: DatabaseConfig) -> None:
    async with scraped_cluster(database) as cluster:
        await cluster.rows.run("ALTER TABLE replication_queue RENAME TO elsewhere")
        page = await scrape(cluster, "/db_metrics")
        assert list(upstreams(page)) == [series("gitaly_praefect_unavailable_repositories", virtual_storage="default")]
        await cluster.rows.run("ALTER TABLE elsewhere RENAME TO replication_queue")
