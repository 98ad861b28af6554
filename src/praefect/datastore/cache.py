"""The read cache: which storages are up to date, remembered as long as PostgreSQL says when that changes.

Invariant: while the listener is connected, an entry is what a query would have answered at some moment after the last
notification that named it. Three things keep it: a notification drops the entry and also disowns a query that is on
its way, since that may have read the old state; nothing is stored without the listener; whatever was stored before is
dropped when the listener comes back, because notifications were missed meanwhile.

Without the listener the cache is frozen: a read asks PostgreSQL as long as that answers, and is served from what was
known otherwise. One reader at a time finds out whether it answers again; the others do not wait for that.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, StrEnum
from typing import Final, Protocol, TypeAlias

from praefect.datastore.errors import DatastoreUnavailableError
from praefect.domain.errors import PraefectError
from praefect.domain.repository import ConsistentStorages, RelativePath, Storage, VirtualStorage
from praefect.observability.log import get_logger
from praefect.runtime.clock import Clock, SystemClock

CAPACITY: Final = 2_097_152
"""Entries per virtual storage."""

ASK_LIMIT_SECONDS: Final = 1.0
ASK_AGAIN_SECONDS: Final = 1.0

_log = get_logger("caching_storage_provider")

_Key: TypeAlias = tuple[VirtualStorage, RelativePath]
_Entries: TypeAlias = "OrderedDict[RelativePath, ConsistentStorages]"


class CacheAccess(StrEnum):
    """What happened to the cache; the values are labels of a metric."""

    HIT = "hit"
    MISS = "miss"
    POPULATE = "populate"
    EVICT = "evict"
    """An entry went: for room, by a notification, or with all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheObserver:
    """Whom to tell; the metrics belong to whoever builds the cache."""

    accessed: Callable[[VirtualStorage, CacheAccess], None] = lambda _virtual_storage, _access: None
    served_stale: Callable[[VirtualStorage], None] = lambda _virtual_storage: None


