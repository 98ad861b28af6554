"""The praefect command as a process, and what it talks to: nodes that do as told, and a real proxy before them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from praefect.app.proxy import run_proxy
from praefect.config.praefect import DatabaseConfig, load
from praefect.domain.errors import NotFoundError
from praefect.proto import health_pb2, internal_pb2, objectpool_pb2, repository_pb2, server_pb2
from praefect.proxy.auth import Authenticator
from praefect.runtime.signals import Stop
from praefect.transport.addresses import ListenAddress
from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.grpc.health import add_health
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.listen import listen
from praefect.transport.peer import ListenerKind

EXTERNAL_TOKEN = "external-secret"
INTERNAL_TOKEN = "internal-secret"
KNOWN_VIRTUAL_STORAGES = 'known virtual storages: "default"\n'
KNOWN_STORAGES = 'known storages of "default": "gitaly-1", "gitaly-2", "gitaly-3"\n'
NO_REPOSITORIES = '"default" has no repositories\n'
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    def ok(self) -> str:
        """Return what it printed; it must have succeeded."""
        assert (self.code, self.stderr) == (0, "")
        return self.stdout


async def run_praefect(*words: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> Result:
    """Run one command to its end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "praefect.cli.main", *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    stdout, stderr = await process.communicate(stdin)
    assert process.returncode is not None
    return Result(process.returncode, stdout.decode(), stderr.decode())


@dataclass(slots=True, kw_only=True)
class FakeNode:
    """A node without disks: it has the storages and repositories that it is told to have, and notes what it is asked.

    Attributes:
        statuses: what it says of its storages.
        repositories: modification times by path.
        calls: names of the methods that were called, with the metadata ``client_name``.
    """

    statuses: list[server_pb2.ServerInfoResponse.StorageStatus]
    repositories: dict[str, datetime] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    members: list[internal_pb2.ScanPoolMetadataResponse] = field(default_factory=list)
    stored: list[internal_pb2.StorePoolMetadataRequest] = field(default_factory=list)

    def _note(self, call: ServerCall) -> None:
        name = call.metadata.first("client_name")
        self.calls.append((call.method.rpartition("/")[2], name.decode() if isinstance(name, bytes) else name or ""))

    async def server_info(
        self, _request: server_pb2.ServerInfoRequest, _call: ServerCall
    ) -> server_pb2.ServerInfoResponse:
        return server_pb2.ServerInfoResponse(storage_statuses=self.statuses)

    async def repository_exists(
        self, request: repository_pb2.RepositoryExistsRequest, call: ServerCall
    ) -> repository_pb2.RepositoryExistsResponse:
        self._note(call)
        return repository_pb2.RepositoryExistsResponse(exists=request.repository.relative_path in self.repositories)

    async def remove_repository(
        self, request: repository_pb2.RemoveRepositoryRequest, call: ServerCall
    ) -> repository_pb2.RemoveRepositoryResponse:
        self._note(call)
        if self.repositories.pop(request.repository.relative_path, None) is None:
            raise NotFoundError("repository does not exist")
        return repository_pb2.RemoveRepositoryResponse()

    async def replicate_repository(
        self, request: repository_pb2.ReplicateRepositoryRequest, call: ServerCall
    ) -> repository_pb2.ReplicateRepositoryResponse:
        self._note(call)
        self.repositories[request.repository.relative_path] = datetime.now(UTC)
        return repository_pb2.ReplicateRepositoryResponse()

    async def get_object_pool(
        self, _request: objectpool_pb2.GetObjectPoolRequest, _call: ServerCall
    ) -> objectpool_pb2.GetObjectPoolResponse:
        return objectpool_pb2.GetObjectPoolResponse()

    async def walk_repos(
        self, _request: internal_pb2.WalkReposRequest, call: ServerCall
    ) -> AsyncIterator[internal_pb2.WalkReposResponse]:
        self._note(call)
        for path, modified in self.repositories.items():
            response = internal_pb2.WalkReposResponse(relative_path=path)
            response.modification_time.FromDatetime(modified)
            yield response

    async def scan_pool_metadata(
        self, _request: internal_pb2.ScanPoolMetadataRequest, _call: ServerCall
    ) -> AsyncIterator[internal_pb2.ScanPoolMetadataResponse]:
        for member in self.members:
            yield member

    async def list_pool_upstreams(
        self, requests: AsyncIterator[internal_pb2.ListPoolUpstreamsRequest], _call: ServerCall
    ) -> AsyncIterator[internal_pb2.ListPoolUpstreamsResponse]:
        async for request in requests:
            upstreams = {member.pool_disk_path: member.relative_path for member in self.members if member.is_upstream}
            found = {path: upstreams[path] for path in request.pool_disk_paths if path in upstreams}
            yield internal_pb2.ListPoolUpstreamsResponse(upstreams=found)

    async def store_pool_metadata(
        self, requests: AsyncIterator[internal_pb2.StorePoolMetadataRequest], _call: ServerCall
    ) -> internal_pb2.StorePoolMetadataResponse:
        self.stored = [request async for request in requests]
        return internal_pb2.StorePoolMetadataResponse()


