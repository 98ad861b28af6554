"""Compare: asks the replicas at a repository's generation whether they are equal, and sets them right if they are not.

The database believes that they are; disks that were wiped or changed behind our back know better. What follows from a
difference is decided in ``domain/comparison``; see docs/consistency.md for why a comparison undoes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from praefect.control.repairs import JobQueue, queue_repairs
from praefect.domain.comparison import (
    ComparableReplicas,
    Disagreement,
    Finding,
    Judgement,
    RepositoryReadOnlyError,
    advise,
    judge,
)
from praefect.domain.doubts import CurrentReplicas, Sight, State, Unknown
from praefect.domain.errors import PraefectError
from praefect.domain.repository import RelativePath, ReplicaPath, RepositoryId, Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.runtime.ticker import Ticker

CONFIRM_SECONDS = 2.0
"""How long a difference must last: a Praefect that keeps no doubts may be writing."""

LOOK_AGAIN_SECONDS = 10.0
PARALLEL_COMPARISONS = 8
_RETRY_SECONDS = 0.1
_ATTEMPTS = 5
_BATCH_SIZE = 25

_log = get_logger("comparison")


class Compared(StrEnum):
    """What a comparison came to; the values are labels of a metric."""

    EQUAL = "equal"
    OVERRULED = "overruled"
    TIED = "tied"
    UNKNOWN = "unknown"  # nothing can be said: too few replicas, or out of reach
    BUSY = "busy"  # writes were under way, time and again


class ComparisonRecords(Protocol):
    """What is compared, and what came of it."""

    async def read(self, repository_id: RepositoryId) -> ComparableReplicas | None:
        """Return replicas at the generation; ``None`` without a record."""

    async def overrule(self, current: CurrentReplicas, kept: Collection[Storage]) -> bool:
        """Leave all but ``kept`` behind unless anything has changed."""

    async def disagree(self, current: CurrentReplicas) -> bool | None:
        """Make a repository read-only; whether it was not yet, ``None`` if anything has changed."""

    async def agree(self, repository_id: RepositoryId, generation: int | None) -> bool:
        """End a disagreement; return whether there was one."""

    async def claim(self, *, patience_seconds: float, limit: int) -> Sequence[RepositoryId]:
        """Choose disagreements that nobody has looked at for a while."""

    async def list(self, virtual_storage: VirtualStorage | None = None) -> Sequence[Disagreement]:
        """Return disagreements."""

    async def find(self, repository_id: RepositoryId) -> Disagreement | None:
        """Return a repository's disagreement."""


class Replicas(Protocol):
    """The nodes."""

    async def read(
        self, virtual_storage: VirtualStorage, replica_path: ReplicaPath, storages: Collection[Storage], sight: Sight
    ) -> Mapping[Storage, State]:
        """Return the state of each replica."""


