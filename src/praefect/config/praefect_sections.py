"""Praefect's configuration file: the sections and their keys.

The names of sections and fields are those of the file, except for the plurals of lists (``virtual_storages``,
``nodes``) and :attr:`PraefectConfig.keep_legacy_election_strategy`. ``praefect.config.praefect.load`` is the way
from a file to values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from praefect.config.schema import Integer, setting
from praefect.config.sections import AuthConfig, Http2Config, LoggingConfig, PrometheusConfig, TlsConfig

PER_REPOSITORY: Final = "per_repository"
ELECTION_STRATEGIES: Final = ("local", "sql", PER_REPOSITORY)
LEGACY_STRATEGY_SWITCH: Final = "i_understand_my_election_strategy_is_unsupported_and_will_be_removed_without_warning"
LEAST_STREAM_WINDOW_BYTES: Final = 262144
HISTOGRAM_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageNodeConfig:
    """``[[virtual_storage.node]]``: one physical storage and the node that serves it."""

    storage: str = setting("", "Name of the storage in the node's own configuration.")
    address: str = setting("", "Where the node listens: `tcp://`, `tls://`, `unix:`, `dns:` or `dns+tls:`.")
    token: str = setting("", "Shared secret of that node.", secret=True)
    primary: bool = setting(
        False, "Designated primary of its virtual storage; heeded only with `failover.prefer_designated`.", own=True
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualStorageConfig:
    """``[[virtual_storage]]``: what clients see as one storage, kept on several nodes."""

    name: str = setting("", "Name that clients use.")
    default_replication_factor: int = setting(
        0, "Number of storages that get a copy of a new repository; 0 or less means all of them.", unit="storages"
    )
    minimum_copies: int = setting(
        1,
        "A write is refused unless at least this many up-to-date storages can take part in it.",
        own=True,
        unit="storages",
    )
    nodes: tuple[StorageNodeConfig, ...] = setting((), "The storages behind it.", key="node")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionConfig:
    """Where a PostgreSQL server is; an empty value leaves the choice to libpq (PG* variables, ``~/.pgpass``)."""

    host: str = setting("", "Host name, several separated by commas, or directory of a unix socket.")
    port: int = setting(0, "Port; 0 means libpq's default, 5432.", unit="TCP port")
    user: str = setting("", "Role to log in as.")
    password: str = setting("", "Its password.", secret=True)
    dbname: str = setting("", "Name of the database.")
    sslmode: str = setting("", "disable, allow, prefer, require, verify-ca or verify-full.")
    sslcert: str = setting("", "Client certificate, path of a PEM file.")
    sslkey: str = setting("", "Key of the client certificate, path of a PEM file.")
    sslrootcert: str = setting("", "Certificates of the authorities that are trusted, path of a PEM file.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig(ConnectionConfig):
    """``[database]``: PostgreSQL for queries (a transaction pooler may stand before it) and for notifications."""

    session_pooled: ConnectionConfig = setting(
        ConnectionConfig(), "Connection that keeps its session, for notifications; what is empty is taken from above."
    )
    host_no_proxy: str = setting("", "Deprecated spelling of `session_pooled.host`.")
    port_no_proxy: int = setting(0, "Deprecated spelling of `session_pooled.port`.", unit="TCP port")
    outage_reads_max_age: timedelta = setting(
        timedelta(minutes=15),
        "How long known repositories are read while PostgreSQL is away; 0 means not at all.",
        own=True,
    )

    def direct(self) -> ConnectionConfig:
        """The connection for LISTEN: each value from the first place that has one."""
        session = self.session_pooled
        return ConnectionConfig(
            host=session.host or self.host_no_proxy or self.host,
            port=session.port or self.port_no_proxy or self.port,
            user=session.user or self.user,
            password=session.password or self.password,
            dbname=session.dbname or self.dbname,
            sslmode=session.sslmode or self.sslmode,
            sslcert=session.sslcert or self.sslcert,
            sslkey=session.sslkey or self.sslkey,
            sslrootcert=session.sslrootcert or self.sslrootcert,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationConfig:
    """``[replication]``: the workers that process replication jobs."""

    batch_size: int = setting(10, "Jobs taken from the queue at once.", integer=Integer.UNSIGNED, unit="jobs")
    parallel_storage_processing_workers: int = setting(
        1,
        "Storages of one virtual storage that are processed at the same time.",
        integer=Integer.UNSIGNED,
        unit="storages",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconciliationConfig:
    """``[reconciliation]``: the loop that schedules jobs where stored and wanted replicas differ."""

    scheduling_interval: timedelta = setting(timedelta(minutes=5), "Time between two passes; 0 disables the loop.")
    histogram_buckets: tuple[float, ...] = setting(
        HISTOGRAM_BUCKETS, "Upper bounds, in seconds, of the histogram of a pass's duration.", unit="seconds"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundVerificationConfig:
    """``[background_verification]``: the loop that looks whether recorded replicas exist."""

    verification_interval: timedelta = setting(
        timedelta(days=7), "Time after which a replica is looked at again; 0 or less disables the loop."
    )
    delete_invalid_records: bool = setting(True, "Delete the record of a replica that does not exist.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoriesCleanupConfig:
    """``[repositories_cleanup]``: the loop that reports repositories on disk that no record knows; deletes nothing."""

    check_interval: timedelta = setting(timedelta(minutes=30), "Time between two looks for a storage that is due.")
    run_interval: timedelta = setting(timedelta(hours=24), "Time after which a storage is due again; 0 disables.")
    repositories_in_batch: int = setting(
        16, "Paths that are looked up at once.", integer=Integer.UNSIGNED, unit="repositories"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FailoverConfig:
    """``[failover]``: who becomes primary."""

    enabled: bool = setting(True, "Without effect on per-repository election, as upstream; see `manual`.")
    election_strategy: str = setting(PER_REPOSITORY, "`per_repository`; `local` and `sql` are accepted and replaced.")
    error_threshold_window: timedelta = setting(timedelta(0), "Time over which the two counts below are taken.")
    write_error_threshold_count: int = setting(
        0, "Errors of writes that count; without effect on routing.", integer=Integer.UNSIGNED_32, unit="errors"
    )
    read_error_threshold_count: int = setting(
        0, "Errors of reads that count; without effect on routing.", integer=Integer.UNSIGNED_32, unit="errors"
    )
    bootstrap_interval: timedelta = setting(timedelta(seconds=1), "Used by the removed electors only.")
    monitor_interval: timedelta = setting(timedelta(seconds=3), "Used by the removed electors only.")
    prefer_designated: bool = setting(
        False, "New repositories get their primary on the node marked `primary = true`.", own=True
    )
    manual: bool = setting(False, "Primaries move only by `praefect failover`.", own=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentryConfig:
    """``[sentry]``: where crashes are reported."""

    sentry_dsn: str = setting("", "DSN of the project; empty switches reporting off.", secret=True)
    sentry_environment: str = setting("", "Environment named in reports.")


@dataclass(frozen=True, slots=True, kw_only=True)
class YamuxConfig:
    """``[yamux]``: multiplexed connections to nodes and from clients."""

    maximum_stream_window_size_bytes: int = setting(
        LEAST_STREAM_WINDOW_BYTES,
        "Receive window of a stream; at least 262144.",
        integer=Integer.UNSIGNED_32,
        unit="bytes",
    )
    accept_backlog: int = setting(
        256, "Streams a peer may open before they are accepted.", integer=Integer.UNSIGNED, unit="streams"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PraefectConfig:
    """The whole file."""

    listen_addr: str = setting(
        "", "`host:port` to listen on without TLS; `tcp://`, `tls://` or `unix://` may stand before it."
    )
    tls_listen_addr: str = setting("", "`host:port` to listen on with TLS; needs `[tls]`.")
    socket_path: str = setting("", "Unix socket to listen on.")
    prometheus_listen_addr: str = setting("", "`host:port` for metrics; empty means none.")
    config_command: str = setting("", "Executable whose JSON output is merged into this file.")
    memory_queue_enabled: bool = setting(False, "Accepted for compatibility; the queue is always in PostgreSQL.")
    graceful_stop_timeout: timedelta = setting(
        timedelta(minutes=1), "Time that running calls get when the server is told to stop; 0 means 1m."
    )
    keep_legacy_election_strategy: bool = setting(
        False, "Accepted for compatibility; the removed electors are not built.", key=LEGACY_STRATEGY_SWITCH
    )
    virtual_storages: tuple[VirtualStorageConfig, ...] = setting((), "The virtual storages.", key="virtual_storage")
    auth: AuthConfig = setting(AuthConfig(), "Who may call this server.")
    tls: TlsConfig = setting(TlsConfig(), "What the TLS listener presents.")
    database: DatabaseConfig = setting(DatabaseConfig(), "PostgreSQL.")
    replication: ReplicationConfig = setting(ReplicationConfig(), "Replication jobs.")
    reconciliation: ReconciliationConfig = setting(ReconciliationConfig(), "Scheduling of repairs.")
    background_verification: BackgroundVerificationConfig = setting(
        BackgroundVerificationConfig(), "Verification of replicas."
    )
    repositories_cleanup: RepositoriesCleanupConfig = setting(
        RepositoriesCleanupConfig(), "Search for unknown repositories."
    )
    failover: FailoverConfig = setting(FailoverConfig(), "Election of primaries.")
    prometheus: PrometheusConfig = setting(PrometheusConfig(), "Metrics.")
    logging: LoggingConfig = setting(LoggingConfig(), "Log lines.")
    sentry: SentryConfig = setting(SentryConfig(), "Reports of crashes.")
    yamux: YamuxConfig = setting(YamuxConfig(), "Multiplexed connections.")
    http2: Http2Config = setting(Http2Config(), "The transport's implementation.")
    warnings: tuple[str, ...] = field(default=(), compare=False)
    """What a start reports and goes on: unknown keys, equal secrets, one line each."""

    def storages(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the storages of each virtual storage, both in the order of the file."""
        return {virtual.name: tuple(node.storage for node in virtual.nodes) for virtual in self.virtual_storages}
