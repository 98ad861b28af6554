"""The lines by which alerts know the control loops: message, level, component and fields of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from praefect.control.clean import RepositoryCleaner
from praefect.control.reconcile import Reconciler
from praefect.control.replication import (
    HEALTH_UPDATE_SECONDS,
    ReplicationManager,
    StaleJobs,
    UnusedLocks,
)
from praefect.control.replicator import NodeChannels, Replicator
from praefect.control.verify import ExpiredLeases
from praefect.domain.errors import UnavailableError
from praefect.domain.replication import (
    Change,
    EventState,
    ReplicationEvent,
    ReplicationJob,
    ReplicaToVerify,
    ScheduledJob,
    StorageCleanup,
)
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage
from praefect.observability.log import capture
from praefect.runtime.ticker import ManualTicker, Ticker
from praefect.transport.grpc.channel import Channel
from tests.support.virtual_time import run_virtual

VS, SOURCE, TARGET = VirtualStorage("default"), Storage("a"), Storage("b")
AWAY = UnavailableError("the database is away")

Scene = Callable[[], Awaitable[object]]


def _event() -> ReplicationEvent:
    job = ReplicationJob(
        repository_id=RepositoryId(1),
        change=Change.UPDATE,
        virtual_storage=VS,
        relative_path=RelativePath("a.git"),
        target_node_storage=TARGET,
        source_node_storage=SOURCE,
    )
    return ReplicationEvent(
        id=7,
        job=job,
        state=EventState.IN_PROGRESS,
        attempt=2,
        lock_id="",
        created_at=datetime.now(UTC),
        updated_at=None,
        correlation_id="from-the-client",
    )


@dataclass(slots=True)
class _Queue:
    """A queue of one job; ``fails`` names the method that finds the database away, once."""

    fails: str = ""
    loses: bool = False
    taken: bool = False

    def _reach(self, method: str) -> None:
        if self.fails == method:
            self.fails = ""
            raise AWAY

    async def dequeue(self, virtual_storage: VirtualStorage, target: Storage, limit: int) -> Sequence[ReplicationEvent]:
        self._reach("dequeue")
        events = [] if self.taken else [_event()]
        self.taken = True
        return events

    async def acknowledge(self, state: EventState, event_ids: Sequence[int]) -> Sequence[int]:
        self._reach("acknowledge")
        return [] if self.loses else event_ids

    async def refresh(self, events: Sequence[ReplicationEvent]) -> bool:
        self._reach("refresh")
        return True

    async def acknowledge_stale(self) -> int:
        self._reach("acknowledge_stale")
        return 3

    async def remove_unused_locks(self) -> int:
        self._reach("remove_unused_locks")
        return 4


@dataclass(slots=True)
class _Healthy:
    storages: Sequence[Storage] = (SOURCE, TARGET)

    def is_healthy(self, virtual_storage: VirtualStorage, storage: Storage) -> bool:
        return storage in self.storages

    def healthy_storages(self, virtual_storage: VirtualStorage) -> Sequence[Storage]:
        return self.storages


@dataclass(slots=True)
class _Work:
    seconds: float = 0.0
    error: str = ""

    async def process(self, event: ReplicationEvent) -> None:
        await asyncio.sleep(self.seconds)
        if self.error:
            raise UnavailableError(self.error)


def _manager(queue: _Queue, work: _Work | None = None, workers: int = 1) -> ReplicationManager:
    return ReplicationManager(
        nodes={VS: [SOURCE, TARGET]},
        queue=queue,
        health=_Healthy(),
        replicator=cast("Replicator", work or _Work()),
        batch_size=10,
        workers=workers,
    )


def _batch(queue: _Queue, work: _Work | None = None) -> Scene:
    return lambda: _manager(queue, work).run_once(VS, TARGET)


def _once(run: Callable[[Ticker], Awaitable[None]]) -> Scene:
    """Let a loop make one pass and stop it."""

    async def scene() -> None:
        ticker = ManualTicker()
        async with asyncio.TaskGroup() as loops:
            loop = loops.create_task(_finished(run(ticker)), name="loop")
            await ticker.tick()
            await ticker.wait_idle()
            loop.cancel()

    return scene


async def _finished(loop: Awaitable[None]) -> None:
    await loop


def _briefly(run: Callable[[], Awaitable[None]]) -> Scene:
    """Let something run for a moment and cancel it."""

    async def scene() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await run()

    return scene


@dataclass(slots=True)
class _ReplicaRecords:
    """Records of two replicas; only what a refused copy needs."""

    generations: tuple[int | None, int | None]

    async def get_replica_path(self, repository_id: RepositoryId) -> ReplicaPath:
        return ReplicaPath("@cluster/1")

    async def get_replica_generations(
        self, repository_id: RepositoryId, source: Storage, target: Storage
    ) -> tuple[int | None, int | None]:
        return self.generations

    async def set_generation(
        self, repository_id: RepositoryId, storage: Storage, relative_path: RelativePath, generation: int
    ) -> None:
        raise AssertionError

    async def delete_replica(self, repository_id: RepositoryId, storage: Storage) -> bool:
        raise AssertionError

    async def delete_invalid_repository(self, repository_id: RepositoryId, storage: Storage) -> None:
        raise AssertionError


class _Nodes:
    def channel(self, virtual_storage: VirtualStorage, storage: Storage) -> Channel | None:
        return cast("Channel", object())

    def server_info(self, virtual_storage: VirtualStorage, storage: Storage) -> dict[str, str]:
        return {}


def _copy(source: int | None, target: int | None) -> Scene:
    nodes: NodeChannels = _Nodes()
    replicator = Replicator(nodes=nodes, records=_ReplicaRecords((source, target)))
    return lambda: replicator.process(_event())


@dataclass(slots=True)
class _Cleanups:
    """The rows of the cleaner and a node's disk; ``fails`` names what is away."""

    fails: str = ""
    released: list[StorageCleanup] = field(default_factory=list)

    def _reach(self, method: str) -> None:
        if self.fails == method:
            raise AWAY

    async def populate(self, nodes: Mapping[VirtualStorage, Sequence[Storage]]) -> None:
        """Nothing is stored."""

    async def acquire(self, run_interval: timedelta) -> StorageCleanup | None:
        self._reach("acquire")
        return StorageCleanup(virtual_storage=VS, storage=SOURCE)

    async def refresh(self, cleanup: StorageCleanup) -> None:
        """Nothing is stored."""

    async def release(self, cleanup: StorageCleanup) -> None:
        self._reach("release")

    async def find_unknown(
        self, virtual_storage: VirtualStorage, storage: Storage, replica_paths: Sequence[ReplicaPath]
    ) -> Sequence[ReplicaPath]:
        self._reach("find_unknown")
        return replica_paths

    async def walk(
        self, virtual_storage: VirtualStorage, storage: Storage, *, older_than: timedelta
    ) -> AsyncIterator[ReplicaPath]:
        yield ReplicaPath("lost")
        self._reach("walk")


