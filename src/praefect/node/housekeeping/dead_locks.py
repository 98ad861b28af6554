"""Locks and temporary objects whose owner was killed: told from those in use by looking for the owner.

Git holds a lock only while a process of it works in the repository, and this program remembers its own. The order makes
it safe: the files are listed first, then the processes, and only a file that is still the same afterwards goes. Who
starts later finds the lock or makes a new one, and who worked and ended in between has removed its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.node.storage.locking import is_held_here
from praefect.node.storage.repository import is_valid
from praefect.node.storage.roots import STATE_DIRECTORY
from praefect.node.storage.temporary import discard
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from praefect.node.storage.repository import LocalRepository
    from praefect.node.storage.roots import StorageRoot
    from praefect.node.storage.temporary import TemporaryDirectories

_log = get_logger("node.housekeeping")
_PROCESSES = Path("/proc")
_GIT_LOCKS = (
    "shallow.lock",
    "packed-refs.lock",
    "packed-refs.new",
    "objects/info/commit-graph.lock",
    "objects/info/commit-graphs/commit-graph-chain.lock",
    "objects/pack/multi-pack-index.lock",
)
_NODE_LOCKS = ("config.lock", "HEAD.lock", "custom_hooks.lock", "objects/info/alternates.lock")
_one_at_a_time = threading.Lock()

_Identity = tuple[int, int]


async def clear_dead_locks(repository: LocalRepository, temporary: TemporaryDirectories) -> int:
    """Delete the locks and quarantines that no living process owns, and return how many."""
    others = temporary.others_live(repository.root)
    cleared = await asyncio.to_thread(clear_dead_locks_in, repository.path, others_live=others)
    if cleared:
        _log.warning("cleared leftovers of killed processes", relative_path=repository.relative_path, count=cleared)
    return cleared


def clear_dead_locks_in(repository: Path, *, others_live: bool = False) -> int:
    """Do what ``clear_dead_locks`` does; with another node on the storage its kinds of locks stay. Blocks."""
    with _one_at_a_time:
        candidates = set(_git_candidates(repository))
        if not others_live:
            candidates.update(_node_candidates(repository))
        found = {path: identity for path in candidates if (identity := _identity(path)) is not None}
        if not found or is_in_use(repository):
            return 0
        return _discard_unchanged(found)


def clear_dead_places(root: StorageRoot, temporary: TemporaryDirectories) -> int:
    """Delete the locks of places where a repository was being made or removed and now is none. Blocks."""
    if temporary.others_live(root):
        return 0
    with _one_at_a_time:
        found = {path: identity for path in _place_locks(root) if (identity := _identity(path)) is not None}
        return _discard_unchanged(found)


def _discard_unchanged(found: dict[Path, _Identity]) -> int:
    dead = [path for path, identity in found.items() if not is_held_here(path) and _identity(path) == identity]
    for path in dead:
        discard(path)
    return len(dead)


def _place_locks(root: StorageRoot) -> Iterator[Path]:
    for directory, names, files in os.walk(root.path):
        place = Path(directory)
        if place == root.path:
            names[:] = [name for name in names if name != STATE_DIRECTORY]
        if is_valid(place):
            names.clear()
            continue
        yield from (place / name for name in files if name.endswith(".lock"))


def is_in_use(repository: Path) -> bool:
    """Tell whether another process was started on a repository or works in it. Blocks."""
    wanted = os.fsencode(os.path.realpath(repository))
    named = os.fsencode(repository)
    own = os.getpid()
    for entry in _PROCESSES.iterdir():
        if entry.name.isdigit() and int(entry.name) != own and _uses(entry, wanted, named):
            return True
    return False


def _uses(process: Path, resolved: bytes, named: bytes) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        if any(_names(word, resolved) or _names(word, named) for word in words):
            return True
        directory = os.fsencode((process / "cwd").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return directory == resolved or directory.startswith(resolved + b"/")


def _names(word: bytes, path: bytes) -> bool:
    start = word.find(path)
    if start < 0:
        return False
    end = word[start + len(path) : start + len(path) + 1]
    return end in (b"", b"/", b"'")


def _git_candidates(repository: Path) -> Iterator[Path]:
    yield from (repository / name for name in _GIT_LOCKS)
    yield from (repository / "refs").rglob("*.lock")
    yield from (repository / "objects").glob("tmp_objdir-*")


def _node_candidates(repository: Path) -> Iterator[Path]:
    yield repository.with_name(f"{repository.name}.lock")
    yield from (repository / name for name in _NODE_LOCKS)


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (status.st_ino, status.st_mtime_ns)
