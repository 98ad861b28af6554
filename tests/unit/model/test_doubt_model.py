"""The argument of docs/consistency.md, explored: every run of the model, up to a depth, keeps the invariants."""

from __future__ import annotations

import pytest

from tests.support.doubt_model import Rules, explore


def test_every_run_of_one_write_with_a_fault_keeps_the_invariants() -> None:
    states, violation = explore(Rules(writers=1, faults=1))
    assert violation is None, violation
    assert states > 3_000


def test_two_writes_with_a_fault_keep_the_invariants() -> None:
    states, violation = explore(Rules(writers=2, faults=1), depth=8)
    assert violation is None, violation
    assert states > 1_000


def test_one_write_with_two_faults_keeps_the_invariants() -> None:
    states, violation = explore(Rules(writers=1, faults=2), depth=10)
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
