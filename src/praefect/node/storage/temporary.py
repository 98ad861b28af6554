"""Temporary directories of a storage, each marked with its owner, so that a dead process's can be told and removed.

A process holds a lock on its owner file as long as it lives; the names of its temporary entries end in its owner id.
Whatever belongs to an owner whose file is gone or can be locked is a leftover.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from praefect.node.storage.roots import StorageRoot

_OWNED = re.compile(r"-([0-9a-f]{12})-[0-9a-f]{8}$")
_MAX_AGE_SECONDS = 7 * 24 * 3600


class TemporaryDirectories:
    """Hands out temporary directories below ``+gitaly/tmp`` of a storage and clears what dead processes left."""

    def __init__(self) -> None:
        self._owner = secrets.token_hex(6)
        self._locks: dict[Path, int] = {}

    @property
    def owner(self) -> str:
        """The id in the names of this process's temporary entries."""
        return self._owner

    def claim(self, root: StorageRoot) -> None:
        """Mark this process as living in ``root``; held until ``close``."""
        directory = root.temporary_directory
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        if directory in self._locks:
            return
        descriptor = os.open(directory / f".owner-{self._owner}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._locks[directory] = descriptor

    def close(self) -> None:
        """Give up all claims."""
        for directory, descriptor in self._locks.items():
            with contextlib.suppress(FileNotFoundError):
                (directory / f".owner-{self._owner}").unlink()
            os.close(descriptor)
        self._locks.clear()

    def name(self, root: StorageRoot, prefix: str) -> Path:
        """Return a fresh name below the temporary directory; nothing is created there."""
        self.claim(root)
        return root.temporary_directory / f"{prefix}-{self._owner}-{secrets.token_hex(4)}"

    def create(self, root: StorageRoot, prefix: str) -> Path:
        """Create a private directory with a fresh name. The caller removes it."""
        path = self.name(root, prefix)
        path.mkdir(mode=0o700)
        return path

    def leftovers(self, root: StorageRoot) -> list[Path]:
        """Return the entries that no living process owns: of dead owners, or of unknown ones and a week old."""
        directory = root.temporary_directory
        entries = list(directory.iterdir()) if directory.is_dir() else []
        living = self._living_owners(directory, entries)
        return [entry for entry in entries if _is_leftover(entry, living)]

    def remove_leftovers(self, root: StorageRoot) -> int:
        """Delete what ``leftovers`` finds and return how many entries that were. Blocks."""
        leftovers = self.leftovers(root)
        for entry in leftovers:
            discard(entry)
        return len(leftovers)

    def others_live(self, root: StorageRoot) -> bool:
        """Tell whether another living process has claimed the storage; it may hold locks that no git process shows."""
        directory = root.temporary_directory
        entries = list(directory.glob(".owner-*")) if directory.is_dir() else []
        return bool(self._living_owners(directory, entries) - {self._owner})

    def _living_owners(self, directory: Path, entries: list[Path]) -> set[str]:
        living = {self._owner} if directory in self._locks else set()
        for entry in entries:
            if entry.name.startswith(".owner-") and _is_locked(entry):
                living.add(entry.name.removeprefix(".owner-"))
        return living


def _is_locked(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _is_leftover(entry: Path, living: set[str]) -> bool:
    if entry.name.startswith(".owner-"):
        return entry.name.removeprefix(".owner-") not in living
    match = _OWNED.search(entry.name)
    if match is not None:
        return match.group(1) not in living
    try:
        return time.time() - entry.lstat().st_mtime > _MAX_AGE_SECONDS
    except FileNotFoundError:
        return False


async def discard_in_thread(path: Path) -> None:
    """Delete as ``discard`` does without blocking; a caller that is cancelled meanwhile leaves nothing behind.

    A cancelled ``to_thread`` whose thread has not begun would never begin.
    """
    await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, discard, path))


def discard(path: Path) -> None:
    """Delete a file or directory tree, read-only directories included; what is gone is no error. Blocks."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            try:
                _make_writable(path)
                shutil.rmtree(path, ignore_errors=True)
            except RecursionError:
                _remove_deep(path)
        else:
            path.unlink()


def _remove_deep(path: Path) -> None:
    """Delete a tree that is deeper than Python walks: a reference's name may have a thousand parts."""
    for argv in (["chmod", "-R", "u+rwX", "--"], ["rm", "-rf", "--"]):
        subprocess.run([*argv, str(path)], stderr=subprocess.DEVNULL, check=False)


def _make_writable(path: Path) -> None:
    for directory in _directories(path):
        with contextlib.suppress(OSError):
            directory.chmod(0o700)


def _directories(path: Path) -> Iterator[Path]:
    yield path
    for directory, names, _ in os.walk(path):
        for name in names:
            child = Path(directory, name)
            if not child.is_symlink():
                yield child
