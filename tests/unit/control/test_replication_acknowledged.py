"""Jobs do not stay taken: not when praefect stops in the middle of a batch, not when the database is away then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from praefect.control.replication import ReplicationManager
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
    """Hands out a batch; ``away`` acknowledgements fail first."""

    events: Sequence[ReplicationEvent]
    away: int = 0
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
        return True

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
