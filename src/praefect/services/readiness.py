"""The checks behind ReadinessCheck; source: the Praefect reference on ServerService."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from praefect.domain.errors import InternalError, PraefectError
from praefect.domain.repository import Storage, VirtualStorage
from praefect.proto import health_pb2, server_pb2
from praefect.services.ports import NodeChannels
from praefect.services.server import ReadinessCheck

PROBE_SECONDS = 5.0


class CheckedDatabase(Protocol):
    """What the checks ask of the datastore; each raises ``PraefectError`` with the reason."""

    async def count_missing_migrations(self) -> int:
        """Return how many known migrations have not been run."""

    async def check_read_write(self) -> None:
        """Read and write a row of the table made for that."""


class CheckedRepositories(Protocol):
    """What the checks ask of the records."""

    async def count_unavailable(self) -> Mapping[VirtualStorage, int]:
        """Return how many repositories of each virtual storage have no valid primary."""


class NodeAddresses(NodeChannels, Protocol):
    """Connections to nodes, and where they are."""

    def address(self, virtual_storage: VirtualStorage, storage: Storage) -> str:
        """Return the configured address of a node."""


def readiness_checks(
    database: CheckedDatabase,
    repositories: CheckedRepositories,
    nodes: NodeAddresses,
    layouts: Mapping[VirtualStorage, Sequence[Storage]],
) -> list[ReadinessCheck]:
    """Return all checks."""

    async def migrations() -> None:
        pending = await database.count_missing_migrations()
        if pending:
            raise InternalError(f"{pending} migrations have not been run")

    async def availability() -> None:
        counts = await repositories.count_unavailable()
        if any(counts.get(virtual_storage, 0) for virtual_storage in layouts):
            raise InternalError("repositories unavailable")

    async def connectivity() -> None:
        await _check_nodes(nodes, layouts)

    return [
        ReadinessCheck(name="praefect migrations", run=migrations),
        ReadinessCheck(name="gitaly node connectivity & disk access", run=connectivity),
        ReadinessCheck(name="database read/write", run=database.check_read_write),
        ReadinessCheck(name="unavailable repositories", run=availability),
    ]


async def _check_nodes(nodes: NodeAddresses, layouts: Mapping[VirtualStorage, Sequence[Storage]]) -> None:
    unhealthy: set[str] = set()

    async def probe(virtual_storage: VirtualStorage, storage: Storage) -> None:
        try:
            await _check_node(nodes, virtual_storage, storage)
        except PraefectError:
            unhealthy.add(nodes.address(virtual_storage, storage))

    async with asyncio.TaskGroup() as probes:
        for virtual_storage, storages in layouts.items():
            for storage in storages:
                probes.create_task(probe(virtual_storage, storage), name=f"check {storage}")
    if unhealthy:
        raise InternalError(f"the following nodes are not healthy: {', '.join(sorted(unhealthy))}")


async def _check_node(nodes: NodeAddresses, virtual_storage: VirtualStorage, storage: Storage) -> None:
    channel = nodes.channel(virtual_storage, storage)
    if channel is None:
        raise InternalError(f'no connection to "{virtual_storage}"/"{storage}"')
    health = await channel.unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(),
        health_pb2.HealthCheckResponse,
        timeout=PROBE_SECONDS,
    )
    if health.status != health_pb2.HealthCheckResponse.SERVING:
        raise InternalError("node is not serving")
    info = await channel.unary(
        "/gitaly.ServerService/ServerInfo",
        server_pb2.ServerInfoRequest(),
        server_pb2.ServerInfoResponse,
        timeout=PROBE_SECONDS,
    )
    usable = [
        status
        for status in info.storage_statuses
        if status.storage_name == storage and status.readable and status.writeable
    ]
    if len(usable) != 1:
        raise InternalError(f'storage "{storage}" is not readable and writeable')
