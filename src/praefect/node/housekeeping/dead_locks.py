"""Locks and temporary objects whose owner was killed: told from those in use by looking for the owner.

Git holds a lock only while a process of it works in the repository, and this program remembers its own. The order makes
it safe: the files are listed first, then the processes, and only a file that is still the same afterwards goes. Who
starts later finds the lock or makes a new one, and who worked and ended in between has removed its own. Hence also: a
file that is still there when all processes that were seen then have ended is nobody's, whoever else works by now.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.node.storage.locking import is_held_here
from praefect.node.storage.repository import is_valid
from praefect.node.storage.roots import STATE_DIRECTORY
from praefect.node.storage.temporary import discard
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
_Process = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspects:
    """Locks and quarantines of a repository, and who may own them.

    Attributes:
        repository: its place on disk.
        files: what was found, none of it owned by a process that started later.
        processes: who was seen at work in the repository thereafter, each by its id and when it started.
    """

    repository: Path
    files: Mapping[Path, _Identity]
    processes: frozenset[_Process]


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
        suspects = _look(repository, others_live=others_live)
        return 0 if suspects.processes else _discard_unchanged(suspects.files)


def look_for_suspects(repository: Path, *, others_live: bool = False) -> Suspects:
    """Return the locks and quarantines of a repository and who may own them. Blocks."""
    with _one_at_a_time:
        return _look(repository, others_live=others_live)


def clear_suspects(suspects: Suspects) -> int | None:
    """Delete what was suspected, and return how much; ``None`` while one that may own it is at work. Blocks."""
    place = _Place.of(suspects.repository)
    with _one_at_a_time:
        if any(_started(pid) == start and _uses(_PROCESSES / str(pid), place) for pid, start in suspects.processes):
            return None
        return _discard_unchanged(suspects.files)


def _look(repository: Path, *, others_live: bool) -> Suspects:
    candidates = set(_git_candidates(repository))
    if not others_live:
        candidates.update(_node_candidates(repository))
    found = {path: identity for path in candidates if (identity := _identity(path)) is not None}
    processes = frozenset(_processes_of(repository)) if found else frozenset[_Process]()
    return Suspects(repository=repository, files=found, processes=processes)


def clear_dead_places(root: StorageRoot, temporary: TemporaryDirectories) -> int:
    """Delete the locks of places where a repository was being made or removed and now is none. Blocks."""
    if temporary.others_live(root):
        return 0
    with _one_at_a_time:
        found = {path: identity for path in _place_locks(root) if (identity := _identity(path)) is not None}
        return _discard_unchanged(found)


def _discard_unchanged(found: Mapping[Path, _Identity]) -> int:
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
    return any(True for _ in _processes_of(repository))


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory as the processes that use it may name it."""

    resolved: bytes
    named: bytes

    @classmethod
    def of(cls, directory: Path) -> _Place:
        return cls(os.fsencode(os.path.realpath(directory)), os.fsencode(directory))


def _processes_of(repository: Path) -> Iterator[_Process]:
    place = _Place.of(repository)
    own = os.getpid()
    for entry in _PROCESSES.iterdir():
        if entry.name.isdigit() and int(entry.name) != own and _uses(entry, place):
            yield int(entry.name), _started(int(entry.name))


def _started(pid: int) -> str:
    """Return when a process started, in ticks that no setting of a clock moves; empty once it is gone."""
    try:
        return (_PROCESSES / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _uses(process: Path, place: _Place) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        if any(_names(word, place.resolved) or _names(word, place.named) for word in words):
            return True
        directory = os.fsencode((process / "cwd").readlink())
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return directory == place.resolved or directory.startswith(place.resolved + b"/")


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
    # Half-written objects, which git itself leaves when it is killed or the disk is full.
    yield from (repository / "objects").glob("[0-9a-f][0-9a-f]/tmp_obj_*")
    yield from (repository / "objects" / "pack").glob("tmp_*")


def _node_candidates(repository: Path) -> Iterator[Path]:
    yield repository.with_name(f"{repository.name}.lock")
    yield from (repository / name for name in _NODE_LOCKS)


def _identity(path: Path) -> _Identity | None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    # Git never uses the name of a quarantine twice, and who still writes below a dead one changes its time.
    return (status.st_ino, 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns)
