"""Settle: writes that were interrupted before their outcome was recorded are made to go one way everywhere.

Only lapsed doubts are settled, by whoever takes them over. Until then the repository waits: writes settle first, reads
wait a moment, replicas are not copied. See docs/consistency.md for why nothing acknowledged is lost by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from praefect.control.repairs import JobQueue, queue_repairs
from praefect.domain.doubts import (
    CurrentReplicas,
    Doubt,
    DoubtsPendingError,
    Incarnation,
    Settlement,
    Sight,
    State,
    choose_winners,
    sight_of,
)
from praefect.domain.errors import PraefectError
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.runtime.ticker import Ticker

READ_PATIENCE_SECONDS = 2.0
REPLICATION_PATIENCE_SECONDS = 30.0
BUSY_PATIENCE_SECONDS = 10.0
PARALLEL_SETTLEMENTS = 8
_ATTEMPTS = 3

_log = get_logger("doubts")


class Settled(StrEnum):
    """What an attempt to settle came to."""

    SETTLED = "settled"
    NOTHING_TO_DO = "nothing-to-do"
    ELSEWHERE = "elsewhere"  # another process is at it
    BUSY = "busy"  # live writes have to end first
    OUT_OF_REACH = "out-of-reach"  # no replica at the generation can be asked
    CHANGED = "changed"  # the records changed meanwhile, time and again


class DoubtRecords(Protocol):
    """The statements of a settlement."""

    async def bury_leases(self) -> int:
        """Delete expired leases."""

    async def list(self, *, only_lapsed: bool) -> Sequence[Doubt]:
        """Return doubts, oldest first."""

    async def take_over(self, repository_id: RepositoryId, settler: Incarnation) -> Sequence[Doubt]:
        """Take over a repository's doubts whose owner holds no lease; return all its doubts."""

    async def give_back(self, repository_id: RepositoryId, settler: Incarnation) -> None:
        """Let others settle what the settler has taken over."""

    async def read_current(self, repository_id: RepositoryId) -> CurrentReplicas | None:
        """Return generation and replicas at it."""

    async def settle(
        self, current: CurrentReplicas, settlement: Settlement, *, settler: Incarnation, doubts: Sequence[Doubt]
    ) -> bool:
        """Record a comparison unless anything has changed."""

    async def forget(self, repository_id: RepositoryId, settler: Incarnation) -> None:
        """Delete the settler's doubts of a repository without a record."""


class Replicas(Protocol):
    """The nodes."""

    async def read(
        self, virtual_storage: VirtualStorage, replica_path: ReplicaPath, storages: Collection[Storage], sight: Sight
    ) -> Mapping[Storage, State]:
        """Return the state of each replica."""

    async def remove(
        self, virtual_storage: VirtualStorage, replica_path: ReplicaPath, storages: Collection[Storage]
    ) -> bool:
        """Remove a directory; return whether it is gone everywhere."""


class HeldLease(Protocol):
    """This process's lease."""

    @property
    def is_off(self) -> bool:
        """Whether doubts are not kept at all."""

    @property
    def incarnation(self) -> Incarnation | None:
        """The current incarnation."""

    def has_been_held(self) -> bool:
        """Return whether it has been held without interruption for as long as a lease lasts."""


