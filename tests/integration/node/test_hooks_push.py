"""Pushes of real git: hooks are asked, refuse, speak and vote."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from praefect.node.hooks.internal_api import AllowEverything, Unconfigured
from praefect.node.voting import Phase, Transaction, TransactionAbortedError, TransactionStoppedError
from tests.support.hook_node import HookNode, commit, count_objects, hook_node, make_work_tree, run_git

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ZERO = "0" * 40
PRIMARY = Transaction(id=5, node="gitaly-1", primary=True, backchannel_id=1)
SECONDARY = Transaction(id=5, node="gitaly-2", primary=False, backchannel_id=1)


def sha1(text: str) -> bytes:
    return hashlib.sha1(text.encode()).digest()


SYNC_PRE = (Phase.SYNCHRONIZED, bytes.fromhex("7475a0d87cbbee23b9a7e8ccde58a494db01611f"))
SYNC_UPDATE = (Phase.SYNCHRONIZED, bytes.fromhex("959087c30d483e52b9e8574a4bd58c4cd7070692"))
SYNC_POST = (Phase.SYNCHRONIZED, bytes.fromhex("17709ba9f26ecc0b0109e3015ed9e824792841fb"))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[HookNode]:
    async with hook_node(tmp_path) as node:
        yield node


@pytest.fixture
async def work_tree(tmp_path: Path) -> Path:
    return await make_work_tree(tmp_path / "work")


async def test_front_door_is_asked_before_and_told_after(node: HookNode, work_tree: Path) -> None:
    head = (await run_git("rev-parse", "HEAD", cwd=work_tree)).stdout.strip()
    pushed = await node.push(work_tree, "--push-option=ci.skip", "main")
    assert pushed.returncode == 0, pushed.stderr
    assert node.door.paths() == ["/allowed", "/pre_receive", "/post_receive"]
    changes = f"{ZERO} {head} refs/heads/main\n"
    allowed = node.door.last("/allowed").values
    environment = json.loads(str(allowed.pop("env")))
    assert allowed == {
        "action": "git-receive-pack",
        "gl_repository": "project-1",
        "project": str(node.path),
        "relative_path": "project.git",
        "changes": changes,
        "protocol": "ssh",
        "user_id": "7",
        "push_options": ["ci.skip"],
    }
    assert environment["GIT_ALTERNATE_OBJECT_DIRECTORIES_RELATIVE"] == ["objects"]
    assert environment["GIT_OBJECT_DIRECTORY_RELATIVE"].startswith("objects/tmp_objdir-incoming-")
    assert node.door.last("/pre_receive").values == {"gl_repository": "project-1"}
    assert node.door.last("/post_receive").values == {
        "gl_repository": "project-1",
        "identifier": "user-7",
        "changes": changes,
        "push_options": ["ci.skip"],
        "gitaly_client_context_bin": None,
    }
    headers = node.door.last("/allowed").headers
    assert headers["X-Request-ID"] == "push-1"
    assert headers["X-Forwarded-For"] == "192.0.2.1"


async def test_refused_push_shows_the_reason_and_leaves_no_object(node: HookNode, work_tree: Path) -> None:
    node.door.refuse("you are not allowed to push code to this project.")
    pushed = await node.push(work_tree, "main")
    assert pushed.returncode == 1
    assert "remote: GitLab: you are not allowed to push code to this project." in pushed.stderr
    assert "[remote rejected] main -> main (pre-receive hook declined)" in pushed.stderr
    assert await node.references() == []
    assert count_objects(node.path) == 0
    assert node.door.paths() == ["/allowed"]
    await run_git("fsck", "--strict", cwd=node.path)


async def test_rate_limited_push_gets_the_fixed_line(node: HookNode, work_tree: Path) -> None:
    node.door.answer("/allowed", {"message": "slow down"}, 429)
    pushed = await node.push(work_tree, "main")
    assert pushed.returncode == 1
    assert "remote: error executing git hook" in pushed.stderr
    assert "slow down" not in pushed.stderr


async def test_refused_reference_counter_says_nothing(node: HookNode, work_tree: Path) -> None:
    node.door.answer("/pre_receive", {"reference_counter_increased": False})
    pushed = await node.push(work_tree, "main")
    assert pushed.returncode == 1
    assert "GitLab:" not in pushed.stderr
    assert count_objects(node.path) == 0


async def test_messages_of_the_front_door_are_shown(node: HookNode, work_tree: Path) -> None:
    messages = [{"type": "basic", "message": "To create a merge request"}, {"type": "alert", "message": "beware " * 12}]
    node.door.answer("/post_receive", {"reference_counter_decreased": True, "messages": messages})
    pushed = await node.push(work_tree, "main")
    assert pushed.returncode == 0
    assert "remote: To create a merge request" in pushed.stderr
    assert "remote: " + "=" * 72 in pushed.stderr


async def test_unknown_message_type_is_told(node: HookNode, work_tree: Path) -> None:
    messages = [{"type": "song", "message": "la"}]
    node.door.answer("/post_receive", {"reference_counter_decreased": True, "messages": messages})
    pushed = await node.push(work_tree, "main")
    assert pushed.returncode == 0  # git does not mind a failing post-receive hook
    assert 'Invalid message type: "song"' in pushed.stderr


async def test_missing_front_door_names_the_setting(tmp_path: Path, work_tree: Path) -> None:
    async with hook_node(tmp_path, api=Unconfigured()) as node:
        pushed = await node.push(work_tree, "main")
        assert pushed.returncode == 1
        assert "gitlab.url" in pushed.stderr
        assert count_objects(node.path) == 0


async def test_node_used_alone_takes_pushes(tmp_path: Path, work_tree: Path) -> None:
    async with hook_node(tmp_path, api=AllowEverything()) as node:
        assert (await node.push(work_tree, "main")).returncode == 0
        assert await node.references() == ["refs/heads/main"]


async def test_custom_hooks_run_in_order_with_their_environment(
    node: HookNode, work_tree: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    line = f'echo "$(basename $0) $GL_ID $GL_USERNAME $GL_PROTOCOL $GL_REPOSITORY $GL_PROJECT_PATH $(cat)" >>{log}'
    node.install_hook("pre-receive", line)
    node.install_hook("pre-receive.d/20-second", line)
    node.install_hook("pre-receive.d/10-first", line)
    node.install_hook("pre-receive.d/30-off", line, mode=0o644)
    node.install_hook("pre-receive.d/40-backup~", line)
    node.install_hook("update", f'echo "update $1 $2 $3 [$GIT_PUSH_OPTION_COUNT] [$GIT_OBJECT_DIRECTORY]" >>{log}')
    node.install_hook("post-receive", f'echo "post $GIT_PUSH_OPTION_0 [$GIT_OBJECT_DIRECTORY] $(pwd)" >>{log}')
    everywhere = tmp_path / "node_hooks" / "pre-receive.d" / "05-node"
    everywhere.parent.mkdir(parents=True)
    everywhere.write_text(f"#!/bin/sh\n{line}\n")
    everywhere.chmod(0o755)
    head = (await run_git("rev-parse", "HEAD", cwd=work_tree)).stdout.strip()
    pushed = await node.push(work_tree, "--push-option=x", "main")
    assert pushed.returncode == 0, pushed.stderr
    who = "user-7 jane ssh project-1 group/project"
    change = f"{ZERO} {head} refs/heads/main"
    assert log.read_text().splitlines() == [
        f"pre-receive {who} {change}",
        f"10-first {who} {change}",
        f"20-second {who} {change}",
        f"05-node {who} {change}",
        f"update refs/heads/main {ZERO} {head} [] []",
        f"post x [] {node.path}",
    ]


async def test_custom_hook_sees_the_objects_in_quarantine(node: HookNode, work_tree: Path, tmp_path: Path) -> None:
    node.install_hook("pre-receive", f"read old new ref; git log -1 --format=%s $new >{tmp_path}/subject")
    pushed = await node.push(work_tree, "main")
    assert pushed.returncode == 0, pushed.stderr
    assert (tmp_path / "subject").read_text() == "write a\n"


async def test_custom_hook_refuses_with_its_words(node: HookNode, work_tree: Path) -> None:
    node.install_hook("pre-receive", "echo out; echo err >&2; exit 3")
    pushed = await node.push(work_tree, "main")
    assert pushed.returncode == 1
    assert "remote: out" in pushed.stderr
    assert "remote: err" in pushed.stderr
    assert "(pre-receive hook declined)" in pushed.stderr
    assert node.door.paths() == ["/allowed"]
    assert count_objects(node.path) == 0


async def test_update_hook_refuses_one_reference_of_two(node: HookNode, work_tree: Path) -> None:
    await run_git("branch", "other", cwd=work_tree)
    node.install_hook("update", 'test "$1" = refs/heads/main || { echo "not $1"; exit 1; }')
    pushed = await node.push(work_tree, "main", "other")
    assert pushed.returncode == 1
    assert "remote: not refs/heads/other" in pushed.stderr
    assert await node.references() == ["refs/heads/main"]
    assert node.door.paths() == ["/allowed", "/pre_receive", "/post_receive"]


async def test_hook_that_reads_nothing_and_says_much_does_not_hang(node: HookNode, work_tree: Path) -> None:
    for index in range(2000):
        await_name = f"refs/heads/branch-with-a-long-name-{index:05}"
        (work_tree / ".git" / await_name).write_text((work_tree / ".git/refs/heads/main").read_text())
    node.install_hook("pre-receive", "head -c 300000 /dev/zero | tr '\\0' x; exit 1")
    pushed = await node.push(work_tree, "--all")
    assert pushed.returncode == 1
    assert pushed.stderr.count("x") > 250000
    assert count_objects(node.path) == 0


async def test_hidden_references_cannot_be_pushed(node: HookNode, work_tree: Path) -> None:
    pushed = await node.push(work_tree, "main:refs/merge-requests/1/head")
    assert pushed.returncode == 1
    assert "deny updating a hidden ref" in pushed.stderr
    assert await node.references() == []


async def test_primary_votes_around_each_step(node: HookNode, work_tree: Path) -> None:
    head = (await run_git("rev-parse", "HEAD", cwd=work_tree)).stdout.strip()
    pushed = await node.push(work_tree, "main", transaction=PRIMARY)
    assert pushed.returncode == 0, pushed.stderr
    change = sha1(f"{ZERO} {head} refs/heads/main\n")
    assert node.voters.votes == [
        SYNC_PRE,
        SYNC_UPDATE,
        (Phase.PREPARED, change),
        (Phase.COMMITTED, change),
        SYNC_POST,
    ]
    assert node.voters.stops == 0
    assert node.door.paths() == ["/allowed", "/pre_receive", "/post_receive"]


async def test_secondary_votes_the_same_and_asks_nobody(node: HookNode, work_tree: Path, tmp_path: Path) -> None:
    node.install_hook("pre-receive", f"touch {tmp_path}/ran")
    pushed = await node.push(work_tree, "main", transaction=SECONDARY)
    assert pushed.returncode == 0, pushed.stderr
    assert [phase for phase, _ in node.voters.votes] == [
        Phase.SYNCHRONIZED,
        Phase.SYNCHRONIZED,
        Phase.PREPARED,
        Phase.COMMITTED,
        Phase.SYNCHRONIZED,
    ]
    assert node.door.paths() == []
    assert not (tmp_path / "ran").exists()


async def test_refusal_on_the_primary_stops_the_others(node: HookNode, work_tree: Path) -> None:
    node.door.refuse("no")
    pushed = await node.push(work_tree, "main", transaction=PRIMARY)
    assert pushed.returncode == 1
    assert node.voters.stops == 1
    assert node.voters.votes == []


async def test_stopped_secondary_takes_nothing(node: HookNode, work_tree: Path) -> None:
    node.voters.failures[0] = TransactionStoppedError()
    pushed = await node.push(work_tree, "main", transaction=SECONDARY)
    assert pushed.returncode == 1
    assert "synchronizing pre-receive hook: vote failed: transaction was stopped" in pushed.stderr
    assert node.voters.votes == [SYNC_PRE]
    assert node.voters.stops == 0
    assert count_objects(node.path) == 0


async def test_refused_prepared_vote_changes_nothing(node: HookNode, work_tree: Path) -> None:
    node.voters.failures[2] = TransactionAbortedError()
    pushed = await node.push(work_tree, "main", transaction=PRIMARY)
    assert pushed.returncode != 0
    assert await node.references() == []
    assert [phase for phase, _ in node.voters.votes][-1] is Phase.PREPARED
    assert not list(node.path.rglob("*.lock"))


async def test_deleting_a_packed_reference_is_voted_once(node: HookNode, work_tree: Path) -> None:
    head = await commit(work_tree, "b", "2\n")
    assert (await node.push(work_tree, "main", "main:gone")).returncode == 0
    await run_git("pack-refs", "--all", cwd=node.path)
    pushed = await node.push(work_tree, "--delete", "gone", transaction=PRIMARY)
    assert pushed.returncode == 0, pushed.stderr
    change = sha1(f"{head} {ZERO} refs/heads/gone\n")
    assert [vote for phase, vote in node.voters.votes if phase is Phase.PREPARED] == [change]
    assert [vote for phase, vote in node.voters.votes if phase is Phase.COMMITTED] == [change]
    environment = json.loads(str(node.door.last("/allowed").values["env"]))
    assert environment == {"GIT_ALTERNATE_OBJECT_DIRECTORIES_RELATIVE": None, "GIT_OBJECT_DIRECTORY_RELATIVE": ""}


async def test_sha256_repository(tmp_path: Path) -> None:
    async with hook_node(tmp_path, object_format="sha256") as node:
        work_tree = await make_work_tree(tmp_path / "work", object_format="sha256")
        pushed = await node.push(work_tree, "main", transaction=PRIMARY)
        assert pushed.returncode == 0, pushed.stderr
        head = (await run_git("rev-parse", "HEAD", cwd=work_tree)).stdout.strip()
        change = sha1(f"{'0' * 64} {head} refs/heads/main\n")
        assert (Phase.PREPARED, change) in node.voters.votes
