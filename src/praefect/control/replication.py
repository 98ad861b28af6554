"""Replicate: takes jobs from the queue and brings replicas up to date, or removes them.

Source: the Praefect reference on jobs, workers and what a job does. On purpose otherwise: as many workers as
configured, at most one per storage; a removal whose repository has no record any more is dropped, not retried for ever;
a job is freed 10 s after its worker fell silent, and a worker that could not say for 8 s that it is there gives it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from praefect.control.replicator import JobDroppedError, Replicator
from praefect.domain.errors import InternalError, PraefectError
from praefect.domain.replication import Change, EventState, ReplicationEvent
from praefect.domain.repository import Storage, VirtualStorage
from praefect.observability.correlation import correlation_scope
from praefect.observability.log import get_logger
from praefect.runtime.backoff import ExponentialBackoff
from praefect.runtime.ticker import Ticker

_log = get_logger("replication_manager")

IDLE_BACKOFF_SECONDS = (1.0, 5.0)
HEALTH_UPDATE_SECONDS = 2.0
CLAIM_SECONDS = 8.0  # without a refresh for that long a job is given up; a little later it is anybody's
ACKNOWLEDGE_SECONDS = 60.0
GIVE_BACK_SECONDS = 5.0


class ClaimLostError(InternalError):
    """The jobs in work are, or may be, somebody else's by now."""

    def __init__(self) -> None:
        super().__init__("the claim on replication events was lost")


class JobQueue(Protocol):
    """The replication queue, from a worker's side."""

    async def dequeue(self, virtual_storage: VirtualStorage, target: Storage, limit: int) -> Sequence[ReplicationEvent]:
        """Take up to ``limit`` jobs for one target."""

    async def acknowledge(self, state: EventState, event_ids: Sequence[int]) -> Sequence[int]:
        """Say what became of jobs; return those that were ours."""

    async def refresh(self, events: Sequence[ReplicationEvent]) -> bool:
        """Say that the jobs are still worked on; false if none of them is ours any more."""

    async def acknowledge_stale(self) -> int:
        """Free jobs whose worker fell silent; return how many locks were freed."""

    async def remove_unused_locks(self) -> int:
        """Delete up to a thousand lock rows nobody refers to; return how many."""


