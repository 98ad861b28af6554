"""ServerService: versions, disks, signing key and readiness of the cluster seen as one server.

Source: the Praefect reference on ServerService.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from praefect.domain.errors import InternalError, PraefectError
from praefect.domain.repository import Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.proto import server_pb2
from praefect.services.ports import HealthyStorages, NodeChannels, seconds_left
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import StatusError

R = TypeVar("R", bound=Message)

_log = get_logger()

FILESYSTEM_NAMESPACE = uuid.UUID("1ef1a8c6-cf52-4d0a-92a6-ca643e8bc7c5")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadinessCheck:
    """A named question whose answer is an error or none."""

    name: str
    run: Callable[[], Awaitable[None]]  # raises PraefectError


class ServerService:
    """Asks nodes and joins their answers."""

    def __init__(
        self,
        *,
        layouts: Mapping[VirtualStorage, Sequence[Storage]],
        nodes: NodeChannels,
        health: HealthyStorages,
        checks: Sequence[ReadinessCheck],
    ) -> None:
        self._layouts = layouts
        self._nodes = nodes
        self._health = health
        self._checks = checks

    async def server_info(
        self, _request: server_pb2.ServerInfoRequest, call: ServerCall
    ) -> server_pb2.ServerInfoResponse:
        """Ask one node of each virtual storage, a healthy one if there is any; those that fail are left out."""
        answers: dict[VirtualStorage, tuple[Storage, server_pb2.ServerInfoResponse]] = {}

        async def ask(virtual_storage: VirtualStorage, storage: Storage) -> None:
            channel = self._nodes.channel(virtual_storage, storage)
            if channel is None:
                return
            try:
                response = await channel.unary(
                    "/gitaly.ServerService/ServerInfo",
                    server_pb2.ServerInfoRequest(),
                    server_pb2.ServerInfoResponse,
                    metadata=_forwardable(call.metadata),
                    timeout=seconds_left(call),
                )
            except PraefectError as exc:
                _log.error("error getting server info", storage=storage, error=str(exc))
                return
            answers[virtual_storage] = (storage, response)

        async with asyncio.TaskGroup() as questions:
            for virtual_storage, storages in self._layouts.items():
                storage = next(iter(self._health.healthy_storages(virtual_storage)), storages[0])
                questions.create_task(ask(virtual_storage, storage), name=f"server info {virtual_storage}")
        joined = server_pb2.ServerInfoResponse()
        for virtual_storage, (storage, response) in answers.items():
            if not joined.server_version:
                joined.server_version, joined.git_version = response.server_version, response.git_version
            for status in response.storage_statuses:
                if status.storage_name == storage:
                    joined.storage_statuses.append(self._renamed(virtual_storage, status))
        return joined

    def _renamed(
        self, virtual_storage: VirtualStorage, status: server_pb2.ServerInfoResponse.StorageStatus
    ) -> server_pb2.ServerInfoResponse.StorageStatus:
        count = len(self._layouts[virtual_storage])
        renamed = server_pb2.ServerInfoResponse.StorageStatus()
        renamed.CopyFrom(status)
        renamed.storage_name = virtual_storage
        renamed.replication_factor = count
        if count > 1:
            renamed.filesystem_id = str(uuid.uuid5(FILESYSTEM_NAMESPACE, virtual_storage))
        return renamed

    async def disk_statistics(
        self, _request: server_pb2.DiskStatisticsRequest, call: ServerCall
    ) -> server_pb2.DiskStatisticsResponse:
        """Join what every node reports, under the nodes' own storage names."""
        joined = server_pb2.DiskStatisticsResponse()
        for virtual_storage, storages in self._layouts.items():
            for storage in storages:
                try:
                    response = await self._ask(
                        call,
                        virtual_storage,
                        storage,
                        "/gitaly.ServerService/DiskStatistics",
                        server_pb2.DiskStatisticsRequest(),
                        server_pb2.DiskStatisticsResponse,
                    )
                except PraefectError as exc:
                    raise InternalError(
                        f"error when requesting disk statistics from internal storage {storage}"
                    ) from exc
                joined.storage_statuses.extend(response.storage_statuses)
        return joined

    async def server_signature(
        self, _request: server_pb2.ServerSignatureRequest, call: ServerCall
    ) -> server_pb2.ServerSignatureResponse:
        """Return the public key all nodes share."""
        agreed: server_pb2.ServerSignatureResponse | None = None
        for virtual_storage, storages in self._layouts.items():
            for storage in storages:
                try:
                    response = await self._ask(
                        call,
                        virtual_storage,
                        storage,
                        "/gitaly.ServerService/ServerSignature",
                        server_pb2.ServerSignatureRequest(),
                        server_pb2.ServerSignatureResponse,
                    )
                except StatusError as exc:
                    raise StatusError(
                        exc.code, f'request signature from Praefect storage "{storage}": {exc.chain_text}', exc.details
                    ) from exc
                if agreed is not None and agreed.public_key != response.public_key:
                    raise InternalError(f'signature mismatch with Praefect storage "{storage}"')
                agreed = response
        return agreed or server_pb2.ServerSignatureResponse()

    async def readiness_check(
        self, request: server_pb2.ReadinessCheckRequest, _call: ServerCall
    ) -> server_pb2.ReadinessCheckResponse:
        """Run all checks at once; failures are an answer, not an error."""
        seconds = request.timeout.ToTimedelta().total_seconds() if request.HasField("timeout") else 0
        failures: dict[str, str] = {}

        async def run(check: ReadinessCheck) -> None:
            try:
                async with asyncio.timeout(seconds if seconds > 0 else None):
                    await check.run()
            except TimeoutError:
                failures[check.name] = "context deadline exceeded"
            except PraefectError as exc:
                failures[check.name] = str(exc)

        async with asyncio.TaskGroup() as running:
            for check in self._checks:
                running.create_task(run(check), name=f"check {check.name}")
        if not failures:
            return server_pb2.ReadinessCheckResponse(ok_response=server_pb2.ReadinessCheckResponse.Ok())
        responses = [
            server_pb2.ReadinessCheckResponse.Failure.Response(name=name, error_message=message)
            for name, message in sorted(failures.items())
        ]
        return server_pb2.ReadinessCheckResponse(
            failure_response=server_pb2.ReadinessCheckResponse.Failure(failed_checks=responses)
        )

    async def _ask(
        self,
        call: ServerCall,
        virtual_storage: VirtualStorage,
        storage: Storage,
        method: str,
        request: Message,
        response_type: type[R],
    ) -> R:
        channel = self._nodes.channel(virtual_storage, storage)
        if channel is None:
            raise InternalError(f'no connection to "{virtual_storage}"/"{storage}"')
        return await channel.unary(method, request, response_type, timeout=seconds_left(call))


def _forwardable(metadata: Metadata) -> Metadata:
    """Return the client's metadata without its token, which is for this server only."""
    copied = metadata.copy()
    copied.remove("authorization")
    return copied
