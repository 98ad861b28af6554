"""The quick way from git's hooks to the node."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from praefect.node.git.command import HookConnection
from praefect.node.hooks import directory as hooks_directory
from praefect.node.hooks.directory import shell_is_exact
from praefect.node.voting import Phase, Transaction, TransactionAbortedError
from praefect.transport.grpc.metadata import Metadata
from tests.support.hook_node import PUSHER, HookNode, commit, hook_node, make_work_tree, run_git

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ZERO, ONE = "0" * 40, "1" * 40
PRIMARY = Transaction(id=5, node="gitaly-1", primary=True, backchannel_id=1)
SYNC_UPDATE = (Phase.SYNCHRONIZED, hashlib.sha1(b"synchronize update hook").digest())
REFUSED = (1, b"error executing git hook\n")
# Neither UTF-8 nor harmless to a shell that keeps its own marks among the bytes of a word.
STRANGE_NAME = b"refs/heads/" + bytes(range(0x80, 0x100)) + b"$(x)`y`'\"%s"


class Programs:
    """Starts the hooks of a push as git does, with the node's ends of the pipes open."""

    def __init__(self, hooks: Path, environment: dict[str, str], connection: HookConnection) -> None:
        self.hooks = hooks
        self.environment = environment
        self.connection = connection

    async def run(self, name: str, *arguments: str | bytes, stdin: bytes = b"") -> tuple[int, bytes]:
        def run() -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(
                [self.hooks / name, *arguments],
                input=stdin,
                capture_output=True,
                check=False,
                env=self.environment,
                pass_fds=self.connection.descriptors,
            )

        completed = await asyncio.to_thread(run)
        return completed.returncode, completed.stderr


@asynccontextmanager
async def programs_of(node: HookNode) -> AsyncIterator[Programs]:
    setup = node.setups.for_push(node.repository, PUSHER, PRIMARY, Metadata())
    assert setup.connect is not None
    async with setup.connect() as connection:
        yield Programs(setup.directory, {**os.environ, **setup.environment, **connection.environment}, connection)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[HookNode]:
    async with hook_node(tmp_path) as node:
        yield node


@pytest.fixture
async def programs(node: HookNode) -> AsyncIterator[Programs]:
    async with programs_of(node) as programs:
        yield programs


def votes_on(changes: bytes) -> list[tuple[Phase, bytes]]:
    vote = hashlib.sha1(changes).digest()
    return [(Phase.PREPARED, vote), (Phase.COMMITTED, vote)]


# Beyond 8 lines the helper takes over.
@pytest.mark.parametrize("lines", [1, 2, 8, 9, 500])
async def test_votes_are_made_of_the_bytes_git_wrote(node: HookNode, programs: Programs, lines: int) -> None:
    changes = b"".join(b"%b %b %b%d\n" % (ZERO.encode(), ONE.encode(), STRANGE_NAME, each) for each in range(lines))
    for state in ("prepared", "committed"):
        assert await programs.run("reference-transaction", state, stdin=changes) == (0, b"")
    assert node.voters.votes == votes_on(changes)


async def test_each_hook_is_answered_in_turn(node: HookNode, programs: Programs) -> None:
    for number in range(5):
        assert await programs.run("update", STRANGE_NAME, ZERO, ONE) == (0, b"")
        assert await programs.run("reference-transaction", "prepared", stdin=b"%d 1 r\n" % number) == (0, b"")
    prepared = [votes_on(b"%d 1 r\n" % number)[0] for number in range(5)]
    assert node.voters.votes == [vote for each in prepared for vote in (SYNC_UPDATE, each)]


async def test_refused_votes_refuse(node: HookNode, programs: Programs) -> None:
    node.voters.failures = {0: TransactionAbortedError(), 1: TransactionAbortedError()}
    assert await programs.run("update", "refs/heads/main", ZERO, ONE) == REFUSED
    assert await programs.run("reference-transaction", "prepared", stdin=b"0 1 r\n") == REFUSED
    assert await programs.run("update", "refs/heads/main", ZERO, ONE) == (0, b"")


async def test_wrong_arguments_refuse(node: HookNode, programs: Programs) -> None:
    assert await programs.run("update", "refs/heads/main", ZERO, "1") == REFUSED
    assert await programs.run("update", "a name", ZERO, ONE) == REFUSED
    assert node.voters.votes == []


async def test_transaction_without_lines_is_not_voted_on(node: HookNode, programs: Programs) -> None:
    assert await programs.run("reference-transaction", "prepared") == (0, b"")
    assert await programs.run("reference-transaction", "aborted", stdin=b"0 1 r\n") == (0, b"")
    assert node.voters.votes == []


