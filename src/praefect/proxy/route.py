"""Route: which nodes get a call. The router only asks its ports and has no connections.

Source: the Praefect reference on routing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from praefect.domain.repository import (
    ConsistentStorages,
    RelativePath,
    ReplicaPath,
    RepositoryId,
    RepositoryMetadata,
    RepositoryNotFoundError,
    Storage,
    VirtualStorage,
    derive_replica_path,
)
from praefect.proxy.routes import AccessorRoute, MaintenanceRoute, MutatorRoute, StorageRoute
from praefect.proxy.routing_errors import (
    AdditionalRepositoryNotFoundError,
    NoHealthyNodesError,
    NoSuitableNodeError,
    PrimaryNotAssignedError,
    PrimaryUnhealthyError,
    RepositoryReadOnlyError,
    TooFewCopiesError,
    UnknownVirtualStorageError,
    prefixed,
)


class HealthyStorages(Protocol):
    """This process's own view of the nodes."""

    def healthy_storages(self, virtual_storage: VirtualStorage) -> Sequence[Storage]:
        """Return the storages whose last health check succeeded, in configuration order."""


class ConsistentStoragesGetter(Protocol):
    """The read cache."""

    async def get(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> ConsistentStorages:
        """Return replica path and up-to-date storages; raise RepositoryNotFoundError."""


class PrimaryGetter(Protocol):
    """The elector."""

    async def get_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Storage:
        """Return the repository's valid primary, electing one if need be."""


class AssignmentGetter(Protocol):
    """Which storages shall hold a repository."""

    async def get_assignments(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Sequence[Storage]:
        """Return the assigned, configured storages; all configured ones where nothing is assigned."""


class RepositoryRecords(Protocol):
    """The records of repositories and replicas."""

    async def get_repository_id(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> RepositoryId:
        """Return the id; raise RepositoryNotFoundError."""

    async def get_replica_path(self, repository_id: RepositoryId) -> ReplicaPath:
        """Return the path on the nodes' disks; raise RepositoryNotFoundError."""

    async def get_consistent_storages_by_id(self, repository_id: RepositoryId) -> ConsistentStorages:
        """Return replica path and up-to-date storages; raise RepositoryNotFoundError."""

    async def get_metadata_by_path(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath
    ) -> RepositoryMetadata:
        """Return everything known of a repository; raise RepositoryNotFoundError."""

    async def reserve_repository_id(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> RepositoryId:
        """Take a number for a new repository; raise RepositoryExistsError."""


class RandomChoice(Protocol):
    """The randomness of read distribution and placement; ``random.Random`` fits."""

    def sample(self, population: Sequence[Storage], k: int) -> list[Storage]:
        """Return ``k`` different elements in random order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualStorageLayout:
    """What routing must know of a virtual storage's configuration."""

    name: VirtualStorage
    storages: tuple[Storage, ...]
    default_replication_factor: int = 0
    minimum_copies: int = 1  # a write is refused if fewer up-to-date replicas can take part in it
    designated: Storage | None = None  # the primary of new repositories, while it is healthy


class Router:
    """Chooses nodes by names; it has no connections."""

    def __init__(  # noqa: PLR0913 - one port per parameter, each of few methods
        self,
        *,
        layouts: Sequence[VirtualStorageLayout],
        health: HealthyStorages,
        consistent: ConsistentStoragesGetter,
        primaries: PrimaryGetter,
        assignments: AssignmentGetter,
        records: RepositoryRecords,
        random: RandomChoice,
        primaries_move: bool = True,
    ) -> None:
        """Take the ports; ``primaries_move`` says whether anything but an operator moves primaries."""
        self._primaries_move = primaries_move
        self._layouts = {layout.name: layout for layout in layouts}
        self._health = health
        self._consistent = consistent
        self._primaries = primaries
        self._assignments = assignments
        self._records = records
        self._random = random

    def knows(self, virtual_storage: VirtualStorage) -> bool:
        """Return whether the virtual storage is configured."""
        return virtual_storage in self._layouts

    async def route_accessor(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath, *, force_primary: bool
    ) -> AccessorRoute:
        """Choose a healthy, up-to-date node at random, or the primary if ``force_primary``."""
        healthy = self._healthy(virtual_storage)
        if force_primary:
            return await self._route_to_primary(virtual_storage, relative_path, healthy)
        with prefixed("consistent storages: ", bare=RepositoryNotFoundError):
            consistent = await self._consistent.get(virtual_storage, relative_path)
        candidates = [storage for storage in healthy if storage in consistent.storages]
        if not candidates:
            raise NoSuitableNodeError
        storage, *alternatives = self._random.sample(candidates, len(candidates))
        return AccessorRoute(
            replica_path=consistent.replica_path,
            storage=storage,
            alternatives=tuple(alternatives),
            is_possibly_stale=consistent.is_possibly_stale,
        )

    async def _route_to_primary(
        self, virtual_storage: VirtualStorage, relative_path: RelativePath, healthy: Sequence[Storage]
    ) -> AccessorRoute:
        with prefixed("get repository id: ", bare=RepositoryNotFoundError):
            repository_id = await self._records.get_repository_id(virtual_storage, relative_path)
        primary = await self._get_primary(virtual_storage, repository_id)
        if primary not in healthy:
            raise PrimaryUnhealthyError(self._advise(virtual_storage, relative_path, f'"{primary}" is down'))
        return AccessorRoute(replica_path=await self._records.get_replica_path(repository_id), storage=primary)

    def route_storage_accessor(self, virtual_storage: VirtualStorage) -> StorageRoute:
        """Choose any healthy node at random."""
        return StorageRoute(storage=self._random.sample(self._healthy(virtual_storage), 1)[0])

    async def route_mutator(
        self,
        virtual_storage: VirtualStorage,
        relative_path: RelativePath,
        additional_relative_path: RelativePath | None,
    ) -> MutatorRoute:
        """Find the primary and split the other assigned replicas into participants and replication targets."""
        healthy = self._healthy(virtual_storage)
        with prefixed("get repository id: ", bare=RepositoryNotFoundError):
            repository_id = await self._records.get_repository_id(virtual_storage, relative_path)
        additional_replica_path = None
        if additional_relative_path is not None:
            with prefixed("resolve additional replica path: "):
                additional_replica_path = await self._resolve_additional(virtual_storage, additional_relative_path)
        primary = await self._get_primary(virtual_storage, repository_id)
        if primary not in healthy:
            raise PrimaryUnhealthyError(self._advise(virtual_storage, relative_path, f'"{primary}" is down'))
        with prefixed("consistent storages: ", bare=RepositoryNotFoundError):
            consistent = await self._records.get_consistent_storages_by_id(repository_id)
        if primary not in consistent.storages:
            raise RepositoryReadOnlyError(self._advise(virtual_storage, relative_path, f'"{primary}" is behind'))
        with prefixed("get host assignments: "):
            assigned = await self._assignments.get_assignments(virtual_storage, repository_id)
        if primary not in assigned:
            raise PrimaryNotAssignedError
        others = [storage for storage in assigned if storage != primary]
        secondaries = tuple(storage for storage in others if storage in consistent.storages and storage in healthy)
        self._require_copies(virtual_storage, 1 + len(secondaries))
        return MutatorRoute(
            repository_id=repository_id,
            replica_path=consistent.replica_path,
            additional_replica_path=additional_replica_path,
            primary=primary,
            secondaries=secondaries,
            replication_targets=tuple(storage for storage in others if storage not in secondaries),
        )

    async def route_maintenance(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> MaintenanceRoute:
        """Choose every healthy assigned replica that exists, up to date or not."""
        healthy = self._healthy(virtual_storage)
        metadata = await self._records.get_metadata_by_path(virtual_storage, relative_path)
        storages = tuple(
            replica.storage
            for replica in metadata.replicas
            if replica.storage in healthy and replica.assigned and replica.generation >= 0
        )
        if not storages:
            raise NoHealthyNodesError
        return MaintenanceRoute(replica_path=metadata.replica_path, storages=storages)

    async def route_creation(
        self,
        virtual_storage: VirtualStorage,
        relative_path: RelativePath,
        additional_relative_path: RelativePath | None,
    ) -> MutatorRoute:
        """Place a new repository and take a number for it.

        Raises:
            RepositoryExistsError: it has a record already.
        """
        additional = None
        if additional_relative_path is not None:
            try:
                additional = await self._records.get_metadata_by_path(virtual_storage, additional_relative_path)
            except RepositoryNotFoundError as exc:
                raise AdditionalRepositoryNotFoundError from exc
        placement = self._place(virtual_storage, additional)
        self._require_copies(virtual_storage, 1 + len(placement[1]))
        with prefixed("reserve repository id: "):
            repository_id = await self._records.reserve_repository_id(virtual_storage, relative_path)
        factor = self._layouts[virtual_storage].default_replication_factor
        return MutatorRoute(
            repository_id=repository_id,
            replica_path=derive_replica_path(relative_path, repository_id),
            additional_replica_path=additional.replica_path if additional else None,
            primary=placement[0],
            secondaries=placement[1],
            replication_targets=placement[2],
            creates=True,
            store_assignments=factor > 0 or (additional is not None and additional.explicitly_assigned),
        )

    def _place(
        self, virtual_storage: VirtualStorage, additional: RepositoryMetadata | None
    ) -> tuple[Storage, tuple[Storage, ...], tuple[Storage, ...]]:
        """Return primary, participating secondaries and replication targets of a new repository."""
        healthy = self._healthy(virtual_storage)
        if additional is not None:
            return _place_beside(additional, healthy)
        layout = self._layouts[virtual_storage]
        primary = layout.designated
        if primary is None or primary not in healthy:
            primary = self._random.sample(healthy, 1)[0]
        others: Sequence[Storage] = [storage for storage in layout.storages if storage != primary]
        if layout.default_replication_factor > 0:
            others = self._random.sample(others, min(layout.default_replication_factor - 1, len(others)))
        secondaries = tuple(storage for storage in others if storage in healthy)
        return primary, secondaries, tuple(storage for storage in others if storage not in healthy)

    def _healthy(self, virtual_storage: VirtualStorage) -> Sequence[Storage]:
        if virtual_storage not in self._layouts:
            raise UnknownVirtualStorageError
        healthy = self._health.healthy_storages(virtual_storage)
        if not healthy:
            raise NoHealthyNodesError
        return healthy

    def _require_copies(self, virtual_storage: VirtualStorage, copies: int) -> None:
        wanted = self._layouts[virtual_storage].minimum_copies
        if copies < wanted:
            raise TooFewCopiesError(copies, wanted)

    def _advise(self, virtual_storage: VirtualStorage, relative_path: RelativePath, problem: str) -> str:
        """Return what an operator must do, nothing where primaries move by themselves."""
        if self._primaries_move:
            return ""
        command = f"praefect failover -virtual-storage {virtual_storage} -repository {relative_path} -to STORAGE -apply"
        return f"{problem} and primaries are moved by hand (failover.manual): {command}"

    async def _get_primary(self, virtual_storage: VirtualStorage, repository_id: RepositoryId) -> Storage:
        with prefixed("get primary: ", bare=RepositoryNotFoundError):
            return await self._primaries.get_primary(virtual_storage, repository_id)

    async def _resolve_additional(self, virtual_storage: VirtualStorage, relative_path: RelativePath) -> ReplicaPath:
        try:
            return await self._records.get_replica_path(
                await self._records.get_repository_id(virtual_storage, relative_path)
            )
        except RepositoryNotFoundError as exc:
            raise AdditionalRepositoryNotFoundError from exc


def _place_beside(
    additional: RepositoryMetadata, healthy: Sequence[Storage]
) -> tuple[Storage, tuple[Storage, ...], tuple[Storage, ...]]:
    """Place a repository on exactly the nodes of another one, so that the two can share objects."""
    primary = additional.primary
    if primary is None or primary not in healthy:
        raise PrimaryUnhealthyError
    others = [replica for replica in additional.replicas if replica.assigned and replica.storage != primary]
    secondaries = tuple(
        replica.storage
        for replica in others
        if replica.storage in healthy and replica.generation == additional.generation
    )
    return primary, secondaries, tuple(replica.storage for replica in others if replica.storage not in secondaries)
