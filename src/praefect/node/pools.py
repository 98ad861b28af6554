"""Object pools: which paths are theirs, which pool a repository borrows from."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from praefect.node.storage.alternates import read_alternates
from praefect.node.storage.repository import LocalRepository, is_valid

if TYPE_CHECKING:
    from pathlib import Path

_RAILS_POOL = re.compile(r"(?:^|/)@pools/([0-9a-f]{2})/([0-9a-f]{2})/([0-9a-f]{64})\.git$")
_CLUSTER_POOL = re.compile(r"(?:^|/)@cluster/pools/[0-9a-f]{2}/[0-9a-f]{2}/[0-9]+$")


def is_pool_path(relative_path: str) -> bool:
    """Tell by its path whether a repository is an object pool."""
    match = _RAILS_POOL.search(relative_path)
    if match is not None:
        return match[3].startswith(match[1] + match[2])
    return _CLUSTER_POOL.search(relative_path) is not None


def pool_of(repository: LocalRepository) -> LocalRepository | None:
    """Return the valid pool that a repository borrows objects from, if any."""
    alternates = read_alternates(repository.path / "objects")
    if len(alternates) != 1 or alternates[0].name != "objects":
        return None
    path = alternates[0].parent
    root = repository.root
    if not root.contains(path) or not is_valid(path):
        return None
    relative = os.path.relpath(os.path.realpath(path), root.resolved)
    return LocalRepository(root=root, relative_path=relative, path=root.path / relative)


def relative_objects_path(repository: LocalRepository, pool: LocalRepository) -> str:
    """Return what a member's alternates file says: the pool's objects, relative to the member's."""
    return os.path.relpath(_objects(pool), _objects(repository))


def _objects(repository: LocalRepository) -> Path:
    return repository.path / "objects"
