"""Debian's PostgreSQL (package postgresql), as a private server of a test: the one with TLS, unlike the embedded one.

The server runs as user ``postgres`` when the tests run as root, which it refuses to be.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import pytest

from praefect.app.layout import free_ports
from tests.support.tls_certificates import Pair

SUPERUSER: Final = "postgres"
START_SECONDS: Final = 60.0
UNSAFE_BUT_FAST: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def find_programs() -> Path | None:
    """Return the newest directory of server programs, ``None`` where the package is missing."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


needs_debian_postgres = pytest.mark.skipif(
    find_programs() is None, reason="Debian's package postgresql is not installed (apt-get install postgresql)"
)


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs the server."""

    uid: int
    gid: int

    @classmethod
    def unprivileged(cls) -> Account:
        """Return this process's account, that of ``postgres`` if it is root's."""
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid())
        entry = pwd.getpwnam("postgres")
        return cls(entry.pw_uid, entry.pw_gid)

    def give(self, path: Path) -> None:
        """Make a file or directory the account's."""
        os.chown(path, self.uid, self.gid)


class DebianPostgres:
    """A running server; made by ``run_debian_postgres``."""

    def __init__(self, directory: Path, account: Account, host: str, port: int) -> None:
        self.directory = directory
        self.host = host
        self.port = port
        self._account = account
        self._process: asyncio.subprocess.Process | None = None

    @property
    def cluster(self) -> Path:
        """The data directory."""
        return self.directory / "cluster"

    async def execute(self, *statements: str) -> list[tuple[object, ...]]:
        """Run statements as superuser over the unix socket; return the rows of the last."""
        connection = await psycopg.AsyncConnection.connect(
            host=str(self.directory), port=self.port, user=SUPERUSER, dbname="postgres", autocommit=True
        )
        async with connection:
            rows: list[tuple[object, ...]] = []
            for statement in statements:
                cursor = await connection.execute(statement.encode())
                rows = await cursor.fetchall() if cursor.description else []
            return rows

    async def configure(
        self, *, hba: Sequence[str], server: Pair | None = None, client_authority: Path | None = None
    ) -> None:
        """Say who may log in over TCP and how, and have the running server heed it.

        Args:
            hba: lines of pg_hba.conf.
            server: certificate and key to serve TLS with; without them there is none.
            client_authority: who signs the certificates of clients.
        """
        settings = {"ssl": "off"}
        if server is not None:
            settings = {
                "ssl": "on",
                "ssl_cert_file": str(self._copy(server.certificate_path, "server.crt")),
                "ssl_key_file": str(self._copy(server.key_path, "server.key")),
            }
        if client_authority is not None:
            settings["ssl_ca_file"] = str(self._copy(client_authority, "clients.crt"))
        self._write(settings, hba)
        if self._process is None:
            return
        [before] = await self.execute("SELECT pg_conf_load_time()")
        self._process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(START_SECONDS):
            while await self.execute("SELECT pg_conf_load_time()") == [before]:  # noqa: ASYNC110 - the server's event
                await asyncio.sleep(0.01)

    def _copy(self, source: Path, name: str) -> Path:
        target = self.directory / name
        target.unlink(missing_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o600)
        self._account.give(target)
        return target

    def _write(self, settings: Mapping[str, str], hba: Sequence[str]) -> None:
        values = {
            **UNSAFE_BUT_FAST,
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            **settings,
        }
        (self.cluster / "postgresql.conf").write_text("".join(f"{key} = '{value}'\n" for key, value in values.items()))
        (self.cluster / "pg_hba.conf").write_text("\n".join(["local all all trust", *hba, ""]))

    async def _install(self, programs: Path) -> None:
        process = await self._start(
            programs / "initdb",
            f"--pgdata={self.cluster}",
            f"--username={SUPERUSER}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()

    async def _serve(self, programs: Path) -> None:
        self._process = await self._start(programs / "postgres", "-D", str(self.cluster))
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    await self.execute("SELECT 1")
                except psycopg.OperationalError:
                    assert self._process.returncode is None, (self.directory / "log").read_text()
                    await asyncio.sleep(0.02)
                else:
                    return

    async def _stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
            await self._process.wait()

    async def _start(self, program: Path, *arguments: str) -> asyncio.subprocess.Process:
        as_other = {} if os.geteuid() else {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}
        with (self.directory / "log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                str(program),
                *arguments,
                cwd=self.directory,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **as_other,  # type: ignore[arg-type]  # two ints and a list
            )


@asynccontextmanager
async def run_debian_postgres(*, host: str = "127.0.0.1", port: int | None = None) -> AsyncIterator[DebianPostgres]:
    """Run a server, which nobody may log in to over TCP before ``configure``, until the block is left."""
    programs = find_programs()
    assert programs is not None
    account = Account.unprivileged()
    # Not pytest's directory: on it and above, the account may not be allowed to pass.
    directory = Path(tempfile.mkdtemp(prefix="praefect-debian-postgres-"))
    account.give(directory)
    server = DebianPostgres(directory, account, host, port or free_ports(1)[0])
    try:
        await server._install(programs)
        await server.configure(hba=[])
        await server._serve(programs)
        yield server
    finally:
        await server._stop()
        shutil.rmtree(directory)