async def test_custom_hook_installed_during_a_push_is_heard(node: HookNode, programs: Programs) -> None:
    assert await programs.run("update", "refs/heads/main", ZERO, ONE) == (0, b"")
    node.install_hook("update", 'echo "no $1" >&2; exit 3')
    assert await programs.run("update", "refs/heads/main", ZERO, ONE) == (3, b"no refs/heads/main\n")
    assert node.voters.votes == [SYNC_UPDATE]
    assert node.voters.stops == 1


async def test_custom_hooks_that_cannot_be_read_stop_the_others(node: HookNode, programs: Programs) -> None:
    (node.path / "custom_hooks").mkdir()
    (node.path / "custom_hooks" / "update.d").symlink_to("update.d")
    assert await programs.run("update", "refs/heads/main", ZERO, ONE) == REFUSED
    assert node.voters.votes == []
    assert node.voters.stops == 1


async def test_answer_of_a_program_that_died_is_not_taken_for_another(node: HookNode, programs: Programs) -> None:
    ask = programs.connection.descriptors[0]
    os.write(ask, f"1 update {ZERO} {ONE} refs/heads/main\n\n".encode())
    assert await programs.run("update", "refs/heads/main", ZERO, ONE) == REFUSED


@pytest.mark.parametrize("said", [b"\n\n", b"x\n\n", b"1 pre-receive\n\n", b"1 reference-transaction x\n\n"])
async def test_nonsense_is_refused(node: HookNode, programs: Programs, said: bytes) -> None:
    ask, answer = programs.connection.descriptors
    os.write(ask, said)
    heard = await asyncio.to_thread(os.read, answer, 100)
    assert heard.split(b" ", 1)[1] == b"refused\n"
    assert node.voters.votes == []


async def test_programs_of_a_node_that_is_gone_refuse(node: HookNode) -> None:
    async with programs_of(node) as programs:
        ends = [os.dup(each) for each in programs.connection.descriptors]
        environment = programs.environment
    environment |= {
        "PRAEFECT_HOOK_ASK": f"/proc/self/fd/{ends[0]}",
        "PRAEFECT_HOOK_ANSWER": f"/proc/self/fd/{ends[1]}",
    }

    def run() -> subprocess.CompletedProcess[bytes]:
        words = [str(programs.hooks / "update"), "refs/heads/main", ZERO, ONE]
        return subprocess.run(words, capture_output=True, check=False, env=environment, pass_fds=ends)

    completed = await asyncio.to_thread(run)
    for end in ends:
        os.close(end)
    assert completed.returncode != 0
    assert node.voters.votes == []


async def test_pushes_with_and_without_the_quick_way_vote_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_tree = await make_work_tree(tmp_path / "work")
    await run_git("branch", "other", cwd=work_tree)
    await commit(work_tree, "b", "2\n")
    outcomes = []
    for program in ("quick", "helper"):
        root = tmp_path / program
        root.mkdir()
        monkeypatch.setattr(hooks_directory, "shell_is_exact", lambda _shell, program=program: program == "quick")
        async with hook_node(root) as node:
            hooks = node.setups.for_push(node.repository, PUSHER, PRIMARY, Metadata()).directory
            assert (hooks / "update").resolve().name == program
            await run_git("config", "receive.denyNonFastForwards", "true", cwd=node.path)
            names = [f"main:refs/heads/b{number}" for number in range(10)]
            pushes = [
                ["main", *names],
                # Backwards, in the way of another, fine, a deletion, nothing to delete.
                ["+other:main", "main:b0/x", "main:new", ":b1", ":refs/heads/none"],
                ["--atomic", *(f"main:c{number}" for number in range(10)), ":b2"],
                ["--atomic", "main:p", "+other:main"],
            ]
            codes = [(await node.push(work_tree, *arguments, transaction=PRIMARY)).returncode for arguments in pushes]
            listed = await run_git("for-each-ref", cwd=node.path)
            outcomes.append((codes, node.voters.votes, node.voters.stops, listed.stdout))
    assert outcomes[0][0] == [0, 1, 0, 1]
    assert outcomes[0] == outcomes[1]


def test_shell_that_loses_bytes_is_found_out(tmp_path: Path) -> None:
    lossy = tmp_path / "sh"
    lossy.write_text("#!/bin/sh\nshift\nsh -c \"$1\" | tr -d '\\201'\n")
    lossy.chmod(0o700)
    assert shell_is_exact("/bin/sh")
    assert not shell_is_exact(str(lossy))
    assert not shell_is_exact(str(tmp_path / "none"))
