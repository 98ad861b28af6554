"""``praefect failover`` against a real database: dry by default, a reason per refusal, losses counted and named."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore import Datastore
from praefect.domain.doubts import Doubt, Incarnation, OpenResult
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage
from tests.support.postgres import Rows, connection, database, datastore, postgres_server
from tests.support.praefect_cli import KNOWN_STORAGES, KNOWN_VIRTUAL_STORAGES, NO_REPOSITORIES

__all__ = ["connection", "database", "datastore", "postgres_server"]

VS = VirtualStorage("default")
ONE, TWO, THREE = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    output: str
    errors: str


Praefect = Callable[..., Awaitable[Result]]


@pytest.fixture
def config(tmp_path: Path, database: DatabaseConfig) -> Path:
    nodes = "".join(
        f'[[virtual_storage.node]]\nstorage = "gitaly-{number}"\naddress = "tcp://127.0.0.1:{number}"\n'
        f"primary = {'true' if number == 2 else 'false'}\n"
        for number in (1, 2, 3)
    )
    path = tmp_path / "config.toml"
    path.write_text(
        f"""listen_addr = "127.0.0.1:1"

[failover]
prefer_designated = true

[database]
host = "{database.host}"
port = {database.port}
user = "{database.user}"
password = "{database.password}"
dbname = "{database.dbname}"

