"""Every metric of upstream's, as a scrape shows it: name, type, labels and buckets."""

from __future__ import annotations

import socket
from datetime import timedelta

from praefect.config.praefect import BackgroundVerificationConfig, ReconciliationConfig
from praefect.config.praefect_sections import DatabaseConfig
from praefect.observability.metrics import Counter, Gauge, Histogram
from tests.support.http_page import fetch
from tests.support.scripted_cluster import G1, running_cluster

LATENCY = ("0.001", "0.005", "0.025", "0.1", "0.5", "1", "10", "30", "60", "300", "1500", "+Inf")
DEFAULT = ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf")
SIZES = ("1", "4", "16", "64", "256", "1024", "4096", "16384", "65536", "262144", "1.048576e+06", "+Inf")
TYPED = ("grpc_method", "grpc_service", "grpc_type")

# By the order of the reference: type, labels in alphabetical order, buckets.
METRICS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "gitaly_praefect_connections_total": ("counter", ("type",), ()),
    "gitaly_praefect_method_types": ("counter", ("method_type",), ()),
    "gitaly_praefect_read_distribution": ("counter", ("storage", "virtual_storage"), ()),
    "gitaly_praefect_uptodate_storages_cache_access_total": ("counter", ("type", "virtual_storage"), ()),
    "gitaly_praefect_notifications_reconnects_total": ("counter", ("state",), ()),
    "gitaly_praefect_transactions_total": ("counter", ("action",), ()),
    "gitaly_praefect_transactions_delay_seconds": ("histogram", ("action",), LATENCY),
    "gitaly_praefect_subtransactions_per_transaction_total": (
        "histogram",
        (),
        ("0", "1", "2", "4", "8", "16", "32", "+Inf"),
    ),
    "gitaly_praefect_voters_per_transaction_total": ("histogram", ("virtual_storage",), ("1", "2", "3", "+Inf")),
    "gitaly_praefect_tx_replications_total": ("counter", ("reason",), ()),
    "gitaly_praefect_replication_jobs": ("gauge", ("change_type", "gitaly_storage", "virtual_storage"), ()),
    "gitaly_praefect_replication_latency": ("histogram", ("type",), LATENCY),
    "gitaly_praefect_replication_delay": ("histogram", ("type",), LATENCY),
    "gitaly_praefect_reconciliation_scheduling_seconds": ("histogram", (), DEFAULT),
    "gitaly_praefect_verification_jobs_dequeued_total": ("counter", ("storage", "virtual_storage"), ()),
    "gitaly_praefect_verification_jobs_completed_total": ("counter", ("result", "storage", "virtual_storage"), ()),
    "gitaly_praefect_stale_verification_leases_released_total": ("counter", (), ()),
    "gitaly_service_client_requests_total": (
        "counter",
        (
            "auth_version",
            "call_site",
            "client_name",
            "deadline_type",
            "grpc_code",
            "grpc_method",
            "grpc_service",
            "method_operation",
            "method_scope",
        ),
        (),
    ),
    "gitaly_authentications_total": ("counter", ("enforced", "status"), ()),
    "gitaly_authentication_errors_total": ("counter", ("error", "version"), ()),
    "gitaly_feature_flag_checks_total": ("counter", ("enabled", "flag"), ()),
    "gitaly_backchannel_yamux_write_size_bytes": ("histogram", (), SIZES),
    "gitaly_backchannel_yamux_read_size_bytes": ("histogram", (), SIZES),
    **{
        f"grpc_{side}_{name}": ("counter", TYPED, ())
        for side in ("server", "client")
        for name in ("started_total", "msg_received_total", "msg_sent_total")
    },
    **{f"grpc_{side}_handled_total": ("counter", ("grpc_code", *TYPED), ()) for side in ("server", "client")},
    **{f"grpc_{side}_handling_seconds": ("histogram", TYPED, LATENCY) for side in ("server", "client")},
    "process_cpu_seconds_total": ("counter", (), ()),
    "process_open_fds": ("gauge", (), ()),
    "process_resident_memory_bytes": ("gauge", (), ()),
    "process_start_time_seconds": ("gauge", (), ()),
    "process_network_receive_bytes_total": ("counter", (), ()),
    "process_network_transmit_bytes_total": ("counter", (), ()),
    "gitlab_build_info": ("gauge", ("go_version", "module_path", "module_version"), ()),
    "go_goroutines": ("gauge", (), ()),
    "go_info": ("gauge", ("version",), ()),
    "promhttp_metric_handler_requests_in_flight": ("gauge", (), ()),
    "promhttp_metric_handler_requests_total": ("counter", ("code",), ()),
}
DATABASE_METRICS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "gitaly_praefect_unavailable_repositories": ("gauge", ("virtual_storage",), ()),
    "gitaly_praefect_replication_queue_depth": ("gauge", ("state", "target_node", "virtual_storage"), ()),
    "gitaly_praefect_verification_queue_depth": ("gauge", ("status", "storage", "virtual_storage"), ()),
}


def described(page: str) -> dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Return what a page says of each metric, by its first series."""
    types: dict[str, str] = {}
    labels: dict[str, tuple[str, ...]] = {}
    buckets: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            types[name] = kind
            continue
        if line.startswith("#"):
            continue
        series = line.rpartition(" ")[0]
        name, _, inside = series.partition("{")
        if types.get(name) is None:
            name = name.rpartition("_")[0]
        pairs = dict(pair.split("=", 1) for pair in inside.rstrip("}").split(",") if "=" in pair)
        bound = pairs.pop("le", None)
        labels.setdefault(name, tuple(sorted(pairs)))
        if bound is not None and first.setdefault(name, repr(pairs)) == repr(pairs):
            buckets.setdefault(name, []).append(bound.strip('"'))
    return {name: (kind, labels[name], tuple(buckets.get(name, ()))) for name, kind in types.items()}


async def test_every_metric_is_there_under_its_name(database: DatabaseConfig) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    async with running_cluster(
        database,
        prometheus_listen_addr=address,
        reconciliation=ReconciliationConfig(),
        background_verification=BackgroundVerificationConfig(verification_interval=timedelta(days=7)),
    ) as cluster:
        await cluster.repository(replicas={G1: 0})
        await cluster.rows.run(
            "INSERT INTO replication_queue (state, job, lock_id) VALUES ('dead', jsonb_build_object("
            "'virtual_storage', 'default', 'target_node_storage', 'gitaly-3', 'change', 'update'), NULL)"
        )
        for metric in cluster.parts.metrics.collectors:
            assert isinstance(metric, Counter | Gauge | Histogram)
            if not next(iter(metric.collect())).samples:
                metric.labels(*("x" for _ in metric.label_names))
        await fetch(address, "/metrics")  # the second time its own metrics show
        page = described(await fetch(address, "/metrics"))
        database_page = described(await fetch(address, "/db_metrics"))
    assert {name: page.get(name) for name in METRICS} == METRICS
    own = {name for name in page if name.startswith("praefect_")}
    assert {name for name in page if name.startswith(("gitaly_", "grpc_"))} <= METRICS.keys()
    assert own  # ours have a prefix of their own
    assert {name: seen for name, seen in database_page.items() if name.startswith("gitaly_")} == DATABASE_METRICS
