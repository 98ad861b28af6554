"""What follows from the states of replicas that are recorded as equal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import pytest

from praefect.domain.comparison import Finding, judge
from praefect.domain.doubts import EMPTY_STATE, State, Unknown
from praefect.domain.repository import Storage

A, B, C, D = (Storage(name) for name in "abcd")
GONE, SILENT, EMPTY = Unknown.INVALID, Unknown.UNREACHABLE, EMPTY_STATE


@pytest.mark.parametrize(
    ("states", "finding", "losers"),
    [
        ({A: "x", B: "x", C: "x"}, Finding.EQUAL, ()),
        ({A: EMPTY, B: EMPTY}, Finding.EQUAL, ()),
        ({A: "x", B: "x", C: SILENT}, Finding.EQUAL, ()),
        ({A: "x", B: "x", C: "y"}, Finding.OVERRULED, (C,)),
        ({A: "x", B: "x", C: EMPTY}, Finding.OVERRULED, (C,)),
        ({A: "x", B: "x", C: GONE}, Finding.OVERRULED, (C,)),
        ({A: "x", B: GONE}, Finding.OVERRULED, (B,)),
        ({A: "x", B: GONE, C: GONE}, Finding.OVERRULED, (B, C)),
        ({A: "x", B: "x", C: "y", D: GONE}, Finding.OVERRULED, (C, D)),
        ({A: "x", B: "y"}, Finding.TIED, ()),
        ({A: "x", B: "y", C: "z"}, Finding.TIED, ()),
        ({A: "x", B: "y", C: SILENT}, Finding.TIED, ()),
        ({A: "x", B: "y", C: GONE}, Finding.TIED, ()),
        ({A: "x", B: "x", C: "y", D: "y"}, Finding.TIED, ()),
        ({A: "x", B: "x", C: "y", D: SILENT}, Finding.TIED, ()),
        ({A: "x", B: EMPTY}, Finding.TIED, ()),
        ({A: "x", B: EMPTY, C: EMPTY}, Finding.TIED, ()),
        ({A: EMPTY, B: GONE}, Finding.UNKNOWN, ()),
        ({A: GONE, B: GONE}, Finding.UNKNOWN, ()),
        ({A: SILENT, B: SILENT}, Finding.UNKNOWN, ()),
        ({A: GONE, B: SILENT}, Finding.UNKNOWN, ()),
    ],
)
def test_only_a_majority_overrules(
    states: Mapping[Storage, State], finding: Finding, losers: tuple[Storage, ...]
) -> None:
    judgement = judge(states, states.keys())
    assert (judgement.finding, judgement.losers) == (finding, losers)


def test_what_was_copied_since_a_tie_says_nothing_about_it() -> None:
    assert judge({A: "x", B: "y", C: "x"}, {A, B}).finding is Finding.TIED
    decided = judge({A: "x", B: "y", C: "x", D: "y"}, {A, B, C})
    assert (decided.winners, decided.losers) == ((A, C), (B, D))


def test_whoever_is_overruled_was_asked_and_differs_from_more_than_half() -> None:
    """All cases of up to four replicas."""
    for size in range(1, 5):
        storages = (A, B, C, D)[:size]
        options: tuple[State, ...] = ("x", "y", EMPTY, GONE, SILENT)
        for held in product(options, repeat=size):
            states = dict(zip(storages, held, strict=True))
            judgement = judge(states, storages)
            assert not set(judgement.winners) & set(judgement.losers)
            for loser in judgement.losers:
                assert states[loser] is not SILENT
                [state] = {states[winner] for winner in judgement.winners}
                assert state in ("x", "y")
                if states[loser] is not GONE:
                    assert held.count(state) * 2 > sum(other is not GONE for other in held)
            if judgement.finding is Finding.EQUAL:
                assert len({state for state in held if isinstance(state, str)}) == 1
