"""Doubts: writes whose outcome is not recorded yet, and how the replicas are set equal when nobody is left to do so.

The argument why no acknowledged write is lost stands in docs/consistency.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Final, NewType

from praefect.domain.errors import UnavailableError
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage

Incarnation = NewType("Incarnation", str)
"""A process between getting a lease and losing it; random, never used again."""

LEASE_SECONDS: Final = 5.0
"""How long a lease lasts by the clock of PostgreSQL, from each renewal."""

COMMIT_SECONDS: Final = 3.0
"""How long after the start of a renewal the holder commits, by its own clock; the rest is for what is on its way."""


class DoubtsPendingError(UnavailableError):
    """A write to this repository was interrupted, and the replicas have not been compared yet."""

    def __init__(self) -> None:
        super().__init__("an interrupted write to this repository has not been settled yet")


class LeaseLostError(UnavailableError):
    """This process holds no lease, so it must not start a write; nothing was sent."""

    def __init__(self) -> None:
        super().__init__("this praefect has lost its lease on writes")


class OpenResult(StrEnum):
    """What opening a doubt came to."""

    OPENED = "opened"
    BLOCKED = "blocked"  # an earlier write has to be settled first
    NO_LEASE = "no-lease"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A write that may have been begun and whose outcome is not recorded.

    Attributes:
        incarnation: who opened it.
        number: unique in the incarnation.
        storages: the replicas at the repository's generation when it was opened; of a creation those that take part.
        generation: the repository's when it was opened, ``None`` for a creation.
        opened_at: by PostgreSQL's clock, once it is stored.
        owner: whoever may record or, having taken it over, settle it; empty for nobody.
        is_lapsed: its owner holds no lease, or has taken it over to settle it.
    """

    incarnation: Incarnation
    number: int
    repository_id: RepositoryId
    virtual_storage: VirtualStorage
    relative_path: RelativePath
    replica_path: ReplicaPath
    full_method: str
    creates: bool
    storages: tuple[Storage, ...] = ()
    generation: int | None = None
    opened_at: datetime | None = None
    owner: Incarnation = Incarnation("")
    is_lapsed: bool = False

    @property
    def key(self) -> tuple[Incarnation, int]:
        """What identifies it."""
        return self.incarnation, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentReplicas:
    """A repository's generation and who holds it."""

    repository_id: RepositoryId
    virtual_storage: VirtualStorage
    relative_path: RelativePath
    replica_path: ReplicaPath
    generation: int
    primary: Storage | None
    storages: frozenset[Storage]


class Unknown(Enum):
    """Why nothing can be said of a replica."""

    UNREACHABLE = "unreachable"
    INVALID = "invalid"  # missing, or no repository: it never wins


EMPTY_STATE: Final = ""
"""The state of a repository without any reference; loses against every other."""

State = str | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Whose state is kept, and who is behind then."""

    winners: tuple[Storage, ...]
    losers: tuple[Storage, ...]


def choose_winners(states: Mapping[Storage, State], primary: Storage | None) -> Settlement | None:
    """Choose the state most replicas hold, in a tie the stored primary's; ``None`` if nobody could be asked.

    Every replica given holds all that was acknowledged, so whichever wins, nothing of it is lost.
    """
    known = {storage: state for storage, state in states.items() if isinstance(state, str)}
    full = {storage: state for storage, state in known.items() if state != EMPTY_STATE}
    candidates = full or known
    if not candidates:
        return None
    holders: dict[str, list[Storage]] = {}
    for storage in sorted(candidates):
        holders.setdefault(candidates[storage], []).append(storage)
    winners = max(holders.values(), key=lambda group: (len(group), primary in group))
    return Settlement(winners=tuple(winners), losers=tuple(sorted(states.keys() - set(winners))))


# --- what a comparison sees ---


class Sight(Enum):
    """What has to be compared to see the whole effect of a method."""

    CHECKSUM = "checksum"  # branches, tags and the like, and the commit HEAD leads to
    REFERENCES = "references"  # all references
    HEAD = "head"  # all references, and where HEAD leads
    NOTHING = "nothing"  # it changes what no comparison sees: replicas count as different


_BRANCHES_AND_TAGS = (
    "UserCherryPick",
    "UserCommitFiles",
    "UserCreateBranch",
    "UserCreateTag",
    "UserDeleteBranch",
    "UserDeleteTag",
    "UserFFBranch",
    "UserMergeBranch",
    "UserRevert",
    "UserUpdateBranch",
    "UserUpdateSubmodule",
    "UserApplyPatch",
    "UserRebaseConfirmable",
)
_ANY_REFERENCES = (
    "/gitaly.OperationService/UserMergeToRef",
    "/gitaly.OperationService/UserRebaseToRef",
    "/gitaly.RefService/DeleteRefs",
    "/gitaly.RefService/UpdateReferences",
    "/gitaly.RepositoryService/FetchBundle",
    "/gitaly.RepositoryService/FetchSourceBranch",
    "/gitaly.SmartHTTPService/PostReceivePack",
    "/gitaly.SSHService/SSHReceivePack",
    "/gitaly.HookService/ProcReceiveHook",
)
_SIGHTS: Final[Mapping[str, Sight]] = {
    **{f"/gitaly.OperationService/{name}": Sight.CHECKSUM for name in _BRANCHES_AND_TAGS},
    "/gitaly.ConflictsService/ResolveConflicts": Sight.CHECKSUM,
    **dict.fromkeys(_ANY_REFERENCES, Sight.REFERENCES),
    "/gitaly.RepositoryService/WriteRef": Sight.HEAD,
}


def sight_of(full_methods: Iterable[str]) -> Sight:
    """Return what has to be compared after writes by these methods.

    Whatever is not in the table (hooks, configuration, alternates, objects that nothing refers to) is not seen.
    """
    sights = {_SIGHTS.get(method, Sight.NOTHING) for method in full_methods}
    for sight in (Sight.NOTHING, Sight.HEAD, Sight.REFERENCES):
        if sight in sights:
            return sight
    return Sight.CHECKSUM
