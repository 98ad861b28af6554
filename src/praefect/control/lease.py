"""The lease: this process's right to commit writes, and the doubts it has open.

One lease per process, renewed every second. It is judged twice: by PostgreSQL's clock, where others may bury it once it
has expired, and before that by this process's own monotonic clock, counted from the moment a renewal was sent. A lease
that was buried is never revived: the process begins a new incarnation, and whatever the old one had begun is over.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from praefect.domain.doubts import (
    COMMIT_SECONDS,
    LEASE_SECONDS,
    Doubt,
    DoubtsPendingError,
    Incarnation,
    LeaseLostError,
    OpenResult,
)
from praefect.domain.errors import FailedPreconditionError, PraefectError, UnavailableError
from praefect.observability.log import get_logger
from praefect.runtime.clock import Clock, SystemClock
from praefect.runtime.ticker import Ticker

RENEW_LIMIT_SECONDS = 2.0
_UNSURE_RENEWALS = 10

_log = get_logger("doubts")


class Schema(Protocol):
    """Where leases and doubts are kept."""

    async def prepare(self) -> None:
        """Make or upgrade it; raise FailedPreconditionError where the database does not allow that."""


class LeaseRecords(Protocol):
    """The statements about one's own lease and doubts."""

    async def take_lease(self, incarnation: Incarnation, praefect_name: str) -> None:
        """Begin an incarnation."""

    async def renew_lease(self, incarnation: Incarnation, *, closed: Sequence[int]) -> bool:
        """Prolong the lease and drop doubts; false if the lease is gone."""

    async def release_lease(self, incarnation: Incarnation) -> None:
        """End an incarnation."""

    async def open(self, doubt: Doubt) -> OpenResult:
        """Store a doubt."""

    async def reopen(self, doubt: Doubt) -> None:
        """Store a doubt that is nobody's."""