def _clean(fails: str = "") -> Scene:
    rows = _Cleanups(fails)
    cleaner = RepositoryCleaner(
        nodes={VS: [SOURCE]}, records=rows, walker=rows, run_interval=timedelta(days=1), batch_size=1
    )
    return _once(cleaner.run)


@dataclass(slots=True)
class _Schedule:
    fails: bool = False

    async def schedule(self, healthy: Mapping[VirtualStorage, Sequence[Storage]]) -> Sequence[ScheduledJob]:
        if self.fails:
            raise AWAY
        return []


def _reconcile(*, fails: bool = False, storages: Sequence[Storage] = (SOURCE, TARGET)) -> Scene:
    reconciler = Reconciler(nodes={VS: [SOURCE, TARGET]}, health=_Healthy(storages), records=_Schedule(fails))
    return _once(reconciler.run)


class _AwayRecords:
    """Verification while the database is away."""

    async def release_expired(self, limit: int) -> Sequence[ReplicaToVerify]:
        raise AWAY

    async def acquire(
        self, healthy: Mapping[VirtualStorage, Sequence[Storage]], interval: timedelta, limit: int
    ) -> Sequence[ReplicaToVerify]:
        raise AWAY

    async def complete(
        self,
        *,
        valid: Sequence[ReplicaToVerify],
        invalid: Sequence[ReplicaToVerify],
        failed: Sequence[ReplicaToVerify],
        delete_invalid: bool,
    ) -> None:
        raise AWAY


def _stale(fails: str = "") -> Scene:
    return _once(StaleJobs(queue=_Queue(fails)).run)


def _locks(fails: str = "") -> Scene:
    return _once(UnusedLocks(queue=_Queue(fails)).run)


MANAGER, REPLICATOR, RECONCILER = "replication_manager", "replicator", "reconciler"
CLEANER = "repocleaner.repository_existence"
ERROR: dict[str, object] = {"error": str(AWAY)}
WHERE: dict[str, object] = {"virtual_storage": VS, "storage": SOURCE}
DOWNGRADE = 'attempted downgrading storage "b" from generation {} to {}'
FEWER_WORKERS = (
    "parallel processing workers decreased from 3 configured with config to 2 according to minumal amount of storages "
    'in the virtual storage "default"'
)

