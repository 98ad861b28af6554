"""Recording a repository that is on a node's disk already."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.cli.command import CommandError
from praefect.cli.known import known_storages, known_virtual_storages
from praefect.cli.nodes import Nodes
from praefect.config.quoting import quote
from praefect.control.replicator import Replicator
from praefect.datastore import Datastore
from praefect.domain.errors import PraefectError
from praefect.domain.replication import (
    Change,
    DuplicateReplicationEventError,
    EventState,
    ReplicationEvent,
    ReplicationJob,
)
from praefect.domain.repository import (
    NewRepository,
    RelativePath,
    ReplicaPath,
    RepositoryExistsError,
    RepositoryId,
    Storage,
    VirtualStorage,
)
from praefect.observability.correlation import new_correlation_id
from praefect.proto import repository_pb2, shared_pb2
from praefect.transport.grpc.status import StatusError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praefect.cli.output import Output
    from praefect.config.praefect import PraefectConfig, VirtualStorageConfig

_CLIENT_NAME = [("client_name", "track-repository")]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackRequest:
    """The repository that is to be recorded."""

    virtual_storage: VirtualStorage
    relative_path: RelativePath
    replica_path: ReplicaPath
    authoritative_storage: Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracker:
    """Records repositories and says what it does."""

    config: PraefectConfig
    datastore: Datastore
    nodes: Nodes
    replicate_immediately: bool
    output: Output

    async def track(self, request: TrackRequest) -> None:
        """Record a repository and have it copied to the other storages.

        Raises:
            CommandError: it cannot be recorded.
        """
        virtual = self._virtual_storage(request.virtual_storage)
        secondaries = self._choose_secondaries(virtual, request.authoritative_storage)
        if not await self._is_on_disk(request):
            raise CommandError("authoritative repository does not exist")
        try:
            repository_id = await self._record(request, virtual, secondaries)
            copies: list[Storage] = []
            tracked = {
                "virtual_storage": request.virtual_storage,
                "relative_path": request.relative_path,
                "repository_id": repository_id,
                "replicated" if self.replicate_immediately else "queued": copies,
            }
            self.output.append("repositories", tracked)
            self.output.say("Finished adding new repository to be tracked in praefect database.")
            for secondary in secondaries:
                if not await self._replicate(request, repository_id, secondary):
                    return
                copies.append(secondary)
        except CommandError:
            raise
        except PraefectError as exc:
            raise CommandError(str(exc)) from exc

    async def exists_on_disk(self, request: TrackRequest) -> bool:
        """Ask the node for the repository.

        Raises:
            CommandError: there is no such virtual storage or node.
            StatusError: the node did not answer.
        """
        self._virtual_storage(request.virtual_storage)
        channel = self.nodes.channel(request.virtual_storage, request.authoritative_storage)
        if channel is None:
            raise CommandError(
                f"node {quote(request.authoritative_storage)} not found",
                hints=known_storages(self.config, request.virtual_storage, request.authoritative_storage),
            )
        repository = shared_pb2.Repository(
            storage_name=request.authoritative_storage, relative_path=request.replica_path
        )
        response = await channel.unary(
            "/gitaly.RepositoryService/RepositoryExists",
            repository_pb2.RepositoryExistsRequest(repository=repository),
            repository_pb2.RepositoryExistsResponse,
            metadata=_CLIENT_NAME,
        )
        return response.exists

    async def _is_on_disk(self, request: TrackRequest) -> bool:
        try:
            return await self.exists_on_disk(request)
        except StatusError:
            storage, path = quote(request.authoritative_storage), quote(request.replica_path)
            self.output.say(f"checking if repository exists {storage}, {path}")
            return False

    def _virtual_storage(self, name: VirtualStorage) -> VirtualStorageConfig:
        for virtual in self.config.virtual_storages:
            if virtual.name == name:
                return virtual
        raise CommandError(f"virtual storage {quote(name)} not found", hints=known_virtual_storages(self.config, name))

    def _choose_secondaries(self, virtual: VirtualStorageConfig, primary: Storage) -> Sequence[Storage]:
        """The other storages in the order of the file; with a replication factor a random choice of them."""
        others = [Storage(node.storage) for node in virtual.nodes if node.storage != primary]
        factor = virtual.default_replication_factor
        if factor <= 0:
            return others
        chosen = random.SystemRandom().sample(others, min(factor - 1, len(others)))
        return [storage for storage in others if storage in chosen]

    async def _record(
        self, request: TrackRequest, virtual: VirtualStorageConfig, secondaries: Sequence[Storage]
    ) -> RepositoryId:
        records = self.datastore.repositories
        try:
            repository_id = await records.reserve_repository_id(request.virtual_storage, request.relative_path)
            await records.create_repository(
                NewRepository(
                    repository_id=repository_id,
                    virtual_storage=request.virtual_storage,
                    relative_path=request.relative_path,
                    replica_path=request.replica_path,
                    primary=request.authoritative_storage,
                    updated=(),
                    outdated=tuple(secondaries),
                    store_assignments=virtual.default_replication_factor > 0,
                )
            )
        except RepositoryExistsError:
            self.output.say("repository is already tracked in praefect database")
            return await records.get_repository_id(request.virtual_storage, request.relative_path)
        return repository_id

    async def _replicate(self, request: TrackRequest, repository_id: RepositoryId, target: Storage) -> bool:
        """Copy to one storage, or queue that; return whether to go on with the next."""
        job = ReplicationJob(
            repository_id=repository_id,
            change=Change.UPDATE,
            virtual_storage=request.virtual_storage,
            relative_path=request.relative_path,
            target_node_storage=target,
            source_node_storage=request.authoritative_storage,
            replica_path=request.replica_path,
        )
        if self.replicate_immediately:
            await self._replicate_now(job)
            self.output.say(f"Finished replicating repository to {quote(target)}.")
            return True
        try:
            await self.datastore.queue.enqueue(job, correlation_id=new_correlation_id())
        except DuplicateReplicationEventError as exc:
            self.output.say(f"replication event queue already has similar entry: {exc}.")
            return False
        self.output.say(f"Added replication job to replicate repository to {quote(target)}.")
        return True

    async def _replicate_now(self, job: ReplicationJob) -> None:
        from datetime import UTC, datetime

        event = ReplicationEvent(
            id=0,
            job=job,
            state=EventState.IN_PROGRESS,
            attempt=1,
            lock_id="",
            created_at=datetime.now(UTC),
            updated_at=None,
            correlation_id=new_correlation_id(),
        )
        try:
            await Replicator(nodes=self.nodes, records=self.datastore.repositories).process(event)
        except PraefectError as exc:
            raise CommandError(f"processing replication event {exc}") from exc
