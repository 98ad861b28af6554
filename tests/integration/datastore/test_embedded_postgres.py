"""The embedded server: what it leaves behind, who may log in, and how it takes over."""

import asyncio
import os
import signal
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore.embedded import EmbeddedPostgres, EmbeddedPostgresError, binaries
from praefect.datastore.embedded.postmaster import find_postmaster
from praefect.datastore.errors import DatastoreUnavailableError
from praefect.datastore.pool import connect

LEAVES_A_SERVER_BEHIND = """
import asyncio, sys
from pathlib import Path
from praefect.datastore.embedded import EmbeddedPostgres

async def main():
    async with EmbeddedPostgres(Path(sys.argv[1])) as server:
        await server.provision(role="praefect", password="secret", database="kept")
        print("running", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def config(server: EmbeddedPostgres, password: str = "secret", database: str = "praefect") -> DatabaseConfig:
    return DatabaseConfig(host=server.host, port=server.port, user="praefect", password=password, dbname=database)


async def test_a_role_gets_a_database_of_its_own(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        for password in ("first", "secret"):
            await server.provision(role="praefect", password=password, database="praefect")
        async with await connect(config(server)) as connection:
            cursor = await connection.execute(
                "SELECT pg_encoding_to_char(encoding) AS encoding, datlocale, datlocprovider, rolcreatedb "
                "FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba "
                "WHERE datname = current_database() AND rolname = current_user"
            )
            assert await cursor.fetchone() == {
                "encoding": "UTF8",
                "datlocale": "C.UTF-8",
                "datlocprovider": "b",
                "rolcreatedb": True,
            }
        with pytest.raises(DatastoreUnavailableError, match="password authentication failed"):
            await connect(config(server, password="first"))


async def test_data_outlives_the_server(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        await server.provision(role="praefect", password="secret", database="praefect")
        async with await connect(config(server)) as connection:
            await connection.execute("CREATE TABLE kept (id integer)")
    async with EmbeddedPostgres(tmp_path / "pg") as server, await connect(config(server)) as connection:
        await connection.execute("SELECT * FROM kept")


async def test_nobody_else_can_look_in(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    async with EmbeddedPostgres(tmp_path / "pg"):
        for private in ("", "cluster", "superuser-password"):
            assert stat.S_IMODE((tmp_path / "pg" / private).stat().st_mode) & 0o077 == 0
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


async def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 30)
    async with EmbeddedPostgres(directory) as server:
        await server.provision(role="praefect", password="secret", database="praefect")
        async with await connect(config(server)):
            pass
        socket_directory = Path(server.host)
        assert len(server.host) <= 90
        assert stat.S_IMODE(socket_directory.stat().st_mode) == 0o700
    assert not socket_directory.exists()


async def test_the_log_goes_where_it_is_wanted(tmp_path: Path) -> None:
    log = tmp_path / "postgres.log"
    async with EmbeddedPostgres(tmp_path / "pg", log=log):
        assert "database system is ready to accept connections" in log.read_text()


async def test_a_server_left_behind_is_replaced(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAVES_A_SERVER_BEHIND, str(tmp_path / "pg"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"running\n"
    process.kill()
    await process.wait()
    cluster = tmp_path / "pg" / "cluster"
    stray = find_postmaster(cluster)
    assert stray is not None

    async with EmbeddedPostgres(tmp_path / "pg") as server, await connect(config(server, database="kept")):
        assert find_postmaster(cluster) not in {None, stray}
    assert find_postmaster(cluster) is None


async def test_a_terminals_interrupt_does_not_reach_the_server(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "pg"):
        process_id = find_postmaster(tmp_path / "pg" / "cluster")
        assert process_id is not None
        assert os.getsid(process_id) == process_id != os.getsid(0)


async def test_a_killed_server_recovers(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "pg") as server:
        await server.provision(role="praefect", password="secret", database="praefect")
        process_id = find_postmaster(tmp_path / "pg" / "cluster")
        assert process_id is not None
        os.kill(process_id, signal.SIGKILL)
    async with EmbeddedPostgres(tmp_path / "pg") as server, await connect(config(server)):
        pass


async def test_another_versions_cluster_is_refused(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "pg"):
        pass
    (tmp_path / "pg" / "cluster" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match="was made by PostgreSQL 9 and cannot be opened by 18"):
        async with EmbeddedPostgres(tmp_path / "pg"):
            pass


async def test_an_interrupted_installation_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "pg" / "cluster.new").mkdir(parents=True)
    (tmp_path / "pg" / "cluster.new" / "half").touch()
    async with EmbeddedPostgres(tmp_path / "pg"):
        pass


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedPostgresError, match='unrecognized configuration parameter "nonsense"'):
        async with EmbeddedPostgres(tmp_path / "pg", settings={"nonsense": "1"}):
            pass


async def test_a_missing_wheel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "find_spec", lambda _name: None)
    with pytest.raises(EmbeddedPostgresError, match=r'pip install "praefect\[embedded\]"'):
        async with EmbeddedPostgres(tmp_path / "pg"):
            pass


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root steps down")
async def test_without_namespaces_root_steps_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_prefix: object) -> bool:
        return False

    monkeypatch.setattr(binaries, "_is_usable", never)
    with tempfile.TemporaryDirectory(prefix="praefect-tests-") as directory:
        reachable = Path(directory)
        reachable.chmod(0o711)
        async with EmbeddedPostgres(reachable / "pg") as server:
            await server.provision(role="praefect", password="secret", database="praefect")
            async with await connect(config(server)):
                process_id = find_postmaster(reachable / "pg" / "cluster")
                assert Path(f"/proc/{process_id}").stat().st_uid == binaries.ACCOUNT
