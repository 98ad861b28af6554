"""The datastore as a whole: every store over one pool of connections, the read cache and what keeps it true."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore.assignments import AssignmentStore
from praefect.datastore.cache import CacheObserver, ConsistentStoragesCache
from praefect.datastore.checks import CheckStore
from praefect.datastore.cleanups import CleanupStore
from praefect.datastore.comparisons import ComparisonStore
from praefect.datastore.doubts import DoubtStore
from praefect.datastore.election import ElectionStore
from praefect.datastore.failover import FailoverStore
from praefect.datastore.health import HealthStore
from praefect.datastore.layout import Layout
from praefect.datastore.notifications import (
    REPOSITORIES_UPDATES,
    STORAGE_REPOSITORIES_UPDATES,
    ListenerObserver,
    NotificationListener,
)
from praefect.datastore.own_schema import OwnSchema
from praefect.datastore.pool import connect, open_database
from praefect.datastore.queue import QueueStore
from praefect.datastore.reconciler import ReconcilerStore
from praefect.datastore.repositories import RepositoryStore
from praefect.datastore.verification import VerificationStore
from praefect.domain.repository import Storage, VirtualStorage

_CHANNELS = (STORAGE_REPOSITORIES_UPDATES, REPOSITORIES_UPDATES)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreObserver:
    """Whom to tell; the metrics belong to whoever opens the datastore."""

    cache: CacheObserver = field(default_factory=CacheObserver)
    listener: ListenerObserver = field(default_factory=ListenerObserver)


@dataclass(frozen=True, slots=True, kw_only=True)
class Datastore:
    """All that Praefect records; made by ``open_datastore``.

    Attributes:
        repositories: Records of repositories and replicas, their generations, data loss.
        election: Elects primaries.
        failover: Moves primaries by hand.
        assignments: Which storages shall hold a repository.
        queue: The replication queue.
        health: What all Praefects saw of the storages.
        reconciler: Queues repairs.
        verification: When replicas were seen to exist.
        cleanups: Who searches which storage for unknown repositories.
        own_schema: Our own schema, in which doubts are kept.
        doubts: Leases, and writes whose outcome is not recorded yet.
        comparisons: Whose replicas turned out to differ.
        checks: Whether the database is fit to be used.
        cache: Answers reads of known repositories without a query while ``notifications`` runs.
        notifications: Keeps the cache true; its ``run`` belongs into the caller's tasks. Without it nothing is cached.
    """

    repositories: RepositoryStore
    election: ElectionStore
    failover: FailoverStore
    assignments: AssignmentStore
    queue: QueueStore
    health: HealthStore
    reconciler: ReconcilerStore
    verification: VerificationStore
    cleanups: CleanupStore
    own_schema: OwnSchema
    doubts: DoubtStore
    comparisons: ComparisonStore
    checks: CheckStore
    cache: ConsistentStoragesCache
    notifications: NotificationListener


@asynccontextmanager
async def open_datastore(
    config: DatabaseConfig,
    *,
    layouts: Mapping[VirtualStorage, Sequence[Storage]],
    observer: DatastoreObserver | None = None,
) -> AsyncIterator[Datastore]:
    """Open the datastore; PostgreSQL need not be there yet.

    Args:
        config: How to connect.
        layouts: The configured storages of each virtual storage, in the order of the configuration.
        observer: Whom to tell of the cache and the listener.
    """
    layout, observer = Layout(layouts), observer or DatastoreObserver()
    async with open_database(config) as database:
        repositories = RepositoryStore(database, layout)
        cache = ConsistentStoragesCache(
            repositories,
            layout.virtual_storages,
            outage_reads_max_age=config.outage_reads_max_age,
            observer=observer.cache,
        )
        yield Datastore(
            repositories=repositories,
            election=ElectionStore(database),
            failover=FailoverStore(database, layout),
            assignments=AssignmentStore(database, layout),
            queue=QueueStore(database),
            health=HealthStore(database),
            reconciler=ReconcilerStore(database),
            verification=VerificationStore(database),
            cleanups=CleanupStore(database),
            own_schema=OwnSchema(database),
            doubts=DoubtStore(database),
            comparisons=ComparisonStore(database),
            checks=CheckStore(database, config),
            cache=cache,
            notifications=NotificationListener(
                partial(connect, config.direct()), _CHANNELS, [cache], observer=observer.listener
            ),
        )
