"""Which keys of a gitlab.rb are read: tables for the roles and for the documents.

Source: GitLab's Praefect page of 12.9 and its later editions (single settings), the upgrade notes of GitLab 16
(``configuration``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from praefect.config.omnibus.settings import Path


class Role(StrEnum):
    """For which program a configuration is written."""

    PRAEFECT = "praefect"
    GITALY = "gitaly"
    GITLAB = "gitlab"


PRAEFECT_KEYS: Final[Mapping[str, str]] = {
    "listen_addr": "listen_addr",
    "tls_listen_addr": "tls_listen_addr",
    "socket_path": "socket_path",
    "prometheus_listen_addr": "prometheus_listen_addr",
    "graceful_stop_timeout": "graceful_stop_timeout",
    "auth_token": "auth.token",
    "auth_transitioning": "auth.transitioning",
    "certificate_path": "tls.certificate_path",
    "key_path": "tls.key_path",
    "database_host": "database.host",
    "database_port": "database.port",
    "database_user": "database.user",
    "database_password": "database.password",
    "database_dbname": "database.dbname",
    "database_sslmode": "database.sslmode",
    "database_sslcert": "database.sslcert",
    "database_sslkey": "database.sslkey",
    "database_sslrootcert": "database.sslrootcert",
    "database_direct_host": "database.session_pooled.host",
    "database_direct_port": "database.session_pooled.port",
    "database_direct_user": "database.session_pooled.user",
    "database_direct_password": "database.session_pooled.password",
    "database_direct_dbname": "database.session_pooled.dbname",
    "database_direct_sslmode": "database.session_pooled.sslmode",
    "database_direct_sslcert": "database.session_pooled.sslcert",
    "database_direct_sslkey": "database.session_pooled.sslkey",
    "database_direct_sslrootcert": "database.session_pooled.sslrootcert",
    "database_host_no_proxy": "database.host_no_proxy",
    "database_port_no_proxy": "database.port_no_proxy",
    "failover_enabled": "failover.enabled",
    "failover_election_strategy": "failover.election_strategy",
    "reconciliation_scheduling_interval": "reconciliation.scheduling_interval",
    "reconciliation_histogram_buckets": "reconciliation.histogram_buckets",
    "background_verification_verification_interval": "background_verification.verification_interval",
    "background_verification_delete_invalid_records": "background_verification.delete_invalid_records",
    "prometheus_grpc_latency_buckets": "prometheus.grpc_latency_buckets",
    "logging_format": "logging.format",
    "logging_level": "logging.level",
    "sentry_dsn": "sentry.sentry_dsn",
    "sentry_environment": "sentry.sentry_environment",
}
"""``praefect['…']`` onto Praefect's file."""

GITALY_KEYS: Final[Mapping[str, str]] = {
    "listen_addr": "listen_addr",
    "tls_listen_addr": "tls_listen_addr",
    "socket_path": "socket_path",
    "prometheus_listen_addr": "prometheus_listen_addr",
    "runtime_dir": "runtime_dir",
    "graceful_restart_timeout": "graceful_restart_timeout",
    "auth_token": "auth.token",
    "auth_transitioning": "auth.transitioning",
    "certificate_path": "tls.certificate_path",
    "key_path": "tls.key_path",
    "storage": "storage",
    "custom_hooks_dir": "hooks.custom_hooks_dir",
    "git_catfile_cache_size": "git.catfile_cache_size",
    "gpg_signing_key_path": "git.signing_key",
    "concurrency": "concurrency",
    "daily_maintenance_start_hour": "daily_maintenance.start_hour",
    "daily_maintenance_start_minute": "daily_maintenance.start_minute",
    "daily_maintenance_duration": "daily_maintenance.duration",
    "daily_maintenance_storages": "daily_maintenance.storages",
    "daily_maintenance_disabled": "daily_maintenance.disabled",
    "pack_objects_cache_enabled": "pack_objects_cache.enabled",
    "pack_objects_cache_dir": "pack_objects_cache.dir",
    "pack_objects_cache_max_age": "pack_objects_cache.max_age",
    "prometheus_grpc_latency_buckets": "prometheus.grpc_latency_buckets",
    "logging_format": "logging.format",
    "logging_level": "logging.level",
    "logging_sentry_dsn": "logging.sentry_dsn",
    "logging_sentry_environment": "logging.sentry_environment",
}
"""``gitaly['…']`` onto a node's file."""

