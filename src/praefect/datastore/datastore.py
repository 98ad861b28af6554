"""The datastore as a whole: every store over one pool of connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore.assignments import AssignmentStore
from praefect.datastore.election import ElectionStore
from praefect.datastore.health import HealthStore
from praefect.datastore.layout import Layout
from praefect.datastore.pool import open_database
from praefect.datastore.queue import QueueStore
from praefect.datastore.repositories import RepositoryStore
from praefect.domain.repository import Storage, VirtualStorage


@dataclass(frozen=True, slots=True, kw_only=True)
class Datastore:
    """All that Praefect records; made by ``open_datastore``."""

    repositories: RepositoryStore
    election: ElectionStore
    assignments: AssignmentStore
    queue: QueueStore
    health: HealthStore


@asynccontextmanager
async def open_datastore(
    config: DatabaseConfig, *, layouts: Mapping[VirtualStorage, Sequence[Storage]]
) -> AsyncIterator[Datastore]:
    """Open the datastore; PostgreSQL need not be there yet.

    Args:
        config: How to connect.
        layouts: The configured storages of each virtual storage, in the order of the configuration.
    """
    layout = Layout(layouts)
    async with open_database(config) as database:
        yield Datastore(
            repositories=RepositoryStore(database, layout),
            election=ElectionStore(database),
            assignments=AssignmentStore(database, layout),
            queue=QueueStore(database),
            health=HealthStore(database),
        )
