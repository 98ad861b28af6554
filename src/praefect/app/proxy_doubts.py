"""Doubts as praefect keeps them: the lease, what settles and compares, and how the request path sees all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from praefect.control.compare import Comparer
from praefect.control.doubts import DoubtSettler, Settled
from praefect.control.holds import WriteHolds
from praefect.control.lease import Lease
from praefect.control.replica_states import ReplicaStates
from praefect.datastore import Datastore
from praefect.datastore.doubts import DoubtStore
from praefect.datastore.repositories import RepositoryStore
from praefect.domain.doubts import EMPTY_STATE, Doubt, DoubtsPendingError, Sight, sight_of
from praefect.domain.repository import NewRepository, RelativePath, RepositoryId, Storage, VirtualStorage
from praefect.runtime.ticker import IntervalTicker
from praefect.transactions.manager import TransactionManager
from praefect.transport.nodes import NodePool

RENEW_INTERVAL = timedelta(seconds=1)
SETTLE_INTERVAL = timedelta(seconds=1)
WRITE_PATIENCE_SECONDS = 5.0
RETRY_SECONDS = 0.1
ALIKE_PATIENCE_SECONDS = 2.0

_DONE = (Settled.SETTLED, Settled.NOTHING_TO_DO)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyDoubts:
    """What the request path asks; the methods are those of its port."""

    lease: Lease
    settler: DoubtSettler
    comparer: Comparer
    holds: WriteHolds
    records: DoubtStore
    repositories: RepositoryStore

    async def wait_readable(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
        """Return when no interrupted write stands before a read."""
        await self.settler.wait_readable(virtual_storage, relative_path)

    async def wait_writable(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
        """Settle what is known to be unsettled; raise RepositoryReadOnlyError where replicas differ."""
        await self.holds.wait(virtual_storage, relative_path)
        await self.comparer.check_writable(virtual_storage, relative_path)
        repository_id = self.settler.find_unsettled(virtual_storage, relative_path)
        if repository_id is not None:
            await self.settle(repository_id)

    async def settle(self, repository_id: RepositoryId) -> None:
        """Settle, and try again for as long as a write may wait; raise RepositoryReadOnlyError in a tie."""
        await self.comparer.check_disagreement(repository_id)
        try:
            async with asyncio.timeout(WRITE_PATIENCE_SECONDS):
                while True:
                    if await self.settler.settle(repository_id) in _DONE:
                        return
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError as exc:
            raise DoubtsPendingError from exc

    async def list_read_only(self, virtual_storage: VirtualStorage) -> Collection[RepositoryId]:
        """Return the repositories whose replicas differ."""
        return await self.comparer.list_read_only(virtual_storage)

    async def open(self, doubt: Doubt) -> Doubt | None:
        """Store a doubt."""
        return await self.lease.open(doubt)

    def check(self, doubt: Doubt) -> None:
        """Refuse to go on if the doubt may have lapsed."""
        self.lease.check(doubt)

    def close(self, doubt: Doubt) -> None:
        """Drop the doubt of a write that changed nothing."""
        self.lease.close(doubt)

    def abandon(self, doubt: Doubt) -> None:
        """Leave a doubt to be settled."""
        self.lease.abandon(doubt)

    async def find_alike(self, doubt: Doubt, primary: Storage, others: Sequence[Storage]) -> Sequence[Storage]:
        """Return who holds what the primary holds; nobody if that cannot be seen, or takes too long."""
        sight = sight_of([doubt.full_method])
        if sight is Sight.NOTHING:
            return ()
        try:
            async with asyncio.timeout(ALIKE_PATIENCE_SECONDS):
                states = await self.settler.replicas.read(
                    doubt.virtual_storage, doubt.replica_path, (primary, *others), sight
                )
        except TimeoutError:
            return ()
        wanted = states[primary]
        if not isinstance(wanted, str) or (wanted == EMPTY_STATE and sight is Sight.HEAD):
            return ()  # where the HEAD of an empty repository leads is not compared
        return [storage for storage in others if states[storage] == wanted]

    async def record_increment(self, doubt: Doubt, primary: Storage, secondaries: Sequence[Storage]) -> bool:
        """Record a write."""
        return await self.records.record_increment(doubt, primary, secondaries)

    async def record_creation(self, doubt: Doubt, new: NewRepository) -> bool:
        """Record a creation."""
        return await self.records.record_creation(doubt, new)

    def may_judge_silence(self) -> bool:
        """Return whether the database has answered for so long that who is silent has fallen silent by himself."""
        return self.lease.is_off or self.lease.has_been_held()

    async def record_copy(
        self, repository_id: RepositoryId, storage: Storage, relative_path: RelativePath, generation: int
    ) -> None:
        """Record what a replica holds after it was copied; writes that are under way do not count on it any more."""
        record = self.repositories.set_generation if self.lease.is_off else self.records.record_copy
        await record(repository_id, storage, relative_path, generation)


def build_lease(datastore: Datastore, praefect_name: str) -> Lease:
    """Return a lease that has not been taken."""
    return Lease(schema=datastore.own_schema, records=datastore.doubts, praefect_name=praefect_name)


@asynccontextmanager
async def open_doubts(
    lease: Lease, datastore: Datastore, nodes: NodePool, transactions: TransactionManager
) -> AsyncIterator[ProxyDoubts]:
    """Keep the lease until left; writes must have been recorded by then."""
    lease.lost = transactions.abort_all
    settler = DoubtSettler(
        records=datastore.doubts,
        replicas=ReplicaStates(nodes=nodes),
        queue=datastore.queue,
        lease=lease,
        forget=datastore.cache.forget,
    )
    comparer = Comparer(
        records=datastore.comparisons,
        replicas=settler.replicas,
        queue=datastore.queue,
        is_off=lambda: lease.is_off or not lease.ready.is_set(),
        forget=datastore.cache.forget,
    )
    async with asyncio.TaskGroup() as group:
        renewal = group.create_task(lease.run(IntervalTicker(RENEW_INTERVAL)), name="renew lease")
        try:
            yield ProxyDoubts(
                lease=lease,
                settler=settler,
                comparer=comparer,
                holds=WriteHolds(writes=datastore.doubts),
                records=datastore.doubts,
                repositories=datastore.repositories,
            )
        finally:
            renewal.cancel()
            await lease.release()
