"""What is recorded of a write, and which repairs it brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from praefect.domain.outcome import NodeStatus, RoundOutcome, WriteOutcome
from praefect.domain.quorum import VoteResult
from praefect.domain.replication import DuplicateReplicationEventError, ReplicationJob
from praefect.domain.repository import (
    NewRepository,
    RelativePath,
    ReplicaPath,
    RepositoryExistsError,
    RepositoryId,
    Storage,
    VirtualStorage,
    WriteToOutdatedNodesError,
)
from praefect.proxy.finalize import Finalizer, Write
from praefect.proxy.routes import MutatorRoute

VS, PATH = VirtualStorage("default"), RelativePath("a.git")
G1, G2, G3 = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")
OK = NodeStatus()
INTERNAL = NodeStatus(code=13, message="no space left on device")
BROKEN = NodeStatus(code=14, message="EOF", is_status=False)
CANCELLED = NodeStatus(code=1, message="context canceled")


@dataclass
class Records:
    """The ports of the finalizer, keeping what they are told."""

    increments: list[tuple[Storage, tuple[Storage, ...]]] = field(default_factory=list)
    created: list[NewRepository] = field(default_factory=list)
    jobs: list[tuple[Storage | None, Storage]] = field(default_factory=list)
    forgotten: list[RelativePath] = field(default_factory=list)
    duplicates: bool = False
    exists: bool = False
    behind: tuple[Storage, ...] = ()

    async def increment_generation(
        self, repository_id: RepositoryId, primary: Storage, secondaries: Sequence[Storage]
    ) -> None:
        if primary in self.behind:
            raise WriteToOutdatedNodesError
        self.increments.append((primary, tuple(secondaries)))

    async def create_repository(self, new: NewRepository) -> None:
        if self.exists:
            raise RepositoryExistsError
        self.created.append(new)

    async def enqueue(self, job: ReplicationJob, *, correlation_id: str) -> object:
        if self.duplicates:
            raise DuplicateReplicationEventError("exists")
        self.jobs.append((job.source_node_storage, job.target_node_storage))
        return None

    def forget(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
        self.forgotten.append(relative_path)


def _write(
    statuses: dict[Storage, NodeStatus],
    rounds: Sequence[dict[str, VoteResult]] = (),
    *,
    targets: tuple[Storage, ...] = (),
    creates: bool = False,
    transactional: bool = True,
    voted: bool = False,
) -> Write:
    primary, *secondaries = statuses
    return Write(
        virtual_storage=VS,
        relative_path=PATH,
        full_method="/gitaly.RefService/WriteRef",
        correlation_id="correlation",
        route=MutatorRoute(
            repository_id=RepositoryId(1),
            replica_path=ReplicaPath("disk"),
            additional_replica_path=None,
            primary=primary,
            secondaries=tuple(secondaries),
            replication_targets=targets,
            creates=creates,
            store_assignments=creates,
        ),
        outcome=WriteOutcome(
            primary=primary,
            statuses={str(storage): status for storage, status in statuses.items()},
            rounds=[
                RoundOutcome(
                    results=results,
                    voted=frozenset(
                        name
                        for name, result in results.items()
                        if result not in (VoteResult.CANCELLED, VoteResult.UNDECIDED)
                    ),
                )
                for results in rounds
            ],
            stopped=False,
            voted=voted,
        ),
        transactional=transactional,
    )


def _committed(*storages: Storage) -> dict[str, VoteResult]:
    return dict.fromkeys(storages, VoteResult.COMMITTED)


async def _record(records: Records, write: Write) -> Records:
    await Finalizer(records=records, queue=records, forget=records.forget).record(write)
    return records


async def test_agreement_raises_all_and_repairs_only_who_was_absent() -> None:
    write = _write({G1: OK, G2: OK}, [_committed(G1, G2)], targets=(G3,))

    records = await _record(Records(), write)

    assert records.increments == [(G1, (G2,))]
    assert records.jobs == [(G1, G3)]
    assert records.forgotten == [PATH]


async def test_secondary_that_failed_is_repaired() -> None:
    write = _write({G1: OK, G2: INTERNAL, G3: OK}, [_committed(G1, G2, G3)])

    records = await _record(Records(), write)

    assert records.increments == [(G1, (G3,))]
    assert records.jobs == [(G1, G2)]


async def test_write_that_changed_nothing_leaves_no_trace() -> None:
    write = _write({G1: INTERNAL, G2: CANCELLED}, targets=(G3,))

    assert await _record(Records(), write) == Records()


async def test_write_whose_primary_died_makes_a_survivor_the_newest() -> None:
    rounds = [_committed(G1, G2, G3), {**_committed(G1, G3), G2: VoteResult.FAILED}]
    write = _write({G1: BROKEN, G2: CANCELLED, G3: CANCELLED}, rounds)

    records = await _record(Records(), write)

    assert records.increments == [(G3, ())]
    assert records.jobs == [(G3, G1), (G3, G2)]


@pytest.mark.parametrize("others", [(G2, G3), (G3, G2)])
async def test_writes_that_lose_their_primary_at_once_choose_the_same_survivor(others: tuple[Storage, ...]) -> None:
    write = _write({G1: BROKEN, **dict.fromkeys(others, CANCELLED)}, [_committed(G1, G2, G3)])

    records = await _record(Records(), write)

    assert records.increments == [(G2, ())]


async def test_survivor_that_another_write_left_behind_is_passed_over() -> None:
    write = _write({G1: BROKEN, G2: CANCELLED, G3: CANCELLED}, [_committed(G1, G2, G3)])

    records = await _record(Records(behind=(G2,)), write)

    assert records.increments == [(G3, ())]
    assert records.jobs == [(G3, G1), (G3, G2)]


async def test_write_whose_survivors_are_all_behind_is_not_recorded() -> None:
    write = _write({G1: BROKEN, G2: CANCELLED, G3: CANCELLED}, [_committed(G1, G2, G3)])
    records = Records(behind=(G2, G3))

    with pytest.raises(WriteToOutdatedNodesError):
        await _record(records, write)
    assert records.jobs == []


async def test_write_whose_primary_died_before_any_vote_was_committed_leaves_no_trace() -> None:
    rounds: list[dict[str, VoteResult]] = [dict.fromkeys((G1, G2, G3), VoteResult.CANCELLED)]
    write = _write({G1: BROKEN, G2: CANCELLED, G3: CANCELLED}, rounds, voted=True)

    assert await _record(Records(), write) == Records()


async def test_write_whose_primary_died_without_any_vote_makes_a_survivor_the_newest() -> None:
    """Who does not vote may have acted."""
    records = await _record(Records(), _write({G1: BROKEN, G2: CANCELLED, G3: CANCELLED}))

    assert records.increments == [(G2, ())]


async def test_creation_is_recorded_with_its_replicas_and_the_missing_ones_get_jobs() -> None:
    write = _write({G1: OK, G2: OK}, [_committed(G1, G2)], targets=(G3,), creates=True)

    records = await _record(Records(), write)

    (new,) = records.created
    assert (new.primary, new.updated, new.outdated, new.store_assignments) == (G1, (G2,), (G3,), True)
    assert records.jobs == [(G1, G3)]
    assert records.increments == []


@pytest.mark.parametrize("status", [INTERNAL, BROKEN])
async def test_creation_that_failed_is_no_repository(status: NodeStatus) -> None:
    write = _write({G1: status, G2: CANCELLED}, [_committed(G1, G2)], creates=True)

    assert await _record(Records(), write) == Records()


async def test_lost_race_of_creations_is_the_callers_error_and_makes_no_jobs() -> None:
    records = Records(exists=True)
    write = _write({G1: OK}, [_committed(G1)], targets=(G2,), creates=True)

    with pytest.raises(RepositoryExistsError):
        await _record(records, write)
    assert records.jobs == []


async def test_write_without_transaction_repairs_everybody_else() -> None:
    write = _write({G1: OK}, targets=(G2, G3), transactional=False)

    records = await _record(Records(), write)

    assert records.increments == [(G1, ())]
    assert records.jobs == [(G1, G2), (G1, G3)]


async def test_job_that_is_waiting_already_is_enough() -> None:
    records = await _record(Records(duplicates=True), _write({G1: OK}, [_committed(G1)], targets=(G2,)))

    assert records.increments == [(G1, ())]
