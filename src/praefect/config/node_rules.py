"""What a storage node refuses at start, in the order it looks, with upstream's texts."""

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

from praefect.config.duration import format_duration
from praefect.config.faults import Fault
from praefect.config.node_sections import DailyMaintenanceConfig, GitConfig, NodeConfig, StorageConfig
from praefect.config.quoting import quote
from praefect.config.reading import auth_faults
from praefect.config.rules import NOT_SET, ZERO, below, is_directory

_CONFIG_KEY: Final = re.compile(r"[A-Za-z0-9]+(\.[*\-/_:@a-zA-Z0-9]+)+")
_ONE_DAY: Final = timedelta(hours=24)


def node_faults(config: NodeConfig) -> Iterator[Fault]:
    """All faults; upstream stops at the first."""
    if not (config.socket_path or config.listen_addr or config.tls_listen_addr):
        yield Fault((), "at least one of socket_path, listen_addr or tls_listen_addr must be set")
    yield from storage_faults(config.storages)
    if config.runtime_dir:
        yield from _directory("runtime_dir", config.runtime_dir)
    if config.gitlab_shell.dir:
        yield from is_directory(("gitlab-shell", "dir"), config.gitlab_shell.dir)
    yield from _git(config.git)
    yield from _cache(config)
    yield from _maintenance(config.daily_maintenance, config.storages)
    yield from below(("auth",), auth_faults(config.auth))


def storage_faults(storages: tuple[StorageConfig, ...]) -> Iterator[Fault]:
    """What is wrong with the storages."""
    if not storages:
        yield Fault((), NOT_SET)
    names: set[str] = set()
    paths: set[str] = set()
    for number, storage in enumerate(storages):
        place = f"[{number}]"
        if not storage.name:
            yield Fault((place, "name"), NOT_SET)
        yield from is_directory((place, "path"), storage.path)
        if storage.name and storage.name in names:
            yield Fault((place, "name"), f"not unique: {quote(storage.name)}")
        yield from _overlap(place, storage.path, paths)
        names.add(storage.name)
        paths.add(storage.path)


def _overlap(place: str, path: str, others: set[str]) -> Iterator[Fault]:
    if path in others:
        yield Fault((place, "path"), f"not unique: {quote(path)}")
        return
    for other in sorted(others):
        if f"{path}/".startswith(f"{other.rstrip('/')}/") or f"{other}/".startswith(f"{path.rstrip('/')}/"):
            yield Fault((place, "path"), f"can't nest: {quote(path)} and {quote(other)}")


def _directory(name: str, path: str) -> Iterator[Fault]:
    if not Path(path).exists():
        yield Fault((name,), f"path doesn't exist: {quote(path)}")
    elif not Path(path).is_dir():
        yield Fault((name,), f"not a directory: {quote(path)}")


def _git(git: GitConfig) -> Iterator[Fault]:
    for number, entry in enumerate(git.config):
        fault = _config_key_fault(entry.key)
        if fault is not None:
            place = ("git", "config", f"[{number}]", "key")
            yield Fault(place, f"invalid configuration key {quote(entry.key)}: key: {fault}")


def _config_key_fault(key: str) -> str | None:
    if not key:
        return NOT_SET
    if "=" in key:
        return f'key {quote(key)} cannot contain "="'
    if "." not in key:
        return f"key {quote(key)} must contain at least one section"
    if key.startswith(".") or key.endswith("."):
        return f"key {quote(key)} must not start or end with a dot"
    if not _CONFIG_KEY.fullmatch(key):
        return f"key {quote(key)} failed regexp validation"
    return None


def _cache(config: NodeConfig) -> Iterator[Fault]:
    for name, cache in (("pack_objects_cache", config.pack_objects_cache), ("archive_cache", config.archive_cache)):
        if not cache.enabled:
            continue
        if cache.max_age < ZERO:
            yield Fault((name, "max_age"), f"{name}.max_age cannot be negative")
        if cache.dir and not os.path.isabs(cache.dir):  # noqa: PTH117  # a text, not a place
            yield Fault((name, "dir"), f"{name}: storage directory must be absolute path")
        for storage in config.storages:
            if f"{storage.path}/".startswith(f"{cache.dir.rstrip('/')}/"):
                text = "the specified cache directory cannot be the same or a parent of the storage path"
                yield Fault((name, "dir"), f"{name}: {text}")
                break


def _maintenance(daily: DailyMaintenanceConfig, storages: tuple[StorageConfig, ...]) -> Iterator[Fault]:
    prefix = "daily maintenance specified"
    if daily.start_hour > 23:
        yield Fault(("daily_maintenance", "start_hour"), f"{prefix} hour '{daily.start_hour}' outside range (0-23)")
    if daily.start_minute > 59:
        text = f"{prefix} minute '{daily.start_minute}' outside range (0-59)"
        yield Fault(("daily_maintenance", "start_minute"), text)
    if daily.duration > _ONE_DAY:
        text = f"{prefix} duration {format_duration(daily.duration)} must be less than 24 hours"
        yield Fault(("daily_maintenance", "duration"), text)
    known = {storage.name for storage in storages}
    for name in daily.storages:
        if name not in known:
            text = f"{prefix} storage {quote(name)} does not exist in configuration"
            yield Fault(("daily_maintenance", "storages"), text)
