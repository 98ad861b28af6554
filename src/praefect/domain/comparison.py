"""What replicas that are recorded as equal turn out to hold, and what follows from it. Pure.

Only a majority of the replicas at the generation overrules another. An empty replica never wins. One that is not there
has nothing that could be overwritten, so that it outvotes nobody and is replaced by whatever the others agree on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from praefect.domain.doubts import EMPTY_STATE, CurrentReplicas, State, Unknown
from praefect.domain.errors import FailedPreconditionError
from praefect.domain.repository import RelativePath, RepositoryId, Storage, VirtualStorage


class Finding(Enum):
    """What a comparison says."""

    EQUAL = "equal"  # all that could be asked hold the same
    OVERRULED = "overruled"  # a majority agrees, and others differ or are missing
    TIED = "tied"  # they differ, and nobody has a majority
    UNKNOWN = "unknown"  # nobody could be asked who holds anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A finding and whom it concerns.

    Attributes:
        winners: who holds what the majority holds; nobody in a tie.
        losers: who has to be repaired; those that could not be asked are neither.
    """

    finding: Finding
    winners: tuple[Storage, ...] = ()
    losers: tuple[Storage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparableReplicas:
    """What a comparison reads of the records, in one snapshot.

    Attributes:
        is_doubted: a write is under way or has to be settled, so that differences mean nothing.
        witnesses: of a repository in which a tie was found the replicas that were at the generation then; ``None`` of
            any other. What was copied since says nothing about who is right.
    """

    current: CurrentReplicas
    is_doubted: bool
    witnesses: frozenset[Storage] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A repository whose replicas differ, nobody having a majority: it can be read but not written."""

    repository_id: RepositoryId
    virtual_storage: VirtualStorage
    relative_path: RelativePath
    storages: tuple[Storage, ...]
    found_at: datetime


class RepositoryReadOnlyError(FailedPreconditionError):
    """The repository's replicas differ and nobody can tell which is right."""

    def __init__(self, disagreement: Disagreement) -> None:
        super().__init__(
            "repository is read-only: its replicas differ, none of them has a majority, and Praefect overwrites none; "
            f"choose one of {', '.join(disagreement.storages)} with: {advise(disagreement)}"
        )
        self.disagreement = disagreement


def advise(disagreement: Disagreement) -> str:
    """Return the command that ends a disagreement."""
    return (
        f"praefect accept-dataloss -virtual-storage {disagreement.virtual_storage} "
        f"-relative-path {disagreement.relative_path} -authoritative-storage STORAGE"
    )


def judge(states: Mapping[Storage, State], witnesses: Collection[Storage]) -> Judgement:
    """Say what follows from the states of replicas that are recorded as equal.

    Args:
        states: of every replica at the generation.
        witnesses: those of them that count.
    """
    known = {storage: state for storage, state in states.items() if isinstance(state, str)}
    missing = {storage for storage, state in states.items() if state is Unknown.INVALID}
    heard = {storage: state for storage, state in known.items() if storage in witnesses}
    if not heard:
        return Judgement(finding=Finding.UNKNOWN)
    held = list(heard.values())
    if len(set(held)) == 1:
        state = held[0]
        if state == EMPTY_STATE and missing:
            return Judgement(finding=Finding.UNKNOWN)  # an empty one wins against none, not even one that may return
    else:
        # Those that cannot be asked might all hold something else.
        voters = sum(storage in witnesses for storage in states.keys() - missing)
        state = max(sorted(set(held) - {EMPTY_STATE}), key=held.count)
        if held.count(state) * 2 <= voters:
            return Judgement(finding=Finding.TIED)
    winners = tuple(sorted(storage for storage, other in known.items() if other == state))
    losers = tuple(sorted(missing | (known.keys() - set(winners))))
    return Judgement(finding=Finding.OVERRULED if losers else Finding.EQUAL, winners=winners, losers=losers)
