"""The read cache keeps its invariant whatever comes between a query and its answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from praefect.datastore.cache import CacheAccess, CacheObserver, ConsistentStoragesCache
from praefect.datastore.errors import DatastoreUnavailableError
from praefect.domain.repository import (
    ConsistentStorages,
    RelativePath,
    ReplicaPath,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
)
from praefect.runtime.clock import ManualClock

VS = VirtualStorage("default")
PATH = RelativePath("a/b.git")
OTHER = RelativePath("c/d.git")


def storages(*names: str) -> ConsistentStorages:
    return ConsistentStorages(replica_path=ReplicaPath("@r"), storages=frozenset(Storage(name) for name in names))


class Records:
    """Records whose answers the test gives, and may hold back."""

    def __init__(self) -> None:
        self.answers: dict[RelativePath, ConsistentStorages | Exception] = {PATH: storages("a"), OTHER: storages("b")}
        self.queries: list[RelativePath] = []
        self.held: list[asyncio.Future[None]] = []
        self.holds = False
        self.arrived = asyncio.Event()

    async def get_consistent_storages(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> ConsistentStorages:
        self.queries.append(relative_path)
        answer = self.answers.get(relative_path, RepositoryNotFoundError())  # the state when the query is run
        if self.holds:
            held = asyncio.get_running_loop().create_future()
            self.held.append(held)
            self.arrived.set()
            await held
        if isinstance(answer, Exception):
            raise answer
        return answer


class Observed:
    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.observer = CacheObserver(
            accessed=lambda _vs, access: self.counts.update([access.value]),
            served_stale=lambda _vs: self.counts.update(["stale"]),
        )


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def observed() -> Observed:
    return Observed()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def cache(records: Records, observed: Observed, clock: ManualClock) -> ConsistentStoragesCache:
    return ConsistentStoragesCache(
        records,
        [VS],
        outage_reads_max_age=timedelta(minutes=15),
        observer=observed.observer,
        capacity=2,
        clock=clock,
    )


def notification(*paths: str) -> str:
    listed = ", ".join(f'"{path}"' for path in paths)
    return f'[{{"relative_paths": [{listed}], "virtual_storage": "default"}}]'


async def test_nothing_is_remembered_before_the_listener_is_connected(
    cache: ConsistentStoragesCache, records: Records, observed: Observed
) -> None:
    await cache.get(VS, PATH)
    await cache.get(VS, PATH)
    assert records.queries == [PATH, PATH]
    assert observed.counts == {"miss": 2}


async def test_second_read_asks_nobody(cache: ConsistentStoragesCache, records: Records, observed: Observed) -> None:
    cache.connected()
    assert await cache.get(VS, PATH) == await cache.get(VS, PATH) == storages("a")
    assert records.queries == [PATH]
    assert observed.counts == {"miss": 1, "populate": 1, "hit": 1}


async def test_notification_drops_what_it_names_and_nothing_else(
    cache: ConsistentStoragesCache, records: Records
) -> None:
    cache.connected()
    await cache.get(VS, PATH)
    await cache.get(VS, OTHER)
    records.answers[PATH] = storages("a", "b")
    cache.notified("storage_repositories_updates", notification(PATH))
    assert await cache.get(VS, PATH) == storages("a", "b")
    await cache.get(VS, OTHER)
    assert records.queries == [PATH, OTHER, PATH]


async def test_notification_that_overtakes_a_query_wins(cache: ConsistentStoragesCache, records: Records) -> None:
    cache.connected()
    records.holds = True
    async with asyncio.TaskGroup() as group:
        early = group.create_task(cache.get(VS, PATH), name="early read")
        await records.arrived.wait()
        records.answers[PATH] = storages("b")
        cache.notified("storage_repositories_updates", notification(PATH))
        records.holds = False
        # This read began after the change: it must not be given the answer of the query before it.
        assert await cache.get(VS, PATH) == storages("b")
        records.held[0].set_result(None)
    assert early.result() == storages("a")
    assert await cache.get(VS, PATH) == storages("b")
    assert len(records.queries) == 2


async def test_own_write_is_seen_by_the_next_read(cache: ConsistentStoragesCache, records: Records) -> None:
    cache.connected()
    await cache.get(VS, PATH)
    records.answers[PATH] = storages("b")
    cache.forget(VS, PATH)
    assert await cache.get(VS, PATH) == storages("b")


async def test_concurrent_misses_are_one_query(cache: ConsistentStoragesCache, records: Records) -> None:
    cache.connected()
    records.holds = True
    async with asyncio.TaskGroup() as group:
        reads = [group.create_task(cache.get(VS, PATH), name=f"read {number}") for number in range(5)]
        await records.arrived.wait()
        await asyncio.sleep(0)
        records.held[0].set_result(None)
    assert [read.result() for read in reads] == [storages("a")] * 5
    assert records.queries == [PATH]


async def test_cancelled_reader_leaves_the_query_to_one_of_those_who_wait(
    cache: ConsistentStoragesCache, records: Records
) -> None:
    cache.connected()
    records.holds = True
    async with asyncio.TaskGroup() as group:
        first = group.create_task(cache.get(VS, PATH), name="first")
        await records.arrived.wait()
        others = [group.create_task(cache.get(VS, PATH), name=f"other {number}") for number in range(3)]
        await asyncio.sleep(0)
        records.arrived.clear()
        first.cancel()
        await records.arrived.wait()
        records.held[1].set_result(None)
    assert [other.result() for other in others] == [storages("a")] * 3
    assert records.queries == [PATH, PATH]


async def test_failed_query_fails_those_who_wait_and_is_not_remembered(
    cache: ConsistentStoragesCache, records: Records
) -> None:
    cache.connected()
    records.holds = True
    records.answers[PATH] = RepositoryNotFoundError()
    outcomes: list[str] = []

    async def read() -> None:
        try:
            await cache.get(VS, PATH)
        except RepositoryNotFoundError:
            outcomes.append("not found")

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(read(), name=f"read {number}")
        await records.arrived.wait()
        await asyncio.sleep(0)
        records.held[0].set_result(None)
    assert outcomes == ["not found"] * 3
    records.holds = False
    records.answers[PATH] = storages("a")
    assert await cache.get(VS, PATH) == storages("a")
    assert records.queries == [PATH, PATH]


async def test_least_recently_used_entry_goes_first(
    cache: ConsistentStoragesCache, records: Records, observed: Observed
) -> None:
    third = RelativePath("e/f.git")
    records.answers[third] = storages("a")
    cache.connected()
    for path in (PATH, OTHER, PATH, third, PATH):
        await cache.get(VS, path)
    assert records.queries == [PATH, OTHER, third]
    await cache.get(VS, OTHER)
    assert records.queries == [PATH, OTHER, third, OTHER]
    assert observed.counts["evict"] == 2


@pytest.mark.parametrize("payload", ["", "{}garbage", "[1]", '[{"virtual_storage": "default"}]', '{"a": 1}', "null"])
async def test_broken_payload_turns_the_cache_off_until_the_next_connection(
    cache: ConsistentStoragesCache, records: Records, payload: str
) -> None:
    cache.connected()
    await cache.get(VS, PATH)
    cache.notified("repositories_updates", payload)
    await cache.get(VS, PATH)
    await cache.get(VS, PATH)
    assert len(records.queries) == 3
    cache.connected()
    await cache.get(VS, PATH)
    await cache.get(VS, PATH)
    assert len(records.queries) == 4


async def test_unknown_virtual_storages_are_looked_up_and_ignored_in_notifications(
    cache: ConsistentStoragesCache, records: Records
) -> None:
    cache.connected()
    unknown = VirtualStorage("unknown")
    await cache.get(unknown, PATH)
    await cache.get(unknown, PATH)
    cache.notified("repositories_updates", notification(PATH).replace("default", "unknown"))
    assert records.queries == [PATH, PATH]


async def test_outage_reads_are_served_from_before_and_marked(
    cache: ConsistentStoragesCache, records: Records, observed: Observed
) -> None:
    cache.connected()
    await cache.get(VS, PATH)
    cache.disconnected()
    records.answers = dict.fromkeys([PATH, OTHER], DatastoreUnavailableError("away"))
    for _ in range(3):
        served = await cache.get(VS, PATH)
        assert served.storages == {"a"}
        assert served.is_possibly_stale
    assert records.queries == [PATH, PATH]  # one of the three asked whether the server is back
    assert observed.counts["stale"] == 3
    with pytest.raises(DatastoreUnavailableError):
        await cache.get(VS, OTHER)


async def test_nobody_waits_for_the_reader_that_asks_a_silent_server(
    cache: ConsistentStoragesCache, records: Records
) -> None:
    cache.connected()
    await cache.get(VS, PATH)
    cache.disconnected()
    records.holds = True
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(cache.get(VS, PATH), name="asking read")
        await records.arrived.wait()
        assert (await cache.get(VS, PATH)).is_possibly_stale
        records.held[0].set_result(None)
    assert not asking.result().is_possibly_stale


async def test_server_that_answers_without_a_listener_is_asked_each_time(
    cache: ConsistentStoragesCache, records: Records
) -> None:
    cache.connected()
    await cache.get(VS, PATH)
    cache.disconnected()
    records.answers[PATH] = storages("b")
    assert await cache.get(VS, PATH) == storages("b")
    records.answers[PATH] = storages("c")
    assert await cache.get(VS, PATH) == storages("c")


async def test_repository_removed_during_an_outage_of_the_listener_is_not_served(
    cache: ConsistentStoragesCache, records: Records
) -> None:
    cache.connected()
    await cache.get(VS, PATH)
    cache.disconnected()
    del records.answers[PATH]
    with pytest.raises(RepositoryNotFoundError):
        await cache.get(VS, PATH)


async def test_silent_server_is_asked_again_after_a_second(
    cache: ConsistentStoragesCache, records: Records, clock: ManualClock
) -> None:
    cache.connected()
    await cache.get(VS, PATH)
    cache.disconnected()
    records.answers[PATH] = DatastoreUnavailableError("away")
    await cache.get(VS, PATH)
    records.answers[PATH] = storages("b")
    assert (await cache.get(VS, PATH)).is_possibly_stale
    clock.advance(timedelta(seconds=1))
    assert await cache.get(VS, PATH) == storages("b")


async def test_frozen_entries_expire(cache: ConsistentStoragesCache, records: Records, clock: ManualClock) -> None:
    cache.connected()
    await cache.get(VS, PATH)
    cache.disconnected()
    records.answers[PATH] = DatastoreUnavailableError("away")
    clock.advance(timedelta(minutes=15))
    assert (await cache.get(VS, PATH)).is_possibly_stale
    clock.advance(timedelta(seconds=1))
    with pytest.raises(DatastoreUnavailableError):
        await cache.get(VS, PATH)


async def test_reconnection_drops_everything(
    cache: ConsistentStoragesCache, records: Records, observed: Observed
) -> None:
    cache.connected()
    await cache.get(VS, PATH)
    cache.disconnected()
    records.answers[PATH] = storages("b")
    cache.connected()
    assert await cache.get(VS, PATH) == storages("b")
    assert not cache.is_frozen
    assert observed.counts["evict"] == 1


async def test_query_that_was_under_way_at_a_disconnection_is_not_remembered(
    cache: ConsistentStoragesCache, records: Records
) -> None:
    cache.connected()
    records.holds = True
    async with asyncio.TaskGroup() as group:
        early = group.create_task(cache.get(VS, PATH), name="early read")
        await records.arrived.wait()
        cache.disconnected()
        records.answers[PATH] = storages("b")
        cache.connected()
        records.holds = False
        records.held[0].set_result(None)
    assert early.result() == storages("a")
    assert await cache.get(VS, PATH) == storages("b")


async def test_without_outage_reads_a_disconnection_empties_the_cache(records: Records, observed: Observed) -> None:
    cache = ConsistentStoragesCache(records, [VS], observer=observed.observer)
    cache.connected()
    await cache.get(VS, PATH)
    cache.disconnected()
    assert observed.counts[CacheAccess.EVICT.value] == 1
    records.answers[PATH] = DatastoreUnavailableError("away")
    with pytest.raises(DatastoreUnavailableError):
        await cache.get(VS, PATH)
