"""Praefect's composition root: builds the request path and the loops, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import uuid
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from praefect.app.proxy_metrics import ProxyMetrics
from praefect.config.duration import format_duration
from praefect.config.praefect import PraefectConfig, TlsVersion
from praefect.control.clean import RepositoryCleaner
from praefect.control.election import Elector
from praefect.control.health import HealthMonitor
from praefect.control.reconcile import Reconciler
from praefect.control.replication import ReplicationManager, ReplicationObserver, StaleJobs, UnusedLocks
from praefect.control.replicator import Replicator
from praefect.control.verify import ExpiredLeases, Verifier
from praefect.datastore import Datastore, open_datastore
from praefect.domain.errors import InvalidArgumentError
from praefect.domain.repository import Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.observability.metrics import Registry
from praefect.observability.metrics_server import serve_metrics
from praefect.observability.process_metrics import BuildInfo, ProcessCollector, RuntimeCollector
from praefect.proto import praefect_pb2, server_pb2, transaction_pb2
from praefect.proxy.auth import Authenticator, AuthObserver
from praefect.proxy.coordinator import CallObserver, Coordinator
from praefect.proxy.finalize import FinalizeObserver, Finalizer
from praefect.proxy.forward import Forwarder
from praefect.proxy.route import Router, VirtualStorageLayout
from praefect.runtime.completions import Completions
from praefect.runtime.signals import Stop, stop_on_signals
from praefect.runtime.ticker import IntervalTicker
from praefect.services.info import PraefectInfoService
from praefect.services.intercepted import InterceptedMethods
from praefect.services.probes import NodeWalker, ReplicaProbe
from praefect.services.readiness import readiness_checks
from praefect.services.ref_transaction import RefTransactionService
from praefect.services.server import ServerService
from praefect.transactions.manager import TransactionManager
from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.grpc import access_log
from praefect.transport.grpc.call_metrics import CallMetrics
from praefect.transport.grpc.health import add_health
from praefect.transport.grpc.reflection import add_reflection
from praefect.transport.grpc.server import Server
from praefect.transport.http2 import engine as http2_engine
from praefect.transport.listen import ListenAddress, ListenerKind, ListenOptions, ServerTls, listen
from praefect.transport.methods import METHODS
from praefect.transport.nodes import NodeAddress, NodePool, open_nodes
from praefect.transport.sidechannel import SidechannelBridges, SidechannelRegistry

HEALTH_INTERVAL = timedelta(seconds=1)
STALE_INTERVAL = timedelta(seconds=30)
LOCK_INTERVAL = timedelta(minutes=30)
VERIFY_INTERVAL = timedelta(seconds=2)
LEASE_INTERVAL = timedelta(seconds=10)

_log = get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What start-up has built and the rest needs."""

    config: PraefectConfig
    layouts: Mapping[VirtualStorage, Sequence[Storage]]
    datastore: Datastore
    nodes: NodePool
    health: HealthMonitor
    elector: Elector
    transactions: TransactionManager
    sidechannels: SidechannelRegistry
    metrics: ProxyMetrics
    completions: Completions


async def serve(config: PraefectConfig, version: str) -> None:
    """Run praefect until a signal says stop.

    Raises:
        PraefectError: it could not start, or did not stop in time.
    """
    _log.info("Starting Praefect", version=version)
    with stop_on_signals(hangup_stops=os.environ.get("GITALY_UPGRADES_ENABLED") != "true") as stop:
        async with run_proxy(config, version, stop):
            await stop.wait()
            _log.warning("starting grace period")


