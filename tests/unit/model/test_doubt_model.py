"""The argument of docs/consistency.md, explored: every run of the model, up to a depth, keeps the invariants."""

from __future__ import annotations

import pytest

from tests.support.doubt_model import Rules, explore, replay


def test_every_run_of_one_write_with_a_fault_keeps_the_invariants() -> None:
    states, violation = explore(Rules(writers=1, faults=1))
    assert violation is None, violation
    assert states > 3_000


def test_two_writes_with_a_fault_keep_the_invariants() -> None:
    states, violation = explore(Rules(writers=2, faults=1), depth=10)
    assert violation is None, violation
    assert states > 10_000


def test_one_write_with_two_faults_keeps_the_invariants() -> None:
    states, violation = explore(Rules(writers=1, faults=2), depth=12)
    assert violation is None, violation
    assert states > 3_000


@pytest.mark.parametrize(
    ("rules", "invariant"),
    [
        (Rules(writers=1, faults=1, doubts=False), "current replicas are equal once nothing is under way"),
        (Rules(writers=1, faults=1, waits=False), "current replicas are equal once nothing is under way"),
    ],
    ids=["without doubts", "given up too early"],
)
def test_the_model_finds_what_is_left_out(rules: Rules, invariant: str) -> None:
    _, violation = explore(rules)
    assert violation is not None
    assert violation.invariant == invariant
    assert len(violation.trace) > 3


LOST = "every current replica holds every acknowledged write"
PARTED = "current replicas are equal once nothing is under way"
BEGUN = ("proxy 0 opens its doubt", "proxy 0 forwards", "proxy 0 decides to commit")
COPIED = (
    *BEGUN,
    "proxy 0 sends",
    "proxy 1 opens its doubt",
    "node 0 hears of the commit of write 0",
    "proxy 0 loses its database",
    "proxy 1 gives up",
    "proxy 0 takes over and compares",
    "proxy 0 settles",
    "node 0 is repaired from 1",
    "proxy 0 records",
)
WOKEN = (
    *BEGUN,
    "proxy 0 loses its database",
    "proxy 1 buries the lease of proxy 0",
    "proxy 1 takes over and compares",
    "proxy 1 settles",
    "node 0 crashes",
    "proxy 0 sends",
    "node 1 hears of the commit of write 0",
    "node 2 hears of the commit of write 0",
    "proxy 0 gives up",
)
OVERTAKEN = (*WOKEN[:6], *WOKEN[7:], "proxy 1 settles")


@pytest.mark.parametrize(
    ("trace", "rules", "invariant"),
    [
        (COPIED, Rules(faults=1, excludes_copies=False), LOST),
        (WOKEN, Rules(reopens=False), PARTED),
        (OVERTAKEN, Rules(conditional=False), PARTED),
    ],
    ids=["copied to during a write", "woken up after the settlement", "comparison overtaken"],
)
def test_what_was_found_stays_closed(trace: tuple[str, ...], rules: Rules, invariant: str) -> None:
    assert replay(rules, trace) == invariant
    assert replay(Rules(), trace) is None
