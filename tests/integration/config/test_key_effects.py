"""Every key of praefect's configuration has its effect: a table of what shows it, and what nothing else shows."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from praefect.app.proxy_metrics import ProxyMetrics
from praefect.app.proxy_parts import layouts_of, listen_addresses, node_addresses, node_options, server_tls
from praefect.app.telemetry import Telemetry
from praefect.config.praefect import PraefectConfig, PrometheusConfig, load
from praefect.config.praefect_sections import (
    DatabaseConfig,
    ReconciliationConfig,
    ReplicationConfig,
    RepositoriesCleanupConfig,
)
from praefect.config.schema import keys
from praefect.observability.log import capture
from praefect.proto import health_pb2
from praefect.runtime.signals import ShutdownError
from praefect.transport.dial import open_channel
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.status import leading_error
from praefect.transport.http2 import engine
from tests.support.scripted_cluster import G1, G2, G3, VS, running_cluster
from tests.support.scripted_node import hang

TESTS = Path(__file__).parents[2]
HERE = "integration/config/test_key_effects.py"
METRICS = "integration/proxy/test_metrics_pages.py"
OWN = "integration/proxy/test_own_settings.py"
SERVE = "integration/cli/test_cli_serve.py"
POSTGRES_TLS = "integration/datastore/test_postgres_tls.py"
PLACES = f"{HERE}::test_places_to_listen"
NODES = f"{HERE}::test_nodes"
DATABASE = f"{POSTGRES_TLS}::test_every_mode_connects_where_the_server_offers_it"
DIRECT = f"{HERE}::test_direct_connection_takes_the_first_value_there_is"

SHOWN_BY = {
    "listen_addr": PLACES,
    "tls_listen_addr": PLACES,
    "socket_path": PLACES,
    "prometheus_listen_addr": f"{METRICS}::test_series_that_are_there_from_the_start",
    "config_command": "integration/config/test_config_command.py::test_output_is_merged",
    "graceful_stop_timeout": f"{HERE}::test_grace_period",
    "i_understand_my_election_strategy_is_unsupported_and_will_be_removed_without_warning": (
        f"{HERE}::test_legacy_settings_are_accepted"
    ),
    "virtual_storage[].name": NODES,
    "virtual_storage[].default_replication_factor": (
        "integration/proxy/test_routing.py::test_replication_factor_limits_copies"
    ),
    "virtual_storage[].minimum_copies": f"{OWN}::test_write_that_too_few_replicas_would_hold_is_refused",
    "virtual_storage[].node[].storage": NODES,
    "virtual_storage[].node[].address": NODES,
    "virtual_storage[].node[].token": "e2e/test_failures.py::test_wrong_internal_token_is_permission_denied_and_named",
    "virtual_storage[].node[].primary": f"{OWN}::test_new_repositories_get_the_designated_primary",
    "auth.token": f"{METRICS}::test_every_way_to_be_refused",
    "auth.transitioning": f"{METRICS}::test_refusals_are_counted_and_let_pass_during_a_transition",
    "auth.token_file": "unit/config/test_praefect_config.py::test_token_file_fills_the_token",
    "tls.certificate_path": f"{HERE}::test_certificate",
    "tls.key_path": f"{HERE}::test_certificate",
    "tls.key": f"{HERE}::test_certificate",
    "tls.min_version": f"{HERE}::test_certificate",
    "database.host": DATABASE,
    "database.port": DATABASE,
    "database.user": DATABASE,
    "database.password": f"{POSTGRES_TLS}::test_a_wrong_password_is_named",
    "database.dbname": f"{POSTGRES_TLS}::test_a_missing_database_is_named",
    "database.sslmode": DATABASE,
    "database.sslcert": f"{POSTGRES_TLS}::test_a_client_certificate_is_enough",
    "database.sslkey": f"{POSTGRES_TLS}::test_a_client_certificate_is_enough",
    "database.sslrootcert": f"{POSTGRES_TLS}::test_an_unknown_authority_is_named",
    **{
        f"database.session_pooled.{name}": DIRECT
        for name in ("host", "port", "user", "password", "dbname", "sslmode", "sslcert", "sslkey", "sslrootcert")
    },
    "database.host_no_proxy": DIRECT,
    "database.port_no_proxy": DIRECT,
    "database.outage_reads_max_age": "unit/datastore/test_consistent_storages_cache.py::test_frozen_entries_expire",
    "replication.batch_size": f"{HERE}::test_workers_take_batches",
    "replication.parallel_storage_processing_workers": f"{HERE}::test_workers_take_batches",
    "reconciliation.scheduling_interval": f"{METRICS}::test_metrics_of_what_is_off_are_absent",
    "reconciliation.histogram_buckets": f"{HERE}::test_buckets",
    "background_verification.verification_interval": f"{METRICS}::test_metrics_of_what_is_off_are_absent",
    "background_verification.delete_invalid_records": (
        "integration/datastore/test_verification_store.py::test_records_of_missing_replicas_are_kept_if_asked"
    ),
    "repositories_cleanup.check_interval": f"{HERE}::test_unknown_repositories_are_looked_for",
    "repositories_cleanup.run_interval": f"{HERE}::test_unknown_repositories_are_looked_for",
    "repositories_cleanup.repositories_in_batch": (
        "unit/control/test_clean.py::test_what_no_record_knows_is_reported_in_batches"
    ),
    "failover.enabled": "unit/cli/test_cli_serve_warnings.py::test_a_strategy_without_failover",
    "failover.election_strategy": f"{HERE}::test_legacy_settings_are_accepted",
    "failover.error_threshold_window": "unit/config/test_serve_rules.py::test_what_the_server_cannot_run_with",
    "failover.write_error_threshold_count": "unit/config/test_serve_rules.py::test_what_the_server_cannot_run_with",
    "failover.read_error_threshold_count": "unit/config/test_serve_rules.py::test_what_the_server_cannot_run_with",
    "failover.prefer_designated": "integration/cli/test_failover_command.py::"
    "test_primaries_move_back_to_the_designated_node",
    "failover.manual": f"{OWN}::test_primaries_stay_and_writes_say_what_to_do",
    "prometheus.scrape_timeout": f"{HERE}::test_queries_of_a_page_are_bounded",
    "prometheus.grpc_latency_buckets": f"{HERE}::test_buckets",
    "logging.format": "unit/observability/test_log.py::test_configured_format_level_and_stream_are_used",
    "logging.level": "unit/observability/test_log.py::test_configured_format_level_and_stream_are_used",
    "sentry.sentry_dsn": "integration/proxy/test_error_reports.py::test_failures_made_here_are_reported_and_no_others",
    "sentry.sentry_environment": (
        "integration/proxy/test_error_reports.py::test_failures_made_here_are_reported_and_no_others"
    ),
    "yamux.maximum_stream_window_size_bytes": NODES,
    "yamux.accept_backlog": NODES,
    "http2.engine": NODES,
}

WITHOUT_EFFECT = {
    "memory_queue_enabled": "upstream's legacy electors only",
    "failover.bootstrap_interval": "upstream's legacy electors only",
    "failover.monitor_interval": "upstream's legacy electors only",
}

OWN_KEYS = {
    "virtual_storage[].minimum_copies",
    "virtual_storage[].node[].primary",
    "database.outage_reads_max_age",
    "failover.prefer_designated",
    "failover.manual",
    "http2.engine",
}
"""Those that upstream does not have."""

UPSTREAM = """
listen_addr tls_listen_addr socket_path prometheus_listen_addr graceful_stop_timeout memory_queue_enabled config_command
i_understand_my_election_strategy_is_unsupported_and_will_be_removed_without_warning
virtual_storage[]. name default_replication_factor
virtual_storage[].node[]. storage address token
auth. token transitioning token_file
tls. certificate_path key_path key min_version
database. host port user password dbname sslmode sslcert sslkey sslrootcert host_no_proxy port_no_proxy
database.session_pooled. host port user password dbname sslmode sslcert sslkey sslrootcert
replication. batch_size parallel_storage_processing_workers
reconciliation. scheduling_interval histogram_buckets
background_verification. verification_interval delete_invalid_records
repositories_cleanup. check_interval run_interval repositories_in_batch
failover. enabled election_strategy bootstrap_interval monitor_interval
failover. error_threshold_window write_error_threshold_count read_error_threshold_count
prometheus. scrape_timeout grpc_latency_buckets
logging. format level
sentry. sentry_dsn sentry_environment
yamux. maximum_stream_window_size_bytes accept_backlog
"""
"""The keys of upstream's reference, written down by hand: a section that ends in a dot, then its keys."""


