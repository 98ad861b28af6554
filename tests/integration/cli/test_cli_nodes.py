"""The commands that call nodes: dial-nodes and check."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from praefect.config.praefect import DatabaseConfig
from praefect.datastore.migrations import load_migrations
from praefect.proto import server_pb2
from tests.support.postgres import Rows
from tests.support.praefect_cli import (
    INTERNAL_TOKEN,
    FakeNode,
    Installation,
    Result,
    run_praefect,
    serve_node,
    storage_status,
    write_config,
)


async def dial(tmp_path: Path, address: str, *words: str, token: str = INTERNAL_TOKEN, more: str = "") -> Result:
    nodes = {"gitaly-1": (address, token)}
    path = write_config(tmp_path / "config.toml", database=None, nodes=nodes)
    path.write_text(path.read_text() + more)
    return await run_praefect("-config", str(path), "dial-nodes", *words)


def lines(result: Result, address: str) -> list[str]:
    assert all(line.startswith(f"[{address}]: ") for line in result.stdout.splitlines())
    return [line.removeprefix(f"[{address}]: ") for line in result.stdout.splitlines()]


def failed(result: Result, address: str) -> bool:
    return (result.code, result.stderr) == (1, f"the following nodes are not healthy: {address}\n")


REACHED = ["dialing...", "dialed successfully!", "checking health..."]
HEALTHY = [*REACHED, "SUCCESS: node is healthy!", "checking consistency..."]


async def test_good_nodes(nodes: Installation) -> None:
    output = (await nodes("dial-nodes")).ok().splitlines()
    for storage, address in nodes.addresses.items():
        assert [line for line in output if f"[{address}]" in line] == [
            *(f"[{address}]: {text}" for text in HEALTHY),
            f'[{address}]: SUCCESS: confirmed Gitaly storage "{storage}" in virtual storages [default] is served',
            f"[{address}]: SUCCESS: node configuration is consistent!",
        ]


async def test_a_storage_of_two_virtual_storages(tmp_path: Path) -> None:
    async with serve_node(FakeNode(statuses=[storage_status("gitaly-1"), storage_status("other")])) as address:
        more = (
            '[[virtual_storage]]\nname = "second"\n[[virtual_storage.node]]\nstorage = "gitaly-1"\n'
            f'address = "{address}"\ntoken = "{INTERNAL_TOKEN}"\n'
        )
        result = await dial(tmp_path, address, more=more)
        text = 'SUCCESS: confirmed Gitaly storage "gitaly-1" in virtual storages [default second] is served'
        assert lines(result, address) == [*HEALTHY, text, "SUCCESS: node configuration is consistent!"]


async def test_a_dead_node(tmp_path: Path) -> None:
    address = "tcp://127.0.0.1:1"
    result = await dial(tmp_path, address)
    assert failed(result, address)
    assert lines(result, address) == [
        *REACHED,
        (
            "ERROR: unable to request health check: rpc error: code = Unavailable desc = connection error: "
            'desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"'
        ),
    ]


async def test_an_address_without_scheme(tmp_path: Path) -> None:
    result = await dial(tmp_path, "gitaly-2:8075")
    assert failed(result, "gitaly-2:8075")
    assert lines(result, "gitaly-2:8075") == [
        "dialing...",
        'ERROR: dialing failed: invalid connection string: "gitaly-2:8075"',
    ]


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("wrong", "code = PermissionDenied desc = permission denied: wrong hmac signature"),
        ("", "code = Unauthenticated desc = authentication required"),
    ],
)
async def test_a_wrong_token_is_found_by_the_call_behind_the_health_check(
    tmp_path: Path, token: str, reason: str
) -> None:
    async with serve_node(FakeNode(statuses=[storage_status("gitaly-1")])) as address:
        result = await dial(tmp_path, address, token=token)
        assert failed(result, address)
        assert lines(result, address) == [
            *HEALTHY,
            f"ERROR: failed to receive state from the remote: rpc error: {reason}",
            "ERROR: consistency check failed",
        ]


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ([], "remote has no configured storages"),
        ([storage_status("other")], 'configured storage was not reported by remote: "gitaly-1"'),
        (
            [storage_status("gitaly-1", writeable=False)],
            'storage "gitaly-1" is not readable or writable',
        ),
        ([storage_status("x"), storage_status("x")], 'remote has duplicated storage: "x"'),
    ],
)
async def test_a_node_with_other_storages(
    tmp_path: Path, statuses: list[server_pb2.ServerInfoResponse.StorageStatus], reason: str
) -> None:
    async with serve_node(FakeNode(statuses=statuses)) as address:
        result = await dial(tmp_path, address)
        assert failed(result, address)
        assert lines(result, address) == [*HEALTHY, f"ERROR: {reason}", "ERROR: consistency check failed"]


async def test_a_node_that_is_not_serving(tmp_path: Path) -> None:
    async with serve_node(FakeNode(statuses=[]), healthy=False) as address:
        result = await dial(tmp_path, address)
        assert failed(result, address)
        assert lines(result, address)[-1] == (
            "ERROR: health check did not report serving, instead reported: NOT_SERVING"
        )


@asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Accept connections and say nothing; yield the address, and an event that a connection sets."""
    accepted, released = asyncio.Event(), asyncio.Event()

    async def be_silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await released.wait()
        writer.close()

    server = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    try:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", accepted
    finally:
        released.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("limit", ["300ms", "-1s"])
