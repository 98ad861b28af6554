"""Finalize: record what a write came to. Runs to its end whatever became of the caller.

Source: the Praefect reference on recording generations and replication jobs; docs/decisions 0003, 0004 and 0020 say
where less is outdated than upstream would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from praefect.domain.doubts import Doubt, Sight, sight_of
from praefect.domain.errors import AbortedError, InternalError, UnavailableError
from praefect.domain.outcome import (
    Judgement,
    Verdict,
    WriteOutcome,
    find_comparable,
    is_unclear_failure,
    is_without_effect,
    judge,
)
from praefect.domain.quorum import VoteResult
from praefect.domain.replication import Change, DuplicateReplicationEventError, ReplicationJob
from praefect.domain.repository import (
    NewRepository,
    RelativePath,
    RepositoryExistsError,
    RepositoryId,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
    WriteToOutdatedNodesError,
)
from praefect.observability.log import get_logger
from praefect.proxy.doubts import Doubts
from praefect.proxy.routes import MutatorRoute
from praefect.proxy.routing_errors import prefixed

RECORD_LIMIT_SECONDS = 30.0
_SETTLED_BY_OTHERS = "this praefect fell silent and others have settled the write"

_log = get_logger("praefect.StreamServerInterceptor")

_Decision = tuple[Storage, tuple[Storage, ...], tuple[Storage, ...]]
"""Source, updated and outdated storages."""


class NotRecordedError(AbortedError):
    """The nodes have acted and nobody knows whether that was recorded; the write may come to exist or not."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"outcome unknown: {reason}")


class WriteRecords(Protocol):
    """The records a write changes."""

    async def increment_generation(
        self, repository_id: RepositoryId, primary: Storage, secondaries: Sequence[Storage]
    ) -> None:
        """Raise the generation of the repository and of those of the given replicas that are at it."""

    async def create_repository(self, new: NewRepository) -> None:
        """Store a new repository, its replicas and, if asked, its assignments."""


class JobQueue(Protocol):
    """The replication queue."""

    async def enqueue(self, job: ReplicationJob, *, correlation_id: str) -> object:
        """Store a job; raise DuplicateReplicationEventError where a like one is waiting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A write whose calls have ended."""

    virtual_storage: VirtualStorage
    relative_path: RelativePath
    full_method: str
    correlation_id: str
    route: MutatorRoute
    outcome: WriteOutcome
    transactional: bool
    doubt: Doubt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizeObserver:
    """Whom to tell of verdicts and of jobs that wait; what comes of it belongs to whoever builds the finalizer."""

    judged: Callable[[Verdict], None] = lambda _verdict: None
    enqueued: Callable[[VirtualStorage], None] = lambda _virtual_storage: None
    single_copy: Callable[[VirtualStorage], None] = lambda _virtual_storage: None


