"""A cluster of real processes for tests, and the questions tests ask of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from praefect.app.cluster import VIRTUAL_STORAGE, Cluster
from praefect.domain.errors import PraefectError
from praefect.proto import praefect_pb2, ref_pb2, shared_pb2
from praefect.transport.dial import open_channel
from tests.support.git_client import GitResult, git


@dataclass(frozen=True, slots=True)
class ClusterClient:
    """What a user and an operator do with a cluster."""

    cluster: Cluster

    async def api(self, method: str, path: str, **arguments: Any) -> tuple[int, Any]:
        """Call the gateway's API as root; return status and decoded body."""
        headers = {"PRIVATE-TOKEN": self.cluster.secrets.access_token}
        async with (
            aiohttp.ClientSession(self.cluster.url, headers=headers, trust_env=False) as session,
            session.request(method, path, **arguments) as response,
        ):
            return response.status, await response.json()

    async def create_project(self, path: str, *, readme: bool = True) -> dict[str, Any]:
        """Create a project."""
        status, project = await self.api(
            "POST", "/api/v4/projects", json={"name": path, "path": path, "initialize_with_readme": readme}
        )
        assert status == 201, project
        assert isinstance(project, dict)
        return project

    async def clone(self, project: str, directory: Path, name: str = "work", *options: str) -> Path:
        """Clone a project and return the work tree."""
        (await git(directory, "clone", "-q", *options, self.cluster.clone_url(project), name)).ok()
        return directory / name

    async def push(self, work: Path, *refspecs: str) -> GitResult:
        """Push to the gateway."""
        return await git(work, "push", "origin", *(refspecs or ("HEAD:main",)))

    async def metadata(self, project_id: int) -> praefect_pb2.GetRepositoryMetadataResponse:
        """Ask praefect for everything it knows of a project's repository."""
        path = praefect_pb2.GetRepositoryMetadataRequest.Path(
            virtual_storage=VIRTUAL_STORAGE, relative_path=relative_path(project_id)
        )
        async with open_channel(self.cluster.praefect_address, token=self.cluster.secrets.external_token) as channel:
            return await channel.unary(
                "/gitaly.PraefectInfoService/GetRepositoryMetadata",
                praefect_pb2.GetRepositoryMetadataRequest(path=path),
                praefect_pb2.GetRepositoryMetadataResponse,
                timeout=10.0,
            )

    async def references(self, project_id: int) -> dict[str, dict[str, str] | str]:
        """Return the references on every node's disk, or the error of a node that does not answer."""
        replica_path = (await self.metadata(project_id)).replica_path
        found: dict[str, dict[str, str] | str] = {}
        for name in self.cluster.layout.node_names:
            repository = shared_pb2.Repository(storage_name=name, relative_path=replica_path)
            references: dict[str, str] = {}
            try:
                async with open_channel(
                    self.cluster.node_address(name), token=self.cluster.secrets.internal_token
                ) as channel:
                    async for response in channel.server_stream(
                        "/gitaly.RefService/ListRefs",
                        ref_pb2.ListRefsRequest(repository=repository, patterns=[b"refs/"]),
                        ref_pb2.ListRefsResponse,
                        timeout=10.0,
                    ):
                        references |= {ref.name.decode(): ref.target for ref in response.references}
                found[name] = references
            except PraefectError as exc:
                found[name] = str(exc)
        return found

    async def repositories(self, project_id: int) -> dict[str, Path]:
        """Return the directory of the repository on every node."""
        replica_path = (await self.metadata(project_id)).replica_path
        return {name: self.cluster.layout.node_storage(name) / replica_path for name in self.cluster.layout.node_names}


def relative_path(project_id: int) -> str:
    """Return where the gateway puts a project's repository."""
    digest = hashlib.sha256(str(project_id).encode()).hexdigest()
    return f"@hashed/{digest[:2]}/{digest[2:4]}/{digest}.git"
