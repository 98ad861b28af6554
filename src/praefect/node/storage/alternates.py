"""``objects/info/alternates``: where a repository finds objects it does not have itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError

if TYPE_CHECKING:
    from praefect.node.storage.roots import StorageRoot

_MAX_DEPTH = 5


def alternates_file(repository: Path) -> Path:
    """Return the file that lists the alternates of a repository."""
    return repository / "objects" / "info" / "alternates"


def read_alternates(objects: Path) -> list[Path]:
    """Return the object directories listed for ``objects``, absolute; comments are skipped, absence is none."""
    try:
        content = (objects / "info" / "alternates").read_bytes()
    except FileNotFoundError:
        return []
    lines = [line for line in content.split(b"\n") if line and not line.startswith(b"#")]
    return [Path(os.path.normpath(objects / os.fsdecode(line))) for line in lines]


def all_object_directories(root: StorageRoot, objects: Path) -> list[Path]:
    """Return ``objects`` and everything it borrows from, in git's order, each once.

    Raises:
        InternalError: an alternate lies outside the storage or the chain is longer than git follows.
    """
    found: list[Path] = []
    pending = [(objects, 0)]
    while pending:
        directory, depth = pending.pop(0)
        if directory in found:
            continue
        if depth > _MAX_DEPTH:
            raise InternalError("alternates are nested too deeply")
        if not root.contains(directory):
            raise InternalError("alternate object directory is outside of the storage")
        found.append(directory)
        pending.extend((each, depth + 1) for each in read_alternates(directory))
    return found
