"""All of praefect in this process, on a real PostgreSQL, before nodes whose answers the test writes."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message

from praefect.app.proxy import run_proxy
from praefect.app.proxy_parts import Parts
from praefect.config.praefect import (
    AuthConfig,
    BackgroundVerificationConfig,
    PraefectConfig,
    ReconciliationConfig,
    RepositoriesCleanupConfig,
    StorageNodeConfig,
    VirtualStorageConfig,
)
from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore.pool import connect
from praefect.domain.repository import (
    ConsistentStorages,
    RelativePath,
    ReplicaPath,
    RepositoryId,
    Storage,
    VirtualStorage,
)
from praefect.proto import shared_pb2
from praefect.runtime.signals import Stop
from praefect.transport.dial import open_channel
from praefect.transport.grpc.channel import Channel
from praefect.transport.grpc.metadata import MetadataLike
from praefect.transport.grpc.status import OK, Status, StatusError
from praefect.transport.methods import METHODS
from tests.support.postgres import Rows, database, postgres_server
from tests.support.scripted_node import ScriptedNode, scripted_node

__all__ = ["Cluster", "cluster", "database", "postgres_server", "running_cluster"]

M = TypeVar("M", bound=Message)

TOKEN = "external"
NODE_TOKEN = "internal"
VS = VirtualStorage("default")
G1, G2, G3 = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")
ALL = (G1, G2, G3)
UP_TO_DATE: Mapping[Storage, int] = {G1: 0, G2: 0, G3: 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository that is recorded."""

    id: RepositoryId
    virtual_storage: str
    relative_path: str
    replica_path: ReplicaPath

    @property
    def message(self) -> shared_pb2.Repository:
        """The repository as clients name it."""
        return shared_pb2.Repository(storage_name=self.virtual_storage, relative_path=self.relative_path)


@dataclass(slots=True, kw_only=True)
class Cluster:
    """What tests act on.

    Attributes:
        address: where the proxy listens.
        client: a channel to it, with the right token.
        parts: the inside of the proxy.
        stop: what a signal would set.
    """

    config: PraefectConfig
    address: str
    client: Channel
    nodes: Mapping[Storage, ScriptedNode]
    parts: Parts
    rows: Rows
    stop: Stop

    async def call(
        self, method: str, request: Message, *, metadata: MetadataLike = (), timeout: float | None = 10.0
    ) -> Message:
        """Make a unary call by the method's full name."""
        return await self.client.unary(
            method, request, METHODS[method].response_type, metadata=metadata, timeout=timeout
        )

    async def status(self, method: str, request: Message, *, metadata: MetadataLike = ()) -> Status:
        """Make a unary call and return how it ended."""
        try:
            await self.call(method, request, metadata=metadata)
        except StatusError as exc:
            return exc.status
        return OK

    async def repository(
        self,
        relative_path: str = "a.git",
        *,
        virtual_storage: str = "default",
        primary: Storage | None = G1,
        generation: int = 0,
        replicas: Mapping[Storage, int] = UP_TO_DATE,
        assigned: Sequence[Storage] = (),
    ) -> Repository:
        """Record a repository."""
        [[number]] = await self.rows.run("SELECT nextval('repositories_repository_id_seq')")
        assert isinstance(number, int)
        replica_path = f"disk/{number}"
        await self.rows.run(
            "INSERT INTO repositories (repository_id, virtual_storage, relative_path, replica_path, generation, "
            '"primary") VALUES (%s, %s, %s, %s, %s, %s)',
            number,
            virtual_storage,
            relative_path,
            replica_path,
            generation,
            primary,
        )
        for storage, held in replicas.items():
            await self.rows.run(
                "INSERT INTO storage_repositories (repository_id, virtual_storage, relative_path, storage, generation) "
                "VALUES (%s, %s, %s, %s, %s)",
                number,
                virtual_storage,
                relative_path,
                storage,
                held,
            )
        for storage in assigned:
            await self.rows.run(
                "INSERT INTO repository_assignments (repository_id, virtual_storage, relative_path, storage) "
                "VALUES (%s, %s, %s, %s)",
                number,
                virtual_storage,
                relative_path,
                storage,
            )
        return Repository(
            id=RepositoryId(number),
            virtual_storage=virtual_storage,
            relative_path=relative_path,
            replica_path=ReplicaPath(replica_path),
        )

    async def generations(self, repository: Repository) -> dict[str, int]:
        """Return the generation of the repository, under the name ``""``, and of each replica."""
        rows = await self.rows.run(
            "SELECT '', generation FROM repositories WHERE repository_id = %s "
            "UNION ALL SELECT storage, generation FROM storage_repositories WHERE repository_id = %s",
            repository.id,
            repository.id,
        )
        return {str(name): int(str(generation)) for name, generation in rows}

    async def jobs(self) -> list[tuple[object, ...]]:
        """Return source, target and change of the jobs in the queue, by target."""
        return await self.rows.run(
            "SELECT job->>'source_node_storage', job->>'target_node_storage', job->>'change' "
            "FROM replication_queue ORDER BY 2, id"
        )

    async def heard(self) -> None:
        """Return when the read cache has been told of every change made so far."""
        mark = RelativePath("a path that nobody has")
        self.parts.datastore.cache._entries[VS][mark] = ConsistentStorages(
            replica_path=ReplicaPath(""), storages=frozenset()
        )
        payload = json.dumps([{"virtual_storage": VS, "relative_paths": [mark]}])
        await self.rows.run("SELECT pg_notify('repositories_updates', %s)", payload)
        while mark in self.parts.datastore.cache._entries[VS]:  # noqa: ASYNC110 - the cache sets no event
            await asyncio.sleep(0.005)

    async def lose(self, *storages: Storage, consensus: bool = False) -> None:
        """Have nodes die and the proxy notice; with ``consensus`` for so long that all praefects agree.

        Without it somebody else has seen them until now, so that primaries stay where they are.
        """
        for storage in storages:
            self.nodes[storage].gate.cut()
        await self.parts.health.run_once()
        for storage in storages:
            assert not self.parts.health.is_healthy(VS, storage)
            if consensus:
                await self.rows.run(
                    "UPDATE node_status SET last_seen_active_at = now() - interval '1 minute' WHERE node_name = %s",
                    storage,
                )
            else:
                await self.rows.run(
                    "INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, "
                    "last_seen_active_at) VALUES ('another', %s, %s, now(), now() + interval '1 hour')",
                    VS,
                    storage,
                )

    async def find(self, *storages: Storage) -> None:
        """Have nodes return and the proxy notice."""
        for storage in storages:
            await self.nodes[storage].gate.restore()
        await self.parts.health.run_once()


