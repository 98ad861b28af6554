"""What the request path asks of doubts: may this repository be read or written, and what became of a write.

A doubt is opened before a transactional write is forwarded. Whoever records the outcome deletes it; a write that
certainly changed nothing closes it; one whose outcome is not known leaves it to be settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from praefect.domain.doubts import Doubt, Incarnation
from praefect.domain.repository import NewRepository, RelativePath, RepositoryId, Storage, VirtualStorage
from praefect.proxy.classify import RepositoryCall
from praefect.proxy.routes import MutatorRoute


class Doubts(Protocol):
    """This process's lease and doubts."""

    async def wait_readable(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
        """Return when no interrupted write stands before a read; raise DoubtsPendingError if that takes too long."""

    async def wait_writable(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
        """Settle what is known to be unsettled; raise DoubtsPendingError if that takes too long."""

    async def settle(self, repository_id: RepositoryId) -> None:
        """Settle an interrupted write that was met; raise DoubtsPendingError if that takes too long."""

    async def open(self, doubt: Doubt) -> Doubt | None:
        """Store a doubt; ``None`` where doubts are not kept.

        Raises:
            DoubtsPendingError: an interrupted write must be settled first, and this one be routed anew.
            LeaseLostError: this process may not write now.
        """

    def check(self, doubt: Doubt) -> None:
        """Raise LeaseLostError if the doubt may have lapsed, right before the write is forwarded."""

    def close(self, doubt: Doubt) -> None:
        """Drop the doubt of a write that certainly changed nothing."""

    def abandon(self, doubt: Doubt) -> None:
        """Have a write settled whose outcome nobody knows, also if others had settled it before it ended."""

    async def find_alike(self, doubt: Doubt, primary: Storage, others: Sequence[Storage]) -> Sequence[Storage]:
        """Return who holds what the primary holds, as far as a comparison sees the whole effect of the method."""

    async def record_increment(self, doubt: Doubt, primary: Storage, secondaries: Sequence[Storage]) -> bool:
        """Record a write and delete its doubt; false, having done nothing, if others have settled it."""

    async def record_creation(self, doubt: Doubt, new: NewRepository) -> bool:
        """Record a creation and delete its doubt; false, having done nothing, if others have settled it."""


def doubt_about(request: RepositoryCall, route: MutatorRoute) -> Doubt:
    """Return the doubt of a write that is about to be forwarded; who opens it gives it its number."""
    return Doubt(
        incarnation=Incarnation(""),
        number=0,
        repository_id=route.repository_id,
        virtual_storage=request.virtual_storage,
        relative_path=request.relative_path,
        replica_path=route.replica_path,
        full_method=request.method.full_name,
        creates=route.creates,
        storages=(route.primary, *route.secondaries) if route.creates else (),
    )
