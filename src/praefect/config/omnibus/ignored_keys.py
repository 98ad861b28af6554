"""Which settings of a gitlab.rb are left alone on purpose, and what is said of those that nobody knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from praefect.config.node import NOT_READ
from praefect.config.omnibus.known_keys import GITALY_KEYS, GITALY_KEYS_ELSEWHERE, PRAEFECT_KEYS, Role
from praefect.config.omnibus.settings import Path, spell

SERVICES: Final = frozenset({
    "alertmanager", "application_role", "consul", "consul_role", "crond", "geo_logcursor", "geo_postgresql",
    "geo_primary_role", "geo_secondary", "geo_secondary_role", "gitaly_client", "gitaly_role", "gitlab_backup_cli",
    "gitlab_ci", "gitlab_exporter", "gitlab_kas", "gitlab_kas_external_url", "gitlab_pages", "gitlab_sshd",
    "gitlab_workhorse", "grafana", "high_availability", "letsencrypt", "logging", "logrotate", "mailroom",
    "manage_accounts", "manage_storage_directories", "mattermost", "mattermost_external_url", "mattermost_nginx",
    "monitoring_role", "nginx", "node_exporter", "oak", "package", "pages_external_url", "pages_nginx", "patroni",
    "patroni_role", "pgbouncer", "pgbouncer_exporter", "pgbouncer_role", "postgres_exporter", "postgres_role",
    "postgresql", "praefect_role", "prometheus", "prometheus_monitoring", "puma", "redis", "redis_exporter",
    "redis_master_role", "redis_replica_role", "redis_sentinel_role", "registry", "registry_external_url",
    "registry_nginx", "remote_syslog", "repmgr", "repmgrd", "roles", "runtime_dir", "sentinel", "sidekiq",
    "sidekiq_cluster", "sidekiq_role", "spamcheck", "spamcheck_role", "storage_check", "suggested_reviewers",
    "unicorn", "user", "web_server",
})  # fmt: skip
"""Sections and calls that are about programs other than these."""

_PACKAGE: Final = "about how the package runs its programs"
_GITLAB: Final = "about GitLab itself"
_UPSTREAM: Final = "about upstream's own machinery"
_REMOVED: Final = "no longer has a meaning"

IGNORED: Final[Mapping[Path, str]] = {
    **{
        (section, key): _PACKAGE
        for section in ("praefect", "gitaly", "gitlab_shell")
        for key in ("dir", "env", "env_directory", "log_directory", "log_group", "wrapper_path")
    },
    ("praefect", "enable"): _PACKAGE,
    ("praefect", "auto_migrate"): "the database is migrated by `praefect sql-migrate`",
    ("praefect", "ha"): _PACKAGE,
    ("praefect", "separate_database_metrics"): "database metrics are always separate, at /db_metrics",
    ("praefect", "postgres_queue_enabled"): "the queue is always in PostgreSQL",
    ("praefect", "failover_read_only_after_failover"): _REMOVED,
    ("praefect", "distributed_reads_enabled"): "reads are always distributed",
    ("praefect", "configuration", "prometheus_exclude_database_from_default_metrics"): (
        "database metrics are always separate, at /db_metrics"
    ),
    ("praefect", "configuration", "logging", "dir"): _PACKAGE,
    ("gitaly", "enable"): _PACKAGE,
    ("gitaly", "bin_path"): _PACKAGE,
    ("gitaly", "internal_socket_dir"): "the internal socket is below runtime_dir",
    ("gitaly", "open_files_ulimit"): _PACKAGE,
    ("gitaly", "git_bin_path"): "the git of git.executable is used",
    ("gitaly", "use_bundled_git"): "the git of git.executable is used",
    ("gitaly", "logging_ruby_sentry_dsn"): _REMOVED,
    ("gitaly", "ruby_max_rss"): _REMOVED,
    ("gitaly", "ruby_graceful_restart_timeout"): _REMOVED,
    ("gitaly", "ruby_restart_delay"): _REMOVED,
    ("gitaly", "ruby_num_workers"): _REMOVED,
    ("gitaly", "ruby_rugged_git_config_search_path"): _REMOVED,
    ("gitaly", "rate_limiting"): _UPSTREAM,
    ("gitaly", "use_wrapper"): _PACKAGE,
    ("gitaly", "configuration", "logging", "dir"): _PACKAGE,
    ("gitaly", "configuration", "logging", "ruby_sentry_dsn"): _REMOVED,
    ("gitaly", "configuration", "git", "bin_path"): "the git of git.executable is used",
    ("gitaly", "configuration", "git", "use_bundled_binaries"): "the git of git.executable is used",
    ("gitaly", "configuration", "rate_limiting"): _UPSTREAM,
    ("gitaly", "configuration", "internal_socket_dir"): "the internal socket is below runtime_dir",
    **{("gitaly", "configuration", section): _UPSTREAM for section in NOT_READ},
    **{
        ("gitlab_shell", key): _GITLAB
        for key in (
            "audit_usernames",
            "auth_file",
            "git_timeout",
            "git_trace_log_file",
            "lfs_pure_ssh_protocol",
            "log_format",
            "log_level",
            "migration",
            "pat",
            "ssl_cert_dir",
        )
    },
}
"""Settings that are known and mean nothing here, each with all that is below it."""

IGNORED_PREFIXES: Final[Mapping[tuple[str, str], str]] = {
    ("gitaly", "cgroups_"): _UPSTREAM,
    ("gitaly", "consul_service_"): _PACKAGE,
    ("praefect", "consul_service_"): _PACKAGE,
}
"""Beginnings of keys that are known and mean nothing here."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A setting, or a whole section, that is left alone, and why."""

    setting: str
    reason: str