class Finalizer:
    """Turns outcomes into generations, records and jobs."""

    def __init__(
        self,
        *,
        records: WriteRecords,
        queue: JobQueue,
        forget: Callable[[VirtualStorage, RelativePath], None],
        doubts: Doubts | None = None,
        observer: FinalizeObserver | None = None,
    ) -> None:
        """Take the ports; ``forget`` drops a repository's entry from the read cache of this process."""
        self._records = records
        self._queue = queue
        self._forget = forget
        self._doubts = doubts
        self._observer = observer or FinalizeObserver()

    async def record(self, write: Write) -> None:
        """Record the outcome and enqueue the repairs it needs.

        Raises:
            PraefectError: the datastore refused or failed; the client must not hear OK.
        """
        try:
            await self._conclude(write)
        except BaseException as exc:
            if self._doubts is not None and write.doubt is not None:
                self._doubts.abandon(write.doubt)
            if isinstance(exc, UnavailableError | TimeoutError):
                raise NotRecordedError(str(exc) or "timed out") from exc
            raise

    async def _conclude(self, write: Write) -> None:
        if self._doubts is not None and write.doubt is not None and (_is_unknown(write) or _is_unclear(write)):
            self._doubts.abandon(write.doubt)
            return
        decisions = self._decide(write, await self._find_alike(write))
        if not decisions:
            if self._doubts is not None and write.doubt is not None:
                self._doubts.close(write.doubt)
            return
        change = Change.CREATE if write.route.creates else Change.UPDATE
        async with asyncio.timeout(RECORD_LIMIT_SECONDS):
            primary, updated, outdated = await self._record_first(write, decisions)
            self._forget(write.virtual_storage, write.relative_path)
            _log.info(
                "queueing replication jobs",
                **_queueing_fields(write, change, primary, updated, outdated),
            )
            for target in outdated:
                await self._enqueue(write, primary, target)
            if outdated:
                self._observer.enqueued(write.virtual_storage)
            if outdated and not updated and write.outcome.statuses[write.route.primary].ok:
                # The client hears OK, and one disk has what it wrote until a job is done.
                _log.warning("write is held by one replica only", storage=primary)
                self._observer.single_copy(write.virtual_storage)

    async def _find_alike(self, write: Write) -> Sequence[Storage]:
        """Compare those whose outcome is unclear with the primary, so that nobody is outdated for nothing."""
        if self._doubts is None or write.doubt is None or write.route.creates:
            return ()
        comparable = [Storage(name) for name in find_comparable(write.outcome)]
        return await self._doubts.find_alike(write.doubt, write.route.primary, comparable) if comparable else ()

    def _decide(self, write: Write, alike: Sequence[Storage]) -> Sequence[_Decision]:
        """Return source, updated and outdated storages, best first; none if nothing is to be recorded."""
        route, outcome = write.route, write.outcome
        status = outcome.statuses[route.primary]
        if route.creates and not status.ok:
            # The client is not told OK and the path on disk is used by nobody else: there is no such repository.
            return ()
        if not write.transactional:
            return [(route.primary, (), (*route.secondaries, *route.replication_targets))] if status.ok else ()
        if not status.is_status and not is_without_effect(outcome):
            survivors = _rank_survivors(outcome)
            if survivors:
                everybody = (route.primary, *route.secondaries, *route.replication_targets)
                return [(one, (), tuple(other for other in everybody if other != one)) for one in survivors]
        judgement = judge(outcome).cleared_up(alike)
        self._observe(route, judgement)
        if not judgement.primary_changed:
            return ()
        outdated = (*(Storage(name) for name in judgement.outdated), *route.replication_targets)
        return [(route.primary, tuple(Storage(name) for name in judgement.updated), outdated)]

    def _observe(self, route: MutatorRoute, judgement: Judgement) -> None:
        if not judgement.primary_changed:
            return
        by_verdict: dict[str, list[str]] = {}
        verdicts: list[tuple[str, Verdict]] = list(judgement.secondaries.items())
        verdicts += [(storage, Verdict.OUTDATED) for storage in route.replication_targets]
        for name, verdict in verdicts:
            self._observer.judged(verdict)
            by_verdict.setdefault(verdict.value, []).append(name)
        _log.info(
            "transactional node states",
            **{"transaction.primary": route.primary, "transaction.secondaries": by_verdict},
        )

    async def _record_first(self, write: Write, decisions: Sequence[_Decision]) -> _Decision:
        """Record the first one whose replicas are at the repository's generation, and return it.

        Of writes that lost their primary at once, the first leaves behind all survivors but one.
        """
        for decision in decisions[:-1]:
            with suppress(WriteToOutdatedNodesError):
                await self._record(write, *decision)
                return decision
        await self._record(write, *decisions[-1])
        return decisions[-1]

    async def _record(
        self, write: Write, primary: Storage, updated: tuple[Storage, ...], outdated: tuple[Storage, ...]
    ) -> None:
        route = write.route
        if not route.creates:
            await self._record_increment(write, primary, updated)
            return
        new = NewRepository(
            repository_id=route.repository_id,
            virtual_storage=write.virtual_storage,
            relative_path=write.relative_path,
            replica_path=route.replica_path,
            primary=primary,
            updated=updated,
            outdated=outdated,
            store_assignments=route.store_assignments,
        )
        with prefixed("create repository: ", bare=RepositoryExistsError):
            if self._doubts is None or write.doubt is None:
                await self._records.create_repository(new)
                return
            is_recorded = await self._doubts.record_creation(write.doubt, new)
        if not is_recorded:
            raise NotRecordedError(_SETTLED_BY_OTHERS)

    async def _record_increment(self, write: Write, primary: Storage, updated: tuple[Storage, ...]) -> None:
        try:
            with prefixed("increment generation: "):
                if self._doubts is None or write.doubt is None:
                    await self._records.increment_generation(write.route.repository_id, primary, updated)
                    return
                is_recorded = await self._doubts.record_increment(write.doubt, primary, updated)
        except RepositoryNotFoundError as exc:
            # It was there when the write was routed.
            raise InternalError(str(exc)) from exc
        if not is_recorded:
            raise NotRecordedError(_SETTLED_BY_OTHERS)

    async def _enqueue(self, write: Write, source: Storage, target: Storage) -> None:
        job = ReplicationJob(
            repository_id=write.route.repository_id,
            change=Change.UPDATE,
            virtual_storage=write.virtual_storage,
            relative_path=write.relative_path,
            source_node_storage=source,
            target_node_storage=target,
        )
        try:
            with prefixed("enqueue replication event: ", bare=DuplicateReplicationEventError):
                await self._queue.enqueue(job, correlation_id=write.correlation_id)
        except DuplicateReplicationEventError as exc:
            _log.info("replication event queue already has similar entry", error=str(exc))


def _is_unknown(write: Write) -> bool:
    """Return whether all nodes of a write fell silent together: what it came to can only be found by comparing them."""
    is_broken = all(not status.is_status for status in write.outcome.statuses.values())
    return (
        is_broken and bool(write.route.secondaries) and not write.route.creates and not is_without_effect(write.outcome)
    )


def _is_unclear(write: Write) -> bool:
    """Return whether a refused write is left to a comparison that sees all of it, so that it outdates nobody."""
    is_seen = sight_of([write.full_method]) is not Sight.NOTHING
    return is_seen and not write.route.creates and is_unclear_failure(write.outcome)


def _rank_survivors(outcome: WriteOutcome) -> Sequence[Storage]:
    """Return the secondaries still connected, those that committed most rounds first.

    Writes that run at once and lose the same primary choose alike.
    """
    survivors = [name for name, status in outcome.statuses.items() if name != outcome.primary and status.is_status]

    def committed_rounds(name: str) -> int:
        return sum(round_.results.get(name) is VoteResult.COMMITTED for round_ in outcome.rounds)

    return [Storage(name) for name in sorted(survivors, key=lambda name: (-committed_rounds(name), name))]


def _queueing_fields(
    write: Write, change: Change, primary: Storage, updated: Sequence[Storage], outdated: Sequence[Storage]
) -> dict[str, object]:
    fields: dict[str, object] = {
        "replication.cause": write.full_method,
        "replication.change": change.value,
        "replication.primary": primary,
    }
    if updated:
        fields["replication.updated"] = list(updated)
    if outdated:
        fields["replication.outdated"] = list(outdated)
    return fields