async def test_a_silent_node_is_given_up(tmp_path: Path, limit: str) -> None:
    async with silent_server() as (address, _):
        result = await dial(tmp_path, address, "-timeout", limit)
    assert result.stdout.splitlines()[-1].endswith(
        "ERROR: unable to request health check: rpc error: code = DeadlineExceeded desc = context deadline exceeded"
    )


async def test_an_interrupt_ends_a_command_at_once(tmp_path: Path) -> None:
    async with silent_server() as (address, accepted):
        path = write_config(tmp_path / "config.toml", database=None, nodes={"gitaly-1": (address, "")})
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "praefect.cli.main", "dial-nodes", "-config", str(path), "-timeout", "1h"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await accepted.wait()
        process.send_signal(signal.SIGINT)
        _, stderr = await process.communicate()
        assert (process.returncode, stderr) == (130, b"")


async def test_a_reader_that_has_seen_enough_is_no_crash(nodes: Installation) -> None:
    command = f"{sys.executable} -m praefect.cli.main -config {nodes.path} dial-nodes | head -n 1"
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await process.communicate()
    assert stdout.count(b"\n") == 1
    assert stderr == b""


# --- check ---


async def test_all_checks_pass(nodes: Installation) -> None:
    assert (await nodes("check", "-q")).ok() == (
        "Checking praefect migrations...Passed\n"
        "Checking gitaly node connectivity & disk access...Passed\n"
        "Checking database read/write...Passed\n"
        "Checking unavailable repositories...Passed\n"
        "\n"
        "All checks passed.\n"
    )


async def test_checks_show_their_steps(nodes: Installation) -> None:
    output = (await nodes("check")).ok().splitlines()
    assert output[0].startswith("Checking praefect migrations - ")
    assert output[0].endswith(" [fatal]")
    assert output[1] == "Passed"
    assert output[2].startswith("Checking gitaly node connectivity & disk access - ")
    assert "[tcp://" in output[3]
    start = next(number for number, line in enumerate(output) if line.startswith("Checking database read/write - "))
    assert output[start + 1 : start + 4] == [
        "successfully read from database",
        "successfully wrote to database",
        "Passed",
    ]
    assert output[start + 4].startswith("Checking unavailable repositories - ")
    assert output[start + 4].endswith(" [warning]")
    assert output[start + 5 :] == ["All repositories are available.", "Passed", "", "All checks passed."]


async def test_checks_of_a_broken_installation(tmp_path: Path, empty_database: DatabaseConfig) -> None:
    nodes = {"gitaly-1": ("tcp://127.0.0.1:1", "")}
    path = write_config(tmp_path / "config.toml", database=empty_database, nodes=nodes)
    result = await run_praefect("-config", str(path), "check", "-q")
    names = [migration.migration_id for migration in load_migrations()]
    hint = f"praefect sql-migrate applies {', '.join(names[:3])} and 40 more"
    assert (result.code, result.stderr) == (1, f"checks failed\n{hint}\n")
    assert result.stdout.splitlines() == [
        "Checking praefect migrations...Failed (fatal) error: 43 migrations have not been run",
        (
            "Checking gitaly node connectivity & disk access...Failed (fatal) error: "
            "the following nodes are not healthy: tcp://127.0.0.1:1"
        ),
        (
            "Checking database read/write...Failed (fatal) error: error reading from table: "
            'ERROR: relation "hello_world" does not exist (SQLSTATE 42P01)'
        ),
        (
            "Checking unavailable repositories...Failed (warning) error: query: "
            'ERROR: relation "repositories" does not exist (SQLSTATE 42P01)'
        ),
        "",
        "4 check(s) failed, at least one was fatal.",
    ]


async def test_checks_without_a_database(tmp_path: Path) -> None:
    async with serve_node(FakeNode(statuses=[storage_status("gitaly-1")])) as address:
        nodes = {"gitaly-1": (address, INTERNAL_TOKEN)}
        away = DatabaseConfig(host="127.0.0.1", port=1)
        path = write_config(tmp_path / "config.toml", database=away, nodes=nodes)
        result = await run_praefect("-config", str(path), "check", "-q")
    output = result.stdout.splitlines()
    assert result.code == 1
    assert output[0].startswith("Checking praefect migrations...Failed (fatal) error: send ping: ")
    assert output[1] == "Checking gitaly node connectivity & disk access...Passed"
    prefix = "error: error opening database connection: send ping: "
    assert output[2].startswith(f"Checking database read/write...Failed (fatal) {prefix}")
    assert output[3].startswith(f"Checking unavailable repositories...Failed (warning) {prefix}")


async def test_an_unknown_migration_fails_the_check(nodes: Installation, connection: Rows) -> None:
    await connection.run("INSERT INTO schema_migrations VALUES ('20990101000000_new', now())")
    result = await nodes("check", "-q")
    assert result.stderr.startswith("checks failed\nthe database is newer than this version, it has 20990101000000_new")
    assert result.stdout.splitlines()[0] == (
        "Checking praefect migrations...Failed (fatal) error: "
        "Unable to create migration plan because of 20990101000000_new: unknown migration in database"
    )


async def test_unavailable_repositories_are_a_warning(nodes: Installation, connection: Rows) -> None:
    await connection.run(
        "INSERT INTO repositories (virtual_storage, relative_path, generation, replica_path) "
        "VALUES ('default', 'a', 1, 'a'), ('default', 'b', 1, 'b'), ('gone', 'c', 1, 'c')"
    )
    result = await nodes("check")
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-4:] == [
        'virtual-storage "default" has 2 repositories that are unavailable.',
        "Failed (warning) error: repositories unavailable",
        "",
        "1 check(s) failed, but none are fatal.",
    ]