GITALY_KEYS_ELSEWHERE: Final[Mapping[Path, str]] = {
    ("gitlab_rails", "internal_api_url"): "gitlab.url",
    ("gitlab_shell", "secret_token"): "gitlab.secret",
    ("gitlab_shell", "http_settings", "read_timeout"): "gitlab.http-settings.read_timeout",
    ("gitlab_shell", "http_settings", "user"): "gitlab.http-settings.user",
    ("gitlab_shell", "http_settings", "password"): "gitlab.http-settings.password",
    ("gitlab_shell", "http_settings", "ca_file"): "gitlab.http-settings.ca_file",
    ("gitlab_shell", "http_settings", "ca_path"): "gitlab.http-settings.ca_path",
    ("gitlab_shell", "custom_hooks_dir"): "hooks.custom_hooks_dir",
}
"""Settings of other sections onto a node's file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialKey:
    """A setting that is more than a key under another name; what is done with it stands in the role's module."""

    role: Role
    key: str
    target: str
    meaning: str


SPECIAL_KEYS: Final = (
    SpecialKey(
        role=Role.PRAEFECT,
        key="praefect['virtual_storages']",
        target="virtual_storage",
        meaning="Hash of virtual storages, each a hash of nodes with `address`, `token` and perhaps `primary`, or with "
        "the nodes below `nodes` and `default_replication_factor` beside them. A node with `primary` sets "
        "`failover.prefer_designated`.",
    ),
    SpecialKey(
        role=Role.PRAEFECT,
        key="praefect['configuration']",
        target="all keys",
        meaning="Hash with the keys of Praefect's file as they are; wins over the single settings.",
    ),
    SpecialKey(
        role=Role.GITALY,
        key="git_data_dirs",
        target="storage",
        meaning="Hash of storages; repositories are in `repositories` below the `path` of each. Storages that share "
        "a path get a directory of their own below it, unless `--storage` says which one the node has.",
    ),
    SpecialKey(
        role=Role.GITALY,
        key="gitaly['gitconfig']",
        target="git.config",
        meaning="Array of hashes with `section`, perhaps `subsection`, `key` and `value`.",
    ),
    SpecialKey(
        role=Role.GITALY,
        key="gitaly['configuration']",
        target="all keys",
        meaning="Hash with the keys of a node's file as they are; wins over the single settings.",
    ),
    SpecialKey(
        role=Role.GITALY,
        key="external_url",
        target="gitlab.url",
        meaning="Address of the internal API where `gitlab_rails['internal_api_url']` does not give one.",
    ),
    SpecialKey(
        role=Role.GITLAB,
        key="external_url",
        target="external_url, listen_addr, tls",
        meaning="Address that clients use; its port is listened on, and https takes the certificate of `nginx`.",
    ),
    SpecialKey(
        role=Role.GITLAB,
        key="git_data_dirs",
        target="storage",
        meaning="Hash of storages with `gitaly_address`, `gitaly_token` and perhaps `weight`; one without address is "
        "on the node of this machine. New projects go to `default` alone unless a `weight` is given.",
    ),
    SpecialKey(
        role=Role.GITLAB,
        key="gitlab_rails['repositories_storages']",
        target="storage",
        meaning="The same; wins over `git_data_dirs`.",
    ),
    SpecialKey(
        role=Role.GITLAB,
        key="gitlab_rails['gitaly_token']",
        target="storage.gitaly_token",
        meaning="Secret of the storages that have none of their own.",
    ),
    SpecialKey(
        role=Role.GITLAB,
        key="gitlab_shell['secret_token']",
        target="secret",
        meaning="Secret shared with the nodes; without it that of `gitlab-secrets.json` beside the file.",
    ),
    SpecialKey(
        role=Role.GITLAB,
        key="gitaly['socket_path'], gitaly['listen_addr'], gitaly['auth_token']",
        target="storage.gitaly_address, storage.gitaly_token",
        meaning="Where the node of this machine is, and its secret; also below `gitaly['configuration']`.",
    ),
    SpecialKey(
        role=Role.GITLAB,
        key="nginx['listen_addresses'], nginx['listen_port'], nginx['listen_https']",
        target="listen_addr",
        meaning="Where the front door listens; by default on all addresses, at the port of `external_url`.",
    ),
    SpecialKey(
        role=Role.GITLAB,
        key="nginx['ssl_certificate'], nginx['ssl_certificate_key']",
        target="tls.certificate_path, tls.key_path",
        meaning="Certificate and key; by default `/etc/gitlab/ssl/HOST.crt` and `.key`.",
    ),
    SpecialKey(
        role=Role.GITLAB,
        key="gateway['configuration']",
        target="all keys",
        meaning="Hash with the keys of the gateway's file as they are, for what GitLab keeps in its database: `user`, "
        "`protection`. GitLab has no such key.",
    ),
)
