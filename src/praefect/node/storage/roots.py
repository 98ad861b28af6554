"""The storages of this node and the way from a request's ``Repository`` to a directory."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError, NotFoundError
from praefect.node.storage.repository import LocalRepository, require_valid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from praefect.proto.shared_pb2 import Repository

STATE_DIRECTORY = "+gitaly"


class PathEscapesRootError(InvalidArgumentError):
    """A path leads, by its text or through symlinks, out of its storage."""

    def __init__(self) -> None:
        super().__init__("relative path escapes root directory")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageRoot:
    """One configured storage: its name and the directory that holds its repositories.

    Attributes:
        resolved: ``path`` with all symlinks resolved, what every path inside is compared with.
    """

    name: str
    path: Path
    resolved: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolved", Path(os.path.realpath(self.path)))

    @property
    def temporary_directory(self) -> Path:
        """Where temporary repositories, quarantines and removed repositories are; same file system, so renames work."""
        return self.path / STATE_DIRECTORY / "tmp"

    def require_directory(self) -> None:
        """Check that the storage's directory is there.

        Raises:
            NotFoundError: it is not.
        """
        if not self.path.is_dir():
            raise NotFoundError("storage does not exist")

    def join(self, relative_path: str) -> Path:
        """Return the directory of ``relative_path`` inside this storage.

        Raises:
            PathEscapesRootError: it is absolute, contains ``..`` or a symlink leads outside.
        """
        parts = relative_path.split("/")
        if relative_path.startswith("/") or ".." in parts:
            raise PathEscapesRootError
        if "\0" in relative_path:
            raise InvalidArgumentError("relative path contains NUL")
        path = self.path / relative_path
        if not self.contains(path):
            raise PathEscapesRootError
        return path

    def contains(self, path: Path) -> bool:
        """Tell whether ``path``, symlinks resolved, lies in this storage."""
        return Path(os.path.realpath(path)).is_relative_to(self.resolved)


class Storages:
    """All storages of this node, by name."""

    def __init__(self, roots: Iterable[StorageRoot]) -> None:
        self._roots = {root.name: root for root in roots}

    def __iter__(self) -> Iterator[StorageRoot]:
        return iter(self._roots.values())

    def find(self, name: str) -> StorageRoot | None:
        """Return the storage called ``name``, if it is one of this node's."""
        return self._roots.get(name)

    def root(self, name: str) -> StorageRoot:
        """Return the storage called ``name``.

        Raises:
            InvalidArgumentError: no name, or a name this node does not have.
        """
        if not name:
            raise InvalidArgumentError("storage name not set")
        root = self._roots.get(name)
        if root is None:
            raise InvalidArgumentError("storage name not found")
        return root

    def locate(self, repository: Repository | None) -> LocalRepository:
        """Return where ``repository`` is or would be; only the request is checked, not the directory.

        Raises:
            InvalidArgumentError: the request names no storage, no path, an unknown storage or a path outside.
        """
        if repository is None or not repository.ByteSize():
            raise InvalidArgumentError("repository not set")
        if not repository.storage_name:
            raise InvalidArgumentError("storage name not set")
        if not repository.relative_path:
            raise InvalidArgumentError("repository path not set")
        root = self.root(repository.storage_name)
        path = root.join(repository.relative_path)
        located = LocalRepository(
            root=root,
            relative_path=repository.relative_path,
            path=path,
            object_directory=repository.git_object_directory,
            alternate_object_directories=tuple(repository.git_alternate_object_directories),
            gl_repository=repository.gl_repository,
            gl_project_path=repository.gl_project_path,
        )
        self._check_object_directories(located)
        return located

    def open(self, repository: Repository | None) -> LocalRepository:
        """Return ``repository``, which is there and valid.

        Raises:
            InvalidArgumentError: as ``locate``.
            NotFoundError: there is no such storage directory or repository.
            FailedPreconditionError: the directory is not a repository.
        """
        located = self.locate(repository)
        located.root.require_directory()
        require_valid(located.path)
        return located

    def _check_object_directories(self, repository: LocalRepository) -> None:
        for directory in (repository.object_directory, *repository.alternate_object_directories):
            if directory:
                repository.resolve_inside(directory)
