"""Who may become primary by hand, and what is said about the others."""

import pytest

from praefect.domain.failover import (
    Loss,
    Move,
    Refusal,
    ReplicaState,
    RepositoryState,
    Verdict,
    move_away,
    move_to,
)
from praefect.domain.repository import UNKNOWN_GENERATION, RelativePath, RepositoryId, Storage

ONE, TWO, THREE = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")


def replica(
    storage: Storage, generation: int = 5, *, healthy: bool = True, assigned: bool = False, leaving: bool = False
) -> ReplicaState:
    return ReplicaState(
        storage=storage, generation=generation, is_healthy=healthy, is_assigned=assigned, is_leaving=leaving
    )


def repository(*replicas: ReplicaState, primary: Storage | None = ONE, generation: int = 5) -> RepositoryState:
    return RepositoryState(
        repository_id=RepositoryId(1),
        relative_path=RelativePath("a"),
        primary=primary,
        generation=generation,
        replicas=replicas,
    )


def reason(verdict: Verdict) -> str:
    assert isinstance(verdict, Refusal)
    return verdict.reason


def test_a_current_healthy_replica_becomes_primary() -> None:
    state = repository(replica(ONE), replica(TWO))
    assert move_to(state, TWO, accepts_loss=False) == Move(repository=state, target=TWO)


def test_nothing_moves_where_it_is() -> None:
    state = repository(replica(ONE), replica(TWO))
    assert move_to(state, ONE, accepts_loss=False) is None
    assert move_away(state, TWO, accepts_loss=False) is None


def test_a_repository_without_primary_gets_one() -> None:
    state = repository(replica(ONE), primary=None)
    assert move_to(state, ONE, accepts_loss=False) == Move(repository=state, target=ONE)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (replica(TWO, healthy=False), '"gitaly-2" is not healthy'),
        (replica(TWO, UNKNOWN_GENERATION), '"gitaly-2" has no replica'),
        (replica(TWO, leaving=True), 'the replica on "gitaly-2" is about to be deleted'),
        (replica(TWO, 4), '"gitaly-2" is behind by 1 change or less'),
        (replica(TWO, 3), '"gitaly-2" is behind by 2 changes or less'),
        (replica(TWO, 6), "the recorded generation is older than the replica's"),
    ],
)
def test_what_keeps_a_storage_from_becoming_primary(target: ReplicaState, text: str) -> None:
    assert reason(move_to(repository(replica(ONE), target), TWO, accepts_loss=False)) == text


def test_an_unassigned_replica_does_not_go_before_an_assigned_one() -> None:
    state = repository(replica(ONE, assigned=True), replica(TWO))
    assert reason(move_to(state, TWO, accepts_loss=False)) == '"gitaly-2" is not assigned, while "gitaly-1" can serve'
    alone = repository(replica(ONE, assigned=True, healthy=False), replica(TWO))
    assert isinstance(move_to(alone, TWO, accepts_loss=False), Move)


def test_an_accepted_loss_is_counted_and_its_holders_named() -> None:
    state = repository(replica(ONE, healthy=False), replica(TWO, 2), replica(THREE, 3))
    assert move_to(state, TWO, accepts_loss=True) == Move(
        repository=state, target=TWO, loss=Loss(changes=3, held_by=(ONE, THREE))
    )


@pytest.mark.parametrize(
    "target", [replica(TWO, 2, healthy=False), replica(TWO, UNKNOWN_GENERATION), replica(TWO, 2, leaving=True)]
)
def test_accepting_a_loss_helps_no_storage_that_cannot_serve(target: ReplicaState) -> None:
    reason(move_to(repository(replica(ONE), target), TWO, accepts_loss=True))


def test_accepting_a_loss_loses_nothing_where_nothing_need_be_lost() -> None:
    state = repository(replica(ONE), replica(TWO, 3), replica(THREE))
    assert move_away(state, ONE, accepts_loss=True) == Move(repository=state, target=THREE)


def test_a_node_is_emptied_to_the_freshest_other() -> None:
    state = repository(replica(ONE), replica(TWO, 3), replica(THREE, 4))
    verdict = move_away(state, ONE, accepts_loss=True)
    assert isinstance(verdict, Move)
    assert (verdict.target, verdict.target_generation, verdict.loss) == (THREE, 4, Loss(changes=1, held_by=(ONE,)))


def test_a_primary_nobody_can_replace_stays_for_every_reason() -> None:
    state = repository(replica(ONE), replica(TWO, 3), replica(THREE, healthy=False))
    assert reason(move_away(state, ONE, accepts_loss=False)) == (
        '"gitaly-3" is not healthy; "gitaly-2" is behind by 2 changes or less'
    )
    assert reason(move_away(repository(replica(ONE)), ONE, accepts_loss=True)) == "there is no other storage"
