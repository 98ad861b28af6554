"""A repository on this node's disk, as one request names it, and what makes a directory a valid one."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from praefect.proto.shared_pb2 import Repository

if TYPE_CHECKING:
    from praefect.node.storage.roots import StorageRoot

_REQUIRED = ("objects", "refs", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRepository:
    """A repository's place on disk with the request's quarantine.

    Attributes:
        relative_path: as the request spells it; votes are made over this text.
        path: the directory.
        object_directory: where new objects go, relative to ``path``; empty for ``objects``.
        alternate_object_directories: where objects are looked up besides, relative to ``path``.
        gl_repository: GitLab's name of the repository, for the internal API.
        gl_project_path: GitLab's path of the project, for custom hooks.
    """

    root: StorageRoot
    relative_path: str
    path: Path
    object_directory: str = ""
    alternate_object_directories: tuple[str, ...] = ()
    gl_repository: str = ""
    gl_project_path: str = ""

    @property
    def storage_name(self) -> str:
        """The name of the storage it is in."""
        return self.root.name

    @property
    def objects_path(self) -> Path:
        """The directory new objects are written to."""
        return self.path / (self.object_directory or "objects")

    @property
    def is_quarantined(self) -> bool:
        """Whether new objects go elsewhere than to the repository itself."""
        return bool(self.object_directory)

    def message(self) -> Repository:
        """Return the wire form, quarantine included."""
        return Repository(
            storage_name=self.root.name,
            relative_path=self.relative_path,
            git_object_directory=self.object_directory,
            git_alternate_object_directories=self.alternate_object_directories,
            gl_repository=self.gl_repository,
            gl_project_path=self.gl_project_path,
        )

    def resolve_inside(self, relative: str) -> Path:
        """Return the absolute directory of a path given relative to the repository; it must stay in the storage.

        Raises:
            InvalidArgumentError: it leads out of the storage.
        """
        path = Path(os.path.normpath(self.path / relative))
        if relative.startswith("/") or "\0" in relative or not self.root.contains(path):
            raise InvalidArgumentError("relative path escapes root directory")
        return path

    def object_environment(self) -> dict[str, str]:
        """Return the variables that make git look for and put objects where the request says."""
        environment = {}
        if self.object_directory:
            environment["GIT_OBJECT_DIRECTORY"] = str(self.resolve_inside(self.object_directory))
        if self.alternate_object_directories:
            directories = [str(self.resolve_inside(each)) for each in self.alternate_object_directories]
            environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = ":".join(directories)
        return environment

    def quarantined_in(self, directory: Path) -> LocalRepository:
        """Return the same repository with new objects going to ``directory``, looked up there and where they were."""
        return replace(
            self,
            object_directory=os.path.relpath(directory, self.path),
            alternate_object_directories=(self.object_directory or "objects", *self.alternate_object_directories),
        )

    def without_quarantine(self) -> LocalRepository:
        """Return the same repository as if the request had named no object directories."""
        return replace(self, object_directory="", alternate_object_directories=())


def missing_part(path: Path) -> str | None:
    """Return the first part that a repository needs and ``path`` lacks, ``None`` if it is one."""
    for part in _REQUIRED:
        if not (path / part).exists():
            return part
    return None


def is_valid(path: Path) -> bool:
    """Tell whether ``path`` is a repository."""
    return path.is_dir() and missing_part(path) is None


def require_valid(path: Path) -> None:
    """Check that ``path`` is a repository.

    Raises:
        NotFoundError: there is nothing.
        FailedPreconditionError: there is something else.
    """
    if not path.exists():
        raise NotFoundError("repository not found")
    if not path.is_dir():
        raise FailedPreconditionError("repository not valid: not a directory")
    part = missing_part(path)
    if part is not None:
        raise FailedPreconditionError(f'repository not valid: "{part}" does not exist')
