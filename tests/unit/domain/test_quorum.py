"""Weights and thresholds of votes."""

from __future__ import annotations

import pytest

from praefect.domain.quorum import Electorate, InvalidVotersError, Voter, form_electorate


@pytest.mark.parametrize(
    ("secondaries", "primary_weight", "total", "threshold"),
    [(0, 1, 1, 1), (1, 2, 3, 2), (2, 3, 5, 4), (3, 4, 7, 6), (4, 5, 9, 7), (5, 6, 11, 9)],
)
def test_primary_has_a_veto_and_half_of_the_secondaries_must_agree(
    secondaries: int, primary_weight: int, total: int, threshold: int
) -> None:
    electorate = form_electorate("primary", [f"secondary-{number}" for number in range(secondaries)])

    assert electorate.voters[0] == Voter(name="primary", weight=primary_weight)
    assert sum(voter.weight for voter in electorate.voters) == total
    assert electorate.threshold == threshold
    assert total - primary_weight < threshold


@pytest.mark.parametrize(
    ("voters", "threshold", "message"),
    [
        ((), 1, "transaction requires at least one node"),
        ((Voter(name="a", weight=1), Voter(name="a", weight=1)), 2, "transactions cannot have duplicate nodes"),
        ((Voter(name="a", weight=1),), 2, "transaction has invalid threshold"),
        ((Voter(name="a", weight=1), Voter(name="b", weight=1)), 1, "transaction has invalid threshold"),
    ],
)
def test_impossible_electorates_are_refused(voters: tuple[Voter, ...], threshold: int, message: str) -> None:
    with pytest.raises(InvalidVotersError) as refusal:
        Electorate(voters=voters, threshold=threshold)

    assert str(refusal.value) == message
