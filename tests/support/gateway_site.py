"""A gateway in this process, before real or pretended storages, and what clients do with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import jwt

from praefect.app.gateway import run_gateway
from praefect.app.layout import free_ports
from praefect.config.gateway import GatewayConfig, GatewayStorageConfig, ProtectionConfig, UserConfig
from praefect.config.node import GitlabConfig
from praefect.domain.errors import PraefectError
from praefect.proto import operations_pb2, repository_pb2, server_pb2, smarthttp_pb2
from praefect.transport.addresses import ListenAddress
from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.listen import listen
from praefect.transport.peer import ListenerKind
from tests.support.running_node import TOKEN, RunningNode, running_node

SECRET = "secret of the internal API, long enough for every algorithm that the tests sign with"
ROOT, GUEST = "token of root", "token of guest"
USERS = (
    UserConfig(username="root", token=ROOT),
    UserConfig(username="guest", token=GUEST, read_only=True),
)
PROTECTIONS = (ProtectionConfig(project="*", branch="frozen", message="Frozen until spring."),)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayClient:
    """Somebody who uses a gateway."""

    url: str

    async def api(
        self,
        method: str,
        path: str,
        *,
        token: str | None = ROOT,
        headers: dict[str, str] | None = None,
        **arguments: Any,
    ) -> tuple[int, Any]:
        """Call an API; return status and decoded body."""
        all_headers = {**({"PRIVATE-TOKEN": token} if token else {}), **(headers or {})}
        async with (
            aiohttp.ClientSession(self.url, headers=all_headers, trust_env=False) as session,
            session.request(method, path, **arguments) as response,
        ):
            return response.status, await response.json()

    async def create(self, path: str, *, readme: bool = True) -> int:
        """Create a project and return its number."""
        status, body = await self.api("POST", "/api/v4/projects", json={"path": path, "initialize_with_readme": readme})
        assert status == 201, body
        return int(body["id"])

    async def internal(
        self, path: str, body: dict[str, Any] | None = None, *, token: str | None = None, method: str = "POST"
    ) -> tuple[int, Any]:
        """Call the internal API as a node's hook does."""
        header = {"Gitlab-Shell-Api-Request": internal_token() if token is None else token}
        return await self.api(method, f"/api/v4/internal/{path}", token=None, headers=header, json=body)

    async def projects(self) -> list[str]:
        """Return the paths of all projects."""
        status, body = await self.api("GET", "/api/v4/projects")
        assert status == 200
        return [project["path_with_namespace"] for project in body]

    def clone_url(self, project: str, *, username: str = "root", token: str = ROOT) -> str:
        """Return the address of a project with credentials."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{username}:{token.replace(' ', '%20')}@{rest}/{project}.git"


def internal_token(
    *, secret: str = SECRET, issuer: str = "gitlab-shell", lasts: int = 60, algorithm: str = "HS256"
) -> str:
    """Return what a hook proves its knowledge of the secret with."""
    import time

    now = int(time.time())
    claims = {"iss": issuer, "iat": now, "exp": now + lasts}
    return jwt.encode(claims, "" if algorithm == "none" else secret, algorithm=algorithm)


@asynccontextmanager
async def serve_gateway(
    directory: Path, storages: Sequence[GatewayStorageConfig], *, port: int | None = None
) -> AsyncIterator[GatewayClient]:
    """Run a gateway whose state is in ``directory``."""
    directory.mkdir(exist_ok=True)
    config = GatewayConfig(
        listen_addr=f"127.0.0.1:{port or free_ports(1)[0]}",
        secret=SECRET,
        storages=tuple(storages),
        users=USERS,
        protections=PROTECTIONS,
    )
    async with run_gateway(config, directory) as url:
        yield GatewayClient(url=url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A gateway before real nodes in this process."""

    client: GatewayClient
    nodes: tuple[RunningNode, ...]


