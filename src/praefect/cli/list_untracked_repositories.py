"""``list-untracked-repositories``: find repositories on disk that are not recorded."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from praefect.cli.command import Invocation
    from praefect.cli.nodes import Nodes
    from praefect.config.praefect import PraefectConfig
    from praefect.datastore import Datastore
    from praefect.domain.repository import ReplicaPath, Storage, VirtualStorage

BATCH_SIZE = 16
HEADING = "The following repositories were found on disk, but missing from the tracking database:"
_CLIENT_NAME = [("client_name", "list-untracked-repositories")]


def run(invocation: Invocation) -> None:
    """Walk all storages and print what no record knows."""
    import asyncio

    asyncio.run(_list(invocation.load_config(), invocation))


async def _list(config: PraefectConfig, invocation: Invocation) -> None:
    from praefect.cli.database import open_records
    from praefect.cli.json_output import dump_json
    from praefect.cli.nodes import dial_nodes

    output = invocation.output
    output.result["repositories"] = []
    is_first = True
    async with (
        open_records(config, prefix="connect to database: ") as datastore,
        dial_nodes(config) as nodes,
    ):
        async for virtual_storage, storage, path in _untracked(datastore, nodes, invocation):
            if is_first:
                output.say(HEADING)
                is_first = False
            hit = {"relative_path": path, "storage": storage, "virtual_storage": virtual_storage}
            output.append("repositories", hit)
            output.say(dump_json(hit), end=invocation.text("delimiter"))


async def _untracked(
    datastore: Datastore, nodes: Nodes, invocation: Invocation
) -> AsyncIterator[tuple[VirtualStorage, Storage, ReplicaPath]]:
    from praefect.config.quoting import quote
    from praefect.domain.errors import PraefectError

    looked_at = 0
    for virtual_storage, storage in nodes.channels:
        place = f"exec on {quote(virtual_storage)}/{quote(storage)}"
        async for batch in _batches(nodes, virtual_storage, storage, invocation.duration("older-than")):
            looked_at += len(batch)
            invocation.output.show(f"looked at {looked_at} repositories, now those of {quote(storage)}")
            try:
                unknown = await datastore.cleanups.find_unknown(virtual_storage, storage, batch)
            except PraefectError as exc:
                raise CommandError(f"{place}: existence check: {exc}") from exc
            for path in unknown:
                yield virtual_storage, storage, path


async def _batches(
    nodes: Nodes, virtual_storage: VirtualStorage, storage: Storage, older_than: timedelta
) -> AsyncIterator[Sequence[ReplicaPath]]:
    from datetime import UTC, datetime

    from praefect.cli.running_praefect import describe_rpc_error
    from praefect.config.quoting import quote
    from praefect.domain.repository import ReplicaPath
    from praefect.proto import internal_pb2
    from praefect.transport.grpc.status import StatusError

    latest = datetime.now(UTC) - older_than
    batch: list[ReplicaPath] = []
    walk = nodes.channels[virtual_storage, storage].server_stream(
        "/gitaly.InternalGitaly/WalkRepos",
        internal_pb2.WalkReposRequest(storage_name=storage),
        internal_pb2.WalkReposResponse,
        metadata=_CLIENT_NAME,
    )
    try:
        async for found in walk:
            if found.modification_time.ToDatetime(tzinfo=UTC) > latest:
                continue
            batch.append(ReplicaPath(found.relative_path))
            if len(batch) == BATCH_SIZE:
                yield batch
                batch = []
    except StatusError as exc:
        place = f"exec on {quote(virtual_storage)}/{quote(storage)}"
        raise CommandError(f"{place}: failure on walking repos: {describe_rpc_error(exc)}") from exc
    if batch:
        yield batch


COMMAND = Command(
    name="list-untracked-repositories",
    summary="list repositories on disk that are not recorded",
    description="Walks the disks of all nodes and prints, as JSON, each repository that the database does not know.\n"
    "Young ones are left out, as they may be about to be recorded.\n\n"
    "Example: praefect -config praefect.config.toml list-untracked-repositories -older-than 24h",
    flags=(
        Flag(name="delimiter", text="print this behind each repository", default="\n"),
        Flag(
            name="older-than",
            kind=FlagKind.DURATION,
            text="leave out repositories modified within this time",
            default=timedelta(hours=6),
        ),
        FORMAT,
    ),
    run=run,
)