def find_ignored(path: Path, role: Role) -> Ignored | None:
    """What a setting that the role did not take belongs to; None if nobody knows it."""
    for length in range(len(path), 0, -1):
        reason = IGNORED.get(path[:length])
        if reason is not None:
            return Ignored(spell(path[:length]), reason)
    root, key = path[0], path[1] if len(path) > 1 else ""
    if root in SERVICES:
        return Ignored(root, "about other services")
    for (section, prefix), reason in IGNORED_PREFIXES.items():
        if root == section and key.startswith(prefix):
            return Ignored(spell(path[:2]), reason)
    if root == "gitlab_rails" and path[:2] not in _READ and suggestion(path) is None:
        return Ignored(spell(path[:2]), _GITLAB)
    return Ignored(spell(path[:2]), "about other parts") if _belongs_elsewhere(path, role) else None


def suggestion(path: Path) -> str | None:
    """The setting that was perhaps meant."""
    if len(path) < 2 or path[:2] in _READ:
        return None
    close = get_close_matches(
        path[1], [key[1] for key in _READ if key[0] == path[0] and len(key) == 2], n=1, cutoff=0.8
    )
    return spell((path[0], close[0])) if close else None


def _belongs_elsewhere(path: Path, role: Role) -> bool:
    """Whether other roles read the setting, and only they."""
    readers = _READERS.get(path[:2]) or _READERS.get(path[:1])
    return readers is not None and role not in readers


_READERS: Final[Mapping[Path, tuple[Role, ...]]] = {
    **{("praefect", key): (Role.PRAEFECT,) for key in (*PRAEFECT_KEYS, "virtual_storages", "configuration")},
    **{("gitaly", key): (Role.GITALY,) for key in (*GITALY_KEYS, "gitconfig", "configuration")},
    **{path[:2]: (Role.GITALY,) for path in GITALY_KEYS_ELSEWHERE},
    ("gitlab_rails", "repositories_storages"): (Role.GITLAB,),
    ("gitlab_rails", "gitaly_token"): (Role.GITLAB,),
    ("gateway", "configuration"): (Role.GITLAB,),
    ("external_url",): (Role.GITALY, Role.GITLAB),
    ("git_data_dirs",): (Role.GITALY, Role.GITLAB),
}
_READ: Final = frozenset(_READERS)
