"""The node's gRPC server: all services with their guards, and what surrounds every call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from praefect.app.telemetry import Telemetry
from praefect.domain.errors import InternalError
from praefect.node.git.relay import first_error
from praefect.node.limits import ConcurrencyLimiter, Limit
from praefect.node.services.blob import BlobService
from praefect.node.services.commit.service import CommitService
from praefect.node.services.cost import report_cost
from praefect.node.services.diff.service import DiffService
from praefect.node.services.guarding import Guard, GuardedService
from praefect.node.services.hook import HookService
from praefect.node.services.internal import InternalService
from praefect.node.services.objectpool import ObjectPoolService
from praefect.node.services.operation.service import OperationService
from praefect.node.services.ref.service import RefService
from praefect.node.services.remote import RemoteService
from praefect.node.services.repository.service import RepositoryService
from praefect.node.services.server import ServerService
from praefect.node.services.smarthttp import SmartHttpService
from praefect.node.services.ssh import NegotiationTimeouts, SshService
from praefect.node.services.switched_off import BackupService, PartitionService, RaftService
from praefect.observability.log import get_logger
from praefect.proto import (
    backup_pb2,
    blob_pb2,
    cluster_pb2,
    commit_pb2,
    diff_pb2,
    hook_pb2,
    internal_pb2,
    objectpool_pb2,
    operations_pb2,
    partition_pb2,
    ref_pb2,
    remote_pb2,
    repository_pb2,
    server_pb2,
    smarthttp_pb2,
    ssh_pb2,
)
from praefect.proxy.auth import Authenticator
from praefect.transport.grpc import access_log
from praefect.transport.grpc.call_metrics import CallMetrics
from praefect.transport.grpc.health import add_health
from praefect.transport.grpc.reflection import add_reflection
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.status import Status, StatusCode
from praefect.transport.methods import METHODS, Operation

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor

    from praefect.config.node import NodeConfig
    from praefect.node.context import NodeContext
    from praefect.node.hooks.handlers import HookHandlers
    from praefect.node.hooks.reference_update import ReferenceUpdater
    from praefect.node.hooks.setup import HookSetups
    from praefect.node.housekeeping.scheduler import ChangeCounter
    from praefect.observability.metrics import Collector
    from praefect.proto.shared_pb2 import Repository
    from praefect.transport.grpc.server_call import ServerCall

_log = get_logger("gitaly")
ABORTED_TEXT = "The operation could not be completed. Please try again."
REPLICATE = "/gitaly.RepositoryService/ReplicateRepository"


@dataclass(slots=True, kw_only=True)
class NodeServices:
    """What the services are made of. ``collectors`` fills as servers are built."""

    context: NodeContext
    setups: HookSetups
    handlers: HookHandlers
    updater: ReferenceUpdater
    changes: ChangeCounter
    version: str
    telemetry: Telemetry = field(default_factory=Telemetry)
    collectors: list[Collector] = field(default_factory=list)


@asynccontextmanager
async def build_server(config: NodeConfig, services: NodeServices, *, internal: bool) -> AsyncIterator[Server]:
    """Build and enter a server; the internal one does not hide the text of aborted calls, and counts no changes."""
    observers: list[Callable[[ServerCall], Callable[[], None] | None]] = []
    if not internal:
        calls = CallMetrics(kind_of=kind_of, buckets=config.prometheus.grpc_latency_buckets)
        services.collectors.extend(calls.collectors())
        observers.append(calls)
    observers.append(access_log.from_environment("gitaly", kind_of))
    if not internal:
        observers.append(hide_aborted_text)
        observers.extend(services.telemetry.served)
    observers.append(report_cost)
    server = Server(
        authenticate=Authenticator(secret=config.auth.token.encode(), transitioning=config.auth.transitioning),
        observers=observers,
        limiters=[explain_failures],
    )
    _add_services(server, config, services, _guards(config, None if internal else services.changes))
    add_health(server)
    add_reflection(server)
    async with server:
        yield server


def hide_aborted_text(call: ServerCall) -> Callable[[], None]:
    """Replace the text of aborted calls: it is of use to nobody but a repetition. Details stay."""

    def ended() -> None:
        status = call.status
        if status is not None and status.code is StatusCode.ABORTED:
            call.status = Status(status.code, ABORTED_TEXT, status.details)

    return ended


@asynccontextmanager
async def explain_failures(call: ServerCall) -> AsyncIterator[None]:
    """Turn what the operating system refuses, such as a full disk, into an error with its words.

    Of several errors of parallel work the first is the answer.
    """
    try:
        with first_error():
            yield
    except OSError as exc:
        _log.error("operating system error", grpc_method=call.method, exc_info=exc)
        raise InternalError((exc.strerror or str(exc)).lower()) from exc


def kind_of(method: str) -> str:
    """Return the type of a method, for logs and metrics."""
    info = METHODS.get(method)
    if info is not None:
        return info.kind
    return "server_stream" if method.endswith("/Watch") else "unary"


def _add_services(server: Server, config: NodeConfig, services: NodeServices, guards: dict[str, list[Guard]]) -> None:
    context, setups = services.context, services.setups
    timeouts = NegotiationTimeouts(
        upload_pack=config.timeout.upload_pack_negotiation, upload_archive=config.timeout.upload_archive_negotiation
    )
    server_service = ServerService(
        context.storages,
        version=services.version,
        git_version=str(context.git.version),
        signing_key=config.git.signing_key,
    )
    table: list[tuple[FileDescriptor, str, object]] = [
        (backup_pb2.DESCRIPTOR, "BackupService", BackupService()),
        (blob_pb2.DESCRIPTOR, "BlobService", BlobService(context)),
        (commit_pb2.DESCRIPTOR, "CommitService", CommitService(context)),
        (diff_pb2.DESCRIPTOR, "DiffService", DiffService(context)),
        (hook_pb2.DESCRIPTOR, "HookService", HookService(context, services.handlers)),
        (internal_pb2.DESCRIPTOR, "InternalGitaly", InternalService(context)),
        (objectpool_pb2.DESCRIPTOR, "ObjectPoolService", ObjectPoolService(context)),
        (operations_pb2.DESCRIPTOR, "OperationService", OperationService(context, services.updater)),
        (partition_pb2.DESCRIPTOR, "PartitionService", PartitionService()),
        (cluster_pb2.DESCRIPTOR, "RaftService", RaftService()),
        (ref_pb2.DESCRIPTOR, "RefService", RefService(context)),
        (remote_pb2.DESCRIPTOR, "RemoteService", RemoteService(context)),
        (repository_pb2.DESCRIPTOR, "RepositoryService", RepositoryService(context)),
        (server_pb2.DESCRIPTOR, "ServerService", server_service),
        (smarthttp_pb2.DESCRIPTOR, "SmartHTTPService", SmartHttpService(context, setups)),
        (ssh_pb2.DESCRIPTOR, "SSHService", SshService(context, setups, timeouts)),
    ]
    for file, name, implementation in table:
        descriptor = file.services_by_name[name]
        server.add_service(descriptor, GuardedService(descriptor, implementation, guards))


def _guards(config: NodeConfig, changes: ChangeCounter | None) -> dict[str, list[Guard]]:
    guards: dict[str, list[Guard]] = defaultdict(list)
    guards[REPLICATE].append(_limit(Limit(running=1)))
    for entry in config.concurrency:
        limit = Limit(running=entry.limit, waiting=entry.max_queue_size, wait_seconds=_seconds(entry.max_queue_wait))
        guards[entry.rpc].append(_limit(limit))
    if changes is not None:
        for name, method in METHODS.items():
            if method.operation is Operation.MUTATOR and method.target_repository_field:
                guards[name].append(changes.guard)
    return guards


def _limit(limit: Limit) -> Guard:
    limiter = ConcurrencyLimiter(limit)

    def guard(repository: Repository) -> AbstractAsyncContextManager[None]:
        return limiter.slot(repository.relative_path)

    return guard


def _seconds(value: timedelta) -> float:
    return value.total_seconds()
