"""Projects come and go together with their repositories.

A creation is undone if a step of it fails, and runs to its end if the client goes away. A repository that could not be
removed is removed later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from praefect.domain.errors import PraefectError
from praefect.gateway.access import User
from praefect.gateway.projects import Project, ProjectStore, check_path
from praefect.gateway.storages import (
    Storage,
    Storages,
    commit_readme,
    create_repository,
    failure_fields,
    remove_repository,
)
from praefect.observability.log import get_logger
from praefect.runtime.completions import Completions
from praefect.runtime.ticker import Ticker

LIMIT: Final = timedelta(minutes=2)
"""More than the calls of one creation and its undoing may take."""

_log = get_logger("gateway.projects")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """What a client wants."""

    path: str
    name: str
    default_branch: str
    readme: bool


class ProjectLifecycle:
    """Creates and deletes projects."""

    def __init__(self, projects: ProjectStore, storages: Storages, completions: Completions) -> None:
        self._projects = projects
        self._storages = storages
        self._completions = completions

    async def create(self, user: User, storage: Storage, wanted: NewProject) -> Project:
        """Create a project and its repository.

        Raises:
            InvalidProjectPathError: the path cannot be a project's.
            ProjectExistsError: the path is taken.
            PraefectError: the storage refused; nothing is left, or will be soon.
        """
        check_path(wanted.path)
        work = partial(self._create, user, storage, wanted)
        return await self._completions.run(work, name=f"create {wanted.path}", timeout=LIMIT)

    async def delete(self, project: Project) -> None:
        """Delete a project and its repository.

        Raises:
            PraefectError: the storage refused; the project is gone, and its repository will be.
        """
        await self._completions.run(partial(self._delete, project), name=f"delete {project.path}", timeout=LIMIT)

    async def _create(self, user: User, storage: Storage, wanted: NewProject) -> Project:
        project = await self._projects.add(
            path=wanted.path, name=wanted.name, storage=storage.name, default_branch=wanted.default_branch
        )
        try:
            await create_repository(storage, project, user)
            if wanted.readme:
                await commit_readme(storage, project, user)
        except PraefectError as exc:
            _log.warning("project was not created", project=project.path, **failure_fields(storage, exc))
            await self._undo(project)
            raise
        await self._projects.mark_ready(project.id)
        return project

    async def _undo(self, project: Project) -> None:
        try:
            await self._delete(project)
        except PraefectError as exc:
            _log.warning("repository of a failed project was not removed", project=project.path, error=str(exc))

    async def _delete(self, project: Project) -> None:
        await self._projects.mark_deleting(project.id)
        await remove_repository(self._storages.get(project.storage), project)
        await self._projects.remove(project.id)


class DeletionCleaner:
    """Deletes what a crash left half created, and what could not be deleted because its storage was away."""

    def __init__(self, projects: ProjectStore, lifecycle: ProjectLifecycle) -> None:
        self._projects = projects
        self._lifecycle = lifecycle

    async def run_once(self) -> int:
        """Delete what can be deleted; return how many projects remain to be."""
        remaining = 0
        for project in await self._projects.list_deleting():
            try:
                await self._lifecycle.delete(project)
            except PraefectError as exc:
                remaining += 1
                _log.warning("repository of a deleted project remains", project=project.name, error=str(exc))
        return remaining

    async def run(self, ticker: Ticker) -> None:
        """A pass per tick until cancelled."""
        while True:
            await ticker.wait()
            await self.run_once()
