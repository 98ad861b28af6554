"""Delays grow, stay bounded and are spread."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.runtime.backoff import ExponentialBackoff


def _delays(backoff: ExponentialBackoff, count: int) -> list[float]:
    return [backoff.next_delay() for _ in range(count)]


def test_delays_grow_to_the_bound() -> None:
    backoff = ExponentialBackoff(initial=1, maximum=10, multiplier=2, jitter=0)
    assert _delays(backoff, 6) == [1, 2, 4, 8, 10, 10]


def test_reset_begins_anew() -> None:
    backoff = ExponentialBackoff(initial=1, maximum=10, multiplier=2, jitter=0)
    _delays(backoff, 4)
    backoff.reset()
    assert _delays(backoff, 2) == [1, 2]


def test_jitter_spreads_to_both_sides() -> None:
    lowest = ExponentialBackoff(initial=10, maximum=10, jitter=0.2, random_source=lambda: 0.0)
    middle = ExponentialBackoff(initial=10, maximum=10, jitter=0.2, random_source=lambda: 0.5)
    assert lowest.next_delay() == pytest.approx(8)
    assert middle.next_delay() == pytest.approx(10)


@given(
    initial=st.floats(0.001, 10),
    factor=st.floats(1, 100),
    multiplier=st.floats(1, 5),
    jitter=st.floats(0, 0.99),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50),
)
def test_delays_are_positive_and_bounded(
    initial: float, factor: float, multiplier: float, jitter: float, draws: list[float]
) -> None:
    numbers = iter(draws)
    maximum = initial * factor
    backoff = ExponentialBackoff(
        initial=initial, maximum=maximum, multiplier=multiplier, jitter=jitter, random_source=lambda: next(numbers)
    )
    for delay in _delays(backoff, len(draws)):
        assert 0 < delay <= maximum * (1 + jitter) * (1 + 1e-9)


@pytest.mark.parametrize(
    "figures",
    [
        {"initial": 0, "maximum": 1},
        {"initial": -1, "maximum": 1},
        {"initial": 2, "maximum": 1},
        {"multiplier": 0.5},
        {"jitter": 1},
        {"jitter": -0.1},
    ],
)
def test_figures_without_sense_are_refused(figures: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        ExponentialBackoff(**figures)  # type: ignore[arg-type]  # random_source is not among them
