"""From the path of a storage node's configuration file to values: read, complete, judge, warn."""

import dataclasses
import os
from datetime import timedelta
from typing import Final

from praefect.config.faults import ConfigError, Fault, further_faults
from praefect.config.node_rules import node_faults
from praefect.config.node_sections import (
    ConcurrencyConfig,
    DailyMaintenanceConfig,
    GitConfig,
    GitConfigEntry,
    GitlabConfig,
    GitlabShellConfig,
    HooksConfig,
    HttpSettingsConfig,
    LimitConfig,
    NodeConfig,
    NodeLoggingConfig,
    PackObjectsLimitingConfig,
    StorageConfig,
    StreamCacheConfig,
    TimeoutConfig,
    VoteDialect,
    VotesConfig,
)
from praefect.config.quoting import quote
from praefect.config.reading import read, read_file, warn_of_unknown
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

__all__ = [
    "AuthConfig",
    "ConcurrencyConfig",
    "ConfigError",
    "DailyMaintenanceConfig",
    "GitConfig",
    "GitConfigEntry",
    "GitlabConfig",
    "GitlabShellConfig",
    "HooksConfig",
    "Http2Config",
    "Http2Engine",
    "HttpSettingsConfig",
    "LimitConfig",
    "LoggingConfig",
    "NodeConfig",
    "NodeLoggingConfig",
    "PackObjectsLimitingConfig",
    "PrometheusConfig",
    "StorageConfig",
    "StreamCacheConfig",
    "TimeoutConfig",
    "TlsConfig",
    "TlsVersion",
    "VoteDialect",
    "VotesConfig",
    "complete",
    "load",
]

NOT_READ: Final = (
    "adaptive_limiting",
    "backup",
    "bundle_uri",
    "cgroups",
    "load_shedder",
    "offloading",
    "pool_metadata",
    "raft",
    "transactions",
    "use_libp2p_yamux",
)
"""Sections and keys of upstream's own machinery: accepted without a word."""

REPLACED_KEYS: Final = {
    "internal_socket_dir": "the internal socket is below runtime_dir",
    "git.bin_path": "replaced by git.executable",
    "git.use_bundled_binaries": "the git named by git.executable is used",
}
_SECRET_FILE: Final = ".gitlab_shell_secret"  # noqa: S105  # a name


def load(path: str) -> NodeConfig:
    """Read a node's configuration file.

    Raises:
        ConfigError: the node cannot start with it; the first line of the message is upstream's text.
    """
    prefix = f"failed to configure Gitaly: load config: config_path {quote(path)}: "
    try:
        data = read_file(path)
    except ConfigError as exc:
        raise ConfigError(f"{prefix}{exc}") from exc
    try:
        reading = read(data, NodeConfig())
    except ConfigError as exc:
        raise ConfigError(f"{prefix}load toml: {str(exc).removeprefix('toml: ')}") from exc
    draft = complete(reading.config)
    faults = list(node_faults(draft))
    if faults:
        raise ConfigError(f"{prefix}invalid config: {_startup_text(faults[0])}{further_faults(faults[1:])}")
    unknown = tuple(key for key in reading.unknown if key.split(".")[0] not in NOT_READ)
    config = complete(reading.with_token())
    return dataclasses.replace(config, warnings=tuple(warn_of_unknown(unknown, REPLACED_KEYS)))


def _startup_text(fault: Fault) -> str:
    """How upstream names the place: with the key's last parts for lists, token and directories, else in the text."""
    first = fault.path[:1]
    if first == ("auth",):
        return str(Fault(fault.path[1:], fault.message))
    if first in (("runtime_dir",), ("gitlab-shell",)) or (first and first[0].startswith("[")):
        return str(fault)
    return fault.message


def complete(config: NodeConfig) -> NodeConfig:
    """Fill what is derived from other keys."""
    storages = tuple(dataclasses.replace(one, path=os.path.normpath(one.path or ".")) for one in config.storages)
    cache_root = f"{storages[0].path}/+gitaly" if storages else ""
    timeout = config.graceful_restart_timeout
    return dataclasses.replace(
        config,
        storages=storages,
        graceful_restart_timeout=timedelta(minutes=1) if timeout == ZERO else timeout,
        gitlab=_gitlab(config.gitlab, config.gitlab_shell.dir),
        hooks=_hooks(config.hooks, config.gitlab_shell.dir),
        concurrency=tuple(_concurrency(limit) for limit in config.concurrency),
        pack_objects_limiting=_packing(config.pack_objects_limiting),
        pack_objects_cache=_cache(config.pack_objects_cache, f"{cache_root}/PackObjectsCache"),
        archive_cache=_cache(config.archive_cache, f"{cache_root}/ArchiveCache"),
        daily_maintenance=_maintenance(config.daily_maintenance, storages),
    )


def _gitlab(gitlab: GitlabConfig, shell_dir: str) -> GitlabConfig:
    if gitlab.secret or gitlab.secret_file or not shell_dir:
        return gitlab
    return dataclasses.replace(gitlab, secret_file=os.path.join(shell_dir, _SECRET_FILE))  # noqa: PTH118


def _hooks(hooks: HooksConfig, shell_dir: str) -> HooksConfig:
    if hooks.custom_hooks_dir or not shell_dir:
        return hooks
    return dataclasses.replace(hooks, custom_hooks_dir=os.path.join(shell_dir, "hooks"))  # noqa: PTH118


def _concurrency(limit: ConcurrencyConfig) -> ConcurrencyConfig:
    if limit.max_concurrency:
        return limit
    return dataclasses.replace(limit, max_concurrency=limit.max_per_repo)


def _packing(limit: PackObjectsLimitingConfig) -> PackObjectsLimitingConfig:
    if not limit.max_queue_length:
        return limit
    return dataclasses.replace(limit, max_queue_size=limit.max_queue_length)


def _cache(cache: StreamCacheConfig, place: str) -> StreamCacheConfig:
    return dataclasses.replace(cache, dir=cache.dir or place)


def _maintenance(daily: DailyMaintenanceConfig, storages: tuple[StorageConfig, ...]) -> DailyMaintenanceConfig:
    if daily != DailyMaintenanceConfig():
        return daily
    return dataclasses.replace(
        daily, start_hour=12, duration=timedelta(minutes=10), storages=tuple(one.name for one in storages)
    )
