"""Manual election: primaries stay where they are until an operator moves them.

Source: the installation guide's manual failover; ``failover.manual`` in the configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from praefect.control.election import ElectionRecords, NoPrimaryError
from praefect.domain.repository import RepositoryId, RepositoryMetadata, Storage, VirtualStorage


class StoredPrimaries(Protocol):
    """The records that say which primary is stored."""

    async def get_metadata(self, repository_id: RepositoryId) -> RepositoryMetadata:
        """Return everything known of a repository; raise RepositoryNotFoundError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualElector:
    """Returns stored primaries, valid or not."""

    records: ElectionRecords
    stored: StoredPrimaries

    async def get_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Storage:
        """Return the stored primary; elect only where none has ever been stored.

        Raises:
            NoPrimaryError: none is stored and nobody may become one.
            RepositoryNotFoundError: the repository has no record.
        """
        primary = (await self.stored.get_metadata(repository_id)).primary
        if primary is None:
            primary = (await self.records.elect_primary(virtual_storage, repository_id)).storage
        if primary is None:
            raise NoPrimaryError
        return primary
