"""Failover by hand: which storage a repository's primary may move to, why not, and what would be lost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from praefect.domain.repository import UNKNOWN_GENERATION, RelativePath, RepositoryId, Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """What is known of a repository on one configured storage.

    Attributes:
        generation: UNKNOWN_GENERATION without a replica.
        is_healthy: enough Praefects see the storage serve.
        is_leaving: the replica is about to be deleted.
    """

    storage: Storage
    generation: int
    is_healthy: bool
    is_assigned: bool
    is_leaving: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryState:
    """A repository, its stored primary, and what is known of it on every configured storage."""

    repository_id: RepositoryId
    relative_path: RelativePath
    primary: Storage | None
    generation: int
    replicas: tuple[ReplicaState, ...]

    def replica(self, storage: Storage) -> ReplicaState:
        """Return what is known on one of the configured storages."""
        return next(replica for replica in self.replicas if replica.storage == storage)

    def candidates(self) -> Sequence[Storage]:
        """Return who an election would accept: served, current, staying; the assigned ones if any of them is."""
        fit = [replica for replica in self.replicas if self._is_current(replica) and _fault(replica) is None]
        assigned = [replica for replica in fit if replica.is_assigned]
        return [replica.storage for replica in assigned or fit]

    def _is_current(self, replica: ReplicaState) -> bool:
        return replica.generation == self.generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Writes that a move gives up: at most how many, and the storages that hold some of them."""

    changes: int
    held_by: tuple[Storage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A primary that can move; with ``loss`` the target is behind and is declared the latest."""

    repository: RepositoryState
    target: Storage
    loss: Loss | None = None

    @property
    def target_generation(self) -> int:
        """The generation of the target's replica when the move was planned."""
        return self.repository.replica(self.target).generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A primary that cannot move, and why."""

    repository: RepositoryState
    reason: str


Verdict = Move | Refusal | None
"""None: the primary is where it should be."""


def move_to(repository: RepositoryState, target: Storage, *, accepts_loss: bool) -> Verdict:
    """Judge a move of the primary to a storage."""
    if repository.primary == target and target in repository.candidates():
        return None
    return _judge(repository, target, accepts_loss=accepts_loss)


def move_away(repository: RepositoryState, source: Storage, *, accepts_loss: bool) -> Verdict:
    """Judge a move of the primary off a storage, to the others in their order, the freshest first."""
    if repository.primary != source:
        return None
    verdicts: list[Move | Refusal] = [
        _judge(repository, replica.storage, accepts_loss=accepts_loss)
        for replica in _freshest_first(repository.replicas)
        if replica.storage != source
    ]
    moves = [verdict for verdict in verdicts if isinstance(verdict, Move)]
    if moves:
        return next((move for move in moves if move.loss is None), moves[0])
    reasons = [verdict.reason for verdict in verdicts if isinstance(verdict, Refusal)]
    return Refusal(repository=repository, reason="; ".join(reasons) or "there is no other storage")


def _judge(repository: RepositoryState, target: Storage, *, accepts_loss: bool) -> Move | Refusal:
    candidates = repository.candidates()
    if target in candidates:
        return Move(repository=repository, target=target)
    replica = repository.replica(target)
    reason = _fault(replica)
    behind = repository.generation - replica.generation
    if reason is None and behind > 0:
        if accepts_loss:
            return Move(repository=repository, target=target, loss=_loss(repository, replica))
        reason = f"{_named(target)} is behind by {count_changes(behind)} or less"
    elif reason is None and behind < 0:
        reason = "the recorded generation is older than the replica's"
    elif reason is None:
        reason = f"{_named(target)} is not assigned, while {', '.join(map(_named, candidates))} can serve"
    return Refusal(repository=repository, reason=reason)


def _fault(replica: ReplicaState) -> str | None:
    """Return what keeps a storage from serving as primary, whatever its replica holds."""
    if not replica.is_healthy:
        return f"{_named(replica.storage)} is not healthy"
    if replica.generation == UNKNOWN_GENERATION:
        return f"{_named(replica.storage)} has no replica"
    if replica.is_leaving:
        return f"the replica on {_named(replica.storage)} is about to be deleted"
    return None


def _loss(repository: RepositoryState, target: ReplicaState) -> Loss:
    holders = tuple(other.storage for other in repository.replicas if other.generation > target.generation)
    return Loss(changes=repository.generation - target.generation, held_by=holders)


def _freshest_first(replicas: Iterable[ReplicaState]) -> Sequence[ReplicaState]:
    return sorted(replicas, key=lambda replica: -replica.generation)


def count_changes(count: int) -> str:
    """Write a number of changes."""
    return f"{count} change" if count == 1 else f"{count} changes"


def _named(storage: Storage) -> str:
    return f'"{storage}"'
