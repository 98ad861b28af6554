"""Our own schema, ``praefect_own``, beside upstream's tables: how it comes to be, and why it may not.

Whoever serves makes and upgrades it, one process at a time. Other Praefects on the same database never look at it.
"""

from __future__ import annotations

from importlib.resources import files

from praefect.datastore import own_migrations
from praefect.datastore.errors import QueryError
from praefect.datastore.migrations import Migration, load_migrations
from praefect.datastore.pool import Database
from praefect.datastore.queries import load_queries
from praefect.domain.errors import FailedPreconditionError

_QUERIES = load_queries("doubts")
_PRIVILEGE_MISSING = "42501"


class SchemaRefusedError(FailedPreconditionError):
    """The database role may not make or use the schema.

    Attributes:
        grant: the statement that would change that.
    """

    def __init__(self, grant: str) -> None:
        super().__init__(f"the schema praefect_own cannot be created or used; run: {grant}")
        self.grant = grant


class OwnSchema:
    """Makes, upgrades and checks the schema."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prepare(self) -> None:
        """Bring the schema up to date.

        Raises:
            SchemaRefusedError: the role may not.
            DatastoreUnavailableError: PostgreSQL is away.
        """
        await self.check()
        try:
            async with self._database.transaction() as transaction:
                await transaction.execute(_QUERIES["lock_schema"])
                await transaction.execute(_QUERIES["create_schema"])
                await transaction.execute(_QUERIES["create_migrations"])
                applied = {row["id"] for row in await transaction.fetch_all(_QUERIES["list_migrations"])}
                for migration in load_own_migrations():
                    if migration.migration_id not in applied:
                        await transaction.run_script(migration.up)
                        await transaction.execute(_QUERIES["record_migration"], id=migration.migration_id)
        except QueryError as exc:
            if exc.sqlstate == _PRIVILEGE_MISSING:
                raise SchemaRefusedError(await self._grant()) from exc
            raise

    async def check(self) -> None:
        """Tell whether the schema is there or could be made.

        Raises:
            SchemaRefusedError: neither.
        """
        row = await self._database.fetch_one(_QUERIES["schema_exists"])
        if row is None or (not row["may_use"] if row["is_present"] else not row["may_create"]):
            raise SchemaRefusedError(await self._grant())

    async def is_present(self) -> bool:
        """Return whether the schema is there and may be used."""
        row = await self._database.fetch_one(_QUERIES["schema_exists"])
        return row is not None and bool(row["is_present"]) and bool(row["may_use"])

    async def _grant(self) -> str:
        row = await self._database.fetch_one(_QUERIES["schema_exists"])
        if row is None:
            return ""
        if row["is_present"]:
            return f'GRANT USAGE, CREATE ON SCHEMA praefect_own TO "{row["role_name"]}"'
        return f'GRANT CREATE ON DATABASE "{row["database_name"]}" TO "{row["role_name"]}"'


def load_own_migrations() -> tuple[Migration, ...]:
    """Return the migrations of our schema in the order they are applied in."""
    return load_migrations(files(own_migrations))