def configuration(
    database: DatabaseConfig, nodes: Mapping[Storage, ScriptedNode], directory: Path, **changes: Any
) -> PraefectConfig:
    """Return a configuration with one virtual storage of all nodes; loops that call nodes by themselves are off."""
    designated = changes.pop("designated", None)
    members = tuple(
        StorageNodeConfig(storage=name, address=node.address, token=NODE_TOKEN, primary=name == designated)
        for name, node in nodes.items()
    )
    keys = {field.name for field in fields(VirtualStorageConfig)} & changes.keys()
    virtual_storage = VirtualStorageConfig(name=VS, nodes=members, **{key: changes.pop(key) for key in keys})
    config = PraefectConfig(
        socket_path=str(directory / "praefect.sock"),
        database=database,
        auth=AuthConfig(token=TOKEN),
        virtual_storages=(virtual_storage,),
        reconciliation=ReconciliationConfig(scheduling_interval=timedelta(0)),
        background_verification=BackgroundVerificationConfig(verification_interval=timedelta(0)),
        repositories_cleanup=RepositoriesCleanupConfig(run_interval=timedelta(0)),
    )
    return replace(config, **changes)


@asynccontextmanager
async def running_cluster(
    database: DatabaseConfig,
    *,
    storages: Sequence[Storage] = ALL,
    rows: DatabaseConfig | None = None,
    **changes: Any,
) -> AsyncIterator[Cluster]:
    """Run a proxy and its nodes; ``changes`` replace sections of the configuration, or keys of the virtual storage;
    ``designated`` is the storage marked as primary, ``rows`` the test's own way to the database.
    """
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pf-")))
        nodes = {name: await stack.enter_async_context(scripted_node(name, directory)) for name in storages}
        config = configuration(database, nodes, directory, **changes)
        stop = Stop()
        parts = await stack.enter_async_context(run_proxy(config, "test", stop))
        address = f"unix:{config.socket_path}"
        own = Rows(await stack.enter_async_context(await connect(rows or database)))
        client = await stack.enter_async_context(open_channel(address, token=TOKEN))
        await parts.datastore.notifications.wait_connected()
        yield Cluster(config=config, address=address, client=client, nodes=nodes, parts=parts, rows=own, stop=stop)


@pytest.fixture
async def cluster(database: DatabaseConfig) -> AsyncIterator[Cluster]:
    """Three nodes behind a proxy."""
    async with asyncio.timeout(60), running_cluster(database) as running:
        yield running
