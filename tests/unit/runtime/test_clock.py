"""Clocks: the machine's, and one that is moved by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from praefect.runtime.clock import Clock, ManualClock, SystemClock


def test_system_clock_knows_its_time_zone_and_goes_forward() -> None:
    clock: Clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def test_manual_clock_moves_only_by_hand() -> None:
    clock = ManualClock(datetime(2026, 2, 24, tzinfo=UTC))
    begin = clock.monotonic()
    clock.advance(timedelta(seconds=90))
    assert clock.now() == datetime(2026, 2, 24, 0, 1, 30, tzinfo=UTC)
    assert clock.monotonic() - begin == 90


def test_changed_time_of_day_leaves_the_monotonic_time() -> None:
    clock = ManualClock()
    clock.advance(timedelta(seconds=5))
    clock.set_time_of_day(datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.now().year == 2020
    assert clock.monotonic() == 5


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        ManualClock().advance(timedelta(seconds=-1))
