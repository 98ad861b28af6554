"""Jobs do not stay taken: not when praefect stops in the middle of a batch, not when the database is away then.

And nobody works on what may be another's by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import cast

import pytest

from praefect.control.replication import ReplicationManager, ReplicationObserver, ReplicationReport, StaleJobs
from praefect.control.replicator import Replicator
from praefect.domain.errors import UnavailableError
from praefect.domain.replication import Change, EventState, ReplicationEvent, ReplicationJob
from praefect.domain.repository import RelativePath, RepositoryId, Storage, VirtualStorage
from tests.support.virtual_time import run_virtual

VS, TARGET = VirtualStorage("default"), Storage("b")


def _event(number: int, attempt: int = 2) -> ReplicationEvent:
    job = ReplicationJob(
        repository_id=RepositoryId(number),
        change=Change.UPDATE,
        virtual_storage=VS,
        relative_path=RelativePath(f"{number}.git"),
        target_node_storage=TARGET,
        source_node_storage=Storage("a"),
    )
    return ReplicationEvent(
        id=number,
        job=job,
        state=EventState.IN_PROGRESS,
        attempt=attempt,
        lock_id="",
        created_at=datetime.now(UTC),
        updated_at=None,
        correlation_id="",
    )


@dataclass(slots=True)
class _Queue:
    """Hands out a batch; ``away`` acknowledgements fail first, ``claims`` say what becomes of refreshes."""

    events: Sequence[ReplicationEvent]
    away: int = 0
    claims: Iterator[bool | None] = field(default_factory=lambda: repeat(True))  # None if the database is away
    acknowledged: dict[int, EventState] = field(default_factory=dict)

    async def dequeue(self, virtual_storage: VirtualStorage, target: Storage, limit: int) -> Sequence[ReplicationEvent]:
        return self.events

    async def acknowledge(self, state: EventState, event_ids: Sequence[int]) -> Sequence[int]:
        if self.away:
            self.away -= 1
            raise UnavailableError("the database is away")
        self.acknowledged |= dict.fromkeys(event_ids, state)
        return event_ids

    async def refresh(self, events: Sequence[ReplicationEvent]) -> bool:
        claim = next(self.claims)
        if claim is None:
            raise UnavailableError("the database is away")
        return claim

    async def acknowledge_stale(self) -> int:
        return 0

    async def remove_unused_locks(self) -> int:
        return 0


class _Healthy:
    def is_healthy(self, virtual_storage: VirtualStorage, storage: Storage) -> bool:
        return True


@dataclass(slots=True)
class _HangsAt:
    """Does jobs at once, except one that never ends."""

    number: int

    async def process(self, event: ReplicationEvent) -> None:
        if event.id == self.number:
            await asyncio.Event().wait()


def _manager(queue: _Queue, *, hangs_at: int = -1) -> ReplicationManager:
    return ReplicationManager(
        nodes={VS: [TARGET]},
        queue=queue,
        health=_Healthy(),
        replicator=cast("Replicator", _HangsAt(hangs_at)),
        batch_size=10,
        workers=1,
    )


def test_batch_is_given_back_when_praefect_stops() -> None:
    queue = _Queue([_event(1), _event(2), _event(3), _event(4, attempt=0)])

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_manager(queue, hangs_at=2).run(), name="replicate")
            await asyncio.sleep(1)
            task.cancel()

    run_virtual(main())

    expected = [EventState.COMPLETED, EventState.FAILED, EventState.FAILED, EventState.DEAD]
    assert queue.acknowledged == dict(zip((1, 2, 3, 4), expected, strict=True))


def test_stop_is_not_held_up_by_a_database_that_is_away() -> None:
    queue = _Queue([_event(1)], away=1_000_000)

    async def main() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await _manager(queue, hangs_at=1).run_once(VS, TARGET)
        assert asyncio.get_running_loop().time() < 10

    run_virtual(main())


def test_acknowledgement_waits_for_a_database_that_is_away() -> None:
    queue = _Queue([_event(1)], away=5)

    async def main() -> None:
        assert (await _manager(queue).run_once(VS, TARGET)).completed == 1

    run_virtual(main())
    assert queue.acknowledged == {1: EventState.COMPLETED}


@pytest.mark.parametrize(
    ("claims", "given_up_within"),
    [
        (lambda: iter([True, False]), 5.0),  # it was frozen, and others have the job
        (lambda: chain([True], repeat(None)), 11.0),  # nobody can be told that it works
    ],
    ids=["freed", "database away"],
)
def test_job_that_may_be_anothers_is_given_up(
    claims: Callable[[], Iterator[bool | None]], given_up_within: float
) -> None:
    queue = _Queue([_event(1), _event(2)], claims=claims())
    working: list[int] = []

    async def main() -> None:
        manager = _manager(queue, hangs_at=2)
        manager.observer = ReplicationObserver(
            started=lambda event: working.append(event.id), finished=lambda event, _seconds: working.remove(event.id)
        )
        assert await manager.run_once(VS, TARGET) == ReplicationReport()
        assert asyncio.get_running_loop().time() <= given_up_within  # virtual

    run_virtual(main())
    assert queue.acknowledged == {}
    assert working == []


def test_claim_survives_a_short_outage() -> None:
    queue = _Queue([_event(1)], claims=chain([True, None, None, True], repeat(True)))

    async def main() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                await _manager(queue, hangs_at=1).run_once(VS, TARGET)

    run_virtual(main())
    assert queue.acknowledged == {1: EventState.FAILED}  # given back when it was stopped


def test_nothing_is_freed_before_the_workers_could_speak() -> None:
    class Stale(_Queue):
        async def acknowledge_stale(self) -> int:
            return 1

    freed: list[bool] = []

    async def main() -> None:
        may_free = [False, True]
        jobs = StaleJobs(queue=Stale([]), may_free=lambda: may_free.pop(0), freed=lambda: freed.append(True))
        assert [await jobs.run_once(), await jobs.run_once()] == [0, 1]

    run_virtual(main())
    assert freed == [True]
