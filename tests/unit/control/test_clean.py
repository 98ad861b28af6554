"""The search for unknown repositories, and what it survives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from praefect.control.clean import RepositoryCleaner
from praefect.domain.errors import PermissionDeniedError, UnavailableError
from praefect.domain.replication import StorageCleanup
from praefect.domain.repository import ReplicaPath, Storage, VirtualStorage
from praefect.observability.log import capture
from praefect.runtime.ticker import ManualTicker

VS, G1 = VirtualStorage("default"), Storage("gitaly-1")
CLEANUP = StorageCleanup(virtual_storage=VS, storage=G1)


@dataclass
class Records:
    """The rows of one storage, and a walk over its disk."""

    known: frozenset[str] = frozenset({"a", "b"})
    on_disk: tuple[str, ...] = ("a", "x", "b", "y")
    walk_fails: bool = False
    populate_fails: bool = False
    released: int = 0
    batches: list[tuple[str, ...]] = field(default_factory=list)

    async def populate(self, nodes: Mapping[VirtualStorage, Sequence[Storage]]) -> None:
        if self.populate_fails:
            raise UnavailableError("no database")

    async def acquire(self, run_interval: timedelta) -> StorageCleanup | None:
        return CLEANUP

    async def refresh(self, cleanup: StorageCleanup) -> None:
        """Nothing is stored."""

    async def release(self, cleanup: StorageCleanup) -> None:
        self.released += 1

    async def find_unknown(
        self, virtual_storage: VirtualStorage, storage: Storage, replica_paths: Sequence[ReplicaPath]
    ) -> Sequence[ReplicaPath]:
        self.batches.append(tuple(replica_paths))
        return [path for path in replica_paths if path not in self.known]

    async def walk(
        self, virtual_storage: VirtualStorage, storage: Storage, *, older_than: timedelta
    ) -> AsyncIterator[ReplicaPath]:
        for path in self.on_disk:
            yield ReplicaPath(path)
        if self.walk_fails:
            raise PermissionDeniedError("permission denied: wrong hmac signature")


def _cleaner(records: Records) -> RepositoryCleaner:
    return RepositoryCleaner(
        nodes={VS: [G1]}, records=records, walker=records, run_interval=timedelta(days=1), batch_size=3
    )


async def test_what_no_record_knows_is_reported_in_batches() -> None:
    records = Records()

    report = await _cleaner(records).run_once()

    assert report.unknown == ("x", "y")
    assert records.batches == [("a", "x", "b"), ("y",)]
    assert records.released == 1


async def test_node_that_refuses_is_told_of_with_its_own_error_and_the_storage_is_released() -> None:
    records = Records(walk_fails=True)

    with capture() as lines:
        await _cleaner(records).run_once()
    [line] = [line for line in lines if line["msg"] == "failed to exec action on repositories"]
    assert line["error"] == "permission denied: wrong hmac signature"
    assert records.released == 1


async def test_loop_goes_on_after_a_failed_pass() -> None:
    records, ticker = Records(walk_fails=True), ManualTicker()
    async with asyncio.TaskGroup() as loops:
        loop = loops.create_task(_cleaner(records).run(ticker))
        await ticker.tick()
        await ticker.wait_idle()
        loop.cancel()

    assert records.released == 2


async def test_loop_waits_for_a_database_that_is_away() -> None:
    records, ticker = Records(populate_fails=True), ManualTicker()
    async with asyncio.TaskGroup() as loops:
        loop = loops.create_task(_cleaner(records).run(ticker))
        await ticker.tick()
        assert records.batches == []
        records.populate_fails = False
        await ticker.tick()
        loop.cancel()

    assert records.released == 1
