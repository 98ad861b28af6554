"""What only the server refuses: keys that no validator looks at, though nobody can serve with them."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from praefect.config.certificates import key_pair_fault
from praefect.config.praefect_sections import FailoverConfig, PraefectConfig
from praefect.config.quoting import quote
from praefect.config.rules import ZERO
from praefect.config.sections import LoggingConfig

LOG_FORMATS: Final = ("text", "json")
LOG_LEVELS: Final = ("panic", "fatal", "error", "warn", "warning", "info", "debug", "trace")


def logging_fault(section: LoggingConfig) -> str | None:
    """Why no logger can be made; printed before there is one."""
    prefix = "configuring logger: configuring logger: "
    if section.format not in LOG_FORMATS:
        return f"{prefix}invalid logger format {quote(section.format)}"
    if section.level.lower() not in LOG_LEVELS:
        return f"{prefix}parse level: not a valid logrus Level: {quote(section.level)}"
    return None


def serve_faults(config: PraefectConfig) -> Iterator[str]:
    """Why the server cannot run; reported by the logger."""
    for buckets in (config.prometheus.grpc_latency_buckets, config.reconciliation.histogram_buckets):
        yield from _buckets(buckets)
    yield from _thresholds(config.failover)
    yield from _certificate(config)


def _buckets(buckets: Sequence[float]) -> Iterator[str]:
    for earlier, later in pairwise(buckets):
        if not earlier < later:
            yield f"histogram buckets must be in increasing order: {earlier:f} >= {later:f}"
            return


def _thresholds(section: FailoverConfig) -> Iterator[str]:
    window = section.error_threshold_window != ZERO
    writes, reads = section.write_error_threshold_count, section.read_error_threshold_count
    if not (section.enabled and (window or writes or reads)):
        return
    if not window:
        yield "threshold window not set"
    elif not writes:
        yield "write error threshold not set"
    elif not reads:
        yield "read error threshold not set"


def _certificate(config: PraefectConfig) -> Iterator[str]:
    if not _listens_with_tls(config):
        return
    fault = key_pair_fault(config.tls)
    if fault is None:
        return
    reason = fault.message
    if config.tls.key:  # then only the certificate is a file
        reason = reason.replace("loading x509 keypair: open ", "reading certificate_path: open ", 1)
    yield f"create gRPC server: load certificate key pair: {reason}"


def _listens_with_tls(config: PraefectConfig) -> bool:
    """Whether a listener is one by its key, or by a prefix, which overrides the key."""
    if config.tls_listen_addr and not config.tls_listen_addr.startswith(("tcp://", "unix://")):
        return True
    return config.listen_addr.startswith("tls://") or config.socket_path.startswith("tls://")
