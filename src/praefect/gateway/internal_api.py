"""The internal API that nodes' hooks call: may this push happen, it is about to happen, it has happened.

Source: the wire reference on the GitLab internal API; the JWT of the shared secret is the only proof accepted.
"""

from __future__ import annotations

import json
from typing import Any

import jwt
from aiohttp import web

from praefect.domain.errors import PermissionDeniedError
from praefect.gateway.access import Access, PushRefusedError
from praefect.gateway.projects import Project, ProjectId, ProjectNotFoundError, ProjectStore, parse_number
from praefect.gateway.requests import MAX_HOOK_BODY_BYTES, read_json
from praefect.observability.log import get_logger

HEADER = "Gitlab-Shell-Api-Request"
ISSUER = "gitlab-shell"
LEEWAY_SECONDS = 30
VERSION = "18.9.0"

_log = get_logger("gateway.internal_api")


class InternalApi:
    """The handlers under ``/api/v4/internal``."""

    def __init__(self, *, secret: str, access: Access, projects: ProjectStore) -> None:
        self._secret = secret.strip()
        self._access = access
        self._projects = projects

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to serve."""
        prefix = "/api/v4/internal"
        return [
            web.post(f"{prefix}/allowed", self.allowed),
            web.post(f"{prefix}/pre_receive", self.pre_receive),
            web.post(f"{prefix}/post_receive", self.post_receive),
            web.get(f"{prefix}/check", self.check),
            web.get(f"{prefix}/gitaly/object_pool_members", self.object_pool_members),
        ]

    async def allowed(self, request: web.Request) -> web.Response:
        """Judge the reference updates of a push."""
        body = await self._body(request)
        changes = body.get("changes", "")
        try:
            project = await self._project(str(body.get("gl_repository", "")))
            user = self._access.user_of(_gl_id(body))
            if user is None:
                raise PushRefusedError("The user is unknown.")
            self._access.check_push(user, project, str(changes))
        except ProjectNotFoundError:
            return web.json_response(
                {"status": False, "message": "The project you were looking for could not be found."}, status=404
            )
        except PermissionDeniedError as exc:
            _log.info("push refused", gl_repository=body.get("gl_repository"), reason=str(exc))
            return web.json_response({"status": False, "message": str(exc)}, status=403)
        return web.json_response(
            {
                "status": True,
                "gl_repository": project.gl_repository,
                "gl_project_path": project.path,
                "gl_id": user.gl_id,
                "gl_username": user.username,
                "git_config_options": [],
            }
        )

    async def pre_receive(self, request: web.Request) -> web.Response:
        """Take note that a push is about to change references."""
        await self._body(request)
        return web.json_response({"reference_counter_increased": True})

    async def post_receive(self, request: web.Request) -> web.Response:
        """Take note that a push has changed references."""
        body = await self._body(request)
        _log.info("references changed", gl_repository=body.get("gl_repository"), identifier=body.get("identifier"))
        return web.json_response({"reference_counter_decreased": True, "messages": []})

    async def check(self, request: web.Request) -> web.Response:
        """Say that this end works and the secret fits."""
        self._authenticate(request)
        return web.json_response({"gitlab_version": VERSION, "gitlab_revision": "", "api_version": "v4", "redis": True})

    async def object_pool_members(self, request: web.Request) -> web.Response:
        """Say that no project shares a pool."""
        self._authenticate(request)
        return web.json_response({path: [] for path in request.query.getall("disk_paths[]", [])})

    async def _project(self, gl_repository: str) -> Project:
        kind, _, number = gl_repository.partition("-")
        if kind != "project" or (project_id := parse_number(number)) is None:
            raise ProjectNotFoundError(f'project "{gl_repository[:80]}" not found')
        return await self._projects.get_existing(ProjectId(project_id))

    async def _body(self, request: web.Request) -> dict[str, Any]:
        self._authenticate(request)
        return await read_json(request, limit_bytes=MAX_HOOK_BODY_BYTES)

    def _authenticate(self, request: web.Request) -> None:
        try:
            jwt.decode(
                request.headers.get(HEADER, "").encode("ascii", "replace"),
                self._secret,
                algorithms=["HS256"],
                issuer=ISSUER,
                leeway=LEEWAY_SECONDS,
                options={"require": ["iss", "exp", "iat"]},
            )
        except jwt.InvalidTokenError as exc:
            _log.warning("internal API call refused", reason=str(exc), remote=request.remote)
            raise web.HTTPUnauthorized(
                text=json.dumps({"message": "the shared secret does not fit"}), content_type="application/json"
            ) from exc


def _gl_id(body: dict[str, Any]) -> str:
    return f"user-{body['user_id']}" if "user_id" in body else ""