class ConsistentStoragesSource(Protocol):
    """The records."""

    async def get_consistent_storages(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> ConsistentStorages:
        """Return replica path and up-to-date storages; raise RepositoryNotFoundError."""


class _Mode(Enum):
    OFF = "off"  # nothing is remembered
    ON = "on"  # the listener is connected
    FROZEN = "frozen"  # the listener was connected and is not


class ConsistentStoragesCache:
    """Answers reads of known repositories without a query.

    Args:
        source: where misses are looked up.
        virtual_storages: those that get a cache; others are always looked up.
        outage_reads_max_age: how long frozen entries are served; 0 for not at all.
        observer: whom to tell of hits and misses.
        capacity: entries per virtual storage; the least recently used go first.
        clock: measures how long the cache has been frozen.
    """

    def __init__(
        self,
        source: ConsistentStoragesSource,
        virtual_storages: Sequence[VirtualStorage],
        *,
        outage_reads_max_age: timedelta = timedelta(0),
        observer: CacheObserver | None = None,
        capacity: int = CAPACITY,
        clock: Clock | None = None,
    ) -> None:
        self._source = source
        self._entries: Mapping[VirtualStorage, _Entries] = {name: OrderedDict() for name in virtual_storages}
        self._fills: dict[_Key, asyncio.Future[ConsistentStorages | None]] = {}
        self._storage_sets: dict[frozenset[Storage], frozenset[Storage]] = {}
        self._max_age_seconds = outage_reads_max_age.total_seconds()
        self._observer = observer or CacheObserver()
        self._capacity = capacity
        self._clock = clock or SystemClock()
        self._mode = _Mode.OFF
        self._frozen_since = 0.0
        self._answers = False  # while frozen: whether the last query was answered
        self._is_asking = False
        self._ask_again_at = 0.0

    @property
    def is_frozen(self) -> bool:
        """The listener is gone and entries from before are still served."""
        return self._mode is _Mode.FROZEN

    async def get(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> ConsistentStorages:
        """Return replica path and up-to-date storages.

        Raises:
            RepositoryNotFoundError: the repository is not recorded, or no replica is up to date.
            DatastoreUnavailableError: PostgreSQL is away and the answer not known.
        """
        entries = self._entries.get(virtual_storage)
        if entries is not None and self._mode is _Mode.ON:
            known = entries.get(relative_path)
            if known is not None:
                entries.move_to_end(relative_path)
                self._observer.accessed(virtual_storage, CacheAccess.HIT)
                return known
            return await self._look_up_together(virtual_storage, relative_path)
        if entries is not None and self._mode is _Mode.FROZEN:
            return await self._get_frozen(entries, virtual_storage, relative_path)
        self._observer.accessed(virtual_storage, CacheAccess.MISS)
        return await self._source.get_consistent_storages(virtual_storage, relative_path)

    def forget(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
        """Drop an entry that this process knows to have changed; a read that begins now sees the change."""
        self._fills.pop((virtual_storage, relative_path), None)
        entries = self._entries.get(virtual_storage)
        if entries is not None and entries.pop(relative_path, None) is not None:
            self._observer.accessed(virtual_storage, CacheAccess.EVICT)

    def connected(self) -> None:
        """Begin anew: from now on every change is announced."""
        self._purge()
        self._mode = _Mode.ON

    def disconnected(self) -> None:
        """Stop trusting the entries: changes may go by unannounced."""
        # What is on its way may be older than changes that will not be announced.
        self._fills.clear()
        if self._mode is not _Mode.ON:
            return
        if self._max_age_seconds <= 0:
            self._purge()
            self._mode = _Mode.OFF
            return
        self._mode = _Mode.FROZEN
        self._frozen_since = self._clock.monotonic()
        self._answers, self._ask_again_at = False, 0.0

    def notified(self, channel: str, payload: str) -> None:
        """Drop what a notification names."""
        try:
            changes = [
                (VirtualStorage(change["virtual_storage"]), [RelativePath(path) for path in change["relative_paths"]])
                for change in json.loads(payload)
            ]
        except (ValueError, TypeError, KeyError) as exc:
            _log.error("received payload can't be processed, cache disabled", channel=channel, error=repr(exc))
            self._purge()
            self._mode = _Mode.OFF
            return
        for virtual_storage, relative_paths in changes:
            if virtual_storage not in self._entries:
                _log.error("cache not found", virtual_storage=virtual_storage)
                continue
            for relative_path in relative_paths:
                self.forget(virtual_storage, relative_path)

    async def _look_up_together(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> ConsistentStorages:
        """Look a miss up; who misses the same meanwhile waits for that answer."""
        self._observer.accessed(virtual_storage, CacheAccess.MISS)
        key = (virtual_storage, relative_path)
        while (other := self._fills.get(key)) is not None:
            # A disowned lookup is not in ``_fills`` any more, so that nobody who comes later gets its answer.
            found = await asyncio.shield(other)
            if found is not None:
                return found
        own: asyncio.Future[ConsistentStorages | None] = asyncio.get_running_loop().create_future()
        self._fills[key] = own
        try:
            found = await self._source.get_consistent_storages(virtual_storage, relative_path)
        except PraefectError as exc:
            own.set_exception(exc)
            own.exception()  # there may be nobody else to look at it
            raise
        else:
            if self._fills.get(key) is own:
                found = self._store(virtual_storage, relative_path, found)
            own.set_result(found)
            return found
        finally:
            if self._fills.get(key) is own:
                del self._fills[key]
            if not own.done():
                own.set_result(None)  # this reader was cancelled: one of the others looks it up

    def _store(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath, found: ConsistentStorages
    ) -> ConsistentStorages:
        entries = self._entries[virtual_storage]
        # Nearly all repositories share a few sets of storages.
        shared = self._storage_sets.setdefault(found.storages, found.storages)
        entries[relative_path] = found = replace(found, storages=shared)
        self._observer.accessed(virtual_storage, CacheAccess.POPULATE)
        if len(entries) > self._capacity:
            entries.popitem(last=False)
            self._observer.accessed(virtual_storage, CacheAccess.EVICT)
        return found

    async def _get_frozen(
        self, entries: _Entries, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> ConsistentStorages:
        known = entries.get(relative_path)
        now = self._clock.monotonic()
        if known is None or now - self._frozen_since > self._max_age_seconds:
            self._observer.accessed(virtual_storage, CacheAccess.MISS)
            return await self._source.get_consistent_storages(virtual_storage, relative_path)
        if not self._answers and (self._is_asking or now < self._ask_again_at):
            return self._serve_stale(virtual_storage, known)
        self._is_asking = True
        try:
            async with asyncio.timeout(ASK_LIMIT_SECONDS):
                found = await self._source.get_consistent_storages(virtual_storage, relative_path)
        except (DatastoreUnavailableError, TimeoutError):
            self._answers, self._ask_again_at = False, self._clock.monotonic() + ASK_AGAIN_SECONDS
            return self._serve_stale(virtual_storage, known)
        finally:
            self._is_asking = False
        self._answers = True
        self._observer.accessed(virtual_storage, CacheAccess.MISS)
        return found

    def _serve_stale(self, virtual_storage: VirtualStorage, known: ConsistentStorages) -> ConsistentStorages:
        self._observer.served_stale(virtual_storage)
        return replace(known, is_possibly_stale=True)

    def _purge(self) -> None:
        self._fills.clear()
        for virtual_storage, entries in self._entries.items():
            for _ in entries:
                self._observer.accessed(virtual_storage, CacheAccess.EVICT)
            entries.clear()
        self._storage_sets.clear()
