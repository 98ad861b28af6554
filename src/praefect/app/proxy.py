"""Praefect's composition root: builds the request path and the loops, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from praefect.app.proxy_doubts import build_lease, open_doubts
from praefect.app.proxy_loops import Loops, open_loops, start_loops
from praefect.app.proxy_metrics import ProxyMetrics
from praefect.app.proxy_parts import (
    Parts,
    layouts_of,
    listen_addresses,
    metrics_addresses,
    node_addresses,
    node_options,
    praefect_name,
    server_tls,
)
from praefect.app.proxy_server import open_backchannel_server, open_metrics_endpoint, open_server
from praefect.app.telemetry import open_telemetry
from praefect.app.upgrade import Handover
from praefect.config.praefect import PraefectConfig
from praefect.control.election import Elector
from praefect.control.health import HealthMonitor
from praefect.control.manual_election import ManualElector
from praefect.datastore import Datastore, DatastoreUnavailableError, QueryError, open_datastore
from praefect.domain.errors import PraefectError
from praefect.observability.log import get_logger
from praefect.runtime.completions import Completions
from praefect.runtime.signals import ShutdownError, Stop, stop_on_signals
from praefect.runtime.ticker import IntervalTicker
from praefect.services.ports import PrimaryGetter
from praefect.transactions.manager import TransactionManager
from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.grpc.server import Server
from praefect.transport.http2 import engine as http2_engine
from praefect.transport.listen import Listener, ListenOptions, listen
from praefect.transport.nodes import open_nodes
from praefect.transport.sidechannel import SidechannelRegistry

HEALTH_INTERVAL = timedelta(seconds=1)
CONNECT_SECONDS = 30.0

_log = get_logger()


async def serve(config: PraefectConfig, version: str) -> None:
    """Run praefect until a signal says stop.

    Raises:
        PraefectError: it could not start, or did not stop in time.
    """
    _log.info("Starting Praefect", version=version)
    with Handover(os.environ) as handover, stop_on_signals(hangup_stops=not handover.enabled) as stop:
        async with run_proxy(config, version, stop, handover), asyncio.TaskGroup() as tasks:
            upgrades = tasks.create_task(handover.run(stop), name="upgrade")
            if not stop.requested:
                handover.ready()
            await stop.wait()
            upgrades.cancel()
            handover.stopping()
            _log.warning("starting grace period")
        handover.stopped()


@asynccontextmanager
async def run_proxy(
    config: PraefectConfig, version: str, stop: Stop, handover: Handover | None = None
) -> AsyncIterator[Parts]:
    """Serve until left; on the way out accept no more, let calls end, then stop the loops.

    Where it listens is made sure of before anything is started, and clients are let in last.
    """
    handover = handover or Handover({})
    with handover.reserved([*listen_addresses(config), *metrics_addresses(config)]):
        async with _parts(config, version) as parts, open_loops() as loops:
            _start_listening_loops(parts, loops)
            if not await _wait_for_first_round(parts, stop):
                yield parts
                return
            async with AsyncExitStack() as stack:
                server = await stack.enter_async_context(open_server(parts))
                await stack.enter_async_context(_drained(server, config, stop))
                await _open_listeners(parts, server, stack, handover)
                if config.prometheus_listen_addr:
                    endpoint = open_metrics_endpoint(parts, loops.group, handover.listening_socket)
                    await stack.enter_async_context(endpoint)
                start_loops(parts, loops)
                yield parts


@asynccontextmanager
async def _parts(config: PraefectConfig, version: str) -> AsyncIterator[Parts]:
    layouts = layouts_of(config)
    metrics = ProxyMetrics(config, layouts)
    if config.prometheus_listen_addr and config.prometheus.grpc_latency_buckets:
        _log.info("grpc prometheus histograms enabled", latencies=list(config.prometheus.grpc_latency_buckets))
    sidechannels = SidechannelRegistry()
    async with AsyncExitStack() as stack:
        telemetry = await stack.enter_async_context(
            open_telemetry(
                "praefect", version, dsn=config.sentry.sentry_dsn, environment=config.sentry.sentry_environment
            )
        )
        _log.info("establishing database connection", database_address=f"{config.database.host}:{config.database.port}")
        datastore = await stack.enter_async_context(
            open_datastore(config.database, layouts=layouts, observer=metrics.datastore_observer())
        )
        await _check_database(datastore)
        await _warn_of_migrations(datastore)
        _log.info("database connection established")
        name = praefect_name(config)
        lease = build_lease(datastore, name)
        transactions = TransactionManager(observer=metrics.vote_observer(), may_commit=lease.may_commit)
        backchannel = await stack.enter_async_context(open_backchannel_server(transactions, metrics))
        nodes = await stack.enter_async_context(
            open_nodes(
                node_addresses(config),
                backchannel=backchannel,
                sidechannels=sidechannels,
                options=node_options(config, metrics, telemetry),
            )
        )
        health = HealthMonitor(praefect_name=name, nodes=layouts, checker=nodes, records=datastore.health)
        nodes.on_unreachable = health.report_unreachable
        yield Parts(
            config=config,
            version=version,
            layouts=layouts,
            datastore=datastore,
            nodes=nodes,
            health=health,
            elector=_elector(config, datastore, health),
            transactions=transactions,
            doubts=await stack.enter_async_context(open_doubts(lease, datastore, nodes, transactions)),
            sidechannels=sidechannels,
            metrics=metrics,
            telemetry=telemetry,
            completions=await stack.enter_async_context(Completions(on_failure=_report_unrecorded)),
        )


def _report_unrecorded(_name: str, error: BaseException) -> None:
    """Tell of a write that could not be recorded and whose client has left."""
    _log.error("coordinator proxy stream finalizer failure", error=str(error))


def _elector(config: PraefectConfig, datastore: Datastore, health: HealthMonitor) -> PrimaryGetter:
    _log.info("election strategy", election_strategy=config.failover.election_strategy)
    if config.failover.manual:
        return ManualElector(records=datastore.election, stored=datastore.repositories)
    return Elector(records=datastore.election, evidence=health, praefect_name=praefect_name(config))


async def _check_database(datastore: Datastore) -> None:
    """Refuse to start without a database that can be used; later outages are lived through.

    Raises:
        DatastoreUnavailableError: it does not answer, or not in time.
        ServerTooOldError: it is not supported.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await datastore.checks.ping()
            await datastore.checks.check_server_version()
    except TimeoutError as exc:
        message = f"send ping: no answer within {CONNECT_SECONDS:.0f} s"
        _log.error("SQL connection open failed", error=message)
        raise DatastoreUnavailableError(message) from exc
    except PraefectError as exc:
        _log.error("SQL connection open failed", error=str(exc))
        raise


