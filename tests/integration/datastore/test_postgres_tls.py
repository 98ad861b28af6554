"""``praefect sql-ping`` against Debian's server: every way to log in, and the reason of every refusal in a line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.debian_postgres import DebianPostgres, needs_debian_postgres, run_debian_postgres
from tests.support.praefect_cli import Result, run_praefect
from tests.support.tls_certificates import Authority, make_authority

pytestmark = [needs_debian_postgres, pytest.mark.asyncio(loop_scope="module")]

PASSWORD = "right password"
ANY_TCP = ("host all all 127.0.0.1/32 scram-sha-256",)
ONLY_TLS = ("hostssl all all 127.0.0.1/32 scram-sha-256",)
ONLY_CLIENT_CERTIFICATES = ("hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full",)
NO_PASSWORDS = ("hostssl all all 127.0.0.1/32 cert",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A server, who vouches for it, and a configuration to try."""

    server: DebianPostgres
    authority: Authority
    stranger: Authority

    async def serve(self, hba: tuple[str, ...], *, tls: bool = True, expired: bool = False) -> None:
        """Have the server accept these log-ins."""
        await self.server.configure(
            hba=hba,
            server=self.authority.issue("127.0.0.1", expired=expired) if tls else None,
            client_authority=self.authority.certificate_path if tls else None,
        )

    async def ping(self, directory: Path, **settings: str | Path | int) -> Result:
        values = {
            "host": "127.0.0.1",
            "port": self.server.port,
            "user": "praefect",
            "password": PASSWORD,
            "dbname": "praefect_production",
            **settings,
        }
        lines = [f"{key} = {value if isinstance(value, int) else repr(str(value))}" for key, value in values.items()]
        config = directory / "config.toml"
        config.write_text(
            'listen_addr = "127.0.0.1:2"\n[[virtual_storage]]\nname = "default"\n[[virtual_storage.node]]\n'
            'storage = "gitaly-1"\naddress = "tcp://127.0.0.1:1"\n[database]\n' + "\n".join(lines)
        )
        return await run_praefect("-config", str(config), "sql-ping")

    def client(self, user: str = "praefect", *, expired: bool = False) -> dict[str, Path]:
        """Return the settings of a client certificate."""
        pair = self.authority.issue(user, expired=expired)
        return {"sslcert": pair.certificate_path, "sslkey": pair.key_path}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with run_debian_postgres() as server:
        # As on the installation page, there by psql.
        await server.execute(
            f"CREATE ROLE praefect WITH LOGIN CREATEDB PASSWORD '{PASSWORD}'",
            "CREATE DATABASE praefect_production WITH OWNER praefect ENCODING UTF8",
        )
        yield Site(
            server=server,
            authority=make_authority(tmp_path_factory.mktemp("authority")),
            stranger=make_authority(tmp_path_factory.mktemp("stranger"), "somebody else"),
        )


def refused(result: Result, *facts: str) -> None:
    """Insist on exit code 1 and one line that holds the facts and no password."""
    assert (result.code, result.stdout, result.stderr.count("\n")) == (1, "", 1), result
    assert result.stderr.startswith("sql open: send ping: ")
    missing = [fact for fact in facts if fact not in result.stderr]
    assert not missing, result.stderr
    assert PASSWORD not in result.stderr


@pytest.mark.parametrize(
    ("mode", "without_tls", "with_tls"),
    [
        ("disable", True, True),
        ("allow", True, True),
        ("prefer", True, True),
        ("require", False, True),
        ("verify-ca", False, True),
        ("verify-full", False, True),
    ],
)
async def test_every_mode_connects_where_the_server_offers_it(
    site: Site, tmp_path: Path, mode: str, without_tls: bool, with_tls: bool
) -> None:
    root = site.authority.certificate_path
    await site.serve(ANY_TCP, tls=False)
    plain = await site.ping(tmp_path, sslmode=mode, sslrootcert=root)
    await site.serve(ANY_TCP)
    encrypted = await site.ping(tmp_path, sslmode=mode, sslrootcert=root)
    assert [plain.code == 0, encrypted.code == 0] == [without_tls, with_tls]
    if not without_tls:
        refused(plain, "server does not support SSL, but SSL was required")
    assert encrypted.ok() == "praefect sql-ping: OK\n"


