"""What tells an operator whether the database is fit to be used."""

from __future__ import annotations

from typing import Final

import psycopg

from praefect.config.praefect_sections import ConnectionConfig
from praefect.datastore.errors import DatastoreUnavailableError, QueryError, translate
from praefect.datastore.migrations import Differences, Migrator
from praefect.datastore.pool import Database, connect
from praefect.datastore.queries import load_queries
from praefect.datastore.tls_diagnosis import explain_certificate
from praefect.domain.errors import FailedPreconditionError

_QUERIES = load_queries("checks")

OLDEST_SERVER: Final = 110000
_ASYNCHRONOUS: Final = frozenset({"off", "local"})
_TLS_FAILURE: Final = "SSL error"


class ServerTooOldError(FailedPreconditionError):
    """The server's version is not supported.

    Attributes:
        version: The server's version, as PostgreSQL numbers it.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"postgres server version too old: {version}")
        self.version = version


class ReadWriteCheckError(FailedPreconditionError):
    """The database could not be read or written."""


class LossySwitchOverError(FailedPreconditionError):
    """What was acknowledged last may be missing after a switch-over of PostgreSQL."""


class CheckStore:
    """Checks of the database."""

    def __init__(self, database: Database, config: ConnectionConfig) -> None:
        self._database = database
        self._config = config

    async def ping(self) -> None:
        """Connect anew, which tells best why that does not work.

        Raises:
            DatastoreUnavailableError: It did not work.
        """
        try:
            async with await connect(self._config):
                pass
        except DatastoreUnavailableError as exc:
            reason = await explain_certificate(self._config) if _TLS_FAILURE in str(exc) else None
            raise DatastoreUnavailableError(f"send ping: {exc}{f': {reason}' if reason else ''}") from exc

    async def check_server_version(self) -> int:
        """Return the server's version.

        Raises:
            ServerTooOldError: It is not supported.
        """
        row = await self._database.fetch_one(_QUERIES["server_version"])
        version = 0 if row is None else int(row["version"])
        if version < OLDEST_SERVER:
            raise ServerTooOldError(version)
        return version

    async def count_missing_migrations(self) -> int:
        """Return how many migrations the database lacks.

        Raises:
            UnknownMigrationError: It has one that this version does not know.
        """
        async with self._database.connection() as connection:
            return len(await Migrator(connection).plan_up(tolerates_unknown=False))

    async def compare_migrations(self) -> Differences:
        """Return which migrations the database lacks and which ones only it knows; changes nothing."""
        async with self._database.connection() as connection:
            return await Migrator(connection).compare()

    async def check_standbys(self) -> None:
        """Tell whether a switch-over would keep all that was recorded; only where one is possible.

        Raises:
            LossySwitchOverError: It would not; the message names the setting.
        """
        row = await self._database.fetch_one(_QUERIES["standbys"])
        if row is None or not (row["standbys"] or "," in self._config.host):
            return
        if row["commit_mode"] in _ASYNCHRONOUS:
            raise LossySwitchOverError(
                f"synchronous_commit is {row['commit_mode']}: what was recorded last is lost if PostgreSQL fails or "
                "switches over; set it to on"
            )
        if not row["are_waited_for"]:
            raise LossySwitchOverError(
                "no standby is synchronous: what was recorded last is lost if PostgreSQL switches over; name standbys "
                "in synchronous_standby_names"
            )

    async def check_read_write(self) -> None:
        """Read and write a row in a transaction that is rolled back.

        Raises:
            ReadWriteCheckError: The message says which of the two failed, and why.
            DatastoreUnavailableError: PostgreSQL is away.
        """
        try:
            async with self._database.connection() as connection, connection.transaction(force_rollback=True):
                await _step(connection, "read", "error reading from table: ")
                if await _step(connection, "write", "error writing to table: ") != 1:
                    raise ReadWriteCheckError("failed to insert row")
        except QueryError as exc:
            raise ReadWriteCheckError(f"error starting transaction: {exc}") from exc


async def _step(connection: psycopg.AsyncConnection[dict[str, object]], query: str, prefix: str) -> int:
    try:
        return (await connection.execute(_QUERIES[query])).rowcount
    except psycopg.Error as exc:
        error = translate(exc)
        if isinstance(error, DatastoreUnavailableError):
            raise error from exc
        raise ReadWriteCheckError(f"{prefix}{error}") from exc
