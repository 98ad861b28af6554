"""The standard health service: the server as a whole is serving from start to stop, other names are unknown.

Source: gRPC health checking protocol.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.domain.errors import NotFoundError
from praefect.proto import health_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from praefect.transport.grpc.server import Server
    from praefect.transport.grpc.server_call import ServerCall

SERVICE = "grpc.health.v1.Health"

_SERVING = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
_UNKNOWN = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)


class HealthService:
    """Answers for the server as a whole, which has the empty name."""

    async def check(self, request: health_pb2.HealthCheckRequest, _call: ServerCall) -> health_pb2.HealthCheckResponse:
        """Say that the server is serving.

        Raises:
            NotFoundError: a name other than the empty one was asked for.
        """
        if request.service:
            raise NotFoundError("unknown service")
        return _SERVING

    async def watch(
        self, request: health_pb2.HealthCheckRequest, _call: ServerCall
    ) -> AsyncGenerator[health_pb2.HealthCheckResponse, None]:
        """Send the status, which never changes, and wait until the client leaves."""
        yield _UNKNOWN if request.service else _SERVING
        await asyncio.get_running_loop().create_future()

    async def list(self, _request: health_pb2.HealthListRequest, _call: ServerCall) -> health_pb2.HealthListResponse:
        """Send the status of every name there is."""
        return health_pb2.HealthListResponse(statuses={"": _SERVING})


def add_health(server: Server) -> None:
    """Serve the health service."""
    server.add_service(health_pb2.DESCRIPTOR.services_by_name["Health"], HealthService())
