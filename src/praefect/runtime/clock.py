"""Where time comes from, so that tests can set it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time of day and the time that only moves forward."""

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds since some moment; never goes back."""


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now(self) -> datetime:
        """Return the time of day, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds of the machine's monotonic clock, which asyncio's loops use too."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is moved."""

    __slots__ = ("_monotonic", "_now")

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> datetime:
        """Return the time of day it was moved to."""
        return self._now

    def monotonic(self) -> float:
        """Return by how many seconds it was advanced in all."""
        return self._monotonic

    def advance(self, by: timedelta) -> None:
        """Let time pass.

        Raises:
            ValueError: ``by`` is negative.
        """
        if by < timedelta():
            msg = f"time cannot go back by {-by}"
            raise ValueError(msg)
        self._now += by
        self._monotonic += by.total_seconds()

    def set_time_of_day(self, now: datetime) -> None:
        """Set the time of day as an administrator would; the monotonic time is untouched."""
        self._now = now
