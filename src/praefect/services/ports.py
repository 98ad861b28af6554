"""What several services ask of the rest of the program."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from praefect.domain.repository import RepositoryId, Storage, VirtualStorage
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.server_call import ServerCall


class NodeChannels(Protocol):
    """Connections to nodes."""

    def channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel | None:
        """Return the channel to a node, ``None`` for one that is not configured."""


class HealthyStorages(Protocol):
    """This process's own view of the nodes."""

    def healthy_storages(self, virtual_storage: VirtualStorage) -> Sequence[Storage]:
        """Return the storages whose last health check succeeded, in configuration order."""


class PrimaryGetter(Protocol):
    """The elector."""

    async def get_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Storage:
        """Return the repository's valid primary, electing one if need be."""


class AssignmentGetter(Protocol):
    """Which storages shall hold a repository."""

    async def get_assignments(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Sequence[Storage]:
        """Return the assigned, configured storages; all configured ones where nothing is assigned."""


def seconds_left(call: ServerCall) -> float | None:
    """Return for how long the client of a call still waits, ``None`` if for ever; what nodes are told in its place."""
    return None if call.deadline is None else max(0.0, call.deadline - asyncio.get_running_loop().time())