def _listed(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        first, *rest = line.split() or [""]
        yield from (f"{first}{key}" for key in rest) if first.endswith(".") else (key for key in (first, *rest) if key)


def _keys(section: type[Any], above: str = "") -> Iterator[str]:
    for key in keys(section):
        inner = key.type if key.is_section else key.element
        if inner in (None, str, float):
            yield f"{above}{key.toml}"
        else:
            yield from _keys(inner, f"{above}{key.toml}{'' if key.is_section else '[]'}.")


def _config(tmp_path: Path, text: str) -> PraefectConfig:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(str(path))


NODE = """
[[virtual_storage]]
name = "default"
[[virtual_storage.node]]
storage = "gitaly-1"
address = "tcp://127.0.0.1:1"
token = "of-the-node"
"""


class TestTable:
    def test_table_has_every_key_once(self) -> None:
        assert sorted([*SHOWN_BY, *WITHOUT_EFFECT]) == sorted(_keys(PraefectConfig))

    def test_keys_are_upstream_s_and_ours(self) -> None:
        assert sorted([*_listed(UPSTREAM), *OWN_KEYS]) == sorted(_keys(PraefectConfig))

    @pytest.mark.parametrize("shown_by", sorted(set(SHOWN_BY.values())))
    def test_what_shows_a_key_exists(self, shown_by: str) -> None:
        path, name = shown_by.split("::")
        assert f"def {name}(" in (TESTS / path).read_text()


def test_places_to_listen(tmp_path: Path) -> None:
    text = 'listen_addr = "127.0.0.1:1"\ntls_listen_addr = "127.0.0.1:2"\nsocket_path = "/run/p.socket"\n'
    addresses = listen_addresses(_config(tmp_path, text + NODE))
    assert sorted(map(str, addresses)) == ["tcp://127.0.0.1:1", "tls://127.0.0.1:2", "unix:///run/p.socket"]


def test_nodes(tmp_path: Path) -> None:
    config = _config(
        tmp_path,
        'listen_addr = "127.0.0.1:1"\n'
        "[yamux]\nmaximum_stream_window_size_bytes = 300000\naccept_backlog = 7\n"
        '[http2]\nengine = "h2"\n' + NODE,
    )
    metrics = ProxyMetrics(config, layouts_of(config))
    options = node_options(config, metrics, Telemetry())

    assert (options.yamux.max_window_bytes, options.yamux.accept_backlog) == (300000, 7)
    assert type(options.engine) is type(engine("h2"))
    assert {name: list(storages) for name, storages in layouts_of(config).items()} == {"default": ["gitaly-1"]}
    ((node,),) = node_addresses(config).values()
    assert (node.storage, node.address, node.token) == ("gitaly-1", "tcp://127.0.0.1:1", "of-the-node")


def test_certificate(tmp_path: Path) -> None:
    text = 'tls_listen_addr = "127.0.0.1:1"\n[tls]\ncertificate_path = "/c"\nkey_path = "/k"\n'
    plain = server_tls(_config(tmp_path, text + NODE))
    inline = server_tls(_config(tmp_path, text.replace('key_path = "/k"', 'key = "K"') + NODE))
    strict = server_tls(_config(tmp_path, text + 'min_version = "TLS 1.3"\n' + NODE))

    assert plain is not None
    assert inline is not None
    assert strict is not None
    assert (plain.certificate_path, plain.key_path, plain.minimum_version) == ("/c", "/k", ssl.TLSVersion.TLSv1_2)
    assert (inline.key_path, inline.key) == ("", "K")
    assert strict.minimum_version is ssl.TLSVersion.TLSv1_3


def test_legacy_settings_are_accepted(tmp_path: Path) -> None:
    legacy = '[failover]\nelection_strategy = "sql"\n'
    switch = "i_understand_my_election_strategy_is_unsupported_and_will_be_removed_without_warning = true\n"
    first = 'listen_addr = "127.0.0.1:1"\n'
    assert _config(tmp_path, first + legacy + NODE).failover.election_strategy == "per_repository"
    assert _config(tmp_path, first + switch + legacy + NODE).failover.election_strategy == "sql"


NAMES = ("host", "port", "user", "password", "dbname", "sslmode", "sslcert", "sslkey", "sslrootcert")


@pytest.mark.parametrize("name", NAMES)
def test_direct_connection_takes_the_first_value_there_is(tmp_path: Path, name: str) -> None:
    def value(digit: int) -> object:
        return digit if name == "port" else f"value-{digit}"

    def written(digit: int) -> str:
        return str(digit) if name == "port" else f'"value-{digit}"'

    first = 'listen_addr = "127.0.0.1:1"\n'
    main = f"[database]\n{name} = {written(1)}\n"
    deprecated = f"{name}_no_proxy = {written(2)}\n" if name in {"host", "port"} else ""
    session = f"[database.session_pooled]\n{name} = {written(3)}\n"

    assert getattr(_config(tmp_path, first + main + NODE).database.direct(), name) == value(1)
    if deprecated:
        assert getattr(_config(tmp_path, first + main + deprecated + NODE).database.direct(), name) == value(2)
    config = _config(tmp_path, first + main + deprecated + session + NODE)
    assert getattr(config.database.direct(), name) == value(3)
    assert getattr(config.database, name) == value(1)


async def test_grace_period(database: DatabaseConfig) -> None:
    async def stop_while_a_call_runs() -> None:
        async with (
            asyncio.timeout(60),
            AsyncExitStack() as stack,
            running_cluster(database, graceful_stop_timeout=timedelta(milliseconds=1)) as cluster,
        ):
            # Entered last on the outer stack: it is there still when praefect stops.
            client = await stack.enter_async_context(open_channel(cluster.address, token=None))
            await stack.enter_async_context(_watch(client))
            cluster.stop.request()

    with pytest.raises(ExceptionGroup) as stopped:
        await stop_while_a_call_runs()
    error = leading_error(stopped.value)
    assert isinstance(error, ShutdownError)
    assert str(error) == "wait: grace period expired"


@asynccontextmanager
async def _watch(client: Channel) -> AsyncIterator[None]:
    async with client.bidi("/grpc.health.v1.Health/Watch", health_pb2.HealthCheckResponse) as call:
        await call.send(health_pb2.HealthCheckRequest(), last=True)
        await call.receive()
        yield


def _free_address() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{sock.getsockname()[1]}"


async def _page(address: str, path: str) -> str:
    async with aiohttp.ClientSession(trust_env=False) as session, session.get(f"http://{address}{path}") as answer:
        return await answer.text()


async def test_buckets(database: DatabaseConfig) -> None:
    address = _free_address()
    async with running_cluster(
        database,
        prometheus_listen_addr=address,
        prometheus=PrometheusConfig(grpc_latency_buckets=(0.75, 3.5)),
        reconciliation=ReconciliationConfig(scheduling_interval=timedelta(hours=1), histogram_buckets=(0.125,)),
    ):
        lines = (await _page(address, "/metrics")).splitlines()

    def bounds(name: str) -> set[str]:
        return {line.partition('le="')[2].partition('"')[0] for line in lines if line.startswith(f"{name}_bucket")}

    assert bounds("gitaly_praefect_reconciliation_scheduling_seconds") == {"0.125", "+Inf"}
    assert bounds("gitaly_praefect_replication_latency") == {"0.75", "3.5", "+Inf"}


async def test_queries_of_a_page_are_bounded(database: DatabaseConfig) -> None:
    address = _free_address()
    async with running_cluster(
        database,
        prometheus_listen_addr=address,
        prometheus=PrometheusConfig(scrape_timeout=timedelta(milliseconds=200)),
    ) as cluster:
        connection = cluster.rows.connection
        async with connection.transaction():
            await cluster.rows.run("LOCK TABLE repositories IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(30):
                page = await _page(address, "/db_metrics")
        assert "gitaly_praefect_unavailable_repositories{" not in page
        assert "gitaly_praefect_unavailable_repositories{" in await _page(address, "/db_metrics")


async def test_unknown_repositories_are_looked_for(database: DatabaseConfig) -> None:
    every = timedelta(milliseconds=50)
    cleanup = RepositoriesCleanupConfig(check_interval=every, run_interval=every)
    async with asyncio.timeout(60), running_cluster(database, repositories_cleanup=cleanup) as cluster:
        await cluster.nodes[G1].wait_called("WalkRepos", 2)
    longer = replace(cleanup, run_interval=timedelta(hours=1))
    async with running_cluster(database, repositories_cleanup=longer) as cluster:
        await cluster.parts.health.run_once()
        assert cluster.nodes[G1].called("WalkRepos") == []


ENQUEUE = """
WITH target AS (SELECT %s AS storage, %s AS relative_path, %s AS repository_id, %s AS source),
lock AS (
  INSERT INTO replication_queue_lock (id) SELECT 'default|' || storage || '|' || relative_path FROM target RETURNING id
)
INSERT INTO replication_queue (lock_id, job)
SELECT lock.id, jsonb_build_object(
  'virtual_storage', 'default', 'relative_path', relative_path, 'target_node_storage', storage,
  'source_node_storage', source, 'repository_id', repository_id, 'change', 'update'
) FROM target, lock
"""


async def test_workers_take_batches(database: DatabaseConfig) -> None:
    replication = ReplicationConfig(batch_size=2, parallel_storage_processing_workers=2)
    with capture() as lines:
        async with running_cluster(database, replication=replication) as cluster:
            for storage in (G2, G3):
                cluster.nodes[storage].on("ReplicateRepository", hang)
            repositories = [await cluster.repository(f"{number}.git", replicas={G1: 0}) for number in range(3)]
            async with cluster.rows.connection.transaction():  # so that no worker sees half of them
                for storage in (G2, G3):
                    for repository in repositories:
                        await cluster.rows.run(ENQUEUE, storage, repository.relative_path, repository.id, G1)
            cluster.parts.job_enqueued(VS)
            for storage in (G2, G3):
                await cluster.nodes[storage].wait_called("ReplicateRepository")
            taken = await cluster.rows.run(
                "SELECT job->>'target_node_storage', count(*) FROM replication_queue WHERE state = 'in_progress' "
                "GROUP BY 1 ORDER BY 1"
            )
    assert taken == [(G2, 2), (G3, 2)]
    assert [line["msg"] for line in lines].count("processing started") == 2
