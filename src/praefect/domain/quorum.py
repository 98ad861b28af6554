"""Who votes in a transaction, with which weight, and how many votes suffice.

Source: the Praefect reference on weights and thresholds; the invariants are those it demands at registration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from praefect.domain.errors import InternalError


class InvalidVotersError(InternalError):
    """The set of voters or the threshold cannot form a transaction."""


class VoteResult(StrEnum):
    """What became of one voter in one round."""

    UNDECIDED = "undecided"
    COMMITTED = "committed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voter:
    """A node that takes part in a transaction: its storage name and what its vote weighs."""

    name: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Electorate:
    """The voters of one transaction and the weight of equal votes that reaches quorum.

    Invariants, asserted at construction: there is a voter, names are unique, the threshold can be reached, and two
    different votes cannot both reach it.
    """

    voters: tuple[Voter, ...]
    threshold: int

    def __post_init__(self) -> None:
        """Check the invariants."""
        if not self.voters:
            raise InvalidVotersError("transaction requires at least one node")
        if len({voter.name for voter in self.voters}) != len(self.voters):
            raise InvalidVotersError("transactions cannot have duplicate nodes")
        total = sum(voter.weight for voter in self.voters)
        if not total >= self.threshold > total - self.threshold:
            raise InvalidVotersError("transaction has invalid threshold")


def form_electorate(primary: str, secondaries: Sequence[str]) -> Electorate:
    """Give the primary a veto and require half of two or more secondaries, rounded up, beside it."""
    count = len(secondaries)
    threshold = count + 1 if count <= 1 else count + 1 + (count + 1) // 2
    voters = (Voter(name=primary, weight=count + 1), *(Voter(name=name, weight=1) for name in secondaries))
    return Electorate(voters=voters, threshold=threshold)
