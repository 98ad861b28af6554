"""The collecting validator: what ``configuration validate`` reports, all of it, in upstream's order."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from praefect.config.certificates import key_pair_fault
from praefect.config.faults import Fault
from praefect.config.praefect_sections import (
    ELECTION_STRATEGIES,
    LEAST_STREAM_WINDOW_BYTES,
    FailoverConfig,
    PraefectConfig,
    ReconciliationConfig,
    RepositoriesCleanupConfig,
    VirtualStorageConfig,
    YamuxConfig,
)
from praefect.config.quoting import quote
from praefect.config.reading import auth_faults
from praefect.config.rules import NOT_SET, ZERO, at_least, below, is_file, not_blank, write_float
from praefect.config.sections import PrometheusConfig, TlsConfig
from praefect.config.startup_rules import LEAST_CLEANUP_INTERVAL


def collected_faults(config: PraefectConfig) -> Iterator[Fault]:
    """All faults, each with the path of its key."""
    if not (config.listen_addr or config.socket_path or config.tls_listen_addr):
        yield Fault((), 'none of "socket_path", "listen_addr" or "tls_listen_addr" is set')
    interval = config.background_verification.verification_interval
    yield from at_least(("background_verification", "verification_interval"), interval, ZERO)
    yield from below(("reconciliation",), list(_reconciliation(config.reconciliation)))
    replication = config.replication
    yield from at_least(("replication", "batch_size"), replication.batch_size, 1)
    workers = replication.parallel_storage_processing_workers
    yield from at_least(("replication", "parallel_storage_processing_workers"), workers, 1)
    yield from below(("prometheus",), list(_prometheus(config.prometheus)))
    yield from below(("auth",), auth_faults(config.auth))
    yield from below(("tls",), list(_tls(config.tls)))
    yield from below(("failover",), list(_failover(config.failover)))
    yield from at_least(("graceful_stop_timeout",), config.graceful_stop_timeout, ZERO)
    yield from below(("repositories_cleanup",), list(_cleanup(config.repositories_cleanup)))
    yield from below(("yamux",), list(_yamux(config.yamux)))
    if not config.virtual_storages:
        yield Fault(("virtual_storage",), NOT_SET)
    for number, virtual in enumerate(config.virtual_storages):
        yield from below(("virtual_storage", f"[{number}]"), list(_virtual_storage(virtual)))


def _descends(bounds: Sequence[float]) -> bool:
    return any(later < earlier for earlier, later in pairwise(bounds))


def _reconciliation(section: ReconciliationConfig) -> Iterator[Fault]:
    yield from at_least(("scheduling_interval",), section.scheduling_interval, ZERO)
    if section.scheduling_interval != ZERO and _descends(section.histogram_buckets):
        yield Fault(("histogram_buckets",), "bad order")


def _prometheus(section: PrometheusConfig) -> Iterator[Fault]:
    buckets = section.grpc_latency_buckets
    if not buckets:
        return
    yield from at_least(("scrape_timeout",), section.scrape_timeout, ZERO)
    if _descends(buckets):
        listed = " ".join(write_float(bound) for bound in buckets)
        yield Fault(("grpc_latency_buckets",), f"bad order: expected asc: [{listed}]")


def _tls(section: TlsConfig) -> Iterator[Fault]:
    if not (section.certificate_path or section.key_path or section.key):
        return
    if section.key and section.key_path:
        yield Fault(("key_path", "key"), "key_path and key cannot both be set")
        return
    faults = is_file(("certificate_path",), section.certificate_path)
    if not section.key:
        faults += is_file(("key_path",), section.key_path)
    yield from faults
    pair = None if faults else key_pair_fault(section)
    if pair is not None:
        yield pair


def _failover(section: FailoverConfig) -> Iterator[Fault]:
    if not section.enabled:
        return
    if section.election_strategy not in ELECTION_STRATEGIES:
        yield Fault(("election_strategy",), f"not supported: {quote(section.election_strategy)}")
    yield from at_least(("bootstrap_interval",), section.bootstrap_interval, ZERO)
    yield from at_least(("monitor_interval",), section.monitor_interval, ZERO)
    yield from at_least(("error_threshold_window",), section.error_threshold_window, ZERO)
    thresholds = (
        ("error_threshold_window", section.error_threshold_window != ZERO),
        ("write_error_threshold_count", section.write_error_threshold_count != 0),
        ("read_error_threshold_count", section.read_error_threshold_count != 0),
    )
    if any(is_set for _, is_set in thresholds):
        for name, is_set in thresholds:
            if not is_set:
                yield Fault((name,), NOT_SET)


def _cleanup(section: RepositoriesCleanupConfig) -> Iterator[Fault]:
    if section.run_interval == ZERO:
        return
    if section.run_interval > ZERO:
        yield from at_least(("check_interval",), section.check_interval, LEAST_CLEANUP_INTERVAL)
    yield from at_least(("run_interval",), section.run_interval, LEAST_CLEANUP_INTERVAL)
    yield from at_least(("repositories_in_batch",), section.repositories_in_batch, 1)


def _yamux(section: YamuxConfig) -> Iterator[Fault]:
    window = section.maximum_stream_window_size_bytes
    yield from at_least(("maximum_stream_window_size_bytes",), window, LEAST_STREAM_WINDOW_BYTES)
    yield from at_least(("accept_backlog",), section.accept_backlog, 1)


def _virtual_storage(section: VirtualStorageConfig) -> Iterator[Fault]:
    yield from not_blank(("name",), section.name)
    if not section.nodes:
        yield Fault(("node",), NOT_SET)
    for number, node in enumerate(section.nodes):
        place = ("node", f"[{number}]")
        yield from not_blank((*place, "storage"), node.storage)
        yield from not_blank((*place, "address"), node.address)