@asynccontextmanager
async def serve_site(directory: Path, *names: str) -> AsyncIterator[Site]:
    """Run a gateway and a node for each storage name; the nodes ask the gateway about pushes."""
    [port] = free_ports(1)
    gitlab = GitlabConfig(url=f"http://127.0.0.1:{port}", secret=SECRET)
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(directory / name, name=name, gitlab=gitlab)) for name in names
        ]
        storages = [
            GatewayStorageConfig(name=node.name, gitaly_address=node.address, gitaly_token=TOKEN) for node in nodes
        ]
        client = await stack.enter_async_context(serve_gateway(directory / "gateway", storages, port=port))
        yield Site(client=client, nodes=tuple(nodes))


@dataclass(slots=True)
class PretendedNode:
    """A server that does as a test says, and notes what is asked of it.

    Attributes:
        failures: the error with which a method ends, by name.
        began: set when a fetch or push has begun; those never end by themselves but by ``failures``.
        ended: set when it has been cancelled.
        answer: what a push answers before it fails or waits.
        advertisement: what it says of its references, to fetches and to pushes.
    """

    failures: dict[str, PraefectError] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    answer: bytes = b""
    advertisement: bytes = b""
    on_call: Callable[[str], None] = lambda _name: None

    def _note(self, call: ServerCall) -> None:
        name = call.method.rpartition("/")[2]
        self.calls.append(name)
        self.on_call(name)
        if name in self.failures:
            raise self.failures[name]

    async def _wait(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def create_repository(
        self, _request: repository_pb2.CreateRepositoryRequest, call: ServerCall
    ) -> repository_pb2.CreateRepositoryResponse:
        self._note(call)
        return repository_pb2.CreateRepositoryResponse()

    async def remove_repository(
        self, _request: repository_pb2.RemoveRepositoryRequest, call: ServerCall
    ) -> repository_pb2.RemoveRepositoryResponse:
        self._note(call)
        return repository_pb2.RemoveRepositoryResponse()

    async def user_commit_files(
        self, requests: AsyncIterator[operations_pb2.UserCommitFilesRequest], call: ServerCall
    ) -> operations_pb2.UserCommitFilesResponse:
        async for _ in requests:
            pass
        self._note(call)
        return operations_pb2.UserCommitFilesResponse()

    async def server_info(
        self, _request: server_pb2.ServerInfoRequest, call: ServerCall
    ) -> server_pb2.ServerInfoResponse:
        self._note(call)
        return server_pb2.ServerInfoResponse()

    async def info_refs_upload_pack(
        self, _request: smarthttp_pb2.InfoRefsRequest, call: ServerCall
    ) -> AsyncIterator[smarthttp_pb2.InfoRefsResponse]:
        self._note(call)
        yield smarthttp_pb2.InfoRefsResponse(data=self.advertisement)

    info_refs_receive_pack = info_refs_upload_pack

    async def post_upload_pack_with_sidechannel(
        self, _request: smarthttp_pb2.PostUploadPackWithSidechannelRequest, call: ServerCall
    ) -> smarthttp_pb2.PostUploadPackWithSidechannelResponse:
        self._note(call)
        if "UploadPackWithoutSidechannel" not in self.calls:
            await self._wait()
        return smarthttp_pb2.PostUploadPackWithSidechannelResponse()

    async def post_receive_pack(
        self, requests: AsyncIterator[smarthttp_pb2.PostReceivePackRequest], call: ServerCall
    ) -> AsyncIterator[smarthttp_pb2.PostReceivePackResponse]:
        async for _ in requests:
            break
        if self.answer:
            yield smarthttp_pb2.PostReceivePackResponse(data=self.answer)
        self._note(call)
        await self._wait()


@asynccontextmanager
async def serve_pretended(node: PretendedNode, directory: Path) -> AsyncIterator[GatewayStorageConfig]:
    """Serve a pretended node on a unix socket; yields the storage as the gateway knows it."""
    server = Server()
    for module, name in (
        (repository_pb2, "RepositoryService"),
        (operations_pb2, "OperationService"),
        (server_pb2, "ServerService"),
        (smarthttp_pb2, "SmartHTTPService"),
    ):
        server.add_service(module.DESCRIPTOR.services_by_name[name], node)
    address = ListenAddress(kind=ListenerKind.UNIX, path=str(directory / "pretended.sock"))
    async with server, listen(address, server, backchannels=BackchannelRegistry()):
        yield GatewayStorageConfig(name="default", gitaly_address=address.dial_address, gitaly_token="any")
