from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from praefect.domain.errors import InternalError, InvalidArgumentError
from praefect.node.pools import is_pool_path
from praefect.node.storage.alternates import all_object_directories, read_alternates
from praefect.node.storage.exchange import _swap_in_steps, swap
from praefect.node.storage.locking import AlreadyLockedError, is_held_here, lock_file
from praefect.node.storage.metadata import ensure_filesystem_id, read_filesystem_id
from praefect.node.storage.quarantine import migrate_objects
from praefect.node.storage.roots import PathEscapesRootError, StorageRoot, Storages
from praefect.node.storage.temporary import TemporaryDirectories
from praefect.proto.shared_pb2 import Repository

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> StorageRoot:
    path = tmp_path / "storage"
    path.mkdir()
    return StorageRoot(name="default", path=path)


@pytest.mark.parametrize("path", ["..", "../x", "a/..", "a/../../b", "/a", "a/../b"])
def test_paths_out_of_the_storage_are_refused(root: StorageRoot, path: str) -> None:
    with pytest.raises(PathEscapesRootError, match=r"^relative path escapes root directory$"):
        root.join(path)


def test_storage_may_itself_be_behind_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert StorageRoot(name="x", path=tmp_path / "link").join("a/b") == tmp_path / "link/a/b"


def test_object_directories_must_stay_in_the_storage(root: StorageRoot) -> None:
    storages = Storages([root])
    quarantined = Repository(
        storage_name="default", relative_path="a/b.git", git_object_directory="../../+gitaly/tmp/q"
    )
    repository = storages.locate(quarantined)
    assert repository.object_environment()["GIT_OBJECT_DIRECTORY"] == str(root.path / "+gitaly/tmp/q")
    assert repository.message() == quarantined
    for directory in ("../../../outside", "/etc"):
        quarantined.git_object_directory = directory
        with pytest.raises(InvalidArgumentError, match=r"^relative path escapes root directory$"):
            storages.locate(quarantined)


def test_quarantines_nest(root: StorageRoot) -> None:
    repository = Storages([root]).locate(Repository(storage_name="default", relative_path="a.git"))
    inner = repository.quarantined_in(root.path / "q1").quarantined_in(root.path / "q2")
    assert (inner.object_directory, inner.alternate_object_directories) == ("../q2", ("../q1", "objects"))


def test_leftovers_are_those_of_the_dead(root: StorageRoot) -> None:
    living, dead = TemporaryDirectories(), TemporaryDirectories()
    kept = living.create(root, "repo")
    left = dead.create(root, "quarantine-0123456789abcdef")
    (left / "file").write_text("x")
    left.chmod(0o500)
    dead.close()
    old = root.temporary_directory / "unknown"
    old.mkdir()
    os.utime(old, (0, 0))
    fresh = root.temporary_directory / "fresh"
    fresh.mkdir()
    observer = TemporaryDirectories()
    assert set(observer.leftovers(root)) == {left, old}
    assert observer.remove_leftovers(root) == 2
    assert {path.name for path in root.temporary_directory.iterdir() if path.is_dir()} == {kept.name, "fresh"}
    living.close()
    assert observer.leftovers(root) == [kept]


def test_owner_that_was_killed_is_recognised(root: StorageRoot) -> None:
    directory = root.temporary_directory
    directory.mkdir(parents=True)
    owner = directory / ".owner-0123456789ab"
    owner.touch()
    orphan = directory / "repo-0123456789ab-00000000"
    orphan.mkdir()
    with owner.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert TemporaryDirectories().leftovers(root) == []
    assert set(TemporaryDirectories().leftovers(root)) == {owner, orphan}


def test_filesystem_id_is_written_once(root: StorageRoot) -> None:
    assert read_filesystem_id(root) == ""
    first = ensure_filesystem_id(root)
    assert ensure_filesystem_id(root) == first
    assert [path.name for path in root.path.iterdir()] == [".gitaly-metadata"]
    (root.path / ".gitaly-metadata").write_text("[]")
    assert read_filesystem_id(root) == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("@cluster/pools/6b/86/1", True),
        ("snapshot/@cluster/pools/6b/86/1", True),
        ("@cluster/repositories/6b/86/1", False),
        ("@pools/ab/cd/abcd" + "0" * 60 + ".git", True),
        ("@pools/ab/cd/abce" + "0" * 60 + ".git", False),
        ("@pools/ab/cd/abcd.git", False),
    ],
)
def test_pools_are_known_by_their_path(path: str, expected: bool) -> None:
    assert is_pool_path(path) is expected


def test_alternates_are_followed_inside_the_storage_only(root: StorageRoot) -> None:
    for name in ("a", "b"):
        (root.path / name / "objects" / "info").mkdir(parents=True)
    first, second = (root.path / name / "objects" for name in ("a", "b"))
    (first / "info/alternates").write_text("# comment\n../../b/objects")
    assert read_alternates(first) == [second]
    (second / "info/alternates").write_text("../../a/objects\n")  # a loop
    assert all_object_directories(root, first) == [first, second]
    (second / "info/alternates").write_text("/etc")
    with pytest.raises(InternalError):
        all_object_directories(root, first)


def test_packs_are_migrated_before_their_indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "q", tmp_path / "objects"
    (source / "pack").mkdir(parents=True)
    (source / "ab").mkdir()
    target.mkdir()
    names = ["pack/pack-1.idx", "pack/pack-1.pack", "pack/pack-1.rev", "pack/pack-1.keep", "ab/cdef", "pack/x.idx.tmp"]
    for name in names:
        (source / name).write_text(name)
    order: list[str] = []
    link = os.link

    def recording(old: Path, new: Path) -> None:
        order.append(str(new.relative_to(target)))
        link(old, new)

    monkeypatch.setattr(os, "link", recording)
    (target / "ab").mkdir()
    (target / "ab/cdef").write_text("already there")
    migrate_objects(source, target)
    assert order[2:] == ["pack/pack-1.keep", "pack/pack-1.pack", "pack/pack-1.rev", "pack/pack-1.idx"]
    assert (target / "ab/cdef").read_text() == "already there"
    assert [path for path in source.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("exchange", [swap, _swap_in_steps])
def test_directories_are_swapped(tmp_path: Path, exchange: Callable[[Path, Path], None]) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "other").exists()
    assert (tmp_path / "other" / "one").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_lock_is_exclusive_and_remembered(tmp_path: Path) -> None:
    file = tmp_path / "config"
    with lock_file(file, held="held") as lock:
        assert lock.name == "config.lock"
        assert is_held_here(lock)
        with pytest.raises(AlreadyLockedError, match=r"^held$"), lock_file(file, held="held"):
            pass
        assert lock.exists()
    assert not lock.exists()
    assert not is_held_here(lock)
    lock.touch()
    with pytest.raises(AlreadyLockedError), lock_file(file, held="held"):
        pass
    assert lock.exists()
    assert not is_held_here(lock)
