"""Lock files as git makes them: ``<path>.lock``, created exclusively, holding nothing but the name."""

from __future__ import annotations

import contextlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError

if TYPE_CHECKING:
    from collections.abc import Iterator


class AlreadyLockedError(FailedPreconditionError):
    """Somebody else is changing the file or directory."""


_held: set[Path] = set()
"""The locks this process holds: a fact about the process, like its open files, whoever in it asks."""


def is_held_here(lock: Path) -> bool:
    """Tell whether this process holds ``lock``, so that it is no leftover."""
    return lock in _held


def lock_name(path: Path) -> Path:
    """Return the name of the lock of ``path``."""
    return path.with_name(f"{path.name}.lock")


@contextmanager
def lock_file(path: Path, *, held: str) -> Iterator[Path]:
    """Hold ``<path>.lock``.

    Raises:
        AlreadyLockedError: it is there already; ``held`` is the text.
    """
    lock = lock_name(path)
    if lock in _held:
        raise AlreadyLockedError(held)
    _held.add(lock)  # before the file is there, so that it is never taken for a leftover
    try:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except FileExistsError as exc:
            raise AlreadyLockedError(held) from exc
        try:
            yield lock
        finally:
            with contextlib.suppress(FileNotFoundError):
                lock.unlink()
    finally:
        _held.discard(lock)
