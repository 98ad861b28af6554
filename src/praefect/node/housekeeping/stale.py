"""Files that git leaves behind when it is interrupted, by age: what nobody can still be using."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.node.storage.temporary import discard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from praefect.node.storage.repository import LocalRepository

_MINUTE = 60.0
_HOUR = 3600.0
_DAY = 24 * _HOUR

_QUARTER_HOUR_FILES = (
    "config.lock",
    "HEAD.lock",
    "shallow.lock",
    "packed-refs.new",
    "custom_hooks.lock",
    "objects/info/alternates.lock",
    "objects/info/commit-graph.lock",
    "objects/info/commit-graphs/commit-graph-chain.lock",
    "objects/pack/multi-pack-index.lock",
)
_UNWANTED_FILES = ("info/refs", "objects/info/packs", "info/attributes")
_KEEP_MARKS = (b"receive-pack ", b"fetch-pack ")


async def remove_stale_files(repository: LocalRepository) -> int:
    """Delete what is stale in a repository and return how much that was."""
    return await asyncio.to_thread(_remove, repository.path)


def _remove(repository: Path) -> int:
    removed = 0
    now = time.time()
    for path, age in _candidates(repository):
        if _is_older(path, now, age):
            discard(path)
            removed += 1
    return removed + _remove_empty_directories(repository / "refs", now)


def _candidates(repository: Path) -> Iterator[tuple[Path, float]]:
    yield from ((repository / name, 15 * _MINUTE) for name in _QUARTER_HOUR_FILES)
    yield from ((repository / name, -_DAY) for name in _UNWANTED_FILES)
    yield repository / "packed-refs.lock", _HOUR
    yield from _object_candidates(repository / "objects")
    yield from _reference_candidates(repository / "refs")


def _object_candidates(objects: Path) -> Iterator[tuple[Path, float]]:
    for directory in _entries(objects):
        if directory.name.startswith("tmp_objdir"):
            yield directory, 3 * _DAY
        elif directory.name.startswith("tmp_"):
            yield directory, _DAY
        elif len(directory.name) == 2 or directory.name == "pack":
            yield from ((file, _DAY) for file in _entries(directory) if file.name.startswith("tmp_"))
    for keep in (objects / "pack").glob("pack-*.keep"):
        if _is_transfer_keep(keep):
            yield keep, 7 * _DAY


def _reference_candidates(refs: Path) -> Iterator[tuple[Path, float]]:
    for file in refs.rglob("*"):
        if file.name.endswith(".lock"):
            yield file, _HOUR
        elif _is_empty_file(file):
            yield file, _DAY


def _remove_empty_directories(refs: Path, now: float) -> int:
    removed = 0
    kept = {refs, refs / "heads", refs / "tags"}
    for directory in sorted(refs.rglob("*"), reverse=True):
        if directory.is_dir() and directory not in kept and _is_older(directory, now, _DAY):
            with contextlib.suppress(OSError):
                directory.rmdir()
                removed += 1
    return removed


def _is_older(path: Path, now: float, age: float) -> bool:
    try:
        return now - path.lstat().st_mtime > age
    except FileNotFoundError:
        return False


def _is_empty_file(file: Path) -> bool:
    try:
        return file.is_file() and file.stat().st_size == 0
    except FileNotFoundError:
        return False


def _is_transfer_keep(file: Path) -> bool:
    try:
        return file.read_bytes().startswith(_KEEP_MARKS)
    except FileNotFoundError:
        return False


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
