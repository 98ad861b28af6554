"""Real git clients over the node's RPCs: clones, fetches and pushes through ssh and HTTP, with real sidechannels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.git_over_rpc import serve_http, serve_ssh
from tests.support.hook_node import commit, count_objects, make_work_tree, run_git
from tests.support.serving_node import ServingNode, serving_node

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator
    from pathlib import Path


class Client:
    """A git client of the node, over one of the two transports."""

    def __init__(self, url: str, environment: dict[str, str]) -> None:
        self.url = url
        self.environment = environment

    async def git(self, *arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        return await run_git(*arguments, cwd=cwd, check=check, environment=self.environment)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[ServingNode]:
    async with serving_node(tmp_path) as node:
        yield node


@pytest.fixture(params=["ssh", "http"])
async def client(request: pytest.FixtureRequest, node: ServingNode, tmp_path: Path) -> AsyncIterator[Client]:
    if request.param == "ssh":
        async with serve_ssh(node.front_end, tmp_path / "ssh.sock") as environment:
            yield Client("ssh://git@anywhere/project.git", environment)
    else:
        async with serve_http(node.front_end) as url:
            yield Client(url, {})


@pytest.fixture
async def work_tree(tmp_path: Path) -> Path:
    work_tree = await make_work_tree(tmp_path / "work")
    for number in range(5):
        await commit(work_tree, f"file{number}", "x" * 1000 * number)
    return work_tree


@pytest.mark.parametrize("version", ["0", "1", "2"])
async def test_push_and_clone(client: Client, node: ServingNode, work_tree: Path, tmp_path: Path, version: str) -> None:
    protocol = ["-c", f"protocol.version={version}"]
    await client.git(*protocol, "push", client.url, "main", "main:other", cwd=work_tree)
    assert node.hooks.door.paths() == ["/allowed", "/pre_receive", "/post_receive"]
    await client.git(*protocol, "clone", "--quiet", client.url, "clone", cwd=tmp_path)
    head = await run_git("rev-parse", "HEAD", cwd=work_tree)
    assert (await run_git("rev-parse", "HEAD", "origin/other", cwd=tmp_path / "clone")).stdout == head.stdout * 2
    await commit(work_tree, "later", "1")
    await client.git(*protocol, "push", client.url, "main", cwd=work_tree)
    await client.git(*protocol, "pull", "--quiet", cwd=tmp_path / "clone")
    assert (tmp_path / "clone" / "later").read_text() == "1"
    await run_git("fsck", "--strict", cwd=node.path)
    assert node.front_end.errors == []


async def test_clone_of_an_empty_repository(client: Client, tmp_path: Path) -> None:
    cloned = await client.git("clone", client.url, "clone", cwd=tmp_path)
    assert "You appear to have cloned an empty repository" in cloned.stderr


async def test_shallow_and_partial_clones(client: Client, node: ServingNode, work_tree: Path, tmp_path: Path) -> None:
    await client.git("push", client.url, "main", cwd=work_tree)
    await client.git("clone", "--quiet", "--depth=1", client.url, "shallow", cwd=tmp_path)
    assert (await run_git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow")).stdout == "1\n"
    await client.git("fetch", "--quiet", "--deepen=2", cwd=tmp_path / "shallow")
    assert (await run_git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow")).stdout == "3\n"
    await client.git("fetch", "--quiet", "--unshallow", cwd=tmp_path / "shallow")
    assert (await run_git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow")).stdout == "6\n"
    await client.git("clone", "--quiet", "--bare", "--filter=blob:none", client.url, "partial", cwd=tmp_path)
    listed = await run_git("rev-list", "--objects", "--all", "--missing=print", cwd=tmp_path / "partial")
    assert listed.stdout.count("\n?") == 6
    assert node.front_end.errors == []


async def test_internal_references_are_hidden(client: Client, node: ServingNode, work_tree: Path) -> None:
    await client.git("push", client.url, "main", cwd=work_tree)
    for reference in ("keep-around/x", "tmp/x", "merge-requests/1/head", "environments/1"):
        await run_git("update-ref", f"refs/{reference}", "refs/heads/main", cwd=node.path)
    listed = (await client.git("ls-remote", client.url, cwd=work_tree)).stdout
    assert "refs/merge-requests/1/head" in listed
    assert "refs/environments/1" in listed
    assert "refs/keep-around" not in listed
    assert "refs/tmp" not in listed
    pushed = await client.git("push", client.url, "main:refs/keep-around/y", cwd=work_tree, check=False)
    assert pushed.returncode == 1
    assert "deny updating a hidden ref" in pushed.stderr


async def test_refused_push(client: Client, node: ServingNode, work_tree: Path) -> None:
    node.hooks.door.refuse("this project is archived")
    pushed = await client.git("push", client.url, "main", cwd=work_tree, check=False)
    assert pushed.returncode == 1
    assert "remote: GitLab: this project is archived" in pushed.stderr
    assert "[remote rejected] main -> main (pre-receive hook declined)" in pushed.stderr
    assert count_objects(node.path) == 0
    assert node.front_end.errors == []  # a refusal is no failure of the call


async def test_atomic_push_options_force_and_delete(client: Client, node: ServingNode, work_tree: Path) -> None:
    await client.git("push", "-o", "a=b", "--atomic", client.url, "main", "main:two", cwd=work_tree)
    assert node.hooks.door.last("/allowed").values["push_options"] == ["a=b"]
    await run_git("commit", "--quiet", "--amend", "-m", "changed", cwd=work_tree)
    assert (await client.git("push", client.url, "main", cwd=work_tree, check=False)).returncode == 1
    await client.git("push", "--force", client.url, "main", cwd=work_tree)
    await client.git("push", client.url, ":two", cwd=work_tree)
    assert await node.hooks.references() == ["refs/heads/main"]
    await run_git("tag", "-a", "-m", "tag", "v1", cwd=work_tree)
    await client.git("push", "--tags", client.url, cwd=work_tree)
    assert "refs/tags/v1" in await node.hooks.references()


async def test_big_push_and_clone(client: Client, node: ServingNode, work_tree: Path, tmp_path: Path) -> None:
    size = 8 << 20
    with (work_tree / "big").open("wb") as file:
        file.write(b"".join(number.to_bytes(4, "big") * 3 + bytes([number % 251]) for number in range(size // 13)))
    await run_git("add", "big", cwd=work_tree)
    await run_git("-c", "core.compression=0", "commit", "--quiet", "-m", "big", cwd=work_tree)
    await client.git(
        "-c", "core.compression=0", "-c", "http.postBuffer=1000", "push", client.url, "main", cwd=work_tree
    )
    await client.git("clone", "--quiet", client.url, "clone", cwd=tmp_path)
    assert (tmp_path / "clone" / "big").stat().st_size == (work_tree / "big").stat().st_size
    assert node.front_end.errors == []


async def test_archive_over_ssh(node: ServingNode, work_tree: Path, tmp_path: Path) -> None:
    async with serve_ssh(node.front_end, tmp_path / "ssh.sock") as environment:
        client = Client("ssh://git@anywhere/project.git", environment)
        await client.git("push", client.url, "main", cwd=work_tree)
        archived = tmp_path / "a.tar"
        await client.git("archive", f"--remote={client.url}", f"--output={archived}", "main", cwd=tmp_path)
        assert archived.read_bytes()[:6] == b"pax_gl" or b"file1" in archived.read_bytes()
    assert node.front_end.errors == []