class HealthyStorages(Protocol):
    """This process's own view of the nodes."""

    def is_healthy(self, virtual_storage: VirtualStorage, storage: Storage) -> bool:
        """Return whether the node answered its last check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationObserver:
    """Whom to tell of jobs; the metrics belong to whoever builds the manager."""

    started: Callable[[ReplicationEvent], None] = lambda _event: None
    finished: Callable[[ReplicationEvent, float | None], None] = lambda _event, _seconds: None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicationReport:
    """What one batch came to."""

    completed: int = 0
    failed: int = 0
    dead: int = 0

    @property
    def processed(self) -> int:
        """How many jobs were taken."""
        return self.completed + self.failed + self.dead


@dataclass(slots=True, kw_only=True)
class ReplicationManager:
    """Workers that rotate over the storages of their virtual storage."""

    nodes: Mapping[VirtualStorage, Sequence[Storage]]
    queue: JobQueue
    health: HealthyStorages
    replicator: Replicator
    batch_size: int
    workers: int
    observer: ReplicationObserver = field(default_factory=ReplicationObserver)
    _wake: dict[VirtualStorage, asyncio.Event] = field(default_factory=dict)

    def wake(self, virtual_storage: VirtualStorage) -> None:
        """Look at the queue now: a job was enqueued or a node came back."""
        if (event := self._wake.get(virtual_storage)) is not None:
            event.set()

    def wake_all(self) -> None:
        """Look at the queues of all virtual storages now."""
        for virtual_storage in self._wake:
            self.wake(virtual_storage)

    async def run_once(self, virtual_storage: VirtualStorage, target: Storage) -> ReplicationReport:
        """Process one batch for one target, if it is healthy."""
        if not self.health.is_healthy(virtual_storage, target):
            return ReplicationReport()
        began = asyncio.get_running_loop().time()
        try:
            events = await self.queue.dequeue(virtual_storage, target, self.batch_size)
        except PraefectError as exc:
            _log.error("failed to dequeue replication events", error=str(exc), virtual_storage=virtual_storage)
            return ReplicationReport()
        if not events:
            return ReplicationReport()
        states: dict[int, EventState] = {}
        try:
            if not await self._process(events, states, claimed_at=began):
                _log.error("replication events were lost to others", event_ids=[event.id for event in events])
                return ReplicationReport()
        except asyncio.CancelledError:
            # Praefect stops. Jobs that stayed taken would wait for being found stale.
            await self._give_back(events, states)
            raise
        await self._acknowledge_all(states)
        results = list(states.values())
        return ReplicationReport(
            completed=results.count(EventState.COMPLETED),
            failed=results.count(EventState.FAILED),
            dead=results.count(EventState.DEAD),
        )

    async def run(self) -> None:
        """Run all workers until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for virtual_storage, storages in self.nodes.items():
                self._wake[virtual_storage] = asyncio.Event()
                rotation = _Rotation(storages)
                if self.workers > len(storages):
                    # Spelled as upstream does, for alerts that match it.
                    _log.info(
                        f"parallel processing workers decreased from {self.workers} configured with config to "
                        f"{len(storages)} according to minumal amount of storages in the virtual storage "
                        f'"{virtual_storage}"'
                    )
                for number in range(max(1, min(self.workers, len(storages)))):
                    workers.create_task(
                        self._work(virtual_storage, rotation), name=f"replicate {virtual_storage} {number}"
                    )

    async def _work(self, virtual_storage: VirtualStorage, rotation: _Rotation) -> None:
        _log.info("processing started", virtual_storage=virtual_storage)
        wake = self._wake[virtual_storage]
        try:
            while True:
                storage = await rotation.take(wake)
                report = await self.run_once(virtual_storage, storage)
                rotation.put_back(storage, busy=report.processed > 0)
        finally:
            _log.info("processing stopped", virtual_storage=virtual_storage, error="context canceled")

    async def _process(
        self, events: Sequence[ReplicationEvent], states: dict[int, EventState], *, claimed_at: float
    ) -> bool:
        """Process a batch in order into ``states``, keeping its claim on the jobs meanwhile; false if it was lost."""
        is_ours = True
        try:
            async with asyncio.TaskGroup() as batch:
                refresher = batch.create_task(self._refresh(events, claimed_at), name="refresh replication jobs")
                for event in events:
                    states[event.id] = await self._process_one(event)
                refresher.cancel()
        except* ClaimLostError:
            is_ours = False
        return is_ours

    async def _give_back(self, events: Sequence[ReplicationEvent], states: dict[int, EventState]) -> None:
        """Acknowledge what is done, and the rest of a batch as failed; bounded, for somebody waits for the stop."""
        given_back = {event.id: _failed(event) for event in events if event.id not in states}
        try:
            async with asyncio.timeout(GIVE_BACK_SECONDS):
                await self._acknowledge_all({**given_back, **states})
        except TimeoutError:
            _log.warning("replication events were not given back", event_ids=sorted(given_back))

    async def _process_one(self, event: ReplicationEvent) -> EventState:
        job = event.job
        log = _log.bind(
            virtual_storage=job.virtual_storage,
            replication_job_target=job.target_node_storage,
            event=event.describe(),
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        with correlation_scope(event.correlation_id):
            log.info("replication job processing started")
            self.observer.started(event)
            try:
                await self.replicator.process(event)
            except JobDroppedError as exc:
                log.info("replication job dropped", error=str(exc))
            except asyncio.CancelledError:
                self.observer.finished(event, None)
                raise
            except PraefectError as exc:
                self.observer.finished(event, None)
                state = _failed(event)
                log.error("replication job processing finished", error=str(exc), new_state=state.value)
                return state
            self.observer.finished(event, loop.time() - began)
            log.info("replication job processing finished", new_state=EventState.COMPLETED.value)
            return EventState.COMPLETED

    async def _refresh(self, events: Sequence[ReplicationEvent], claimed_at: float) -> None:
        """Say again and again that the jobs are worked on, until that could not be said for too long."""
        loop = asyncio.get_running_loop()
        while (left := claimed_at + CLAIM_SECONDS - loop.time()) > 0:
            await asyncio.sleep(min(HEALTH_UPDATE_SECONDS, left))
            began = loop.time()
            try:
                async with asyncio.timeout_at(claimed_at + CLAIM_SECONDS):
                    if not await self.queue.refresh(events):
                        break
            except (PraefectError, TimeoutError) as exc:
                _log.error("health update loop", error=str(exc) or "timed out")
            else:
                claimed_at = began
        raise ClaimLostError

    async def _acknowledge_all(self, states: Mapping[int, EventState]) -> None:
        for state in (EventState.COMPLETED, EventState.FAILED, EventState.DEAD):
            if event_ids := [event_id for event_id, result in states.items() if result is state]:
                await self._acknowledge(state, event_ids)

    async def _acknowledge(self, state: EventState, event_ids: Sequence[int]) -> None:
        """Say what became of jobs, again while the database is away; whoever took them meanwhile finds them done."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + ACKNOWLEDGE_SECONDS
        backoff = ExponentialBackoff(initial=0.2, maximum=2.0)
        while True:
            try:
                acknowledged = await self.queue.acknowledge(state, event_ids)
                break
            except PraefectError as exc:
                _log.error("failed to acknowledge replication events", error=str(exc), state=state.value)
            if loop.time() > give_up:
                return
            await asyncio.sleep(backoff.next_delay())
        lost = sorted(set(event_ids) - set(acknowledged))
        if lost:
            _log.error("replication events were not acknowledged", state=state.value, event_ids=lost)


def _failed(event: ReplicationEvent) -> EventState:
    """Return what a job becomes that did not succeed: removals are tried for ever, others as often as they may."""
    unlimited = event.job.change is Change.DELETE_REPLICA
    return EventState.FAILED if unlimited or event.attempt > 0 else EventState.DEAD


class _Rotation:
    """The storages that wait for a worker, each with its own idle back-off."""

    def __init__(self, storages: Sequence[Storage]) -> None:
        self._waiting: dict[Storage, float] = dict.fromkeys(storages, 0.0)
        self._wakes = 0
        self._taken: dict[Storage, int] = {}  # how often all were woken before a storage was taken
        first, longest = IDLE_BACKOFF_SECONDS
        self._backoffs = {storage: ExponentialBackoff(initial=first, maximum=longest) for storage in storages}

    async def take(self, wake: asyncio.Event) -> Storage:
        """Wait for the storage that is due first; all are due when ``wake`` is set."""
        loop = asyncio.get_running_loop()
        while True:
            if wake.is_set():
                wake.clear()
                self._wakes += 1
                self._waiting = dict.fromkeys(self._waiting, 0.0)
            if self._waiting:
                storage, due = min(self._waiting.items(), key=lambda item: item[1])
                if due <= loop.time():
                    del self._waiting[storage]
                    self._taken[storage] = self._wakes
                    return storage
                timeout = loop.time() + min(due - loop.time(), IDLE_BACKOFF_SECONDS[0])
            else:
                timeout = loop.time() + IDLE_BACKOFF_SECONDS[0]
            try:
                async with asyncio.timeout_at(timeout):
                    await wake.wait()
            except TimeoutError:
                continue

    def put_back(self, storage: Storage, *, busy: bool) -> None:
        """Return a storage: due at once if it had jobs or may have got some meanwhile, after its back-off if not."""
        backoff = self._backoffs[storage]
        if busy:
            backoff.reset()
        is_due = busy or self._taken.pop(storage) != self._wakes
        self._waiting[storage] = 0.0 if is_due else asyncio.get_running_loop().time() + backoff.next_delay()


@dataclass(slots=True, kw_only=True)
class StaleJobs:
    """Frees jobs whose worker fell silent.

    Attributes:
        may_free: whether the database has answered for a while; after an outage the workers speak first.
        freed: told that there are jobs to take.
    """

    queue: JobQueue
    may_free: Callable[[], bool] = lambda: True
    freed: Callable[[], None] = lambda: None

    async def run_once(self) -> int:
        """Free what has not been refreshed for a while; return how many locks were freed."""
        if not self.may_free():
            return 0
        count = await self.queue.acknowledge_stale()
        if count:
            _log.info("stale replication jobs deleted", count=count, component="ProcessStale")
            self.freed()
        return count

    async def run(self, ticker: Ticker) -> None:
        """Do a pass per tick until cancelled."""
        while True:
            await ticker.wait()
            try:
                await self.run_once()
            except PraefectError as exc:
                _log.error("background periodical acknowledgement for stale replication jobs", error=str(exc))


@dataclass(slots=True, kw_only=True)
class UnusedLocks:
    """Deletes lock rows nobody refers to any more."""

    queue: JobQueue

    async def run_once(self) -> int:
        """Delete one batch; return how many rows went."""
        count = await self.queue.remove_unused_locks()
        if count:
            _log.info("unused replication locks deleted", count=count, component="CleanUpLocks")
        return count

    async def run(self, ticker: Ticker) -> None:
        """Do a pass per tick until cancelled."""
        while True:
            await ticker.wait()
            try:
                await self.run_once()
            except PraefectError as exc:
                _log.error("background periodical cleanup of unused replication queue locks", error=str(exc))