async def _warn_of_migrations(datastore: Datastore) -> None:
    """Say where the schema is older or newer than this version, which serves nevertheless: an upgrade is no outage."""
    try:
        found = await datastore.checks.compare_migrations()
    except (DatastoreUnavailableError, QueryError) as exc:
        _log.warning("migrations cannot be compared", error=str(exc))
        return
    if found.missing:
        _log.warning("the database lacks migrations, praefect sql-migrate applies them", migrations=list(found.missing))
    if found.unknown:
        _log.warning(
            "the database has migrations that this version does not know, run a version that does",
            migrations=list(found.unknown),
        )


def _start_listening_loops(parts: Parts, loops: Loops) -> None:
    """Start what must have happened once before a client is let in."""
    loops.start(parts.health.run(IntervalTicker(HEALTH_INTERVAL)), "health", last_line="health manager exited")
    _log.info("background started: gitaly nodes health monitoring")
    loops.start(parts.datastore.notifications.run(), "listen", last_line="notifications listener terminated")
    _log.info("reads distribution caching is enabled by configuration")


async def _wait_for_first_round(parts: Parts, stop: Stop) -> bool:
    """Open no listener before a health round is stored and doubts can be; return whether that was before the stop."""

    async def ready() -> None:
        await parts.health.recorded_once.wait()
        await parts.doubts.lease.ready.wait()

    async with asyncio.TaskGroup() as group:
        waits = [
            group.create_task(ready(), name="wait for health and lease"),
            group.create_task(stop.wait(), name="wait for stop"),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
    return parts.health.recorded_once.is_set() and parts.doubts.lease.ready.is_set()


async def _open_listeners(parts: Parts, server: Server, stack: AsyncExitStack, handover: Handover) -> None:
    config, backchannels = parts.config, BackchannelRegistry()
    metrics = parts.metrics
    options = ListenOptions(
        engine=http2_engine(config.http2.engine.value), on_connection=metrics.count_connection, traffic=metrics.traffic
    )
    for address in listen_addresses(config):
        sock = handover.listening_socket(address)
        listener = await stack.enter_async_context(
            listen(address, server, backchannels=backchannels, tls=server_tls(config), sock=sock, options=options)
        )
        stack.callback(_spare_file, listener, handover)
        _log.info("listening at address", address=address.text, schema=address.kind.value)
        _log.info("listening", address=listener.address.text, schema=address.kind.value)


def _spare_file(listener: Listener, handover: Handover) -> None:
    if handover.replaced:
        listener.keep_file()


@asynccontextmanager
async def _drained(server: Server, config: PraefectConfig, stop: Stop) -> AsyncIterator[None]:
    """Let calls end when the block, in which listeners are open, ends by itself; not when something broke."""
    yield
    try:
        async with stop.grace(config.graceful_stop_timeout):
            await server.drain(float("inf"))
    except ShutdownError:
        if stop.forced_by is None:
            _log.info("wait: grace period ticker ticked")
        else:
            _log.info("wait: signal received", signal=int(stop.forced_by))
        raise
    _log.info("wait: stop action completed")
    _log.info("wait: all servers done")
