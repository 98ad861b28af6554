"""Praefect's control loops as tasks: which of them the configuration wants, and when they look again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta

from praefect.app.proxy_doubts import SETTLE_INTERVAL
from praefect.app.proxy_parts import Parts
from praefect.config.duration import format_duration
from praefect.control.clean import RepositoryCleaner
from praefect.control.reconcile import Reconciler
from praefect.control.replication import ReplicationManager, ReplicationObserver, StaleJobs, UnusedLocks
from praefect.control.replicator import Replicator
from praefect.control.verify import ExpiredLeases, Verifier
from praefect.observability.log import Level, get_logger
from praefect.runtime.ticker import IntervalTicker
from praefect.services.probes import NodeWalker, ReplicaProbe

STALE_INTERVAL = timedelta(seconds=2)
LOCK_INTERVAL = timedelta(minutes=30)
VERIFY_INTERVAL = timedelta(seconds=2)
LEASE_INTERVAL = timedelta(seconds=10)
COMPARE_INTERVAL = timedelta(seconds=3)

_log = get_logger()


class Loops:
    """The tasks of the control loops; a loop that fails ends the process, so that it is seen."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.group = group
        self._tasks: list[asyncio.Task[None]] = []

    def start(
        self, loop: Coroutine[object, object, None], name: str, *, last_line: str = "", level: Level = Level.ERROR
    ) -> None:
        """Start a loop; ``last_line`` is logged when it ends, which at a stop is no error, though upstream says so."""
        self._tasks.append(self.group.create_task(_reported(loop, last_line, level) if last_line else loop, name=name))

    def cancel(self) -> None:
        """End all loops."""
        for task in self._tasks:
            task.cancel()


async def _reported(loop: Coroutine[object, object, None], last_line: str, level: Level) -> None:
    error = "context canceled"
    try:
        await loop
    except Exception as exc:
        error = str(exc)
        raise
    finally:
        _log.log(level, last_line, error=error)


@asynccontextmanager
async def open_loops() -> AsyncIterator[Loops]:
    """Own loops; they end with the block."""
    async with asyncio.TaskGroup() as group:
        loops = Loops(group)
        try:
            yield loops
        finally:
            loops.cancel()


def start_loops(parts: Parts, loops: Loops) -> None:
    """Start every loop that begins once the listeners are open."""
    config, datastore = parts.config, parts.datastore
    replication = _start_replication(parts, loops)
    parts.doubts.settler.wake = replication.wake
    parts.doubts.settler.ended = parts.metrics.count_settlement
    loops.start(parts.doubts.settler.run(IntervalTicker(SETTLE_INTERVAL)), "settle interrupted writes")
    parts.doubts.comparer.wake = replication.wake
    parts.doubts.comparer.compared = parts.metrics.count_comparison
    loops.start(parts.doubts.comparer.run(IntervalTicker(COMPARE_INTERVAL)), "look at read-only repositories")
    if config.reconciliation.scheduling_interval > timedelta(0):
        reconciler = Reconciler(
            nodes=parts.layouts,
            health=parts.health,
            records=datastore.reconciler,
            scheduled=replication.wake,
            duration=parts.metrics.reconciliation_seconds,
        )
        ticker = IntervalTicker(config.reconciliation.scheduling_interval)
        # Jobs may have died while the node was away.
        parts.node_returned.sleepers.append(lambda _virtual_storage: ticker.wake())
        loops.start(reconciler.run(ticker), "reconcile", last_line="reconciler finished execution")
    _start_verifier(parts, loops)
    cleanup = config.repositories_cleanup
    if cleanup.run_interval > timedelta(0):
        cleaner = RepositoryCleaner(
            nodes=parts.layouts,
            records=datastore.cleanups,
            walker=NodeWalker(parts.nodes),
            run_interval=cleanup.run_interval,
            batch_size=cleanup.repositories_in_batch,
        )
        loops.start(
            cleaner.run(IntervalTicker(cleanup.check_interval)),
            "find unknown repositories",
            last_line="repository cleaner finished execution",
            level=Level.INFO,
        )
    else:
        _log.warning(
            'Repository cleanup background task disabled as "repositories_cleanup.run_interval" is not set or 0.'
        )


def _start_replication(parts: Parts, loops: Loops) -> ReplicationManager:
    config, datastore, metrics = parts.config, parts.datastore, parts.metrics
    replication = ReplicationManager(
        nodes=parts.layouts,
        queue=datastore.queue,
        health=parts.health,
        replicator=Replicator(
            nodes=parts.nodes,
            records=datastore.repositories,
            wait_copyable=parts.doubts.settler.wait_copyable,
            record_copy=parts.doubts.record_copy,
            hold_writes=None if parts.doubts.lease.is_off else parts.doubts.holds.hold,
        ),
        batch_size=config.replication.batch_size,
        workers=config.replication.parallel_storage_processing_workers,
        observer=ReplicationObserver(started=metrics.job_started, finished=metrics.job_finished),
    )
    parts.job_enqueued.sleepers.append(replication.wake)
    parts.node_returned.sleepers.append(replication.wake)
    parts.health.returned = parts.node_returned
    loops.start(replication.run(), "replicate")
    _log.info("background started: processing of the replication events")
    stale_jobs = StaleJobs(queue=datastore.queue, may_free=parts.doubts.may_judge_silence, freed=replication.wake_all)
    loops.start(stale_jobs.run(IntervalTicker(STALE_INTERVAL)), "free stale jobs")
    _log.info("background started: processing of the stale replication events")
    loops.start(UnusedLocks(queue=datastore.queue).run(IntervalTicker(LOCK_INTERVAL)), "delete unused locks")
    _log.info("background started: processing of the replication job locks clean up")
    return replication


def _start_verifier(parts: Parts, loops: Loops) -> None:
    config, metrics = parts.config.background_verification, parts.metrics.verification
    if metrics is None:
        _log.info("background verifier is disabled")
        return
    records = parts.datastore.verification
    verifier = Verifier(
        nodes=parts.layouts,
        health=parts.health,
        records=records,
        probe=ReplicaProbe(parts.nodes),
        interval=config.verification_interval,
        delete_invalid=config.delete_invalid_records,
        compare=parts.doubts.comparer.compare_all,
        dequeued=metrics.dequeued,
        completed=metrics.completed,
    )
    loops.start(verifier.run(IntervalTicker(VERIFY_INTERVAL)), "verify", last_line="metadata verifier finished")
    leases = ExpiredLeases(records=records, released=metrics.released)
    loops.start(
        leases.run(IntervalTicker(LEASE_INTERVAL)),
        "release leases",
        last_line="expired verification lease releaser finished",
    )
    _log.info(
        "background verifier started",
        config={
            "verification_interval": format_duration(config.verification_interval),
            "delete_invalid_records": config.delete_invalid_records,
        },
    )
