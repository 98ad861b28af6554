"""Praefect's servers: the one clients reach, the one nodes vote on, the one that is scraped."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from praefect.app.proxy_database_metrics import database_queries
from praefect.app.proxy_metrics import ProxyMetrics, kind_of
from praefect.app.proxy_parts import Parts
from praefect.config.praefect import VirtualStorageConfig
from praefect.domain.repository import Storage, VirtualStorage
from praefect.observability.log import add_request_fields, get_logger
from praefect.observability.metrics import Registry
from praefect.observability.metrics_server import serve_metrics
from praefect.observability.process_metrics import BuildInfo, ProcessCollector, RuntimeCollector
from praefect.proto import praefect_pb2, server_pb2, transaction_pb2
from praefect.proxy.auth import Authenticator, AuthObserver
from praefect.proxy.coordinator import CallObserver, Coordinator
from praefect.proxy.finalize import FinalizeObserver, Finalizer
from praefect.proxy.forward import ReadForwarder
from praefect.proxy.forward_write import WriteForwarder
from praefect.proxy.node_calls import NodeCalls
from praefect.proxy.route import Router, VirtualStorageLayout
from praefect.services.info import PraefectInfoService
from praefect.services.intercepted import InterceptedMethods
from praefect.services.readiness import readiness_checks
from praefect.services.ref_transaction import RefTransactionService
from praefect.services.server import ServerService
from praefect.transactions.manager import TransactionManager
from praefect.transport.addresses import ListenAddress
from praefect.transport.grpc import access_log
from praefect.transport.grpc.health import add_health
from praefect.transport.grpc.reflection import add_reflection
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.sidechannel import SidechannelBridges

_log = get_logger()


@asynccontextmanager
async def open_server(parts: Parts) -> AsyncIterator[Server]:
    """Serve clients; leaving cuts off what still runs."""
    config, metrics = parts.config, parts.metrics
    router = _router(parts)
    server = Server(
        authenticate=Authenticator(
            secret=config.auth.token.encode(),
            transitioning=config.auth.transitioning,
            observer=AuthObserver(judged=metrics.count_token),
        ),
        fallback=_coordinator(parts, router).handle,
        observers=[
            metrics.method_counter,
            metrics.calls,
            access_log.from_environment("praefect", kind_of),
            *parts.telemetry.served,
        ],
    )
    _add_services(parts, router, server)
    metrics.show_methods(server.services)
    async with server:
        yield server


@asynccontextmanager
async def open_backchannel_server(transactions: TransactionManager, metrics: ProxyMetrics) -> AsyncIterator[Server]:
    """Serve votes on the connections to the nodes; nobody else can reach it, so there is no token."""
    fields = access_log.AccessLog(program="backchannel", kind_of=kind_of, is_logged=lambda _method: False)
    server = Server(observers=[metrics.calls, metrics.count_flags, fields, _vote_fields])
    server.add_service(
        transaction_pb2.DESCRIPTOR.services_by_name["RefTransaction"], RefTransactionService(transactions)
    )
    async with server:
        yield server


def _vote_fields(_call: ServerCall) -> None:
    """Name the component in what is logged during a vote; votes have no line of their own."""
    add_request_fields({"component": "backchannel.PraefectServer"})


@asynccontextmanager
async def open_metrics_endpoint(
    parts: Parts, tasks: asyncio.TaskGroup, open_socket: Callable[[ListenAddress], socket.socket]
) -> AsyncIterator[None]:
    """Serve the pages of metrics, on a socket that ``open_socket`` gives."""
    registry = Registry(
        *parts.metrics.collectors,
        ProcessCollector(),
        RuntimeCollector(),
        BuildInfo(module_path="praefect", version=parts.version),
    )
    database = Registry()
    for query in database_queries(parts):
        database.register_query(query)
    address = parts.config.prometheus_listen_addr
    _log.info("Starting prometheus listener", address=address)
    async with serve_metrics(
        open_socket(ListenAddress.parse(address)),
        registry,
        tasks=tasks,
        query_timeout=parts.config.prometheus.scrape_timeout,
        database=database,
    ):
        yield


def _router(parts: Parts) -> Router:
    layouts = [
        VirtualStorageLayout(
            name=VirtualStorage(vs.name),
            storages=tuple(parts.layouts[VirtualStorage(vs.name)]),
            default_replication_factor=vs.default_replication_factor,
            minimum_copies=vs.minimum_copies,
            designated=_designated(vs) if parts.config.failover.prefer_designated else None,
        )
        for vs in parts.config.virtual_storages
    ]
    return Router(
        layouts=layouts,
        health=parts.health,
        consistent=parts.datastore.cache,
        primaries=parts.elector,
        assignments=parts.datastore.assignments,
        records=parts.datastore.repositories,
        random=random.Random(),  # noqa: S311 - spreads load, keeps no secret
        primaries_move=not parts.config.failover.manual,
    )


def _designated(virtual_storage: VirtualStorageConfig) -> Storage | None:
    return next((Storage(node.storage) for node in virtual_storage.nodes if node.primary), None)


def _coordinator(parts: Parts, router: Router) -> Coordinator:
    datastore, metrics = parts.datastore, parts.metrics
    calls = NodeCalls(parts.nodes)
    return Coordinator(
        router=router,
        reads=ReadForwarder(calls=calls, sidechannels=SidechannelBridges(parts.sidechannels)),
        writes=WriteForwarder(calls=calls, transactions=parts.transactions, registered=metrics.count_voters),
        finalizer=Finalizer(
            records=datastore.repositories,
            queue=datastore.queue,
            forget=datastore.cache.forget,
            doubts=parts.doubts,
            observer=FinalizeObserver(
                judged=metrics.count_verdict,
                enqueued=parts.job_enqueued,
                single_copy=metrics.count_single_copy,
            ),
        ),
        completions=parts.completions,
        doubts=parts.doubts,
        observer=CallObserver(read_routed=metrics.count_read),
    )


def _add_services(parts: Parts, router: Router, server: Server) -> None:
    """Add what Praefect answers itself."""
    datastore = parts.datastore
    intercepted = InterceptedMethods(
        records=datastore.repositories,
        router=router,
        nodes=parts.nodes,
        forget=datastore.cache.forget,
        wait_readable=parts.doubts.wait_readable,
    )
    intercepted.register(server)
    info = PraefectInfoService(
        layouts=parts.layouts,
        records=datastore.repositories,
        verification=datastore.verification,
        assignments=datastore.assignments,
        factors=datastore.assignments,
        primaries=parts.elector,
        nodes=parts.nodes,
        disagreements=parts.doubts,
    )
    server.add_service(praefect_pb2.DESCRIPTOR.services_by_name["PraefectInfoService"], info)
    checks = readiness_checks(datastore.checks, datastore.repositories, parts.nodes, parts.layouts)
    server.add_service(
        server_pb2.DESCRIPTOR.services_by_name["ServerService"],
        ServerService(layouts=parts.layouts, nodes=parts.nodes, health=parts.health, checks=checks),
    )
    server.add_service(
        transaction_pb2.DESCRIPTOR.services_by_name["RefTransaction"], RefTransactionService(parts.transactions)
    )
    add_health(server)
    add_reflection(server)