@pytest.mark.parametrize("mode", ["allow", "prefer", "require", "verify-ca", "verify-full"])
async def test_a_client_certificate_is_shown(site: Site, tmp_path: Path, mode: str) -> None:
    await site.serve(ONLY_CLIENT_CERTIFICATES)
    result = await site.ping(tmp_path, sslmode=mode, sslrootcert=site.authority.certificate_path, **site.client())
    assert result.ok() == "praefect sql-ping: OK\n"


async def test_a_server_that_demands_tls_says_so(site: Site, tmp_path: Path) -> None:
    await site.serve(ONLY_TLS)
    refused(await site.ping(tmp_path, sslmode="disable"), "no pg_hba.conf entry", "no encryption")


async def test_a_missing_client_certificate_is_named(site: Site, tmp_path: Path) -> None:
    await site.serve(ONLY_CLIENT_CERTIFICATES)
    refused(await site.ping(tmp_path, sslmode="require"), "connection requires a valid client certificate")


async def test_a_client_certificate_is_enough(site: Site, tmp_path: Path) -> None:
    await site.serve(NO_PASSWORDS)
    assert (await site.ping(tmp_path, sslmode="require", password="", **site.client())).ok()


async def test_a_client_certificate_of_another_role_is_refused(site: Site, tmp_path: Path) -> None:
    await site.serve(NO_PASSWORDS)
    refused(
        await site.ping(tmp_path, sslmode="require", **site.client("somebody")),
        'certificate authentication failed for user "praefect"',
    )


async def test_an_expired_client_certificate_is_named(site: Site, tmp_path: Path) -> None:
    await site.serve(ONLY_CLIENT_CERTIFICATES)
    refused(await site.ping(tmp_path, sslmode="require", **site.client(expired=True)), "certificate expired")


async def test_an_expired_server_certificate_is_named(site: Site, tmp_path: Path) -> None:
    await site.serve(ANY_TCP, expired=True)
    root = site.authority.certificate_path
    for mode in ("require", "verify-ca"):
        refused(await site.ping(tmp_path, sslmode=mode, sslrootcert=root), "certificate has expired")
    assert (await site.ping(tmp_path, sslmode="require")).ok()


async def test_an_unknown_authority_is_named(site: Site, tmp_path: Path) -> None:
    await site.serve(ANY_TCP)
    for mode in ("require", "verify-ca", "verify-full"):
        result = await site.ping(tmp_path, sslmode=mode, sslrootcert=site.stranger.certificate_path)
        refused(result, "certificate verify failed", "its authority is not in")


async def test_another_host_in_the_certificate_is_named(site: Site, tmp_path: Path) -> None:
    await site.serve(ANY_TCP)
    root = site.authority.certificate_path
    assert (await site.ping(tmp_path, sslmode="verify-ca", sslrootcert=root, host="localhost")).ok()
    refused(
        await site.ping(tmp_path, sslmode="verify-full", sslrootcert=root, host="localhost"),
        'server certificate for "127.0.0.1"',
        'does not match host name "localhost"',
    )


async def test_a_missing_certificate_file_is_named(site: Site, tmp_path: Path) -> None:
    await site.serve(ANY_TCP)
    refused(await site.ping(tmp_path, sslmode="verify-full", sslrootcert="/nowhere.crt"), '"/nowhere.crt"')


async def test_a_wrong_password_is_named(site: Site, tmp_path: Path) -> None:
    await site.serve(ANY_TCP)
    refused(
        await site.ping(tmp_path, password="wrong password"),
        'password authentication failed for user "praefect"',
    )


async def test_a_missing_database_is_named(site: Site, tmp_path: Path) -> None:
    await site.serve(ANY_TCP)
    refused(await site.ping(tmp_path, dbname="nothing"), 'database "nothing" does not exist')


async def test_a_server_that_is_not_there_is_named(site: Site, tmp_path: Path) -> None:
    refused(await site.ping(tmp_path, port=1), "127.0.0.1", "port 1", "Connection refused")
