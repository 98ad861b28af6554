"""The supervisor of an embedded PostgreSQL server: one cluster, reachable over a unix socket only."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

import psycopg
from psycopg import sql

from praefect.datastore.embedded.binaries import Programs, find_programs
from praefect.datastore.embedded.errors import EmbeddedPostgresError
from praefect.datastore.embedded.postmaster import is_ready, stop_stray

SUPERUSER: Final = "postgres"
PORT: Final = 5432
"""Names the socket; no port is opened."""

_SOCKET_PATH_LIMIT: Final = 90
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.01
_LOG_TAIL_BYTES: Final = 2000


class EmbeddedPostgres:
    """A server that runs while the context is open.

    Everything lies in ``data_dir``, which is made private: the cluster, the superuser's password (mode 0600) and, where
    its path is short enough for one, the socket. A server that an earlier process left behind is stopped first.

    Args:
        data_dir: Where the cluster is kept between runs; made if missing.
        log: File for the server's log; ``server.log`` in ``data_dir`` if not given.
        settings: Parameters of the server, such as ``{"fsync": "off"}``.

    Attributes:
        host: Directory of the socket; what libpq calls the host. Set once the server runs.
        port: The port number that names the socket.
    """

    def __init__(
        self, data_dir: Path, *, log: Path | None = None, settings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.host = ""
        self.port = PORT
        self._directory = data_dir.absolute()
        self._cluster = self._directory / "cluster"
        self._password_file = self._directory / "superuser-password"
        self._log = log or self._directory / "server.log"
        self._settings = settings
        self._temporary: Path | None = None
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        """Make the cluster if there is none, and start the server.

        Raises:
            EmbeddedPostgresError: The wheel is missing, the cluster is of another version, or the server fails.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        programs = await find_programs(self._directory)
        programs.give(self._directory)
        await self._install(programs)
        await stop_stray(self._cluster, _STOP_SECONDS)
        self.host = str(self._socket_directory(programs))
        try:
            await self._start(programs)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server; its clients are cut off."""
        await self._stop()

    async def provision(self, *, role: str, password: str, database: str) -> None:
        """Have a role that may log in and create databases, and a database of its own.

        Does what is missing and sets the password; may be repeated.
        """
        # Utility statements take no parameters: the names are quoted by psycopg, and of the password only a verifier
        # leaves this process.
        async with await self._connect_superuser() as connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            known = await connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
            verb = sql.SQL("ALTER") if await known.fetchone() else sql.SQL("CREATE")
            statement = sql.SQL("{} ROLE {} LOGIN CREATEDB PASSWORD {}")
            await connection.execute(statement.format(verb, sql.Identifier(role), sql.Literal(verifier)))
            known = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            if not await known.fetchone():
                statement = sql.SQL("CREATE DATABASE {} OWNER {} ENCODING 'UTF8'")
                await connection.execute(statement.format(sql.Identifier(database), sql.Identifier(role)))

    async def wait(self) -> int:
        """Wait until the server ends by itself; return its exit code, negative for a signal."""
        if self._process is None:
            raise EmbeddedPostgresError("PostgreSQL is not running")
        return await self._process.wait()

    @property
    def process_id(self) -> int:
        """The process id of the running server."""
        if self._process is None:
            raise EmbeddedPostgresError("PostgreSQL is not running")
        return self._process.pid

    async def restart(self) -> None:
        """Start the server again, after stopping it if it has not ended by itself.

        Raises:
            EmbeddedPostgresError: It does not start.
        """
        process, self._process = self._process, None
        if process is not None:
            await _stop_process(process)
        await self._start(await find_programs(self._directory))

    async def _connect_superuser(self) -> psycopg.AsyncConnection[tuple[object, ...]]:
        return await psycopg.AsyncConnection.connect(
            host=self.host,
            port=self.port,
            user=SUPERUSER,
            password=self._password_file.read_text(encoding="ascii"),
            dbname="postgres",
            autocommit=True,
        )

    async def _install(self, programs: Programs) -> None:
        version_file = self._cluster / "PG_VERSION"
        if version_file.exists():
            found = version_file.read_text(encoding="ascii").strip()
            if found != str(programs.major):
                raise EmbeddedPostgresError(
                    f'"{self._cluster}" was made by PostgreSQL {found} and cannot be opened by {programs.major}: '
                    "upgrade it with pg_upgrade or remove it"
                )
            return
        # An initdb that was killed leaves files without PG_VERSION, which the next one would refuse.
        if self._cluster.exists():
            await asyncio.to_thread(shutil.rmtree, self._cluster)
        _write_private(self._password_file, secrets.token_urlsafe(24))
        programs.give(self._password_file)
        unfinished = self._directory / "cluster.new"
        if unfinished.exists():
            await asyncio.to_thread(shutil.rmtree, unfinished)
        await programs.run(
            "initdb",
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-sync",
        )
        unfinished.rename(self._cluster)

    def _socket_directory(self, programs: Programs) -> Path:
        directory = self._directory / "socket"
        if len(os.fsencode(directory)) <= _SOCKET_PATH_LIMIT:
            directory.mkdir(mode=0o700, exist_ok=True)
        else:
            directory = self._temporary = Path(tempfile.mkdtemp(prefix="praefect-postgres-"))
        programs.give(directory)
        return directory

    async def _start(self, programs: Programs) -> None:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        with self._log.open("ab") as log:
            self._process = process = await programs.start(
                "postgres",
                "-D",
                str(self._cluster),
                "-h",
                "",
                "-k",
                self.host,
                "-p",
                str(self.port),
                *settings,
                output=log,
            )
        try:
            async with asyncio.timeout(_START_SECONDS):
                # PostgreSQL offers no signal of readiness but the last line of its pid file.
                while not is_ready(self._cluster, process.pid):
                    if process.returncode is not None:
                        raise EmbeddedPostgresError(f"PostgreSQL did not start: {self._log_tail()}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as exc:
            raise EmbeddedPostgresError(f"PostgreSQL was not ready in time: {self._log_tail()}") from exc

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await _stop_process(process)
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)

    def _log_tail(self) -> str:
        return self._log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()


async def _stop_process(process: asyncio.subprocess.Process) -> None:
    # In this order: cut clients off and write everything; give up what is unwritten, which the next start recovers from
    # the write-ahead log; kill.
    for stop in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.returncode is not None:
            return
        process.send_signal(stop)
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            continue


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
