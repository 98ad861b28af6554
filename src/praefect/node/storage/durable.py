"""Making changes survive a power cut: fsync before a rename publishes, fsync of the directory after it."""

from __future__ import annotations

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Flush a file, or the entries of a directory, to the disk. Blocks."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Flush everything below ``path``, and itself, to the disk; symlinks are not followed. Blocks."""
    for directory, _, files in os.walk(path, topdown=False):
        for name in files:
            file = Path(directory, name)
            if not file.is_symlink():
                sync_file(file)
        sync_file(Path(directory))


def sync_ancestors(path: Path, root: Path) -> None:
    """Flush the entries of each directory from ``path``'s parent up to ``root``. Blocks."""
    directory = path.parent
    while True:
        sync_file(directory)
        if directory in (root, directory.parent):
            return
        directory = directory.parent


def publish(source: Path, target: Path) -> None:
    """Move a finished, flushed file or directory to its final name, durably. Blocks."""
    source.rename(target)
    sync_file(target.parent)
