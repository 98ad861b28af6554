"""The storages projects are on: connections, choice for new projects, and the calls the gateway makes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from random import SystemRandom

from google.protobuf.timestamp_pb2 import Timestamp

from praefect.config.gateway import GatewayStorageConfig
from praefect.domain.errors import InvalidArgumentError, PraefectError
from praefect.gateway.access import User
from praefect.gateway.projects import Project
from praefect.observability.correlation import correlation_id
from praefect.proto import operations_pb2, repository_pb2, server_pb2, shared_pb2
from praefect.transport.dial import ClientTls, open_channel
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.status import StatusCode, StatusError, code_of
from praefect.transport.sidechannel import SidechannelRegistry

CALL_SECONDS = 30.0
EXPLAIN_SECONDS = 3.0
RECONNECT_LIMIT_SECONDS = 1.0  # so soon after a storage is back it is used
CLIENT_NAME = "gitlab-web"


class UnknownStorageError(InvalidArgumentError):
    """A project names a storage that is not configured."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f'storage "{name}" is not configured; known: {", ".join(known)}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """One storage and the connection to whoever serves it."""

    name: str
    address: str
    weight: int
    channel: Channel
    sidechannels: SidechannelRegistry


class Storages:
    """All storages by name."""

    def __init__(self, storages: Sequence[Storage]) -> None:
        self._storages = {storage.name: storage for storage in storages}
        self._random = SystemRandom()

    def __iter__(self) -> Iterator[Storage]:
        """Iterate over the storages in configuration order."""
        return iter(self._storages.values())

    def get(self, name: str) -> Storage:
        """Return a storage by name.

        Raises:
            UnknownStorageError: it is not configured.
        """
        storage = self._storages.get(name)
        if storage is None:
            raise UnknownStorageError(name, list(self._storages))
        return storage

    def choose(self) -> Storage:
        """Choose a storage for a new project, by weight."""
        storages = list(self._storages.values())
        return self._random.choices(storages, weights=[storage.weight for storage in storages])[0]


@asynccontextmanager
async def open_storages(configs: Sequence[GatewayStorageConfig], *, tls: ClientTls | None) -> AsyncIterator[Storages]:
    """Prepare connections to all storages; nothing is dialled before the first call."""
    async with AsyncExitStack() as stack:
        storages = []
        for config in configs:
            sidechannels = SidechannelRegistry()
            channel = open_channel(
                config.gitaly_address,
                token=config.gitaly_token,
                tls=tls,
                multiplex=True,
                sidechannels=sidechannels,
                reconnect_limit_seconds=RECONNECT_LIMIT_SECONDS,
            )
            storages.append(
                Storage(
                    name=config.name,
                    address=config.gitaly_address,
                    weight=config.weight,
                    channel=await stack.enter_async_context(channel),
                    sidechannels=sidechannels,
                )
            )
        yield Storages(storages)


def failure_fields(storage: Storage, error: PraefectError) -> dict[str, str]:
    """Return what a log line says of a failed call: where it went, how it ended, and which setting to look at."""
    code = code_of(error)
    fields = {"storage": storage.name, "gitaly_address": storage.address, "grpc.code": code.label, "error": str(error)}
    if code in _HINTS:
        fields["hint"] = _HINTS[code].format(name=storage.name)
    return fields


_HINTS = {
    StatusCode.PERMISSION_DENIED: (
        'gitaly_token of storage "{name}" is not the token of that server, or Praefect has the wrong token of a node'
    ),
    StatusCode.UNAUTHENTICATED: 'storage "{name}" has no gitaly_token, and that server wants one',
    StatusCode.UNAVAILABLE: 'the server of storage "{name}" does not run, or Praefect does not reach its nodes',
}


async def explain_failure(storage: Storage, error: PraefectError) -> str | None:
    """Return which part or setting made a call fail, if it is one of those that the operator has to look after.

    The answer's code and words are the same whether the server itself refuses or is away, or a node behind it; so it is
    asked something for which it needs no node.
    """
    code = code_of(error)
    if code not in _HINTS or (code is StatusCode.PERMISSION_DENIED and not str(error).startswith("permission denied")):
        return None
    server = f'the server of storage "{storage.name}" at {storage.address}'
    try:
        await storage.channel.unary(
            "/gitaly.ServerService/ServerInfo",
            server_pb2.ServerInfoRequest(),
            server_pb2.ServerInfoResponse,
            timeout=EXPLAIN_SECONDS,
        )
    except PraefectError as exc:
        match code_of(exc):
            case StatusCode.PERMISSION_DENIED | StatusCode.UNAUTHENTICATED:
                return f"gitaly_token in the front door's configuration is not the token of {server}"
            case StatusCode.UNAVAILABLE | StatusCode.DEADLINE_EXCEEDED:
                return f"{server} does not run, or cannot be reached from here"
            case _:
                return None
    if code is StatusCode.UNAVAILABLE:
        return f"{server} answers, but reaches none of the nodes that it needs"
    return f"{server} knows the front door, but a node refuses the token that it was given for that node"


def repository_of(project: Project) -> shared_pb2.Repository:
    """Return the repository as calls name it."""
    return shared_pb2.Repository(
        storage_name=project.storage,
        relative_path=project.relative_path,
        gl_repository=project.gl_repository,
        gl_project_path=project.path,
    )


def call_metadata(user: User | None, remote_ip: str | None) -> list[tuple[str, str]]:
    """Return what calls tell of their originator."""
    metadata = [("client_name", CLIENT_NAME)]
    if user is not None:
        metadata += [("user_id", user.gl_id), ("username", user.username)]
    if remote_ip:
        metadata.append(("remote_ip", remote_ip))
    if current := correlation_id.get():
        metadata.append(("x-gitlab-correlation-id", current))
    return metadata


async def create_repository(storage: Storage, project: Project, user: User) -> None:
    """Create an empty repository."""
    await storage.channel.unary(
        "/gitaly.RepositoryService/CreateRepository",
        repository_pb2.CreateRepositoryRequest(
            repository=repository_of(project), default_branch=project.default_branch.encode()
        ),
        repository_pb2.CreateRepositoryResponse,
        metadata=call_metadata(user, None),
        timeout=CALL_SECONDS,
    )


async def remove_repository(storage: Storage, project: Project) -> None:
    """Remove a repository; one that is not there is fine."""
    try:
        await storage.channel.unary(
            "/gitaly.RepositoryService/RemoveRepository",
            repository_pb2.RemoveRepositoryRequest(repository=repository_of(project)),
            repository_pb2.RemoveRepositoryResponse,
            metadata=call_metadata(None, None),
            timeout=CALL_SECONDS,
        )
    except StatusError as exc:
        if exc.code is not StatusCode.NOT_FOUND:
            raise


async def commit_readme(storage: Storage, project: Project, user: User) -> None:
    """Make the first commit of a project: a README with its name."""
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC).replace(microsecond=0))
    header = operations_pb2.UserCommitFilesRequestHeader(
        repository=repository_of(project),
        user=shared_pb2.User(
            gl_id=user.gl_id,
            name=user.username.encode(),
            email=f"{user.username}@localhost".encode(),
            gl_username=user.username,
            timezone="UTC",
        ),
        branch_name=project.default_branch.encode(),
        commit_message=b"Initial commit",
        timestamp=moment,
    )
    action_header = operations_pb2.UserCommitFilesActionHeader(
        action=operations_pb2.UserCommitFilesActionHeader.CREATE, file_path=b"README.md"
    )
    requests = [
        operations_pb2.UserCommitFilesRequest(header=header),
        operations_pb2.UserCommitFilesRequest(action=operations_pb2.UserCommitFilesAction(header=action_header)),
        operations_pb2.UserCommitFilesRequest(
            action=operations_pb2.UserCommitFilesAction(content=f"# {project.name}\n".encode())
        ),
    ]
    await storage.channel.client_stream(
        "/gitaly.OperationService/UserCommitFiles",
        requests,
        operations_pb2.UserCommitFilesResponse,
        metadata=call_metadata(user, None),
        timeout=CALL_SECONDS,
    )
