"""Plans and applies migrations, with the bookkeeping of sql-migrate, which other Praefects use.

Source: the database reference on the bookkeeping of migrations. Missing migrations are applied in order of their ids,
older ones first. Runs do not lock each other out: of two at once, one fails on what the other has made. On purpose
otherwise: a plan for going back never contains a step forward.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg.rows import DictRow

from praefect.datastore.errors import DatastoreUnavailableError, describe, translated
from praefect.datastore.migrations.files import Migration, load_migrations, migration_order
from praefect.datastore.queries import load_queries
from praefect.domain.errors import FailedPreconditionError, InternalError

_QUERIES = load_queries("migrations")
_STATEMENT_END = " \n;"


class UnknownMigrationError(FailedPreconditionError):
    """The database has a migration that this version does not know.

    Attributes:
        migration_id: The first such migration.
    """

    def __init__(self, migration_id: str) -> None:
        super().__init__(f"Unable to create migration plan because of {migration_id}: unknown migration in database")
        self.migration_id = migration_id


class MigrationError(InternalError):
    """A migration failed; those before it stay applied.

    Attributes:
        migration_id: The migration.
        cause: PostgreSQL's words.
    """

    def __init__(self, migration_id: str, cause: str) -> None:
        super().__init__(f"{cause} handling {migration_id}")
        self.migration_id = migration_id
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """What is recorded of one migration.

    Attributes:
        migration_id: The migration.
        is_known: This version has it.
        is_applied: The database has it.
        applied_at: When, in the time zone of the database's session; None if it was not recorded or not applied.
    """

    migration_id: str
    is_known: bool
    is_applied: bool
    applied_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What a database lacks of this version's migrations, and what it has beyond them, by id."""

    missing: tuple[str, ...]
    unknown: tuple[str, ...]


class Migrator:
    """Migrates one database over one connection, which must be in autocommit mode."""

    def __init__(
        self, connection: psycopg.AsyncConnection[DictRow], migrations: Sequence[Migration] | None = None
    ) -> None:
        self._connection = connection
        self._migrations = load_migrations() if migrations is None else tuple(migrations)

    async def plan_up(self, *, tolerates_unknown: bool = True, limit: int | None = None) -> tuple[Migration, ...]:
        """Return the migrations that are missing, oldest first, at most ``limit`` of them.

        Raises:
            UnknownMigrationError: The database has one that this version does not know, and that is not tolerated.
            DatastoreUnavailableError, QueryError: The bookkeeping could not be read.
        """
        applied = await self._applied()
        if not tolerates_unknown:
            self._refuse_unknown(applied)
        return tuple(migration for migration in self._migrations if migration.migration_id not in applied)[:limit]

    async def plan_down(self, count: int) -> tuple[Migration, ...]:
        """Return the newest ``count`` applied migrations, newest first; raises as ``plan_up`` does."""
        applied = await self._applied()
        self._refuse_unknown(applied)
        present = [migration for migration in self._migrations if migration.migration_id in applied]
        return tuple(reversed(present[-count:])) if count > 0 else ()

    async def status(self) -> tuple[MigrationStatus, ...]:
        """Return every migration that this version or the database knows, sorted by id."""
        applied = await self._applied()
        known = {migration.migration_id for migration in self._migrations}
        return tuple(
            MigrationStatus(
                migration_id=migration_id,
                is_known=migration_id in known,
                is_applied=migration_id in applied,
                applied_at=applied.get(migration_id),
            )
            for migration_id in sorted(known | applied.keys(), key=migration_order)
        )

    async def compare(self) -> Differences:
        """Return how the database differs from this version, reading only; without bookkeeping everything is missing.

        Raises:
            DatastoreUnavailableError, QueryError: The bookkeeping could not be read.
        """
        with translated():
            row = await (await self._connection.execute(_QUERIES["has_bookkeeping"])).fetchone()
            rows = (
                await (await self._connection.execute(_QUERIES["list_applied"])).fetchall()
                if row is not None and row["exists"]
                else []
            )
        known = {migration.migration_id for migration in self._migrations}
        applied = {str(row["id"]) for row in rows}
        return Differences(
            missing=tuple(sorted(known - applied, key=migration_order)),
            unknown=tuple(sorted(applied - known, key=migration_order)),
        )

    async def apply(self, migration: Migration) -> bool:
        """Apply one migration and record it; return False if another process did so meanwhile.

        Raises:
            MigrationError: PostgreSQL refused it; a transactional one has left nothing behind.
            DatastoreUnavailableError: PostgreSQL went away.
        """
        if migration.migration_id in await self._applied():
            return False
        with _blaming(migration):
            if migration.is_transactional:
                async with self._connection.transaction():
                    await self._run(migration.up)
                    await self._connection.execute(_QUERIES["record"], {"id": migration.migration_id})
            else:
                await self._run(migration.up)
                await self._connection.execute(_QUERIES["record"], {"id": migration.migration_id})
        return True

    async def revert(self, migration: Migration) -> None:
        """Take one migration back and delete its record; raises as ``apply`` does."""
        with _blaming(migration):
            async with self._connection.transaction():
                await self._run(migration.down)
                await self._connection.execute(_QUERIES["forget"], {"id": migration.migration_id})

    async def up(self, *, tolerates_unknown: bool = True, limit: int | None = None) -> AsyncIterator[Migration]:
        """Apply what is missing, yielding each migration once it is applied; raises as ``plan_up`` and ``apply`` do."""
        for migration in await self.plan_up(tolerates_unknown=tolerates_unknown, limit=limit):
            await self.apply(migration)
            yield migration

    async def down(self, count: int) -> AsyncIterator[Migration]:
        """Take the newest ones back, yielding each once it is gone; raises as ``plan_down`` and ``apply`` do."""
        for migration in await self.plan_down(count):
            await self.revert(migration)
            yield migration

    async def _applied(self) -> Mapping[str, datetime | None]:
        with translated():
            await self._connection.execute(_QUERIES["create_bookkeeping"])
            rows = await (await self._connection.execute(_QUERIES["list_applied"])).fetchall()
        return {row["id"]: row["applied_at"] for row in rows}

    def _refuse_unknown(self, applied: Mapping[str, datetime | None]) -> None:
        known = {migration.migration_id for migration in self._migrations}
        if unknown := sorted(applied.keys() - known, key=migration_order):
            raise UnknownMigrationError(unknown[0])

    async def _run(self, script: str) -> None:
        # Without parameters a script goes to the server as it is, several statements at once.
        await self._connection.execute(script.rstrip(_STATEMENT_END).encode())


@contextmanager
def _blaming(migration: Migration) -> Iterator[None]:
    try:
        with translated():
            yield
    except DatastoreUnavailableError:
        raise
    except InternalError as exc:
        cause = exc.__cause__
        text = describe(cause) if isinstance(cause, psycopg.Error) else str(exc)
        raise MigrationError(migration.migration_id, text) from exc
