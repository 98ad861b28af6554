"""The status page: projects, where their replicas are, who is primary, how far each is behind. It refreshes itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from praefect.domain.errors import PraefectError
from praefect.gateway.page import CONTENT_POLICY, PAGE
from praefect.gateway.projects import Project, ProjectStore
from praefect.gateway.storages import Storage, Storages
from praefect.proto import praefect_pb2, server_pb2
from praefect.transport.grpc.status import StatusCode, code_of

PROBE_SECONDS = 3.0
MAX_PROJECTS = 200
PARALLEL_PROBES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageState:
    """What a storage says of itself."""

    name: str
    address: str
    problem: str | None
    server_version: str
    replication_factor: int


class StatusPage:
    """The handlers of the front page; they show names and states and no secrets."""

    def __init__(self, *, projects: ProjectStore, storages: Storages, external_url: str) -> None:
        self._projects = projects
        self._storages = storages
        self._external_url = external_url.rstrip("/")

    def routes(self) -> list[web.RouteDef]:
        """Return the routes to serve."""
        return [web.get("/", self.page), web.get("/-/status.json", self.status), web.get("/-/health", self.health)]

    async def page(self, _request: web.Request) -> web.Response:
        """Show the page; its script asks for the states."""
        headers = {"Content-Security-Policy": CONTENT_POLICY, "Referrer-Policy": "no-referrer"}
        return web.Response(text=PAGE, content_type="text/html", headers=headers)

    async def health(self, _request: web.Request) -> web.Response:
        """Say that the process serves."""
        return web.Response(text="ok\n")

    async def status(self, _request: web.Request) -> web.Response:
        """Return the states as JSON."""
        projects = await self._projects.list_ready()
        async with asyncio.TaskGroup() as probes:
            storages = [
                probes.create_task(probe_storage(storage), name=f"probe {storage.name}") for storage in self._storages
            ]
            limit = asyncio.Semaphore(PARALLEL_PROBES)
            replicas = [
                probes.create_task(self._replicas(project, limit), name=f"replicas of {project.path}")
                for project in projects[:MAX_PROJECTS]
            ]
        return web.json_response(
            {
                "storages": [
                    {
                        "name": state.name,
                        "address": state.address,
                        "ok": state.problem is None,
                        "problem": state.problem,
                        "server_version": state.server_version,
                        "replication_factor": state.replication_factor,
                    }
                    for state in (task.result() for task in storages)
                ],
                "projects": [task.result() for task in replicas],
                "hidden_projects": max(0, len(projects) - MAX_PROJECTS),
            }
        )

    async def _replicas(self, project: Project, limit: asyncio.Semaphore) -> dict[str, Any]:
        described: dict[str, Any] = {
            "path": project.path,
            "url": f"{self._external_url}/{project.path}.git",
            "storage": project.storage,
            "primary": None,
            "generation": None,
            "replicas": [],
            "problem": None,
        }
        try:
            async with limit:
                metadata = await self._storages.get(project.storage).channel.unary(
                    "/gitaly.PraefectInfoService/GetRepositoryMetadata",
                    praefect_pb2.GetRepositoryMetadataRequest(
                        path=praefect_pb2.GetRepositoryMetadataRequest.Path(
                            virtual_storage=project.storage, relative_path=project.relative_path
                        )
                    ),
                    praefect_pb2.GetRepositoryMetadataResponse,
                    timeout=PROBE_SECONDS,
                )
        except PraefectError as exc:
            if code_of(exc) is StatusCode.UNIMPLEMENTED:
                return described  # a single Gitaly, which keeps no replicas
            described["problem"] = f"{code_of(exc).value}:{exc}"
            return described
        described |= {
            "primary": metadata.primary,
            "generation": metadata.generation,
            "replicas": [
                {
                    "storage": replica.storage,
                    "generation": replica.generation,
                    "behind": metadata.generation - replica.generation,
                    "healthy": replica.healthy,
                    "assigned": replica.assigned,
                    "valid_primary": replica.valid_primary,
                }
                for replica in metadata.replicas
            ],
        }
        return described


async def probe_storage(storage: Storage) -> StorageState:
    """Ask a storage for its state; what is wrong becomes part of the answer."""
    try:
        info = await storage.channel.unary(
            "/gitaly.ServerService/ServerInfo",
            server_pb2.ServerInfoRequest(),
            server_pb2.ServerInfoResponse,
            timeout=PROBE_SECONDS,
        )
    except PraefectError as exc:
        return StorageState(
            name=storage.name,
            address=storage.address,
            problem=f"{code_of(exc).value}:{exc}",
            server_version="",
            replication_factor=0,
        )
    status = next((status for status in info.storage_statuses if status.storage_name == storage.name), None)
    problem = None
    if status is None:
        problem = (
            f'14:the server does not report a storage "{storage.name}": '
            "none of its nodes answers or accepts Praefect's token, or the name is wrong"
        )
    elif not (status.readable and status.writeable):
        problem = "13:the storage is not readable and writeable"
    return StorageState(
        name=storage.name,
        address=storage.address,
        problem=problem,
        server_version=info.server_version,
        replication_factor=status.replication_factor if status else 0,
    )
