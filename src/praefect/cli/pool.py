"""``pool``: tell all nodes which repositories share objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from praefect.cli.command import Invocation
    from praefect.cli.nodes import Nodes
    from praefect.cli.output import Output
    from praefect.config.praefect import PraefectConfig
    from praefect.datastore import Datastore
    from praefect.domain.repository import Storage, VirtualStorage
    from praefect.proto import internal_pb2
    from praefect.transport.grpc.channel import Channel

UPSTREAM_BATCH = 10_000


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """A repository that borrows objects from a pool, by the paths on disk."""

    replica_path: str
    pool_path: str


def run(invocation: Invocation) -> None:
    """Collect the members of pools and store them on every node."""
    import asyncio

    asyncio.run(_store_all(invocation.load_config(), invocation.output))


async def _store_all(config: PraefectConfig, output: Output) -> None:
    from praefect.cli.database import open_records
    from praefect.cli.nodes import dial_nodes
    from praefect.domain.repository import VirtualStorage

    async with (
        open_records(config, prefix="open database: sql open: ") as datastore,
        dial_nodes(config) as nodes,
    ):
        for virtual in config.virtual_storages:
            output.show(f"collecting the members of pools of {virtual.name}")
            await _store_one(datastore, nodes, VirtualStorage(virtual.name), output)


async def _store_one(datastore: Datastore, nodes: Nodes, virtual_storage: VirtualStorage, output: Output) -> None:
    from praefect.config.quoting import quote
    from praefect.domain.errors import PraefectError
    from praefect.domain.repository import ReplicaPath

    name = quote(virtual_storage)
    primaries = await datastore.repositories.list_primaries(virtual_storage)
    try:
        members = await _scan_primaries(nodes, virtual_storage, primaries)
    except PraefectError as exc:
        raise CommandError(f"scan primaries for {name}: {exc}") from exc
    stored: dict[str, object] = {"virtual_storage": virtual_storage, "members": len(members), "nodes": 0}
    output.append("virtual_storages", stored)
    output.say(f"found {len(members)} unique pool members in virtual storage {name}")
    if not members:
        output.say(f"no pool members found on virtual storage {name}, nothing to store")
        return
    try:
        relative_paths = await datastore.repositories.get_relative_paths(
            virtual_storage, [ReplicaPath(member.replica_path) for member in members]
        )
    except PraefectError as exc:
        raise CommandError(f"translate paths for {name}: {exc}") from exc
    try:
        upstreams = await _list_upstreams(nodes, virtual_storage, primaries[0], members)
    except PraefectError as exc:
        raise CommandError(f"list pool upstreams for {name}: {exc}") from exc
    records = [
        (str(relative_path), member.pool_path, upstreams.get(member.pool_path) in (member.replica_path, relative_path))
        for member in members
        if (relative_path := relative_paths.get(ReplicaPath(member.replica_path))) is not None
    ]
    output.summary = lambda: (
        f"some nodes of virtual storage {name} may have the members of pools and others not; "
        "the same command once more stores them on all"
    )
    try:
        count = await _store(nodes, virtual_storage, records)
    except PraefectError as exc:
        raise CommandError(f"store pool members for {name}: {exc}") from exc
    stored["nodes"] = count
    output.say(f"stored pool metadata for virtual storage {name} on {count} nodes")


async def _scan_primaries(
    nodes: Nodes, virtual_storage: VirtualStorage, primaries: Iterable[Storage]
) -> Sequence[Member]:
    from praefect.cli.running_praefect import describe_rpc_error
    from praefect.transport.grpc.status import StatusError

    members: set[Member] = set()
    for storage in primaries:
        channel = nodes.channel(virtual_storage, storage)
        if channel is None:
            raise CommandError(f"scan {storage}: not configured")
        try:
            members |= {member async for member in _scan(channel, storage)}
        except StatusError as exc:
            raise CommandError(f"scan {storage}: scan pool metadata: receive: {describe_rpc_error(exc)}") from exc
    return sorted(members)


async def _scan(channel: Channel, storage: Storage) -> AsyncIterator[Member]:
    from praefect.proto import internal_pb2

    async for found in channel.server_stream(
        "/gitaly.InternalGitaly/ScanPoolMetadata",
        internal_pb2.ScanPoolMetadataRequest(storage_name=storage),
        internal_pb2.ScanPoolMetadataResponse,
    ):
        yield Member(found.relative_path, found.pool_disk_path)


async def _list_upstreams(
    nodes: Nodes, virtual_storage: VirtualStorage, storage: Storage, members: Sequence[Member]
) -> dict[str, str]:
    """Ask one node which repository each pool was made from."""
    from praefect.cli.running_praefect import describe_rpc_error
    from praefect.proto import internal_pb2
    from praefect.transport.grpc.status import StatusError

    paths = sorted({member.pool_path for member in members})
    upstreams: dict[str, str] = {}
    try:
        async with nodes.channels[virtual_storage, storage].bidi(
            "/gitaly.InternalGitaly/ListPoolUpstreams", internal_pb2.ListPoolUpstreamsResponse
        ) as call:
            await call.send_all(
                internal_pb2.ListPoolUpstreamsRequest(
                    storage_name=storage, pool_disk_paths=paths[start : start + UPSTREAM_BATCH]
                )
                for start in range(0, len(paths), UPSTREAM_BATCH)
            )
            async for response in call.messages():
                upstreams.update(response.upstreams)
    except StatusError as exc:
        raise CommandError(describe_rpc_error(exc)) from exc
    return upstreams


async def _store(nodes: Nodes, virtual_storage: VirtualStorage, records: Sequence[tuple[str, str, bool]]) -> int:
    from praefect.cli.running_praefect import describe_rpc_error
    from praefect.proto import internal_pb2
    from praefect.transport.grpc.status import StatusError

    def requests(storage: Storage) -> Iterable[internal_pb2.StorePoolMetadataRequest]:
        for relative_path, pool_path, is_upstream in records:
            yield internal_pb2.StorePoolMetadataRequest(
                storage_name=storage, relative_path=relative_path, pool_disk_path=pool_path, is_upstream=is_upstream
            )

    count = 0
    for (owner, storage), channel in nodes.channels.items():
        if owner != virtual_storage:
            continue
        try:
            await channel.client_stream(
                "/gitaly.InternalGitaly/StorePoolMetadata", requests(storage), internal_pb2.StorePoolMetadataResponse
            )
        except StatusError as exc:
            raise CommandError(f"store on {storage}: {describe_rpc_error(exc)}") from exc
        count += 1
    return count


COMMAND = Command(
    name="pool",
    summary="store the members of object pools on all nodes",
    description="Collects from the primaries which repositories share objects, and stores it on every node.\n\n"
    "Example: praefect -config praefect.config.toml pool",
    flags=(FORMAT,),
    run=run,
)
