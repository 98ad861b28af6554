"""The project API: list, create (with a README if asked), show and delete projects."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from aiohttp import web

from praefect.domain.errors import InvalidArgumentError, PraefectError
from praefect.domain.references import is_branch_name
from praefect.gateway.access import Access, User
from praefect.gateway.lifecycle import NewProject, ProjectLifecycle
from praefect.gateway.projects import (
    Project,
    ProjectExistsError,
    ProjectId,
    ProjectNotFoundError,
    ProjectStore,
    check_path,
    parse_number,
)
from praefect.gateway.requests import read_form, text_field
from praefect.gateway.storages import Storage, Storages, UnknownStorageError, explain_failure
from praefect.transport.grpc.status import StatusCode, code_of

DEFAULT_BRANCH = "main"
MAX_NAME_LENGTH = 255
MAX_BRANCH_BYTES = 250  # with ".lock" the name of a file


class ProjectApi:
    """The handlers under ``/api/v4/projects``."""

    def __init__(
        self,
        *,
        access: Access,
        projects: ProjectStore,
        storages: Storages,
        lifecycle: ProjectLifecycle,
        external_url: str,
    ) -> None:
        self._access = access
        self._projects = projects
        self._storages = storages
        self._lifecycle = lifecycle
        self._external_url = external_url.rstrip("/")

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to serve."""
        return [
            web.get("/api/v4/projects", self.list_projects),
            web.post("/api/v4/projects", self.create_project),
            web.get("/api/v4/projects/{id}", self.show_project),
            web.delete("/api/v4/projects/{id}", self.delete_project),
        ]

    async def list_projects(self, request: web.Request) -> web.Response:
        """List all projects."""
        self._authenticate(request)
        return web.json_response([self._describe(project) for project in await self._projects.list_ready()])

    async def show_project(self, request: web.Request) -> web.Response:
        """Show one project, by number or by URL-encoded path."""
        self._authenticate(request)
        return web.json_response(self._describe(await self._find(request)))

    async def create_project(self, request: web.Request) -> web.Response:
        """Create a project."""
        user = self._authenticate(request, writes=True)
        form = await read_form(request)
        try:
            name = text_field(form, "repository_storage")
            storage = self._storages.get(name) if name else self._storages.choose()
            wanted = _new_project(form)
        except InvalidArgumentError as exc:
            return _error(400, str(exc))
        try:
            project = await self._lifecycle.create(user, storage, wanted)
        except ProjectExistsError as exc:
            return _error(409, str(exc))
        except PraefectError as exc:
            return await _failure(storage, exc)
        return web.json_response(self._describe(project), status=201)

    async def delete_project(self, request: web.Request) -> web.Response:
        """Delete a project and its repository."""
        self._authenticate(request, writes=True)
        project = await self._find(request)
        try:
            await self._lifecycle.delete(project)
        except UnknownStorageError as exc:
            return _error(500, f"{code_of(exc).value}:{exc}")
        except PraefectError as exc:
            return await _failure(self._storages.get(project.storage), exc)
        return web.json_response({"message": "202 Accepted"}, status=202)

    async def _find(self, request: web.Request) -> Project:
        key = request.match_info["id"]
        try:
            number = parse_number(key)
            if number is None:
                return await self._projects.get_by_path(key)
            return await self._projects.get(ProjectId(number))
        except ProjectNotFoundError as exc:
            raise web.HTTPNotFound(
                text=json.dumps({"message": "404 Project Not Found"}), content_type="application/json"
            ) from exc

    def _authenticate(self, request: web.Request, *, writes: bool = False) -> User:
        token = request.headers.get("PRIVATE-TOKEN", "")
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        if not token and scheme.lower() == "bearer":
            token = bearer
        user = self._access.authenticate(None, token)
        if user is None:
            raise web.HTTPUnauthorized(
                text=json.dumps({"message": "401 Unauthorized"}), content_type="application/json"
            )
        if writes and user.read_only:
            raise web.HTTPForbidden(text=json.dumps({"message": "403 Forbidden"}), content_type="application/json")
        return user

    def _describe(self, project: Project) -> dict[str, Any]:
        return {
            "id": project.id,
            "name": project.name,
            "path": project.path.rsplit("/", 1)[-1],
            "path_with_namespace": project.path,
            "default_branch": project.default_branch,
            "created_at": project.created_at.isoformat(),
            "http_url_to_repo": f"{self._external_url}/{project.path}.git",
            "repository_storage": project.storage,
        }


def _new_project(form: dict[str, Any]) -> NewProject:
    name = text_field(form, "name") or text_field(form, "path")
    path = text_field(form, "path") or name
    namespace = text_field(form, "namespace") or text_field(form, "namespace_path")
    if namespace:
        path = f"{namespace}/{path}"
    if path:
        check_path(path)  # a name that was not given is the path: what is wrong with that is said of the path
    if not 0 < len(name) <= MAX_NAME_LENGTH or any(unicodedata.category(character) == "Cc" for character in name):
        raise InvalidArgumentError(f"name must have between 1 and {MAX_NAME_LENGTH} printable characters")
    branch = text_field(form, "default_branch") or DEFAULT_BRANCH
    if not is_branch_name(branch.encode()) or len(branch.encode()) > MAX_BRANCH_BYTES:
        raise InvalidArgumentError(f'default_branch "{branch[:80]}" is not what git accepts as the name of a branch')
    readme = str(form.get("initialize_with_readme", "")).lower() in ("true", "1")
    return NewProject(path=path, name=name, default_branch=branch, readme=readme)


async def _failure(storage: Storage, error: PraefectError) -> web.Response:
    """Return how a storage failed, with its code, and a hint at what is to be mended if there is one."""
    code = code_of(error)
    answer = {"message": f"{code.value}:{error}"}
    if hint := await explain_failure(storage, error):
        answer["hint"] = hint
    return web.json_response(answer, status=503 if code is StatusCode.UNAVAILABLE else 500)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