CASES: list[tuple[str, str, str, Scene, dict[str, object]]] = [
    ("processing started", "info", MANAGER, _briefly(_manager(_Queue()).run), {"virtual_storage": VS}),
    ("processing stopped", "info", MANAGER, _briefly(_manager(_Queue()).run), {"error": "context canceled"}),
    (
        FEWER_WORKERS,
        "info",
        MANAGER,
        _briefly(_manager(_Queue(), workers=3).run),
        {},
    ),
    (
        "replication job processing started",
        "info",
        MANAGER,
        _batch(_Queue()),
        {"virtual_storage": VS, "replication_job_target": TARGET, "correlation_id": "from-the-client"},
    ),
    ("replication job processing finished", "info", MANAGER, _batch(_Queue()), {"new_state": "completed"}),
    (
        "replication job processing finished",
        "error",
        MANAGER,
        _batch(_Queue(), _Work(error="disk full")),
        {"new_state": "failed", "error": "disk full"},
    ),
    ("failed to dequeue replication events", "error", MANAGER, _batch(_Queue("dequeue")), ERROR),
    (
        "failed to acknowledge replication events",
        "error",
        MANAGER,
        _batch(_Queue("acknowledge")),
        {**ERROR, "state": "completed"},
    ),
    (
        "replication events were not acknowledged",
        "error",
        MANAGER,
        _batch(_Queue(loses=True)),
        {"state": "completed", "event_ids": [7]},
    ),
    (
        "health update loop",
        "error",
        MANAGER,
        _batch(_Queue("refresh"), _Work(seconds=2 * HEALTH_UPDATE_SECONDS)),
        ERROR,
    ),
    ("stale replication jobs deleted", "info", "ProcessStale", _stale(), {"count": 3}),
    (
        "background periodical acknowledgement for stale replication jobs",
        "error",
        MANAGER,
        _stale("acknowledge_stale"),
        ERROR,
    ),
    ("unused replication locks deleted", "info", "CleanUpLocks", _locks(), {"count": 4}),
    (
        "background periodical cleanup of unused replication queue locks",
        "error",
        MANAGER,
        _locks("remove_unused_locks"),
        ERROR,
    ),
    (
        "target repository already on the same generation, skipping replication job",
        "info",
        REPLICATOR,
        _copy(2, 2),
        {"error": DOWNGRADE.format(2, 2), "replication_job_source": SOURCE, "replication_job_target": TARGET},
    ),
    ("repository downgrade prevented", "info", REPLICATOR, _copy(2, 3), {"error": DOWNGRADE.format(3, 2)}),
    ("automatic reconciler started", "info", RECONCILER, _reconcile(), {"storages": {VS: [SOURCE, TARGET]}}),
    ("automatic reconciler stopped", "info", RECONCILER, _reconcile(), {}),
    ("reconciliation did not result in any scheduled jobs", "debug", RECONCILER, _reconcile(), {}),
    (
        "reconciliation skipped for virtual storage due to not having enough healthy storages",
        "info",
        RECONCILER,
        _reconcile(storages=[SOURCE]),
        {"virtual_storage": VS},
    ),
    ("automatic reconciliation failed", "error", RECONCILER, _reconcile(fails=True), ERROR),
    ("failed releasing expired leases", "error", "praefect", _once(ExpiredLeases(records=_AwayRecords()).run), ERROR),
    ("started", "info", CLEANER, _clean(), {}),
    ("completed", "info", CLEANER, _clean(), {}),
    (
        "repository is not managed by praefect",
        "warning",
        "repocleaner.log_warn_action",
        _clean(),
        {**WHERE, "relative_replica_path": "lost"},
    ),
    ("unable to acquire next storage to verify", "error", CLEANER, _clean("acquire"), ERROR),
    ("failed to release storage acquired to verify", "error", CLEANER, _clean("release"), {**ERROR, **WHERE}),
    ("failed to check existence", "error", CLEANER, _clean("find_unknown"), {**ERROR, **WHERE}),
    ("failed to exec action on repositories", "error", CLEANER, _clean("walk"), {**ERROR, **WHERE}),
]


@pytest.mark.parametrize(("message", "level", "component", "scene", "fields"), CASES)
def test_line(message: str, level: str, component: str, scene: Scene, fields: dict[str, object]) -> None:
    async def main() -> None:
        await scene()

    with capture() as lines:
        run_virtual(main())
    told = [line for line in lines if line["msg"] == message]
    assert told, [line["msg"] for line in lines]
    assert (told[0]["level"], told[0]["component"]) == (level, component)
    assert {name: told[0].get(name) for name in fields} == fields