@dataclass(slots=True, kw_only=True)
class Lease:
    """Holds the lease, opens doubts and says what became of them.

    Attributes:
        ready: set once it is known whether doubts are kept at all.
        is_off: the database does not let us keep doubts; writes go without.
        lost: called when the right to commit ends.
    """

    schema: Schema
    records: LeaseRecords
    praefect_name: str
    lost: Callable[[], None] = lambda: None
    clock: Clock = field(default_factory=SystemClock)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    is_off: bool = False
    incarnation: Incarnation | None = None
    _commits_until: float = float("-inf")
    _held_since: float = float("inf")
    _told: bool = True  # whether the end of the right to commit has been told
    _last_number: int = 0
    _closed: set[int] = field(default_factory=set)
    _abandoned: list[tuple[float, Doubt]] = field(default_factory=list)  # and from when on they may be settled
    _unsure: dict[int, int] = field(default_factory=dict)  # how many renewals are still to drop it

    def may_commit(self) -> bool:
        """Return whether a vote may be answered with COMMIT at this moment."""
        return self.is_off or self.clock.monotonic() < self._commits_until

    def has_been_held(self) -> bool:
        """Return whether the lease has been held without interruption for as long as a lease lasts.

        Before that PostgreSQL may have been away for others too, who could not renew theirs.
        """
        return self.may_commit() and self.clock.monotonic() - self._held_since >= LEASE_SECONDS

    # --- a write ---

    async def open(self, doubt: Doubt) -> Doubt | None:
        """Store a doubt and return it as stored; ``None`` where doubts are not kept.

        Raises:
            LeaseLostError: this process may not write now.
            DoubtsPendingError: an earlier write must be settled first.
        """
        if self.is_off:
            return None
        if self.incarnation is None or not self.may_commit():
            raise LeaseLostError
        self._last_number += 1
        doubt = replace(doubt, incarnation=self.incarnation, owner=self.incarnation, number=self._last_number)
        try:
            result = await self.records.open(doubt)
        except BaseException:
            # It may be stored, now or a little later, and nothing was sent: it can go.
            self._unsure[doubt.number] = _UNSURE_RENEWALS
            raise
        if result is OpenResult.BLOCKED:
            raise DoubtsPendingError
        if result is OpenResult.NO_LEASE:
            raise LeaseLostError
        return doubt

    def check(self, doubt: Doubt) -> None:
        """Refuse to go on with a write whose doubt may have lapsed meanwhile.

        Raises:
            LeaseLostError: it may have; nothing must be sent.
        """
        if doubt.incarnation != self.incarnation or not self.may_commit():
            self.close(doubt)
            raise LeaseLostError

    def close(self, doubt: Doubt) -> None:
        """Drop the doubt of a write that certainly changed nothing, with the next renewal."""
        if doubt.incarnation == self.incarnation:
            self._closed.add(doubt.number)

    def abandon(self, doubt: Doubt) -> None:
        """Give up the doubt of a write whose outcome nobody knows; it is settled, also if it had been before.

        Not at once: what was sent to the nodes shall have arrived, or be lost, before they are compared.
        """
        self._abandoned.append((self.clock.monotonic() + LEASE_SECONDS - COMMIT_SECONDS, doubt))

    # --- the loop ---

    async def run_once(self) -> None:
        """Renew the lease, or begin a new incarnation.

        Raises:
            PraefectError: PostgreSQL is away or refuses.
        """
        if self.is_off:
            return
        if not (self.ready.is_set() or await self._prepare()):
            return
        await self._give_up_abandoned(self.clock.monotonic())
        began = self.clock.monotonic()
        if self.incarnation is None or not await self._renew(self.incarnation):
            incarnation = Incarnation(secrets.token_hex(16))
            await self.records.take_lease(incarnation, self.praefect_name)
            self.incarnation = incarnation
            self._held_since = began
        if not self.may_commit():
            self._expire()
            self._held_since = began
        self._commits_until, self._told = began + COMMIT_SECONDS, False
        self.ready.set()

    async def run(self, ticker: Ticker) -> None:
        """Keep the lease until cancelled."""
        while True:
            try:
                async with asyncio.timeout(RENEW_LIMIT_SECONDS):
                    await self.run_once()
            except (UnavailableError, TimeoutError) as exc:
                _log.warning("lease was not renewed", error=str(exc) or "timed out")
            except PraefectError as exc:
                _log.error("lease was not renewed", error=str(exc))
            if not self.may_commit():
                self._expire()
            await ticker.wait()

    async def release(self) -> None:
        """Say what became of the last doubts and end the incarnation."""
        if self.incarnation is None:
            return
        incarnation, closed = self.incarnation, sorted(self._closed | self._unsure.keys())
        self._commits_until = float("-inf")
        self.incarnation = None
        try:
            async with asyncio.timeout(RENEW_LIMIT_SECONDS):
                await self._give_up_abandoned(float("inf"))
                await self.records.renew_lease(incarnation, closed=closed)
                await self.records.release_lease(incarnation)
        except (PraefectError, TimeoutError) as exc:
            _log.warning("lease was not released", error=str(exc) or "timed out")

    async def _give_up_abandoned(self, now: float) -> None:
        while self._abandoned and self._abandoned[0][0] <= now:
            await self.records.reopen(self._abandoned[0][1])
            self._abandoned.pop(0)

    async def _prepare(self) -> bool:
        """Make the schema; return whether doubts are kept."""
        try:
            await self.schema.prepare()
        except FailedPreconditionError as exc:
            _log.warning("interrupted writes cannot be remembered: doubts are off", error=str(exc))
            self.is_off = True
            self.ready.set()
        return not self.is_off

    async def _renew(self, incarnation: Incarnation) -> bool:
        closed = sorted(self._closed | self._unsure.keys())
        if await self.records.renew_lease(incarnation, closed=closed):
            self._closed.difference_update(closed)
            self._unsure = {number: left - 1 for number, left in self._unsure.items() if left > 1}
            return True
        _log.error("lease was lost", incarnation=incarnation)
        self._commits_until = float("-inf")
        self.incarnation = None
        self._closed.clear()
        self._unsure.clear()
        self._expire()
        return False

    def _expire(self) -> None:
        """End what may no longer be committed, once per loss."""
        if not self._told:
            self._told = True
            self.lost()