[[virtual_storage]]
name = "default"
{nodes}"""
    )
    return path


@pytest.fixture
def failover(config: Path) -> Praefect:
    async def run(*words: str) -> Result:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "praefect.cli.main",
            "-config",
            str(config),
            "failover",
            *words,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return Result(process.returncode or 0, output.decode(), errors.decode())

    return run


@pytest.fixture
async def repositories(datastore: Datastore, connection: Rows) -> None:
    """Three repositories with their primary on gitaly-1; gitaly-2 is behind in "b"; gitaly-3 is not seen."""
    for number, (path, second) in enumerate({"a": 4, "b": 2, "c": 4}.items(), start=1):
        await connection.run(
            'INSERT INTO repositories (repository_id, virtual_storage, relative_path, generation, "primary") '
            "VALUES (%s, 'default', %s, 4, 'gitaly-1')",
            number,
            path,
        )
        for storage, held in {ONE: 4, TWO: second, THREE: 3}.items():
            await connection.run(
                "INSERT INTO storage_repositories VALUES ('default', %s, %s, %s, %s)", path, storage, held, number
            )
    await datastore.health.record("p1", [(VS, ONE, True), (VS, TWO, True), (VS, THREE, False)])


async def primaries(connection: Rows) -> str:
    rows = await connection.run('SELECT "primary" FROM repositories ORDER BY relative_path')
    return " ".join(str(row[0]).removeprefix("gitaly-") for row in rows)


@pytest.mark.usefixtures("repositories")
async def test_it_shows_what_would_move_and_changes_nothing(failover: Praefect, connection: Rows) -> None:
    result = await failover("-virtual-storage", "default", "-to", "gitaly-2")
    assert result.output == (
        "Virtual storage: default\n"
        "  a: gitaly-1 -> gitaly-2\n"
        '  b: stays on gitaly-1: "gitaly-2" is behind by 2 changes or less\n'
        "  c: gitaly-1 -> gitaly-2\n"
        "2 repositories would move, 1 cannot move, 0 already in place.\n"
        "Nothing was changed; -apply moves them.\n"
    )
    assert (result.code, result.errors) == (1, "1 repository cannot move\n")
    assert await primaries(connection) == "1 1 1"


@pytest.mark.usefixtures("repositories")
async def test_it_moves_when_told_to(failover: Praefect, connection: Rows) -> None:
    result = await failover("-virtual-storage", "default", "-to", "gitaly-2", "-apply")
    assert "2 repositories moved, 1 cannot move, 0 already in place.\n" in result.output
    assert result.code == 1
    assert await primaries(connection) == "2 1 2"
    again = await failover("-virtual-storage", "default", "-to", "gitaly-2", "-apply", "-repository", "a")
    assert again == Result(
        0, "Virtual storage: default\n0 repositories moved, 0 cannot move, 1 already in place.\n", ""
    )


@pytest.mark.usefixtures("repositories")
async def test_a_node_is_emptied(failover: Praefect, connection: Rows) -> None:
    result = await failover("-virtual-storage", "default", "-from", "gitaly-1", "-accept-dataloss", "-apply")
    assert result.output == (
        "Virtual storage: default\n"
        "  a: gitaly-1 -> gitaly-2\n"
        "  b: gitaly-1 -> gitaly-2, losing 2 changes or less, held by gitaly-1, gitaly-3\n"
        "  c: gitaly-1 -> gitaly-2\n"
        "3 repositories moved, 0 cannot move, 0 already in place.\n"
        "1 repository lost 2 changes or less.\n"
    )
    assert result.code == 0
    assert await primaries(connection) == "2 2 2"
    assert await connection.run("SELECT generation FROM repositories WHERE relative_path = 'b'") == [(5,)]


@pytest.mark.usefixtures("repositories")
async def test_primaries_move_back_to_the_designated_node(failover: Praefect, connection: Rows, config: Path) -> None:
    result = await failover("-virtual-storage", "default", "-to-designated", "-repository", "c", "-apply")
    assert result.code == 0, result
    assert await primaries(connection) == "1 1 2"
    config.write_text(config.read_text().replace("prefer_designated = true", "prefer_designated = false"))
    ignored = await failover("-virtual-storage", "default", "-to-designated", "-apply")
    assert ignored == Result(1, "", '"primary = true" is ignored, as failover.prefer_designated is not set\n')


@pytest.mark.usefixtures("repositories")
async def test_a_node_that_nobody_sees_gets_nothing(failover: Praefect, connection: Rows) -> None:
    result = await failover("-virtual-storage", "default", "-to", "gitaly-3", "-accept-dataloss", "-apply")
    assert result.output.count('stays on gitaly-1: "gitaly-3" is not healthy') == 3
    assert result.code == 1
    assert await primaries(connection) == "1 1 1"


async def begin_write(datastore: Datastore, number: int, incarnation: Incarnation) -> None:
    """Begin a write to a repository, by a praefect that lives until its lease is released."""
    await datastore.doubts.take_lease(incarnation, "another")
    path = RelativePath("abc"[number - 1])
    doubt = Doubt(
        incarnation=incarnation,
        number=1,
        repository_id=RepositoryId(number),
        virtual_storage=VS,
        relative_path=path,
        replica_path=ReplicaPath(path),
        full_method="/gitaly.OperationService/UserCommitFiles",
        creates=False,
    )
    assert await datastore.doubts.open(doubt) is OpenResult.OPENED


@pytest.mark.usefixtures("repositories")
async def test_what_an_interrupted_write_left_is_settled_first(
    failover: Praefect, datastore: Datastore, connection: Rows
) -> None:
    dead, alive = Incarnation("dead"), Incarnation("alive")
    await begin_write(datastore, 1, dead)
    await datastore.doubts.release_lease(dead)
    await begin_write(datastore, 3, alive)
    result = await failover("-virtual-storage", "default", "-to", "gitaly-2", "-apply")
    reason = "an interrupted write has not been settled; praefect doubts -settle settles it"
    assert result.output.splitlines()[1:4] == [
        f"  a: stays on gitaly-1: {reason}",
        '  b: stays on gitaly-1: "gitaly-2" is behind by 2 changes or less',
        "  c: gitaly-1 -> gitaly-2",
    ]
    assert await primaries(connection) == "1 1 2"


@pytest.mark.usefixtures("repositories")
async def test_nothing_is_given_up_while_it_is_written(
    failover: Praefect, datastore: Datastore, connection: Rows
) -> None:
    await begin_write(datastore, 2, Incarnation("alive"))
    words = ["-virtual-storage", "default", "-to", "gitaly-2", "-repository", "b", "-accept-dataloss", "-apply"]
    result = await failover(*words)
    assert "b: stays on gitaly-1: it is being written, so what would be lost is not known; try again" in result.output
    assert await primaries(connection) == "1 1 1"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("-virtual-storage", "default"), "give one of -to, -from and -to-designated\n"),
        (("-virtual-storage", "default", "-to", "a", "-from", "b"), "give one of -to, -from and -to-designated\n"),
        (
            ("-virtual-storage", "nowhere", "-to", "gitaly-1"),
            'virtual storage "nowhere" not found\n' + KNOWN_VIRTUAL_STORAGES,
        ),
        (
            ("-virtual-storage", "default", "-to", "x"),
            'virtual storage "default" has no storage "x"\n' + KNOWN_STORAGES,
        ),
        (
            ("-virtual-storage", "default", "-to", "gitaly-1", "-repository", "x"),
            "repository not found\n" + NO_REPOSITORIES,
        ),
    ],
)
async def test_what_cannot_be_meant_is_refused(failover: Praefect, words: tuple[str, ...], error: str) -> None:
    result = await failover(*words)
    assert (result.code, result.errors) == (1, error)
