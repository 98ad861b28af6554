"""Commands that are interrupted, that take long, and that call nodes which do not answer."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from praefect.config.praefect import DatabaseConfig
from praefect.datastore.pool import connect
from tests.support.eventually import eventually
from tests.support.postgres import Rows
from tests.support.praefect_cli import LONG_AGO, Installation, Result

INTERRUPTED = 130


@asynccontextmanager
async def holding(database: DatabaseConfig, statement: str) -> AsyncIterator[None]:
    """Hold the locks of a statement until the block ends, and take it back."""
    async with await connect(database) as holder, holder.transaction(force_rollback=True):
        await Rows(holder).run(statement)
        yield


async def interrupt(nodes: Installation, condition: Callable[[], Awaitable[object]], *words: str) -> Result:
    """Run a command and interrupt it once the condition holds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *("-m", "praefect.cli.main", "-config", str(nodes.path), *words), stdout=-1, stderr=-1
    )
    try:
        await eventually(condition, within_seconds=60)
        process.send_signal(signal.SIGINT)
    finally:
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Result(process.returncode, stdout.decode(), stderr.decode())


def waits_for_a_lock(connection: Rows) -> Callable[[], Awaitable[object]]:
    async def waits() -> object:
        statement = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return await connection.run(statement)

    return waits


async def test_tracking_many_says_what_is_tracked(
    nodes: Installation, database: DatabaseConfig, connection: Rows
) -> None:
    paths = ("a", "b", "c")
    nodes.nodes["gitaly-1"].repositories |= {f"disk/{path}": LONG_AGO for path in paths}
    file = nodes.path.with_name("input")
    entries = (
        {
            "relative_path": path,
            "replica_path": f"disk/{path}",
            "virtual_storage": "default",
            "authoritative_storage": "gitaly-1",
        }
        for path in paths
    )
    file.write_text("\n".join(map(json.dumps, entries)))
    other = "INSERT INTO repositories (virtual_storage, relative_path, generation) VALUES ('default', 'b', 0)"
    async with holding(database, other):
        ended = await interrupt(
            nodes, waits_for_a_lock(connection), "track-repositories", "-input-path", str(file), "-format", "json"
        )
    summary = '1 of 3 repositories are tracked, line 2 ("b") may be recorded or not, lines behind it are not'
    assert (ended.code, ended.stderr) == (INTERRUPTED, f"interrupted: {summary}\n")
    document = json.loads(ended.stdout)
    assert (document["ok"], document["error"], document["hints"]) == (False, "interrupted", [summary])
    assert [each["relative_path"] for each in document["result"]["repositories"]] == ["a"]
    recorded = await connection.run("SELECT relative_path FROM repositories WHERE relative_path <> 'b'")
    assert recorded == [("a",)]
    # What is left is done by the lines that are left.
    file.write_text(file.read_text().splitlines()[2])
    (await nodes("track-repositories", "-input-path", str(file))).ok()


async def test_a_failover_says_what_has_moved(nodes: Installation, database: DatabaseConfig, connection: Rows) -> None:
    for number, path in enumerate(("a", "b", "c"), start=1):
        await connection.run(
            'INSERT INTO repositories (repository_id, virtual_storage, relative_path, generation, "primary") '
            "VALUES (%s, 'default', %s, 0, 'gitaly-1')",
            number,
            path,
        )
        for storage in ("gitaly-1", "gitaly-2"):
            await connection.run(
                "INSERT INTO storage_repositories VALUES ('default', %s, %s, 0, %s)", path, storage, number
            )
    await connection.run(
        "INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at) "
        "SELECT 'p', 'default', name, now() + '1 hour', now() + '1 hour' "
        "FROM unnest(ARRAY['gitaly-1', 'gitaly-2']) AS names (name)"
    )
    words = ["failover", "-virtual-storage", "default", "-to", "gitaly-2", "-apply"]
    async with holding(database, "SELECT FROM repositories WHERE relative_path = 'b' FOR UPDATE"):
        ended = await interrupt(nodes, waits_for_a_lock(connection), *words)
    assert (ended.code, ended.stdout) == (INTERRUPTED, "Virtual storage: default\n  a: gitaly-1 -> gitaly-2\n")
    assert ended.stderr == (
        "interrupted: 1 repository moved, 0 cannot move, b may have moved or not, the others were not begun\n"
    )
    primaries = await connection.run('SELECT "primary" FROM repositories WHERE relative_path <> %s ORDER BY 1', "b")
    assert primaries == [("gitaly-1",), ("gitaly-2",)]
    # Once more does what is left.
    assert "c: gitaly-1 -> gitaly-2\n" in (await nodes(*words)).ok()


async def test_a_removal_says_what_is_removed(nodes: Installation, connection: Rows) -> None:
    nodes.nodes["gitaly-1"].repositories["disk/a"] = LONG_AGO
    repository = ["-virtual-storage", "default", "-relative-path", "a"]
    words = ["-replica-path", "disk/a", "-authoritative-storage", "gitaly-1"]
    (await nodes("track-repository", *repository, *words)).ok()
    await connection.run("UPDATE replication_queue SET state = 'in_progress'")

    async def is_removed() -> bool:
        return not await connection.run("SELECT FROM repositories")

    ended = await interrupt(nodes, is_removed, "remove-repository", *repository, "-apply", "-db-only")
    assert ended.code == INTERRUPTED
    # The signal may come before the command has heard that the records are gone.
    assert ended.stderr in {
        "interrupted: the repository is removed; replication events that were being processed may be left\n",
        "interrupted: the records were being removed, all of them are gone or none; look with metadata\n",
    }
    assert await connection.run("SELECT FROM storage_repositories") == []
    assert "disk/a" in nodes.nodes["gitaly-1"].repositories


