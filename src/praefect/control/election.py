"""Election: finds a repository's primary when one is needed, and moves it when the stored one cannot serve.

There is no background election. Source: the Praefect reference on lazy election per repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from praefect.domain.errors import InternalError
from praefect.domain.repository import ElectedPrimary, RepositoryId, Storage, VirtualStorage
from praefect.observability.log import get_logger

_log = get_logger("")


class NoPrimaryError(InternalError):
    """No primary is stored and no replica may become one."""

    def __init__(self) -> None:
        super().__init__("no primary")


class ElectionRecords(Protocol):
    """The one statement that elects."""

    async def elect_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> ElectedPrimary:
        """Return the stored primary, or elect one; raise RepositoryNotFoundError."""


@dataclass(slots=True, kw_only=True)
class Elector:
    """Returns valid primaries."""

    records: ElectionRecords

    async def get_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Storage:
        """Return the primary, electing one if the stored one is not valid and a candidate is.

        Raises:
            NoPrimaryError: none is stored and nobody may become one.
            RepositoryNotFoundError: the repository has no record.
        """
        elected = await self.records.elect_primary(virtual_storage, repository_id)
        if elected.storage is None:
            raise NoPrimaryError
        if elected.changed:
            _log.info(
                "primary node changed",
                repository_id=repository_id,
                current_primary=elected.storage,
                previous_primary=elected.previous or "",
            )
        return elected.storage
