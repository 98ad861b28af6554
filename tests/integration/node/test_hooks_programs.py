"""The programs that git starts as hooks, and the socket they call."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from praefect.node.hooks.directory import HooksDirectory, shebang
from praefect.node.hooks.payload import PAYLOAD_VARIABLE, RECEIVE_HOOKS, RequestedHooks
from praefect.node.voting import Transaction
from praefect.transport.grpc.metadata import Metadata
from tests.support.hook_node import PUSHER, HookNode, hook_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

ONE = "1" * 40
ZERO = "0" * 40


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[HookNode]:
    async with hook_node(tmp_path) as node:
        yield node


async def start(
    program: Path, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    def run() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [program, *arguments], input=stdin, capture_output=True, check=False, env={**(environment or {})}
        )

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("name", ["python", "a name with 'quotes' and spaces", "x" * 150])
async def test_any_interpreter_can_be_named(tmp_path: Path, name: str) -> None:
    interpreter = tmp_path / name
    interpreter.symlink_to(os.path.realpath(sys.executable))
    program = tmp_path / "program"
    program.write_text(shebang(str(interpreter)) + "import sys\nprint(sys.flags.isolated, sys.argv[1:])\n")
    program.chmod(0o700)
    completed = await start(program, "a b", "$c")
    assert completed.stdout == b"1 ['a b', '$c']\n", completed.stderr


async def test_each_set_has_its_own_programs(node: HookNode) -> None:
    transaction = Transaction(id=1, node="n", primary=True)
    for setup, names in [
        (
            node.setups.for_references(node.repository, transaction, Metadata()),
            ["reference-transaction"],
        ),
        (
            node.setups.for_push(node.repository, PUSHER, None, Metadata()),
            ["post-receive", "pre-receive", "update"],
        ),
        (
            node.setups.for_push(node.repository, PUSHER, transaction, Metadata()),
            ["post-receive", "pre-receive", "reference-transaction", "update"],
        ),
    ]:
        assert sorted(entry.name for entry in setup.directory.iterdir()) == names
        assert setup.directory.stat().st_mode & 0o777 == 0o700
        assert setup.directory.parent.stat().st_mode & 0o777 == 0o700


async def test_hook_that_was_not_asked_for_does_nothing(node: HookNode) -> None:
    setup = node.setups.for_push(node.repository, PUSHER, None, Metadata())
    payload = node.setups.payload(
        node.repository, RequestedHooks.UPDATE, transaction=None, metadata=Metadata(), user=PUSHER
    )
    environment = {**setup.environment, PAYLOAD_VARIABLE: payload.encode()}
    completed = await start(setup.directory / "pre-receive", environment=environment, stdin=b"x")
    assert completed.returncode == 0
    assert node.door.requests == []


async def test_program_without_a_payload_says_so(node: HookNode) -> None:
    setup = node.setups.for_push(node.repository, PUSHER, None, Metadata())
    completed = await start(setup.directory / "pre-receive", stdin=b"x")
    assert completed.returncode == 1
    assert completed.stderr == b"extracting hooks payload: no hooks payload found in environment\n"
    completed = await start(setup.directory / "update", "ref", ZERO, ONE)
    assert (completed.returncode, completed.stderr) == (1, b"error executing git hook\n")


async def test_program_of_a_node_that_is_gone(tmp_path: Path) -> None:
    directory = HooksDirectory(tmp_path, socket_path=tmp_path / "gone", secret="0" * 32)
    directory.create([RECEIVE_HOOKS])
    completed = await start(directory.path_of(RECEIVE_HOOKS) / "update", "refs/heads/main", ZERO, ONE)
    assert (completed.returncode, completed.stderr) == (1, b"error executing git hook\n")


@pytest.mark.parametrize("said", [b"", b"x" * 32, b"GET / HTTP/1.1\r\n" * 4])
async def test_strangers_are_turned_away(node: HookNode, said: bytes) -> None:
    setup = node.setups.for_push(node.repository, PUSHER, None, Metadata())
    reader, writer = await asyncio.open_unix_connection(setup.directory.parent.parent / "sock.d" / "hooks")
    writer.write(said)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert node.door.requests == []


async def test_states_that_nobody_votes_on_ask_nobody(tmp_path: Path) -> None:
    directory = HooksDirectory(tmp_path, socket_path=tmp_path / "gone", secret="0" * 32)
    directory.create([RequestedHooks.REFERENCE_TRANSACTION])
    program = directory.path_of(RequestedHooks.REFERENCE_TRANSACTION) / "reference-transaction"
    for state, code in [("preparing", 0), ("aborted", 0), ("prepared", 1), ("committed", 1)]:
        assert (await start(program, state)).returncode == code
