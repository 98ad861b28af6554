"""``track-repository``: record a repository that is on a node's disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind
from praefect.config.quoting import quote

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.cli.output import Output
    from praefect.cli.tracking import TrackRequest
    from praefect.config.praefect import PraefectConfig

IMMEDIATELY = Flag(
    name="replicate-immediately",
    kind=FlagKind.BOOL,
    text="copy it to the other storages now instead of in the background",
)


def run(invocation: Invocation) -> None:
    """Record it."""
    import asyncio

    config = invocation.load_config()
    if not invocation.text("authoritative-storage"):
        raise CommandError('Required flag "authoritative-storage" not set')
    asyncio.run(_track(config, invocation))


async def _track(config: PraefectConfig, invocation: Invocation) -> None:
    from praefect.cli.database import open_records
    from praefect.cli.nodes import dial_nodes
    from praefect.cli.tracking import Tracker, TrackRequest
    from praefect.domain.repository import RelativePath, ReplicaPath, Storage, VirtualStorage

    request = TrackRequest(
        virtual_storage=VirtualStorage(invocation.text("virtual-storage")),
        relative_path=RelativePath(invocation.text("relative-path")),
        replica_path=ReplicaPath(invocation.text("replica-path")),
        authoritative_storage=Storage(invocation.text("authoritative-storage")),
    )
    async with open_records(config, prefix="connect to database: ") as datastore, dial_nodes(config) as nodes:
        tracker = Tracker(
            config=config,
            datastore=datastore,
            nodes=nodes,
            replicate_immediately=invocation.switch(IMMEDIATELY.name),
            output=invocation.output,
        )
        invocation.output.summary = lambda: _summarise(invocation.output, request)
        try:
            await tracker.track(request)
        except CommandError as exc:
            text = f"attempting to track repository in praefect database: {exc}"
            raise CommandError(text, hints=exc.hints) from exc


def _summarise(output: Output, request: TrackRequest) -> str:
    """Say what is recorded and what is not."""
    path = quote(request.relative_path)
    if "repositories" not in output.result:
        return f"{path} may be recorded or not; track-repository once more says which"
    return f"{path} is recorded; copies that were not begun are queued by reconciliation"


COMMAND = Command(
    name="track-repository",
    summary="record a repository that is on disk",
    description="Makes a repository that one node has on its disk known, with that node as its primary, and has it\n"
    "copied to the other storages.\n\n"
    "Example: praefect -config praefect.config.toml track-repository -virtual-storage default \\\n"
    "  -relative-path @hashed/aa/bb/cc.git -replica-path @hashed/aa/bb/cc.git \\\n"
    "  -authoritative-storage gitaly-1",
    flags=(
        Flag(name="virtual-storage", text="virtual storage of the repository", required=True),
        Flag(name="relative-path", text="relative path that clients use", required=True),
        Flag(name="replica-path", text="path on the disk of the storage", required=True),
        Flag(name="authoritative-storage", text="storage that has the repository"),
        IMMEDIATELY,
        FORMAT,
    ),
    run=run,
)
