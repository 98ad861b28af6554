"""Election: finds a repository's primary when one is needed, and moves it when the stored one cannot serve.

There is no background election. A primary moves for two reasons: the consensus of all Praefects no longer lists it (the
reference's lazy election per repository, after about ten seconds), or this process has had evidence against it for a
moment and nobody else has seen it since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from praefect.domain.errors import InternalError
from praefect.domain.repository import ElectedPrimary, PrimaryMove, RepositoryId, Storage, VirtualStorage
from praefect.observability.log import get_logger

EVIDENCE_SECONDS = 0.8  # long enough for a check to have failed after a connection broke
MOVE_PAUSE_SECONDS = 10.0
MAX_REMEMBERED_MOVES = 100_000

_log = get_logger("")


class NoPrimaryError(InternalError):
    """No primary is stored and no replica may become one."""

    def __init__(self) -> None:
        super().__init__("no primary")


class ElectionRecords(Protocol):
    """The statements that elect."""

    async def elect_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> ElectedPrimary:
        """Return the stored primary, or elect one; raise RepositoryNotFoundError."""

    async def elect_away(self, move: PrimaryMove) -> Storage | None:
        """Move a primary off a storage unless somebody else saw it; return the new one."""


class Evidence(Protocol):
    """This process's own view of the nodes."""

    def healthy_storages(self, virtual_storage: VirtualStorage) -> Sequence[Storage]:
        """Return the storages that answered their last check."""

    def unhealthy_seconds(self, virtual_storage: VirtualStorage, storage: Storage) -> float | None:
        """Return for how long the evidence against a node has lasted, ``None`` for a healthy one."""


@dataclass(slots=True, kw_only=True)
class Elector:
    """Returns valid primaries."""

    records: ElectionRecords
    evidence: Evidence
    praefect_name: str
    _moved: dict[RepositoryId, tuple[float, Storage]] = field(default_factory=dict)

    async def get_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Storage:
        """Return the primary, moving it if it cannot serve and another one can.

        Raises:
            NoPrimaryError: none is stored and nobody may become one.
            RepositoryNotFoundError: the repository has no record.
        """
        elected = await self.records.elect_primary(virtual_storage, repository_id)
        if elected.storage is None:
            raise NoPrimaryError
        if elected.changed:
            _tell(repository_id, elected.storage, elected.previous)
        seconds = self.evidence.unhealthy_seconds(virtual_storage, elected.storage)
        if seconds is None or seconds < EVIDENCE_SECONDS:
            return elected.storage
        moved = None
        if not self._paused(repository_id, elected.storage):
            moved = await self.records.elect_away(
                PrimaryMove(
                    virtual_storage=virtual_storage,
                    repository_id=repository_id,
                    dead=elected.storage,
                    candidates=tuple(self.evidence.healthy_storages(virtual_storage)),
                    praefect_name=self.praefect_name,
                    evidence_seconds=seconds,
                )
            )
        if moved is None:
            # Nothing may be moved, or another write has just done it.
            current = await self.records.elect_primary(virtual_storage, repository_id)
            return current.storage or elected.storage
        self._remember(repository_id, moved)
        _tell(repository_id, moved, elected.storage)
        return moved

    def _paused(self, repository_id: RepositoryId, primary: Storage) -> bool:
        """Return whether this primary was moved away from a short while ago; a new one that died is no such case."""
        at, chosen = self._moved.get(repository_id, (float("-inf"), primary))
        return chosen != primary and asyncio.get_running_loop().time() - at < MOVE_PAUSE_SECONDS

    def _remember(self, repository_id: RepositoryId, chosen: Storage) -> None:
        if len(self._moved) >= MAX_REMEMBERED_MOVES:
            self._moved.clear()
        self._moved[repository_id] = (asyncio.get_running_loop().time(), chosen)


def _tell(repository_id: RepositoryId, current: Storage, previous: Storage | None) -> None:
    _log.info(
        "primary node changed",
        repository_id=repository_id,
        current_primary=current,
        previous_primary=previous or "",
    )
