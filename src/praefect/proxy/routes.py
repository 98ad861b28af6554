"""Where a call goes: every kind of route is a type of its own, made by the router and carried out by the forwarder."""

from __future__ import annotations

from dataclasses import dataclass

from praefect.domain.repository import ReplicaPath, RepositoryId, Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessorRoute:
    """A read: one node, and the ones that could serve it as well."""

    replica_path: ReplicaPath
    storage: Storage
    alternatives: tuple[Storage, ...] = ()  # other healthy, up-to-date nodes, in the order to try them
    is_possibly_stale: bool = False  # chosen by what was known before the database went away

    def describe(self) -> dict[str, object]:
        """Return the route as log lines show it."""
        described: dict[str, object] = {"replica_path": self.replica_path, "storage": self.storage}
        return {**described, "possibly_stale": True} if self.is_possibly_stale else described


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageRoute:
    """A storage-scoped read: any healthy node."""

    storage: Storage

    def describe(self) -> dict[str, object]:
        """Return the route as log lines show it."""
        return {"storage": self.storage}


@dataclass(frozen=True, slots=True, kw_only=True)
class MutatorRoute:
    """A write: the primary, the secondaries that take part, and the replicas that get a job afterwards."""

    repository_id: RepositoryId
    replica_path: ReplicaPath
    additional_replica_path: ReplicaPath | None
    primary: Storage
    secondaries: tuple[Storage, ...]
    replication_targets: tuple[Storage, ...]
    creates: bool = False  # the repository has no record yet; finalize makes it
    store_assignments: bool = False  # with creates: whether the participants become explicit assignments

    def describe(self) -> dict[str, object]:
        """Return the route as log lines show it."""
        return {
            "repository_id": self.repository_id,
            "replica_path": self.replica_path,
            "additional_replica_path": self.additional_replica_path or "",
            "primary": self.primary,
            "secondaries": list(self.secondaries),
            "replication_targets": list(self.replication_targets),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceRoute:
    """Housekeeping: every healthy assigned replica, in storage-name order."""

    replica_path: ReplicaPath
    storages: tuple[Storage, ...]

    def describe(self) -> dict[str, object]:
        """Return the route as log lines show it."""
        return {"replica_path": self.replica_path, "storages": list(self.storages)}


Route = AccessorRoute | StorageRoute | MutatorRoute | MaintenanceRoute
