"""PostgreSQL, as commands open it: at once, within a limit, with upstream's prefixes before the reason."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from praefect.cli.command import CommandError
from praefect.datastore import DatastoreUnavailableError, QueryError, open_datastore
from praefect.datastore.migrations import Migrator, UnknownMigrationError
from praefect.datastore.pool import connect
from praefect.domain.repository import Storage, VirtualStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from praefect.config.praefect import PraefectConfig
    from praefect.datastore import Datastore

OPEN_SECONDS = 30.0
_OUT_OF_TIME = "context deadline exceeded"


def layouts_of(config: PraefectConfig) -> Mapping[VirtualStorage, Sequence[Storage]]:
    """The storages of each virtual storage."""
    return {
        VirtualStorage(name): [Storage(storage) for storage in storages] for name, storages in config.storages().items()
    }


@asynccontextmanager
async def open_migrator(config: PraefectConfig, *, prefix: str) -> AsyncIterator[Migrator]:
    """Connect, for migrations.

    Raises:
        CommandError: there is no connection, or the database has a migration that stands in the way.
    """
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            connection = await connect(config.database)
    except (DatastoreUnavailableError, QueryError, TimeoutError) as exc:
        raise CommandError(f"{prefix}send ping: {str(exc) or _OUT_OF_TIME}") from exc
    async with connection:
        try:
            yield Migrator(connection)
        except UnknownMigrationError as exc:
            raise CommandError(str(exc), hints=[newer_database(exc)]) from exc


def newer_database(error: UnknownMigrationError) -> str:
    """Say what to do about a database that a newer version has migrated."""
    helps = "run a version that knows it, or take it back with that version's sql-migrate-down"
    return f"the database is newer than this version, it has {error.migration_id}; {helps}"


@asynccontextmanager
async def open_records(
    config: PraefectConfig, *, prefix: str, seconds: float = OPEN_SECONDS
) -> AsyncIterator[Datastore]:
    """Open the datastore after a connection has shown that it is there.

    Raises:
        CommandError: it is not.
    """
    async with open_datastore(config.database, layouts=layouts_of(config)) as datastore:
        try:
            async with asyncio.timeout(seconds):
                await datastore.checks.ping()
        except (DatastoreUnavailableError, QueryError) as exc:
            raise CommandError(f"{prefix}{exc}") from exc
        except TimeoutError as exc:
            raise CommandError(f"{prefix}send ping: {_OUT_OF_TIME}") from exc
        yield datastore
