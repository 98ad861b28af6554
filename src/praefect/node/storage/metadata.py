"""The storage's identity file, by which two nodes notice that they share a disk."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from praefect.node.storage.durable import publish, sync_file

if TYPE_CHECKING:
    from praefect.node.storage.roots import StorageRoot

_FILE = ".gitaly-metadata"
_KEY = "gitaly_filesystem_id"


def ensure_filesystem_id(root: StorageRoot) -> str:
    """Return the storage's id, written now if it has none. Blocks."""
    known = read_filesystem_id(root)
    if known:
        return known
    new = str(uuid.uuid4())
    temporary = root.path / f"{_FILE}.{uuid.uuid4().hex}"
    temporary.write_text(json.dumps({_KEY: new}), encoding="utf-8")
    temporary.chmod(0o644)
    sync_file(temporary)
    publish(temporary, root.path / _FILE)
    return new


def read_filesystem_id(root: StorageRoot) -> str:
    """Return the storage's id, empty if it has none or the file cannot be read."""
    try:
        value = json.loads((root.path / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    found = value.get(_KEY) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""