@asynccontextmanager
async def silent_praefect(nodes: Installation) -> AsyncIterator[asyncio.Event]:
    """Have the commands call a praefect that never answers; yield what says that it was called."""
    called, ends = asyncio.Event(), asyncio.Event()

    async def listen(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        await ends.wait()
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    text, changes = re.subn(
        r"(?m)^(socket_path|listen_addr) = .*$", f'listen_addr = "{address}"', nodes.path.read_text()
    )
    assert changes == 1
    nodes.path.write_text(text)
    try:
        yield called
    finally:
        ends.set()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("words", "summary"),
    [
        (
            [
                "accept-dataloss",
                "-virtual-storage",
                "default",
                "-relative-path",
                "a",
                "-authoritative-storage",
                "gitaly-1",
            ],
            (
                "praefect was asked to accept the loss and does it wholly or not at all; "
                "metadata says which replicas are up to date"
            ),
        ),
        (
            [
                "set-replication-factor",
                "-virtual-storage",
                "default",
                "-relative-path",
                "a",
                "-replication-factor",
                "2",
            ],
            (
                "praefect was asked to set the replication factor and does it wholly or not at all; "
                "metadata says which storages are assigned"
            ),
        ),
        (
            ["verify", "-virtual-storage", "default"],
            "praefect was asked to mark the replicas and marks all or none; metadata says when each was verified",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
async def test_a_change_that_praefect_was_asked_for_is_said(
    nodes: Installation, words: list[str], summary: str
) -> None:
    async with silent_praefect(nodes) as called:

        async def is_called() -> bool:
            return called.is_set()

        ended = await interrupt(nodes, is_called, *words, "-format", "json")
    assert (ended.code, ended.stderr) == (INTERRUPTED, f"interrupted: {summary}\n")
    document = json.loads(ended.stdout)
    assert (document["ok"], document["error"], document["hints"]) == (False, "interrupted", [summary])


async def at_a_terminal(nodes: Installation, *words: str) -> tuple[bytes, bytes]:
    """Run a command whose stderr is a terminal; return what stdout and the terminal got."""
    ours, terminal = os.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *("-m", "praefect.cli.main", "-config", str(nodes.path), *words), stdout=-1, stderr=terminal
        )
        os.close(terminal)
        stdout, _ = await process.communicate()
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while read := os.read(ours, 65536):
                shown += read
        return stdout, shown
    finally:
        os.close(ours)


async def test_long_commands_show_how_far_they_are_at_a_terminal(nodes: Installation) -> None:
    stdout, shown = await at_a_terminal(nodes, "dial-nodes")
    assert b"probing 3 nodes" in shown
    assert shown.endswith(b"\r\x1b[K")
    assert sorted(stdout.splitlines()) == sorted((await nodes("dial-nodes")).ok().encode().splitlines())


@asynccontextmanager
async def meeting_nodes(count: int) -> AsyncIterator[list[str]]:
    """Nodes that answer nobody before all of them were called, and then hang up; yield their addresses."""
    called, hangs_up = 0, asyncio.Event()

    async def meet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal called
        called += 1
        if called >= count:
            hangs_up.set()
        await hangs_up.wait()
        writer.close()

    servers = [await asyncio.start_server(meet, "127.0.0.1", 0) for _ in range(count)]
    try:
        yield [f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    finally:
        hangs_up.set()
        for server in servers:
            server.close()
            await server.wait_closed()


async def test_nodes_are_probed_at_once(nodes: Installation) -> None:
    text = nodes.path.read_text()
    async with meeting_nodes(3) as addresses:
        for former, address in zip(nodes.addresses.values(), addresses, strict=True):
            text = text.replace(former, address)
        nodes.path.write_text(text)
        for words in (["dial-nodes", "-timeout", "1m"], ["check"]):
            result = await nodes(*words)
            assert result.code == 1
            assert result.stdout.count("ERROR: unable to request health check: ") == 3
            assert "DeadlineExceeded" not in result.stdout


async def test_a_silent_node_keeps_nobody_from_judging_the_others(nodes: Installation) -> None:
    async with meeting_nodes(2) as (silent, _):
        nodes.path.write_text(nodes.path.read_text().replace(nodes.addresses["gitaly-1"], silent))
        result = await nodes("dial-nodes", "-timeout", "3s")
    assert (result.code, result.stderr) == (1, f"the following nodes are not healthy: {silent}\n")
    for name in ("gitaly-2", "gitaly-3"):
        assert f"[{nodes.addresses[name]}]: SUCCESS: node configuration is consistent!\n" in result.stdout
    assert result.stdout.splitlines()[-1] == (
        f"[{silent}]: ERROR: unable to request health check: "
        "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
    )
