"""Leftovers of killed processes are cleared, those of living ones are not."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from praefect.node.housekeeping.dead_locks import clear_dead_locks_in, is_in_use
from praefect.node.housekeeping.stale import remove_stale_files
from praefect.node.recovery import Recovery, prepare_storage
from praefect.node.services.repository.service import RepositoryService
from praefect.node.storage.locking import lock_file
from praefect.node.storage.temporary import TemporaryDirectories
from praefect.proto import repository_pb2 as pb
from tests.support.storage_node import make_commit, repository, run_git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.storage_node import StorageNode


@pytest.fixture
async def path(node: StorageNode) -> Path:
    service = RepositoryService(node.context)
    await service.create_repository(pb.CreateRepositoryRequest(repository=repository()), node.call())
    return node.path / "project.git"


async def test_locks_without_an_owner_go(path: Path) -> None:
    (path / "objects/tmp_objdir-incoming-abc/pack").mkdir(parents=True)
    for name in ("refs/heads/x.lock", "packed-refs.lock", "config.lock", "HEAD.lock"):
        (path / name).touch()
    (path.parent / "project.git.lock").touch()
    (path / "objects/35").mkdir()
    for name in ("objects/35/tmp_obj_maNusI", "objects/pack/tmp_pack_4bCdEf"):
        (path / name).touch()
    assert clear_dead_locks_in(path) == 8
    assert [*path.rglob("*.lock"), *path.rglob("tmp_*")] == []
    assert not (path.parent / "project.git.lock").exists()
    assert clear_dead_locks_in(path) == 0


async def test_locks_of_another_node_stay(node: StorageNode, path: Path) -> None:
    other = TemporaryDirectories()
    (root,) = node.context.storages
    other.claim(root)
    (path / "HEAD.lock").touch()
    (path / "packed-refs.lock").touch()
    place = node.path / "new.git.lock"
    place.touch()
    recovery = Recovery(node.context.storages, node.context.temporary)
    assert await recovery.run_once() == 1  # git's own, which no running git shows
    assert place.exists()
    assert (path / "HEAD.lock").exists()
    other.close()
    assert await recovery.run_once() == 2


async def test_locks_of_a_running_git_stay(path: Path) -> None:
    commit = await make_commit(path, {"a": b"1"})
    process = await asyncio.create_subprocess_exec(
        "git", f"--git-dir={path}", "update-ref", "--stdin", stdin=-1, stdout=-1
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"start\ncreate refs/heads/x {commit}\nprepare\n".encode())
    assert await process.stdout.readline() == b"start: ok\n"
    assert await process.stdout.readline() == b"prepare: ok\n"
    assert is_in_use(path)
    assert clear_dead_locks_in(path) == 0
    assert (path / "refs/heads/x.lock").exists()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    process.stdin.close()
    assert (path / "refs/heads/x.lock").exists()
    assert clear_dead_locks_in(path) == 1
    await run_git(path, "update-ref", "refs/heads/x", commit)


async def test_locks_of_this_process_stay(path: Path) -> None:
    with lock_file(path / "config", held="held") as lock:
        assert clear_dead_locks_in(path) == 0
        assert lock.exists()


async def test_process_in_another_repository_is_no_owner(path: Path) -> None:
    other = path.with_name("project.git2")
    other.mkdir()
    process = await asyncio.create_subprocess_exec("sleep", "60", cwd=other)
    try:
        assert not is_in_use(path)
        assert is_in_use(other)
    finally:
        process.kill()
        await process.wait()


async def test_stale_files_go_by_age(node: StorageNode, path: Path) -> None:
    repository_here = node.context.storages.open(repository())
    old = [path / "objects/tmp_obj_x", path / "refs/heads/empty", path / "packed-refs.new", path / "refs/heads/l.lock"]
    young = [path / "objects/tmp_obj_y", path / "refs/heads/other", path / "HEAD.lock"]
    for file in (*old, *young):
        file.touch()
    for file in old:
        os.utime(file, (0, 0))
    (path / "info").mkdir(exist_ok=True)
    (path / "info/refs").touch()
    empty = path / "refs/heads/a/b"
    empty.mkdir(parents=True)
    os.utime(empty, (0, 0))
    await remove_stale_files(repository_here)
    assert not any(file.exists() for file in (*old, path / "info/refs", empty))
    assert all(file.exists() for file in young)


async def test_start_clears_everything(node: StorageNode, path: Path) -> None:
    (root,) = node.context.storages
    prepare_storage(root, node.context.temporary)
    assert (node.path / ".gitaly-metadata").exists()
    (path / "packed-refs.lock").touch()
    orphan = node.path / "+gitaly/tmp/repo-000000000000-00000000"
    orphan.mkdir()
    kept = node.context.temporary.create(root, "repo")
    assert await Recovery(node.context.storages, node.context.temporary).run_once() == 2
    assert not orphan.exists()
    assert kept.exists()
    assert not (path / "packed-refs.lock").exists()