@asynccontextmanager
async def run_proxy(config: PraefectConfig, version: str, stop: Stop) -> AsyncIterator[None]:
    """Serve until left; on the way out accept no more, let calls end, then stop the loops."""
    layouts = {
        VirtualStorage(vs.name): tuple(Storage(node.storage) for node in vs.nodes) for vs in config.virtual_storages
    }
    metrics = ProxyMetrics(
        layouts=layouts,
        buckets=config.prometheus.grpc_latency_buckets,
        reconcile_buckets=config.reconciliation.histogram_buckets,
        transitioning=config.auth.transitioning,
    )
    transactions = TransactionManager(observer=metrics.vote_observer())
    sidechannels = SidechannelRegistry()
    async with AsyncExitStack() as stack:
        _log.info("establishing database connection", database_address=f"{config.database.host}:{config.database.port}")
        datastore = await stack.enter_async_context(
            open_datastore(config.database, layouts=layouts, observer=metrics.datastore_observer())
        )
        _log.info("database connection established")
        backchannel = await stack.enter_async_context(_backchannel_server(transactions))
        nodes = await stack.enter_async_context(
            open_nodes(_addresses(config), backchannel=backchannel, sidechannels=sidechannels)
        )
        health = HealthMonitor(
            praefect_name=praefect_name(config), nodes=layouts, checker=nodes, records=datastore.health
        )
        nodes.on_unreachable = health.report_unreachable
        parts = Parts(
            config=config,
            layouts=layouts,
            datastore=datastore,
            nodes=nodes,
            health=health,
            elector=Elector(records=datastore.election, evidence=health, praefect_name=praefect_name(config)),
            transactions=transactions,
            sidechannels=sidechannels,
            metrics=metrics,
            completions=await stack.enter_async_context(Completions()),
        )
        loops = await stack.enter_async_context(_loops())
        _log.info("background started: gitaly nodes health monitoring")
        loops.start(health.run(IntervalTicker(HEALTH_INTERVAL)), "health")
        loops.start(datastore.notifications.run(), "listen")
        _log.info("reads distribution caching is enabled by configuration")
        if not await _wait_for_first_round(health, stop):
            yield
            return
        server = await stack.enter_async_context(_server(parts))
        backchannels = BackchannelRegistry()
        options = ListenOptions(engine=http2_engine(config.http2.engine.value))
        for address in listen_addresses(config):
            await stack.enter_async_context(
                listen(address, server, backchannels=backchannels, tls=_tls(config), options=options)
            )
            _log.info("listening at address", address=address.text, schema=address.kind.value)
        stack.push_async_callback(_drain, server, config, stop)
        if config.prometheus_listen_addr:
            await stack.enter_async_context(_metrics_endpoint(parts, loops.group, version))
        _start_loops(parts, loops)
        yield


