"""Quarantine directories: new objects stay apart until the operation that made them may become visible."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.node.storage.durable import sync_file
from praefect.node.storage.temporary import TemporaryDirectories, discard_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.node.storage.repository import LocalRepository

_LAST_SUFFIXES = (".keep", ".pack", ".rev", ".idx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A repository whose new objects go to a directory of their own.

    Attributes:
        repository: the repository as git commands of the operation must use it.
        directory: where the new objects are.
        target: where ``migrate`` puts them.
    """

    repository: LocalRepository
    directory: Path
    target: Path

    async def migrate(self) -> None:
        """Move the objects into the repository, in an order in which readers never see an index without its pack."""
        await asyncio.to_thread(migrate_objects, self.directory, self.target)


@asynccontextmanager
async def quarantine(temporary: TemporaryDirectories, repository: LocalRepository) -> AsyncIterator[Quarantine]:
    """Open a quarantine for one operation; what was not migrated is gone at the end."""
    digest = hashlib.sha1(repository.relative_path.encode("utf-8", "surrogateescape"), usedforsecurity=False)
    directory = temporary.create(repository.root, f"quarantine-{digest.hexdigest()[:16]}")
    try:
        yield Quarantine(
            repository=repository.quarantined_in(directory), directory=directory, target=repository.objects_path
        )
    finally:
        await discard_in_thread(directory)


def migrate_objects(source: Path, target: Path) -> None:
    """Link every file below ``source`` into ``target`` and remove it from ``source``. Blocks.

    Packs go before their indexes, everything else before packs; a file that is there already is kept.
    """
    files = [Path(directory, name).relative_to(source) for directory, _, names in os.walk(source) for name in names]
    directories = set()
    for file in sorted(files, key=_migration_order):
        directories.update(_migrate_file(source / file, target / file, target))
    for directory in sorted(directories, reverse=True):
        sync_file(directory)


def _migration_order(file: Path) -> tuple[int, str]:
    in_pack = file.parts[0] == "pack"
    if not in_pack or not file.name.startswith("pack-"):
        return (0, str(file))
    with contextlib.suppress(ValueError):
        return (1 + _LAST_SUFFIXES.index(file.suffix), str(file))
    return (1 + len(_LAST_SUFFIXES), str(file))


def _migrate_file(source: Path, target: Path, root: Path) -> set[Path]:
    changed = {target.parent}
    if not target.parent.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        changed.update(parent for parent in target.parents if parent.is_relative_to(root))
    sync_file(source)
    try:
        os.link(source, target)
    except FileExistsError:
        pass
    except OSError:
        source.rename(target)
        return changed
    source.unlink()
    return changed
