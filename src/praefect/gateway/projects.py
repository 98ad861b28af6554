"""Projects: names, paths and states, in a small SQLite file. The one place besides ``datastore`` with SQL.

A project is *creating* until its repository is complete, *ready* then, and *deleting* while it is removed. What a crash
left in the first state is in the last one from the next start on, and removed with what else is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import NewType, TypeVar

from praefect.domain.errors import AlreadyExistsError, InternalError, InvalidArgumentError, NotFoundError

ProjectId = NewType("ProjectId", int)
T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS projects (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE COLLATE NOCASE,
    name TEXT NOT NULL,
    storage TEXT NOT NULL,
    default_branch TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'deleting')),
    created_at TEXT NOT NULL
)
"""
_DELETING = "state = 'deleting', path = '-/deleting/' || id"  # a path that nobody can give a project
_NUMBER = re.compile(r"[0-9]{1,18}")  # what fits into a row
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")
_RESERVED = frozenset({"api", "-", "status", "info"})
MAX_PATH_LENGTH = 1024


class ProjectState(StrEnum):
    """Where a project is in its life."""

    CREATING = "creating"
    READY = "ready"
    DELETING = "deleting"


class ProjectNotFoundError(NotFoundError):
    """No project has this path or number."""


class ProjectExistsError(AlreadyExistsError):
    """The path is taken."""


class InvalidProjectPathError(InvalidArgumentError):
    """The path cannot be a project's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project and where its repository is."""

    id: ProjectId
    path: str
    name: str
    storage: str
    default_branch: str
    state: ProjectState
    created_at: datetime

    @property
    def relative_path(self) -> str:
        """The repository's path on the storage, as GitLab names it: hashed, so that renaming moves nothing."""
        digest = hashlib.sha256(str(self.id).encode()).hexdigest()
        return f"@hashed/{digest[:2]}/{digest[2:4]}/{digest}.git"

    @property
    def gl_repository(self) -> str:
        """The name under which hooks speak of the repository."""
        return f"project-{self.id}"


def check_path(path: str) -> str:
    """Return ``path`` if it may name a project.

    Raises:
        InvalidProjectPathError: saying what is wrong with it.
    """
    if not path or len(path) > MAX_PATH_LENGTH:
        raise InvalidProjectPathError(f"path must have between 1 and {MAX_PATH_LENGTH} characters")
    for segment in path.split("/"):
        if not _SEGMENT.fullmatch(segment) or ".." in segment or segment.endswith((".git", ".atom", ".")):
            raise InvalidProjectPathError(
                f'path segment "{segment[:80]}" may hold letters, digits, "_", "-" and ".", and not end in ".", ".git"'
            )
    first = path.partition("/")[0]
    if first in _RESERVED:
        raise InvalidProjectPathError(f'path must not begin with "{first}"')
    return path


def parse_number(text: str) -> int | None:
    """Return the number that stands in a request, if a project or user can have it."""
    return int(text) if _NUMBER.fullmatch(text) else None