class NotServing:
    """A health service that says no."""

    async def check(self, _request: health_pb2.HealthCheckRequest, _call: ServerCall) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.NOT_SERVING)


def storage_status(
    name: str, *, readable: bool = True, writeable: bool = True
) -> server_pb2.ServerInfoResponse.StorageStatus:
    """Say that a storage is usable, or that it is not."""
    return server_pb2.ServerInfoResponse.StorageStatus(storage_name=name, readable=readable, writeable=writeable)


@asynccontextmanager
async def serve_node(node: FakeNode, *, token: str = INTERNAL_TOKEN, healthy: bool = True) -> AsyncIterator[str]:
    """Serve a node on this machine; yield its address."""
    server = Server(authenticate=Authenticator(secret=token.encode()))
    for file, name in (
        (server_pb2, "ServerService"),
        (repository_pb2, "RepositoryService"),
        (objectpool_pb2, "ObjectPoolService"),
        (internal_pb2, "InternalGitaly"),
    ):
        server.add_service(file.DESCRIPTOR.services_by_name[name], node)
    if healthy:
        add_health(server)
    else:
        server.add_service(health_pb2.DESCRIPTOR.services_by_name["Health"], NotServing())
    address = ListenAddress(kind=ListenerKind.TCP, host="127.0.0.1")
    async with server, listen(address, server, backchannels=BackchannelRegistry()) as listener:
        yield f"tcp://{listener.address.text}"
        await server.drain(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A configuration file, the nodes it names, and how to run commands with it."""

    path: Path
    nodes: Mapping[str, FakeNode]
    addresses: Mapping[str, str]

    async def __call__(self, *words: str) -> Result:
        """Run a command with the file."""
        return await run_praefect("-config", str(self.path), *words)


def write_config(
    path: Path, *, database: DatabaseConfig | None, nodes: Mapping[str, tuple[str, str]], more: str = ""
) -> Path:
    """Write a configuration file with one virtual storage; ``nodes`` has address and token by storage."""
    lines = [f'socket_path = "{path.parent}/praefect.socket"', more]
    if database is not None:
        lines.append("[database]")
        for key in ("host", "user", "password", "dbname", "sslmode"):
            value = getattr(database, key)
            if value:
                lines.append(f'{key} = "{value}"')
        if database.port:
            lines.append(f"port = {database.port}")
    lines += ["[auth]", f'token = "{EXTERNAL_TOKEN}"', "[[virtual_storage]]", 'name = "default"']
    for storage, (address, token) in nodes.items():
        lines += ["[[virtual_storage.node]]", f'storage = "{storage}"', f'address = "{address}"', f'token = "{token}"']
    path.write_text("\n".join(lines) + "\n")
    return path


@asynccontextmanager
async def serve_nodes(
    directory: Path, database: DatabaseConfig | None, storages: Sequence[str], more: str = ""
) -> AsyncIterator[Installation]:
    """Serve a node per storage and write a configuration that names them."""
    nodes = {storage: FakeNode(statuses=[storage_status(storage)]) for storage in storages}
    async with asyncio.TaskGroup() as group:
        ready: dict[str, asyncio.Future[str]] = {}
        stop = asyncio.Event()

        async def serve(storage: str) -> None:
            async with serve_node(nodes[storage]) as address:
                ready[storage].set_result(address)
                await stop.wait()

        for storage in storages:
            ready[storage] = asyncio.get_running_loop().create_future()
            group.create_task(serve(storage), name=f"serve {storage}")
        addresses = {storage: await future for storage, future in ready.items()}
        try:
            path = write_config(
                directory / "config.toml",
                database=database,
                nodes={storage: (address, INTERNAL_TOKEN) for storage, address in addresses.items()},
                more=more,
            )
            yield Installation(path=path, nodes=nodes, addresses=addresses)
        finally:
            stop.set()


@asynccontextmanager
async def serve_praefect(installation: Installation) -> AsyncIterator[None]:
    """Run the real proxy with an installation's file."""
    stop = Stop()
    async with run_proxy(load(str(installation.path)), "test", stop):
        yield
        stop.request()


def recently() -> datetime:
    """A moment at which a young repository was modified."""
    return datetime.now(UTC) - timedelta(minutes=1)
