"""Metrics that are asked of the database at each scrape; the same on every Praefect of a cluster.

Source: the reference on Praefect's metrics, ``/db_metrics``.
"""

from __future__ import annotations

from datetime import timedelta

from praefect.app.proxy_parts import Layouts, Parts
from praefect.datastore import Datastore
from praefect.datastore.queue import QueueStore
from praefect.datastore.repositories import RepositoryStore
from praefect.datastore.verification import VerificationStore
from praefect.observability.metrics import Family, MetricType, Query


def database_queries(parts: Parts) -> list[Query]:
    """Return all of them."""
    datastore = parts.datastore
    queries = [
        _unavailable(datastore.repositories, parts.layouts),
        _queue_depth(datastore.queue),
        _behind(datastore.repositories, parts.layouts),
        _unsettled(datastore, parts.layouts),
    ]
    interval = parts.config.background_verification.verification_interval
    if interval > timedelta(0):
        queries.append(_verification_depth(datastore.verification, parts.layouts, interval))
    return queries


def _unavailable(repositories: RepositoryStore, layouts: Layouts) -> Query:
    async def ask() -> list[Family]:
        family = _gauge("gitaly_praefect_unavailable_repositories", "Repositories without a valid primary.")
        counts = await repositories.count_unavailable()
        for virtual_storage in layouts:
            family.add(counts.get(virtual_storage, 0), {"virtual_storage": virtual_storage})
        return [family]

    return Query(
        ask=ask,
        component="RepositoryStoreCollector",
        failure="failed collecting unavailable repository count metric",
    )


def _queue_depth(queue: QueueStore) -> Query:
    async def ask() -> list[Family]:
        family = _gauge("gitaly_praefect_replication_queue_depth", "Jobs in the replication queue.")
        for depth in await queue.get_depths():
            labels = {
                "virtual_storage": depth.virtual_storage,
                "target_node": depth.target_node_storage,
                "state": depth.state.value,
            }
            family.add(depth.events, labels)
        return [family]

    return Query(ask=ask, component="queue_depth_collector", failure="failed to query queue depth metrics")


def _verification_depth(verification: VerificationStore, layouts: Layouts, interval: timedelta) -> Query:
    async def ask() -> list[Family]:
        family = _gauge("gitaly_praefect_verification_queue_depth", "Replicas that are due for verification.")
        depths = {(depth.virtual_storage, depth.storage): depth for depth in await verification.get_depths(interval)}
        for virtual_storage, storages in layouts.items():
            for storage in storages:
                depth = depths.get((virtual_storage, storage))
                labels = {"virtual_storage": virtual_storage, "storage": storage}
                family.add(depth.unverified if depth else 0, {**labels, "status": "unverified"})
                family.add(depth.expired if depth else 0, {**labels, "status": "expired"})
        return [family]

    return Query(
        ask=ask,
        component="verification_queue_depth_collector",
        failure="failed to query verification queue depth metric",
    )


def _behind(repositories: RepositoryStore, layouts: Layouts) -> Query:
    """Not upstream's: how far repairs have come."""

    async def ask() -> list[Family]:
        family = _gauge("praefect_replicas_behind", "Replicas that are behind their repository.")
        counts = await repositories.count_behind()
        for virtual_storage, storages in layouts.items():
            for storage in storages:
                labels = {"virtual_storage": virtual_storage, "storage": storage}
                family.add(counts.get((virtual_storage, storage), 0), labels)
        return [family]

    return Query(ask=ask, component="RepositoryStoreCollector", failure="failed collecting replicas that are behind")


def _unsettled(datastore: Datastore, layouts: Layouts) -> Query:
    """Not upstream's: what our own schema holds, nothing where that may not be used."""

    async def ask() -> list[Family]:
        if not await datastore.own_schema.is_present():
            return []
        doubts = _gauge("praefect_open_doubts", "Writes whose outcome is not recorded.")
        read_only = _gauge("praefect_read_only_repositories", "Repositories whose replicas differ without a majority.")
        open_doubts, disagreements = await datastore.doubts.count(), await datastore.comparisons.count()
        for virtual_storage in layouts:
            live, lapsed = open_doubts.get(virtual_storage, (0, 0))
            doubts.add(live, {"virtual_storage": virtual_storage, "state": "live"})
            doubts.add(lapsed, {"virtual_storage": virtual_storage, "state": "lapsed"})
            read_only.add(disagreements.get(virtual_storage, 0), {"virtual_storage": virtual_storage})
        return [doubts, read_only]

    return Query(ask=ask, component="DoubtCollector", failure="failed collecting doubts")


def _gauge(name: str, description: str) -> Family:
    return Family(name=name, help=description, type=MetricType.GAUGE)