@dataclass(slots=True, kw_only=True)
class Comparer:
    """Compares replicas and remembers which repositories are read-only.

    Attributes:
        is_off: whether our own schema may not be used; then nothing is compared.
        forget: drops a repository's entry from the read cache of this process.
        wake: told of a virtual storage for which jobs were queued.
        compared: told of every comparison.
    """

    records: ComparisonRecords
    replicas: Replicas
    queue: JobQueue
    is_off: Callable[[], bool] = lambda: False
    forget: Callable[[VirtualStorage, RelativePath], None] = lambda _virtual_storage, _path: None
    wake: Callable[[VirtualStorage], None] = lambda _virtual_storage: None
    compared: Callable[[Compared], None] = lambda _result: None
    confirm_seconds: float = CONFIRM_SECONDS
    _read_only: dict[tuple[VirtualStorage, RelativePath], RepositoryId] = field(default_factory=dict)

    # --- who wants to write ---

    async def check_writable(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
        """Return unless the repository is read-only; asks the database only for those known to have been.

        Raises:
            RepositoryReadOnlyError: it is.
        """
        repository_id = self._read_only.get((virtual_storage, relative_path))
        if repository_id is not None:
            await self.check_disagreement(repository_id)
            self._read_only.pop((virtual_storage, relative_path), None)

    async def check_disagreement(self, repository_id: RepositoryId) -> None:
        """Ask the database; raises as ``check_writable`` does."""
        disagreement = None if self.is_off() else await self.records.find(repository_id)
        if disagreement is not None:
            raise RepositoryReadOnlyError(disagreement)

    async def list_read_only(self, virtual_storage: VirtualStorage) -> Collection[RepositoryId]:
        """Return the read-only repositories of a virtual storage."""
        if self.is_off():
            return ()
        return [each.repository_id for each in await self.records.list(virtual_storage)]

    # --- comparing ---

    async def compare(self, repository_id: RepositoryId) -> Compared:
        """Compare a repository's replicas and see to what follows.

        Raises:
            PraefectError: PostgreSQL is away or refuses.
        """
        if self.is_off():
            return Compared.UNKNOWN
        result = Compared.BUSY
        for _ in range(_ATTEMPTS):
            attempt = await self._compare(repository_id)
            if attempt is not None:
                result = attempt
                break
            await asyncio.sleep(_RETRY_SECONDS)
        self.compared(result)
        return result

    async def compare_all(self, repository_ids: Collection[RepositoryId]) -> dict[RepositoryId, Compared]:
        """Compare several, some at a time."""
        results: dict[RepositoryId, Compared] = {}
        places = asyncio.Semaphore(PARALLEL_COMPARISONS)

        async def compare(repository_id: RepositoryId) -> None:
            async with places:
                results[repository_id] = await self.compare(repository_id)

        async with asyncio.TaskGroup() as group:
            for repository_id in sorted(repository_ids):
                group.create_task(compare(repository_id), name=f"compare {repository_id}")
        return results

    async def _compare(self, repository_id: RepositoryId) -> Compared | None:
        """Compare once; ``None`` if the records changed or writes were under way."""
        found = await self.records.read(repository_id)
        if found is None:
            await self.records.agree(repository_id, None)
        if found is None or found.is_doubted:
            return Compared.UNKNOWN if found is None else None
        states, judgement = await self._look(found)
        if judgement.finding is Finding.UNKNOWN:
            return Compared.UNKNOWN
        if judgement.finding is Finding.EQUAL:
            await self._agree(found)
            return Compared.EQUAL
        await asyncio.sleep(self.confirm_seconds)
        if await self.records.read(repository_id) != found or await self._look(found) != (states, judgement):
            return None
        if judgement.finding is Finding.TIED:
            return await self._disagree(found.current, states)
        return await self._overrule(found.current, states, judgement)

    async def _look(self, found: ComparableReplicas) -> tuple[Mapping[Storage, State], Judgement]:
        current = found.current
        if len(current.storages) < 2:
            # Nobody to differ from; whoever chose it has ended the disagreement.
            return {}, Judgement(finding=Finding.EQUAL if found.witnesses is not None else Finding.UNKNOWN)
        states = await self.replicas.read(
            current.virtual_storage, current.replica_path, current.storages, Sight.CHECKSUM
        )
        witnesses = (found.witnesses or current.storages) & current.storages
        return states, judge(states, witnesses or current.storages)

    async def _agree(self, found: ComparableReplicas) -> None:
        current = found.current
        if found.witnesses is not None and await self.records.agree(current.repository_id, current.generation):
            self._read_only.pop((current.virtual_storage, current.relative_path), None)
            _log.info(
                "repository can be written again: its replicas agree",
                virtual_storage=current.virtual_storage,
                relative_path=current.relative_path,
            )

    async def _overrule(
        self, current: CurrentReplicas, states: Mapping[Storage, State], judgement: Judgement
    ) -> Compared | None:
        kept = {*judgement.winners, *(storage for storage in states if states[storage] is Unknown.UNREACHABLE)}
        if not await self.records.overrule(current, kept):
            return None
        self._read_only.pop((current.virtual_storage, current.relative_path), None)
        _log.error(
            "replicas that differ from the majority, or are missing, are replaced",
            virtual_storage=current.virtual_storage,
            relative_path=current.relative_path,
            kept=list(judgement.winners),
            replaced=list(judgement.losers),
        )
        self.forget(current.virtual_storage, current.relative_path)
        await queue_repairs(self.queue, current, judgement.winners, judgement.losers)
        self.wake(current.virtual_storage)
        return Compared.OVERRULED

    async def _disagree(self, current: CurrentReplicas, states: Mapping[Storage, State]) -> Compared | None:
        is_new = await self.records.disagree(current)
        if is_new is None:
            return None
        self._read_only[current.virtual_storage, current.relative_path] = current.repository_id
        if is_new:
            groups: dict[State, list[Storage]] = {}
            for storage in sorted(states):
                groups.setdefault(states[storage], []).append(storage)
            disagreement = await self.records.find(current.repository_id)
            _log.error(
                "replicas differ and none has a majority: repository is read-only",
                virtual_storage=current.virtual_storage,
                relative_path=current.relative_path,
                alike=sorted(groups.values()),
                command="" if disagreement is None else advise(disagreement),
            )
        return Compared.TIED

    # --- the loop ---

    async def run_once(self) -> dict[RepositoryId, Compared]:
        """Look at read-only repositories again: a replica may have returned, or somebody have decided.

        Raises:
            PraefectError: PostgreSQL is away or refuses.
        """
        if self.is_off():
            return {}
        claimed = await self.records.claim(patience_seconds=LOOK_AGAIN_SECONDS, limit=_BATCH_SIZE)
        results = await self.compare_all(claimed)
        self._read_only = {
            (each.virtual_storage, each.relative_path): each.repository_id for each in await self.records.list()
        }
        return results

    async def run(self, ticker: Ticker) -> None:
        """Do a pass per tick until cancelled."""
        while True:
            await ticker.wait()
            try:
                await self.run_once()
            except* PraefectError as group:
                _log.error("looking at read-only repositories failed", error=str(group.exceptions[0]))
