"""The start-up validator: what every command with ``-config`` refuses, in upstream's order and with its texts."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from praefect.config.faults import Fault
from praefect.config.praefect_sections import (
    ELECTION_STRATEGIES,
    LEAST_STREAM_WINDOW_BYTES,
    PraefectConfig,
    RepositoriesCleanupConfig,
    VirtualStorageConfig,
    YamuxConfig,
)
from praefect.config.quoting import quote
from praefect.config.reading import auth_faults
from praefect.config.rules import ZERO

LEAST_CLEANUP_INTERVAL: Final = timedelta(minutes=1)


def startup_faults(config: PraefectConfig) -> Iterator[Fault]:
    """All faults; upstream stops at the first."""
    strategy = config.failover.election_strategy
    if strategy not in ELECTION_STRATEGIES:
        yield Fault(("failover", "election_strategy"), f"invalid election strategy: {quote(strategy)}")
    if not (config.listen_addr or config.socket_path or config.tls_listen_addr):
        yield Fault((), "no listen address or socket path configured")
    if not config.virtual_storages:
        yield Fault(("virtual_storage",), "no virtual storages configured")
    if config.replication.batch_size < 1:
        text = f"replication batch size was {config.replication.batch_size} but must be >=1"
        yield Fault(("replication", "batch_size"), text)
    names: set[str] = set()
    for number, virtual in enumerate(config.virtual_storages):
        path = ("virtual_storage", f"[{number}]")
        yield from _virtual_storage(path, virtual, names)
        names.add(virtual.name)
    yield from _cleanup(config.repositories_cleanup)
    yield from _yamux(config.yamux)
    for fault in auth_faults(config.auth):  # the only ones that upstream reports with a key
        yield Fault(("auth", *fault.path), str(fault))
    yield from _own(config)


def _virtual_storage(path: tuple[str, ...], virtual: VirtualStorageConfig, names: set[str]) -> Iterator[Fault]:
    prefix = f"virtual storage {quote(virtual.name)}"
    if not virtual.name:
        yield Fault((*path, "name"), "virtual storages must have a name")
    if not virtual.nodes:
        yield Fault((*path, "node"), f"{prefix}: no primary gitaly backends configured")
    if virtual.name and virtual.name in names:
        yield Fault((*path, "name"), f"{prefix}: virtual storages must have unique names")
    storages: set[str] = set()
    for number, node in enumerate(virtual.nodes):
        place = (*path, "node", f"[{number}]")
        if not node.storage:
            yield Fault((*place, "storage"), f"{prefix}: all gitaly nodes must have a storage")
        if not node.address:
            yield Fault((*place, "address"), f"{prefix}: all gitaly nodes must have an address")
        if node.storage and node.storage in storages:
            yield Fault((*place, "storage"), f"{prefix}: internal gitaly storages are not unique")
        storages.add(node.storage)
    factor, count = virtual.default_replication_factor, len(virtual.nodes)
    if virtual.nodes and factor > count:
        text = f"has a default replication factor ({factor}) which is higher than the number of storages ({count})"
        yield Fault((*path, "default_replication_factor"), f"{prefix} {text}")


def _cleanup(cleanup: RepositoriesCleanupConfig) -> Iterator[Fault]:
    if cleanup.run_interval <= ZERO:
        return
    for name, interval in (("check_interval", cleanup.check_interval), ("run_interval", cleanup.run_interval)):
        if interval < LEAST_CLEANUP_INTERVAL:
            text = "is less then 1m0s, which could lead to a database performance problem"
            yield Fault(("repositories_cleanup", name), f"repositories_cleanup.{name} {text}")


def _yamux(yamux: YamuxConfig) -> Iterator[Fault]:
    window, backlog = yamux.maximum_stream_window_size_bytes, yamux.accept_backlog
    if window < LEAST_STREAM_WINDOW_BYTES:
        name = "maximum_stream_window_size_bytes"
        text = f"yamux.{name} must be at least {LEAST_STREAM_WINDOW_BYTES} but it was {window}"
        yield Fault(("yamux", name), text)
    if backlog < 1:
        yield Fault(("yamux", "accept_backlog"), f"yamux.accept_backlog must be at least 1 but it was {backlog}")


def _own(config: PraefectConfig) -> Iterator[Fault]:
    """What is wrong with the keys that upstream does not have."""
    if config.database.outage_reads_max_age < ZERO:
        yield Fault(("database", "outage_reads_max_age"), "database.outage_reads_max_age must not be negative")
    for number, virtual in enumerate(config.virtual_storages):
        path = ("virtual_storage", f"[{number}]")
        prefix = f"virtual storage {quote(virtual.name)}"
        copies, count = virtual.minimum_copies, len(virtual.nodes)
        if copies < 1:
            yield Fault((*path, "minimum_copies"), f"{prefix} has minimum_copies {copies} but it must be at least 1")
        elif virtual.nodes and copies > count:
            text = f"has minimum_copies ({copies}) higher than the number of storages ({count})"
            yield Fault((*path, "minimum_copies"), f"{prefix} {text}")
        if config.failover.prefer_designated and sum(node.primary for node in virtual.nodes) > 1:
            yield Fault((*path, "node"), f"{prefix} has more than one designated primary")