class ProjectStore:
    """The projects on disk. One thread speaks to SQLite, so that the event loop never waits for the disk."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._connection = connection
        self._thread = thread

    async def add(self, *, path: str, name: str, storage: str, default_branch: str) -> Project:
        """Store a project in state *creating*.

        Raises:
            ProjectExistsError: the path is taken.
        """
        created_at = datetime.now(UTC)

        def insert(connection: sqlite3.Connection) -> ProjectId:
            cursor = connection.execute(
                "INSERT INTO projects (path, name, storage, default_branch, state, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (path, name, storage, default_branch, ProjectState.CREATING.value, created_at.isoformat()),
            )
            return ProjectId(cursor.lastrowid or 0)

        try:
            project_id = await self._run(insert)
        except sqlite3.IntegrityError as exc:
            raise ProjectExistsError(f'project "{path}" has already been taken') from exc
        return Project(
            id=project_id,
            path=path,
            name=name,
            storage=storage,
            default_branch=default_branch,
            state=ProjectState.CREATING,
            created_at=created_at,
        )

    async def mark_ready(self, project_id: ProjectId) -> None:
        """Let a project be seen."""
        await self._run(
            lambda connection: connection.execute("UPDATE projects SET state = 'ready' WHERE id = ?", (project_id,))
        )

    async def mark_deleting(self, project_id: ProjectId) -> None:
        """Hide a project and free its path."""
        await self._run(
            lambda connection: connection.execute(
                f"UPDATE projects SET {_DELETING} WHERE id = ?",  # noqa: S608 - a constant
                (project_id,),
            )
        )

    async def remove(self, project_id: ProjectId) -> None:
        """Forget a project."""
        await self._run(lambda connection: connection.execute("DELETE FROM projects WHERE id = ?", (project_id,)))

    async def get(self, project_id: ProjectId) -> Project:
        """Return a ready project.

        Raises:
            ProjectNotFoundError: there is none.
        """
        return await self._one("SELECT * FROM projects WHERE id = ? AND state = 'ready'", project_id, f"{project_id}")

    async def get_existing(self, project_id: ProjectId) -> Project:
        """Return a project that is ready or being created, as hooks of its first commit need it.

        Raises:
            ProjectNotFoundError: there is none.
        """
        return await self._one(
            "SELECT * FROM projects WHERE id = ? AND state <> 'deleting'", project_id, f"{project_id}"
        )

    async def get_by_path(self, path: str) -> Project:
        """Return a ready project.

        Raises:
            ProjectNotFoundError: there is none.
        """
        try:
            check_path(path)
        except InvalidProjectPathError as exc:
            raise ProjectNotFoundError(f'project "{path[:200]}" not found') from exc
        return await self._one("SELECT * FROM projects WHERE path = ? AND state = 'ready'", path, path)

    async def list_ready(self) -> list[Project]:
        """Return all ready projects by path."""
        rows = await self._run(
            lambda connection: connection.execute(
                "SELECT * FROM projects WHERE state = 'ready' ORDER BY path"
            ).fetchall()
        )
        return [_project(row) for row in rows]

    async def abandon_creations(self) -> None:
        """Mark what is half created as to be deleted; to be called while nobody creates."""
        await self._run(
            lambda connection: connection.execute(
                f"UPDATE projects SET {_DELETING} WHERE state = 'creating'"  # noqa: S608 - a constant
            )
        )

    async def list_deleting(self) -> list[Project]:
        """Return what is to be deleted."""
        rows = await self._run(
            lambda connection: connection.execute(
                "SELECT * FROM projects WHERE state = 'deleting' ORDER BY id"
            ).fetchall()
        )
        return [_project(row) for row in rows]

    async def _one(self, query: str, key: object, text: str) -> Project:
        row = await self._run(lambda connection: connection.execute(query, (key,)).fetchone())
        if row is None:
            raise ProjectNotFoundError(f'project "{text[:200]}" not found')
        return _project(row)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def in_transaction() -> T:
            with self._connection:
                return work(self._connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, in_transaction)
        except sqlite3.OperationalError as exc:
            raise InternalError(f"project database: {exc}") from exc


@asynccontextmanager
async def open_projects(path: Path) -> AsyncIterator[ProjectStore]:
    """Open the file, creating it if need be.

    Raises:
        InternalError: the file cannot be opened or is no database.
    """
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="projects") as thread:
        try:
            connection = await loop.run_in_executor(thread, _connect, path)
        except (sqlite3.DatabaseError, OSError) as exc:
            raise InternalError(f"open project database {path}: {exc}") from exc
        try:
            yield ProjectStore(connection, thread)
        finally:
            await loop.run_in_executor(thread, connection.close)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    try:
        path.chmod(0o600)  # before SQLite makes the files beside it, which get the same mode
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with closing(connection.execute(SCHEMA)):
            connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _project(row: sqlite3.Row) -> Project:
    return Project(
        id=ProjectId(row["id"]),
        path=row["path"],
        name=row["name"],
        storage=row["storage"],
        default_branch=row["default_branch"],
        state=ProjectState(row["state"]),
        created_at=datetime.fromisoformat(row["created_at"]),
    )
