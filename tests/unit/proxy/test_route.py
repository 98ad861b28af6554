"""Which nodes get a call, by what the records and this process's health checks say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from praefect.domain.errors import PraefectError, UnavailableError
from praefect.domain.repository import (
    ConsistentStorages,
    RelativePath,
    ReplicaMetadata,
    ReplicaPath,
    RepositoryExistsError,
    RepositoryId,
    RepositoryMetadata,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
)
from praefect.proxy.route import Router, VirtualStorageLayout
from praefect.proxy.routing_errors import (
    AdditionalRepositoryNotFoundError,
    NoHealthyNodesError,
    NoSuitableNodeError,
    PrimaryNotAssignedError,
    PrimaryUnhealthyError,
    RepositoryReadOnlyError,
    UnknownVirtualStorageError,
    routed,
)

VS, PATH, OTHER = VirtualStorage("default"), RelativePath("a.git"), RelativePath("other.git")
G1, G2, G3 = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")
ALL = (G1, G2, G3)
ID = RepositoryId(1)
ON_DISK = ReplicaPath("@cluster/repositories/6b/86/1")


@dataclass
class Records:
    """All of the router's ports, answering from plain values."""

    healthy: Sequence[Storage] = ALL
    consistent: frozenset[Storage] = frozenset(ALL)
    primary: Storage = G1
    assigned: Sequence[Storage] = ALL
    known: dict[RelativePath, RepositoryId] = field(default_factory=lambda: {PATH: ID})
    metadata: dict[RelativePath, RepositoryMetadata] = field(default_factory=dict)

    def healthy_storages(self, virtual_storage: VirtualStorage) -> Sequence[Storage]:
        return self.healthy

    async def get(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> ConsistentStorages:
        return await self.get_consistent_storages_by_id(await self.get_repository_id(virtual_storage, relative_path))

    async def get_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Storage:
        return self.primary

    async def get_assignments(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Sequence[Storage]:
        return self.assigned

    async def get_repository_id(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> RepositoryId:
        if relative_path not in self.known:
            raise RepositoryNotFoundError
        return self.known[relative_path]

    async def get_replica_path(self, repository_id: RepositoryId) -> ReplicaPath:
        return ON_DISK if repository_id == ID else ReplicaPath(f"disk-{repository_id}")

    async def get_consistent_storages_by_id(self, repository_id: RepositoryId) -> ConsistentStorages:
        return ConsistentStorages(replica_path=await self.get_replica_path(repository_id), storages=self.consistent)

    async def get_metadata_by_path(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> RepositoryMetadata:
        if relative_path not in self.metadata:
            raise RepositoryNotFoundError
        return self.metadata[relative_path]

    async def reserve_repository_id(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> RepositoryId:
        if relative_path in self.known:
            raise RepositoryExistsError
        return RepositoryId(7)


class InOrder:
    """A choice without chance: the first ones."""

    def sample(self, population: Sequence[Storage], k: int) -> list[Storage]:
        return list(population)[:k]


def _router(records: Records, *, factor: int = 0) -> Router:
    return Router(
        layouts=[VirtualStorageLayout(name=VS, storages=ALL, default_replication_factor=factor)],
        health=records,
        consistent=records,
        primaries=records,
        assignments=records,
        records=records,
        random=InOrder(),
    )


def _metadata(**changes: object) -> RepositoryMetadata:
    replicas = tuple(
        ReplicaMetadata(storage=storage, generation=3, assigned=True, healthy=True, valid_primary=True)
        for storage in ALL
    )
    metadata = RepositoryMetadata(
        repository_id=RepositoryId(2),
        virtual_storage=VS,
        relative_path=OTHER,
        replica_path=ReplicaPath("disk-2"),
        primary=G2,
        generation=3,
        replicas=replicas,
    )
    return replace(metadata, **changes)  # type: ignore[arg-type]  # values of any field


def _with_replica(storage: Storage, **changes: object) -> RepositoryMetadata:
    replicas = _metadata().replicas
    changed = tuple(
        replace(replica, **changes) if replica.storage == storage else replica  # type: ignore[arg-type]
        for replica in replicas
    )
    return _metadata(replicas=changed)


# --- reads ---


async def test_read_goes_to_a_healthy_up_to_date_node_whatever_is_assigned() -> None:
    records = Records(healthy=(G1, G3), consistent=frozenset({G2, G3}), assigned=(G1,))

    route = await _router(records).route_accessor(VS, PATH, force_primary=False)

    assert (route.storage, route.alternatives, route.replica_path) == (G3, (), ON_DISK)


async def test_read_names_the_other_nodes_that_could_serve_it() -> None:
    route = await _router(Records()).route_accessor(VS, PATH, force_primary=False)

    assert {route.storage, *route.alternatives} == set(ALL)


async def test_forced_read_goes_to_the_primary_even_if_it_is_outdated() -> None:
    records = Records(primary=G2, consistent=frozenset({G1}))

    route = await _router(records).route_accessor(VS, PATH, force_primary=True)

    assert route.storage == G2
    assert route.alternatives == ()


@pytest.mark.parametrize(
    ("records", "forced", "error", "text"),
    [
        (Records(healthy=()), False, NoHealthyNodesError, "no healthy nodes"),
        (Records(healthy=(), known={}), False, NoHealthyNodesError, "no healthy nodes"),
        (Records(known={}), False, RepositoryNotFoundError, "repository not found"),
        (
            Records(healthy=(G1,), consistent=frozenset({G2})),
            False,
            NoSuitableNodeError,
            "no suitable node to serve the request",
        ),
        (Records(healthy=(G2, G3)), True, PrimaryUnhealthyError, "primary gitaly is not healthy"),
    ],
)
async def test_read_that_no_node_can_serve(
    records: Records, forced: bool, error: type[PraefectError], text: str
) -> None:
    with pytest.raises(error) as refusal:
        await _router(records).route_accessor(VS, PATH, force_primary=forced)

    assert str(refusal.value) == text


async def test_unknown_virtual_storage_is_named() -> None:
    with pytest.raises(UnknownVirtualStorageError, match="virtual storage does not exist"):
        _router(Records()).route_storage_accessor(VirtualStorage("other"))


async def test_what_fails_because_nodes_are_down_may_be_retried() -> None:
    assert issubclass(NoHealthyNodesError, UnavailableError)
    assert issubclass(NoSuitableNodeError, UnavailableError)
    assert issubclass(PrimaryUnhealthyError, UnavailableError)


# --- writes ---


async def test_write_takes_healthy_up_to_date_secondaries_and_repairs_the_others() -> None:
    records = Records(healthy=(G1, G2), consistent=frozenset({G1, G2}))

    route = await _router(records).route_mutator(VS, PATH, None)

    assert (route.primary, route.secondaries, route.replication_targets) == (G1, (G2,), (G3,))
    assert (route.repository_id, route.replica_path, route.creates) == (ID, ON_DISK, False)


async def test_unassigned_replicas_neither_take_part_nor_get_jobs() -> None:
    route = await _router(Records(assigned=(G1, G3))).route_mutator(VS, PATH, None)

    assert (route.secondaries, route.replication_targets) == ((G3,), ())


async def test_write_resolves_the_second_repository() -> None:
    records = Records(known={PATH: ID, OTHER: RepositoryId(2)})

    route = await _router(records).route_mutator(VS, PATH, OTHER)

    assert route.additional_replica_path == "disk-2"


@pytest.mark.parametrize(
    ("records", "error", "text"),
    [
        (Records(healthy=(G2, G3)), PrimaryUnhealthyError, "primary gitaly is not healthy"),
        (Records(consistent=frozenset({G2})), RepositoryReadOnlyError, "repository is in read-only mode"),
        (Records(assigned=(G2, G3)), PrimaryNotAssignedError, "primary node is not assigned"),
        (Records(known={}), RepositoryNotFoundError, "repository not found"),
    ],
)
async def test_write_that_cannot_be_made(records: Records, error: type[PraefectError], text: str) -> None:
    with pytest.raises(error) as refusal:
        await _router(records).route_mutator(VS, PATH, None)

    assert str(refusal.value) == text


async def test_unknown_second_repository_is_told_from_an_unknown_target() -> None:
    with pytest.raises(AdditionalRepositoryNotFoundError) as refusal:
        await _router(Records()).route_mutator(VS, PATH, OTHER)

    assert str(refusal.value) == "resolve additional replica path: additional repository not found"


# --- maintenance ---


async def test_maintenance_goes_to_every_healthy_assigned_replica_that_exists() -> None:
    metadata = _with_replica(G1, generation=0)

    route = await _router(Records(metadata={PATH: metadata})).route_maintenance(VS, PATH)

    assert route.storages == ALL


@pytest.mark.parametrize("change", [{"assigned": False}, {"generation": -1}])
async def test_maintenance_leaves_out(change: dict[str, object]) -> None:
    records = Records(metadata={PATH: _with_replica(G2, **change)})

    assert (await _router(records).route_maintenance(VS, PATH)).storages == (G1, G3)


# --- creation ---


@pytest.mark.parametrize(
    ("factor", "healthy", "secondaries", "targets", "stored"),
    [
        (0, ALL, (G2, G3), (), False),
        (0, (G1, G3), (G3,), (G2,), False),
        (1, ALL, (), (), True),
        (2, ALL, (G2,), (), True),
        (2, (G1, G3), (), (G2,), True),
        (5, ALL, (G2, G3), (), True),
    ],
)
async def test_new_repository_is_placed(
    factor: int,
    healthy: tuple[Storage, ...],
    secondaries: tuple[Storage, ...],
    targets: tuple[Storage, ...],
    stored: bool,
) -> None:
    route = await _router(Records(healthy=healthy, known={}), factor=factor).route_creation(VS, PATH, None)

    assert (route.primary, route.secondaries, route.replication_targets) == (G1, secondaries, targets)
    assert (route.creates, route.store_assignments) == (True, stored)
    assert route.replica_path == "@cluster/repositories/79/02/7"


async def test_new_repository_is_placed_beside_another_one() -> None:
    metadata = _with_replica(G3, generation=2)
    records = Records(known={}, metadata={OTHER: replace(metadata, explicitly_assigned=True)})

    route = await _router(records, factor=1).route_creation(VS, PATH, OTHER)

    assert (route.primary, route.secondaries, route.replication_targets) == (G2, (G1,), (G3,))
    assert (route.additional_replica_path, route.store_assignments) == ("disk-2", True)


async def test_existing_repository_is_not_created_again() -> None:
    with pytest.raises(RepositoryExistsError) as refusal:
        await _router(Records()).route_creation(VS, PATH, None)

    assert str(refusal.value) == "reserve repository id: repository already exists"


async def test_prefix_is_put_before_all_but_whole_texts() -> None:
    router = _router(Records(healthy=()))

    with pytest.raises(NoHealthyNodesError) as refusal:
        await routed("accessor call: ", lambda: router.route_accessor(VS, PATH, force_primary=False))
    assert str(refusal.value) == "accessor call: no healthy nodes"

    router = _router(Records(known={}))
    with pytest.raises(RepositoryNotFoundError) as unknown:
        await routed("accessor call: ", lambda: router.route_accessor(VS, PATH, force_primary=False))
    assert str(unknown.value) == "repository not found"
