"""What praefect is made of once it has started, and what its configuration means to those parts."""

from __future__ import annotations

import socket
import ssl
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from praefect.app.proxy_doubts import ProxyDoubts
from praefect.app.proxy_metrics import ProxyMetrics
from praefect.app.telemetry import Telemetry, observed_by
from praefect.config.praefect import PraefectConfig, TlsVersion
from praefect.control.health import HealthMonitor
from praefect.datastore import Datastore
from praefect.domain.errors import InvalidArgumentError
from praefect.domain.repository import Storage, VirtualStorage
from praefect.runtime.completions import Completions
from praefect.services.ports import PrimaryGetter
from praefect.transactions.manager import TransactionManager
from praefect.transport.http2 import engine as http2_engine
from praefect.transport.listen import ListenAddress, ListenerKind, ServerTls
from praefect.transport.nodes import NodeAddress, NodeOptions, NodePool
from praefect.transport.sidechannel import SidechannelRegistry
from praefect.transport.yamux import DIALLER_SETTINGS

Layouts = Mapping[VirtualStorage, Sequence[Storage]]


class DuplicateAddressError(InvalidArgumentError):
    """Two settings name the same place to listen."""


@dataclass(frozen=True, slots=True)
class Wakes:
    """Whom to wake when there may be something to repair; filled as the loops start."""

    sleepers: list[Callable[[VirtualStorage], None]] = field(default_factory=list)

    def __call__(self, virtual_storage: VirtualStorage) -> None:
        """Wake all."""
        for wake in self.sleepers:
            wake(virtual_storage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What start-up has built and the rest needs."""

    config: PraefectConfig
    version: str
    layouts: Layouts
    datastore: Datastore
    nodes: NodePool
    health: HealthMonitor
    elector: PrimaryGetter
    transactions: TransactionManager
    doubts: ProxyDoubts
    sidechannels: SidechannelRegistry
    metrics: ProxyMetrics
    telemetry: Telemetry
    completions: Completions
    job_enqueued: Wakes = field(default_factory=Wakes)
    node_returned: Wakes = field(default_factory=Wakes)


def layouts_of(config: PraefectConfig) -> Layouts:
    """Return the storages of each virtual storage, in the order of the configuration."""
    return {
        VirtualStorage(vs.name): tuple(Storage(node.storage) for node in vs.nodes) for vs in config.virtual_storages
    }


def praefect_name(config: PraefectConfig) -> str:
    """Return the name under which this process votes on the health of nodes."""
    try:
        host = socket.gethostname() or str(uuid.uuid4())
    except OSError:
        host = str(uuid.uuid4())
    return f"{host}:{config.listen_addr or config.socket_path}"


def node_addresses(config: PraefectConfig) -> dict[VirtualStorage, list[NodeAddress]]:
    """Return where the nodes are and what they are told as a secret."""
    return {
        VirtualStorage(vs.name): [
            NodeAddress(storage=Storage(node.storage), address=node.address, token=node.token) for node in vs.nodes
        ]
        for vs in config.virtual_storages
    }


def node_options(config: PraefectConfig, metrics: ProxyMetrics, telemetry: Telemetry) -> NodeOptions:
    """Return how nodes are reached."""
    yamux = replace(
        DIALLER_SETTINGS,
        accept_backlog=config.yamux.accept_backlog,
        max_window_bytes=config.yamux.maximum_stream_window_size_bytes,
    )
    return NodeOptions(
        yamux=yamux,
        engine=http2_engine(config.http2.engine.value),
        traffic=metrics.traffic,
        observe=observed_by(metrics.node_calls, *telemetry.made),
    )


def listen_addresses(config: PraefectConfig) -> list[ListenAddress]:
    """Return where to listen.

    Raises:
        InvalidAddressError: a value cannot be understood.
        DuplicateAddressError: two settings name the same place.
    """
    configured = [
        (config.listen_addr, ListenerKind.TCP),
        (config.tls_listen_addr, ListenerKind.TLS),
        (config.socket_path, ListenerKind.UNIX),
    ]
    addresses = [ListenAddress.parse(text, kind) for text, kind in configured if text]
    texts = [address.text for address in addresses]
    for text in texts:
        if texts.count(text) > 1:
            raise DuplicateAddressError(f'same address can\'t be used for different schemas "{text}"')
    return addresses


def metrics_addresses(config: PraefectConfig) -> list[ListenAddress]:
    """Return where metrics are scraped, if anywhere.

    Raises:
        InvalidAddressError: the value cannot be understood.
    """
    return [ListenAddress.parse(config.prometheus_listen_addr)] if config.prometheus_listen_addr else []


def server_tls(config: PraefectConfig) -> ServerTls | None:
    """Return what the TLS listener presents, ``None`` if nothing is configured."""
    tls = config.tls
    if not tls.certificate_path:
        return None
    least = ssl.TLSVersion.TLSv1_3 if tls.min_version is TlsVersion.TLS_1_3 else ssl.TLSVersion.TLSv1_2
    return ServerTls(certificate_path=tls.certificate_path, key_path=tls.key_path, key=tls.key, minimum_version=least)
