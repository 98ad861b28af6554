"""From the path of Praefect's configuration file to values: read, judge, complete, warn."""

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from praefect.config.collected_rules import collected_faults
from praefect.config.faults import ConfigError, further_faults
from praefect.config.praefect_sections import (
    PER_REPOSITORY,
    BackgroundVerificationConfig,
    ConnectionConfig,
    DatabaseConfig,
    FailoverConfig,
    PraefectConfig,
    ReconciliationConfig,
    ReplicationConfig,
    RepositoriesCleanupConfig,
    SentryConfig,
    StorageNodeConfig,
    VirtualStorageConfig,
    YamuxConfig,
)
from praefect.config.quoting import quote
from praefect.config.reading import Reading, read, read_file, warn_of_unknown
from praefect.config.rules import ZERO
from praefect.config.sections import (
    AuthConfig,
    Http2Config,
    Http2Engine,
    LoggingConfig,
    PrometheusConfig,
    TlsConfig,
    TlsVersion,
)
from praefect.config.startup_rules import startup_faults

__all__ = [
    "AuthConfig",
    "BackgroundVerificationConfig",
    "ConfigError",
    "ConnectionConfig",
    "DatabaseConfig",
    "FailoverConfig",
    "Http2Config",
    "Http2Engine",
    "LoggingConfig",
    "PraefectConfig",
    "PrometheusConfig",
    "ReconciliationConfig",
    "ReplicationConfig",
    "RepositoriesCleanupConfig",
    "SentryConfig",
    "StorageNodeConfig",
    "TlsConfig",
    "TlsVersion",
    "VirtualStorageConfig",
    "YamuxConfig",
    "load",
    "parse_config",
]

REPLACED_KEYS: Final = {
    "virtual_storage_name": "replaced by [[virtual_storage]]",
    "node": "replaced by [[virtual_storage.node]]",
    "postgres_queue_enabled": "the queue is always in PostgreSQL",
    "failover_enabled": "replaced by failover.enabled",
    "failover.read_only_after_failover": "removed",
    "distributed_reads_enabled": "reads are always distributed",
    "database.proxy_host": "replaced by database.host and database.session_pooled.host",
    "database.proxy_port": "replaced by database.port and database.session_pooled.port",
    "prometheus_exclude_database_from_default_metrics": "database metrics are always separate, at /db_metrics",
    "force_create_repositories_for_testing_purposes": "removed",
}


def load(path: str) -> PraefectConfig:
    """Read Praefect's configuration file as ``serve`` and all commands do.

    Raises:
        ConfigError: upstream refuses the file too; the first line of the message is its text.
    """
    try:
        reading = parse_config(read_file(path))
    except ConfigError as exc:
        raise ConfigError(f"error reading config file: {exc}") from exc
    collected = list(collected_faults(reading.config))
    faults = list(startup_faults(reading.config))
    if faults:
        known = {fault.path for fault in faults}
        more = faults[1:] + [fault for fault in collected if fault.path not in known]
        raise ConfigError(f"validating config: {faults[0].message}{further_faults(more)}")
    config = reading.with_token()
    warnings = (*_warnings(reading, config), *(str(fault) for fault in collected))
    return dataclasses.replace(config, failover=_with_strategy(config), warnings=warnings)


def parse_config(data: bytes) -> Reading[PraefectConfig]:
    """Read the text of a file and fill computed defaults; nothing is judged yet.

    Raises:
        DecodeError: the text is wrong.
        ConfigError: its config command or token file are.
    """
    reading = read(data, PraefectConfig())
    return dataclasses.replace(reading, config=_complete(reading.config))


def _complete(config: PraefectConfig) -> PraefectConfig:
    failover = config.failover
    if failover.enabled:
        failover = dataclasses.replace(
            failover,
            bootstrap_interval=failover.bootstrap_interval or timedelta(seconds=1),
            monitor_interval=failover.monitor_interval or timedelta(seconds=3),
        )
    graceful = config.graceful_stop_timeout
    return dataclasses.replace(
        config,
        failover=failover,
        graceful_stop_timeout=timedelta(minutes=1) if graceful == ZERO else graceful,
    )


def _with_strategy(config: PraefectConfig) -> FailoverConfig:
    if config.keep_legacy_election_strategy:
        return config.failover
    return dataclasses.replace(config.failover, election_strategy=PER_REPOSITORY)


def _warnings(reading: Reading[PraefectConfig], config: PraefectConfig) -> Iterator[str]:
    yield from warn_of_unknown(reading.unknown, REPLACED_KEYS)
    for number, virtual in enumerate(config.virtual_storages):
        for place, node in enumerate(virtual.nodes):
            key = f"virtual_storage.[{number}].node.[{place}]"
            if node.primary and not config.failover.prefer_designated:
                yield f"{key}.primary is ignored, as failover.prefer_designated is not set"
            if node.token and node.token == config.auth.token:
                equal = "equals auth.token: give clients and nodes different secrets"
                yield f"token of node {quote(node.storage)} ({key}.token) {equal}"
