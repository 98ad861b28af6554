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
from praefect.node.storage.temporary import discard
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from praefect.node.storage.repository import LocalRepository

_log = get_logger("node.housekeeping")
_PROCESSES = Path("/proc")
_LOCK_FILES = (
    "config.lock",
    "HEAD.lock",
    "shallow.lock",
    "packed-refs.lock",
    "packed-refs.new",
    "custom_hooks.lock",
    "objects/info/alternates.lock",
    "objects/info/commit-graph.lock",
    "objects/info/commit-graphs/commit-graph-chain.lock",
    "objects/pack/multi-pack-index.lock",
)
_one_at_a_time = threading.Lock()

_Identity = tuple[int, int]


async def clear_dead_locks(repository: LocalRepository) -> int:
    """Delete the locks and quarantines that no living process owns, and return how many."""
    cleared = await asyncio.to_thread(clear_dead_locks_in, repository.path)
    if cleared:
        _log.warning("cleared leftovers of killed processes", relative_path=repository.relative_path, count=cleared)
    return cleared


def clear_dead_locks_in(repository: Path) -> int:
    """Do what ``clear_dead_locks`` does. Blocks."""
    with _one_at_a_time:
        found = {path: identity for path in _candidates(repository) if (identity := _identity(path)) is not None}
        if not found or is_in_use(repository):
            return 0
        dead = [path for path, identity in found.items() if _identity(path) == identity and not is_held_here(path)]
        for path in dead:
            discard(path)
        return len(dead)


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


def _candidates(repository: Path) -> Iterator[Path]:
    yield repository.with_name(f"{repository.name}.lock")
    yield from (repository / name for name in _LOCK_FILES)
    yield from (repository / "refs").rglob("*.lock")
    yield from (repository / "objects").glob("tmp_objdir-*")


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return (status.st_ino, status.st_mtime_ns)