async def _wait_for_first_round(health: HealthMonitor, stop: Stop) -> bool:
    """Open no listener before a health round is stored; return whether that happened before the stop."""
    async with asyncio.TaskGroup() as group:
        waits = [
            group.create_task(health.recorded_once.wait(), name="wait for health"),
            group.create_task(stop.wait(), name="wait for stop"),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
    return health.recorded_once.is_set()


async def _drain(server: Server, config: PraefectConfig, stop: Stop) -> None:
    async with stop.grace(config.graceful_stop_timeout):
        await server.drain(config.graceful_stop_timeout.total_seconds())


class DuplicateAddressError(InvalidArgumentError):
    """Two settings name the same place to listen."""


class Loops:
    """The tasks of the control loops; a loop that fails ends the process, so that it is seen."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.group = group
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, loop: Coroutine[object, object, None], name: str) -> None:
        """Start a loop."""
        self._tasks.append(self.group.create_task(loop, name=name))

    def cancel(self) -> None:
        """End all loops."""
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def _loops() -> AsyncIterator[Loops]:
    async with asyncio.TaskGroup() as group:
        loops = Loops(group)
        try:
            yield loops
        finally:
            loops.cancel()


def _start_loops(parts: Parts, loops: Loops) -> None:
    config, datastore, metrics = parts.config, parts.datastore, parts.metrics
    replication = ReplicationManager(
        nodes=parts.layouts,
        queue=datastore.queue,
        health=parts.health,
        replicator=Replicator(nodes=parts.nodes, records=datastore.repositories),
        batch_size=config.replication.batch_size,
        workers=config.replication.parallel_storage_processing_workers,
        observer=ReplicationObserver(started=metrics.job_started, finished=metrics.job_finished),
    )
    loops.start(replication.run(), "replicate")
    _log.info("background started: processing of the replication events")
    loops.start(StaleJobs(queue=datastore.queue).run(IntervalTicker(STALE_INTERVAL)), "free stale jobs")
    _log.info("background started: processing of the stale replication events")
    loops.start(UnusedLocks(queue=datastore.queue).run(IntervalTicker(LOCK_INTERVAL)), "delete unused locks")
    _log.info("background started: processing of the replication job locks clean up")
    if config.reconciliation.scheduling_interval > timedelta(0):
        reconciler = Reconciler(
            nodes=parts.layouts,
            health=parts.health,
            records=datastore.reconciler,
            scheduled=replication.wake,
            duration=metrics.reconciliation_seconds,
        )
        loops.start(reconciler.run(IntervalTicker(config.reconciliation.scheduling_interval)), "reconcile")
    _start_verifier(parts, loops)
    cleanup = config.repositories_cleanup
    if cleanup.run_interval > timedelta(0):
        cleaner = RepositoryCleaner(
            nodes=parts.layouts,
            records=datastore.cleanups,
            walker=NodeWalker(parts.nodes),
            run_interval=cleanup.run_interval,
            batch_size=cleanup.repositories_in_batch,
        )
        loops.start(cleaner.run(IntervalTicker(cleanup.check_interval)), "find unknown repositories")
    else:
        _log.warning(
            'Repository cleanup background task disabled as "repositories_cleanup.run_interval" is not set or 0.'
        )


def _start_verifier(parts: Parts, loops: Loops) -> None:
    config = parts.config.background_verification
    if config.verification_interval <= timedelta(0):
        _log.info("background verifier is disabled")
        return
    records = parts.datastore.verification
    verifier = Verifier(
        nodes=parts.layouts,
        health=parts.health,
        records=records,
        probe=ReplicaProbe(parts.nodes),
        interval=config.verification_interval,
        delete_invalid=config.delete_invalid_records,
        dequeued=parts.metrics.verification_dequeued,
        completed=parts.metrics.verification_completed,
    )
    loops.start(verifier.run(IntervalTicker(VERIFY_INTERVAL)), "verify")
    leases = ExpiredLeases(records=records, released=parts.metrics.leases_released)
    loops.start(leases.run(IntervalTicker(LEASE_INTERVAL)), "release leases")
    _log.info(
        "background verifier started",
        config={
            "verification_interval": format_duration(config.verification_interval),
            "delete_invalid_records": config.delete_invalid_records,
        },
    )


@asynccontextmanager
async def _server(parts: Parts) -> AsyncIterator[Server]:
    config, datastore, metrics = parts.config, parts.datastore, parts.metrics
    layouts = [
        VirtualStorageLayout(
            name=VirtualStorage(vs.name),
            storages=tuple(parts.layouts[VirtualStorage(vs.name)]),
            default_replication_factor=vs.default_replication_factor,
        )
        for vs in config.virtual_storages
    ]
    router = Router(
        layouts=layouts,
        health=parts.health,
        consistent=datastore.cache,
        primaries=parts.elector,
        assignments=datastore.assignments,
        records=datastore.repositories,
        random=random.SystemRandom(),
    )
    coordinator = Coordinator(
        router=router,
        forwarder=Forwarder(
            nodes=parts.nodes, transactions=parts.transactions, sidechannels=SidechannelBridges(parts.sidechannels)
        ),
        finalizer=Finalizer(
            records=datastore.repositories,
            queue=datastore.queue,
            forget=datastore.cache.forget,
            observer=FinalizeObserver(judged=metrics.count_verdict),
        ),
        completions=parts.completions,
        observer=CallObserver(read_routed=metrics.count_read),
    )
    calls = CallMetrics(kind_of=kind_of, buckets=config.prometheus.grpc_latency_buckets)
    metrics.collectors.extend(calls.collectors())
    server = Server(
        authenticate=Authenticator(
            secret=config.auth.token.encode(),
            transitioning=config.auth.transitioning,
            observer=AuthObserver(judged=metrics.count_token),
        ),
        fallback=coordinator.handle,
        observers=[metrics.method_counter, calls, access_log.from_environment("praefect", kind_of)],
    )
    InterceptedMethods(records=datastore.repositories, router=router, nodes=parts.nodes).register(server)
    info = PraefectInfoService(
        layouts=parts.layouts,
        records=datastore.repositories,
        verification=datastore.verification,
        assignments=datastore.assignments,
        factors=datastore.assignments,
        primaries=parts.elector,
        nodes=parts.nodes,
    )
    server.add_service(praefect_pb2.DESCRIPTOR.services_by_name["PraefectInfoService"], info)
    checks = readiness_checks(datastore.checks, datastore.repositories, parts.nodes, parts.layouts)
    server.add_service(
        server_pb2.DESCRIPTOR.services_by_name["ServerService"],
        ServerService(layouts=parts.layouts, nodes=parts.nodes, checks=checks),
    )
    server.add_service(
        transaction_pb2.DESCRIPTOR.services_by_name["RefTransaction"], RefTransactionService(parts.transactions)
    )
    add_health(server)
    add_reflection(server)
    async with server:
        yield server


@asynccontextmanager
async def _backchannel_server(transactions: TransactionManager) -> AsyncIterator[Server]:
    """Serve votes on the connections to the nodes; nobody else can reach it, so there is no token."""
    server = Server()
    server.add_service(
        transaction_pb2.DESCRIPTOR.services_by_name["RefTransaction"], RefTransactionService(transactions)
    )
    async with server:
        yield server


@asynccontextmanager
async def _metrics_endpoint(parts: Parts, tasks: asyncio.TaskGroup, version: str) -> AsyncIterator[None]:
    registry = Registry(
        *parts.metrics.collectors,
        ProcessCollector(),
        RuntimeCollector(),
        BuildInfo(module_path="praefect", version=version),
    )
    database = Registry()
    for query in parts.metrics.database_queries(parts.datastore.repositories, parts.datastore.queue):
        database.register_query(query)
    address = parts.config.prometheus_listen_addr
    _log.info("Starting prometheus listener", address=address)
    async with serve_metrics(
        address,
        registry,
        tasks=tasks,
        query_timeout=parts.config.prometheus.scrape_timeout,
        database=database,
    ):
        yield


def kind_of(method: str) -> str:
    """Return the type of a method as it is served here: what is forwarded is an opaque stream in both directions."""
    info = METHODS.get(method)
    if info is not None and info.intercepted:
        return info.kind
    return _OWN_KINDS.get(method, "bidi_stream")


_OWN_KINDS = {
    "/grpc.health.v1.Health/Check": "unary",
    "/grpc.health.v1.Health/List": "unary",
    "/grpc.health.v1.Health/Watch": "server_stream",
}


def praefect_name(config: PraefectConfig) -> str:
    """Return the name under which this process votes on the health of nodes."""
    try:
        host = socket.gethostname() or str(uuid.uuid4())
    except OSError:
        host = str(uuid.uuid4())
    return f"{host}:{config.listen_addr or config.socket_path}"


def _addresses(config: PraefectConfig) -> dict[VirtualStorage, list[NodeAddress]]:
    return {
        VirtualStorage(vs.name): [
            NodeAddress(storage=Storage(node.storage), address=node.address, token=node.token) for node in vs.nodes
        ]
        for vs in config.virtual_storages
    }


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


def _tls(config: PraefectConfig) -> ServerTls | None:
    tls = config.tls
    if not tls.certificate_path:
        return None
    least = ssl.TLSVersion.TLSv1_3 if tls.min_version is TlsVersion.TLS_1_3 else ssl.TLSVersion.TLSv1_2
    return ServerTls(certificate_path=tls.certificate_path, key_path=tls.key_path, key=tls.key, minimum_version=least)