@dataclass(slots=True, kw_only=True)
class DoubtSettler:
    """Finds lapsed doubts and settles them.

    Attributes:
        forget: drops a repository's entry from the read cache of this process.
        wake: told of a virtual storage for which jobs were queued.
        ended: told what each attempt to settle came to.
    """

    records: DoubtRecords
    replicas: Replicas
    queue: JobQueue
    lease: HeldLease
    forget: Callable[[VirtualStorage, RelativePath], None] = lambda _virtual_storage, _path: None
    wake: Callable[[VirtualStorage], None] = lambda _virtual_storage: None
    ended: Callable[[Settled], None] = lambda _result: None
    _unsettled: dict[RepositoryId, tuple[VirtualStorage, RelativePath]] = field(default_factory=dict)
    _waiting: dict[tuple[VirtualStorage, RelativePath], asyncio.Event] = field(default_factory=dict)
    _busy_since: dict[RepositoryId, float] = field(default_factory=dict)
    _running: dict[RepositoryId, asyncio.Future[Settled]] = field(default_factory=dict)

    # --- who waits ---

    async def wait_readable(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
        """Return at once, or when a repository known to have a lapsed doubt is settled.

        Raises:
            DoubtsPendingError: that took too long.
        """
        await self._wait((virtual_storage, relative_path), READ_PATIENCE_SECONDS)

    async def wait_copyable(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
        """Return when replicas may be copied; raises as ``wait_readable`` does, after longer."""
        await self._wait((virtual_storage, relative_path), REPLICATION_PATIENCE_SECONDS)

    def find_unsettled(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> RepositoryId | None:
        """Return the number of a repository that is known to have a lapsed doubt."""
        key = (virtual_storage, relative_path)
        if key not in self._waiting:
            return None
        return next(number for number, other in self._unsettled.items() if other == key)

    async def _wait(self, key: tuple[VirtualStorage, RelativePath], seconds: float) -> None:
        settled = self._waiting.get(key)
        if settled is None:
            return
        try:
            async with asyncio.timeout(seconds):
                await settled.wait()
        except TimeoutError as exc:
            raise DoubtsPendingError from exc

    # --- the loop ---

    async def run_once(self) -> dict[RepositoryId, Settled]:
        """Bury leases, look for lapsed doubts and try to settle each repository that has some.

        Raises:
            PraefectError: PostgreSQL is away or refuses.
        """
        if self.lease.is_off:
            return {}
        if self.lease.has_been_held():
            await self.records.bury_leases()
        lapsed = await self.records.list(only_lapsed=True)
        self._note(lapsed)
        results: dict[RepositoryId, Settled] = {}
        places = asyncio.Semaphore(PARALLEL_SETTLEMENTS)

        async def settle(repository_id: RepositoryId) -> None:
            async with places:
                results[repository_id] = result = await self.settle(repository_id)
                if result not in (Settled.SETTLED, Settled.NOTHING_TO_DO):
                    _log.warning("interrupted writes wait", repository_id=repository_id, reason=result.value)

        async with asyncio.TaskGroup() as group:
            for repository_id in {doubt.repository_id for doubt in lapsed}:
                group.create_task(settle(repository_id), name=f"settle {repository_id}")
        return results

    async def run(self, ticker: Ticker) -> None:
        """Do a pass per tick until cancelled."""
        while True:
            await ticker.wait()
            try:
                await self.run_once()
            except* PraefectError as group:
                _log.error("looking for interrupted writes failed", error=str(group.exceptions[0]))

    async def settle(self, repository_id: RepositoryId) -> Settled:
        """Settle a repository's lapsed doubts now; who comes while that is done shares the result."""
        running = self._running.get(repository_id)
        if running is not None:
            return await asyncio.shield(running)
        own: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self._running[repository_id] = own
        result = Settled.CHANGED
        try:
            for _ in range(_ATTEMPTS):
                result = await self._settle(repository_id)
                if result is not Settled.CHANGED:
                    break
            return result
        finally:
            del self._running[repository_id]
            own.set_result(result)
            self.ended(result)
            if result in (Settled.SETTLED, Settled.NOTHING_TO_DO):
                self._busy_since.pop(repository_id, None)
                self._forget_waiting(repository_id)

    async def _settle(self, repository_id: RepositoryId) -> Settled:
        settler = self.lease.incarnation
        if settler is None:
            return Settled.ELSEWHERE
        doubts = await self.records.take_over(repository_id, settler)
        lapsed = [doubt for doubt in doubts if doubt.is_lapsed]
        if not lapsed:
            return Settled.NOTHING_TO_DO
        self._note_one(lapsed[0])
        if any(doubt.owner != settler for doubt in lapsed):
            # Two that each have some of a repository's doubts would wait for each other for ever.
            await self.records.give_back(repository_id, settler)
            return Settled.ELSEWHERE
        current = await self.records.read_current(repository_id)
        if current is None:
            return await self._settle_without_record(repository_id, settler, lapsed)
        if len(lapsed) < len(doubts) and not self._has_waited(repository_id):
            return Settled.BUSY
        return await self._compare(current, settler, lapsed)

    async def _compare(self, current: CurrentReplicas, settler: Incarnation, lapsed: Sequence[Doubt]) -> Settled:
        sight = sight_of(doubt.full_method for doubt in lapsed)
        states = await self.replicas.read(current.virtual_storage, current.replica_path, current.storages, sight)
        settlement = choose_winners(states, current.primary)
        if settlement is None:
            await self.records.give_back(current.repository_id, settler)  # others may reach them
            return Settled.OUT_OF_REACH
        if not await self.records.settle(current, settlement, settler=settler, doubts=lapsed):
            return Settled.CHANGED
        _log.warning(
            "interrupted writes were settled",
            virtual_storage=current.virtual_storage,
            relative_path=current.relative_path,
            methods=sorted({doubt.full_method for doubt in lapsed}),
            kept=list(settlement.winners),
            behind=list(settlement.losers),
        )
        self.forget(current.virtual_storage, current.relative_path)
        if settlement.losers:
            await queue_repairs(self.queue, current, settlement.winners, settlement.losers)
            self.wake(current.virtual_storage)
        return Settled.SETTLED

    async def _settle_without_record(
        self, repository_id: RepositoryId, settler: Incarnation, lapsed: Sequence[Doubt]
    ) -> Settled:
        """Remove what creations have left, which nobody was told of; nothing is left to do for a removed repository."""
        for doubt in lapsed:
            if doubt.creates and not await self.replicas.remove(
                doubt.virtual_storage, doubt.replica_path, doubt.storages
            ):
                await self.records.give_back(repository_id, settler)
                return Settled.OUT_OF_REACH
        await self.records.forget(repository_id, settler)
        return Settled.SETTLED

    def _has_waited(self, repository_id: RepositoryId) -> bool:
        """Return whether live writes have been waited for long enough; new ones are held back meanwhile."""
        now = asyncio.get_running_loop().time()
        return now - self._busy_since.setdefault(repository_id, now) >= BUSY_PATIENCE_SECONDS

    # --- what is known to be unsettled ---

    def _note(self, lapsed: Sequence[Doubt]) -> None:
        """Remember what has lapsed, and let go whoever waits for what has not."""
        present = {doubt.repository_id for doubt in lapsed}
        for repository_id in self._unsettled.keys() - present:
            self._forget_waiting(repository_id)
        for doubt in lapsed:
            self._note_one(doubt)

    def _note_one(self, doubt: Doubt) -> None:
        if doubt.creates or doubt.repository_id in self._unsettled:
            return
        key = (doubt.virtual_storage, doubt.relative_path)
        self._unsettled[doubt.repository_id] = key
        self._waiting.setdefault(key, asyncio.Event())
        self.forget(*key)

    def _forget_waiting(self, repository_id: RepositoryId) -> None:
        key = self._unsettled.pop(repository_id, None)
        if key is not None and key not in self._unsettled.values() and (event := self._waiting.pop(key, None)):
            event.set()
