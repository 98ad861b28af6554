"""What several services ask of the rest of the program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from praefect.domain.repository import RepositoryId, Storage, VirtualStorage
from praefect.transport.grpc.channel import Channel


class NodeChannels(Protocol):
    """Connections to nodes."""

    def channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel | None:
        """Return the channel to a node, ``None`` for one that is not configured."""


class PrimaryGetter(Protocol):
    """The elector."""

    async def get_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Storage:
        """Return the repository's valid primary, electing one if need be."""


class AssignmentGetter(Protocol):
    """Which storages shall hold a repository."""

    async def get_assignments(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Sequence[Storage]:
        """Return the assigned, configured storages; all configured ones where nothing is assigned."""
