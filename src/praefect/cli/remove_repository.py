"""``remove-repository``: remove a repository from the records and from all disks."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from praefect.cli.command import Command, CommandError, Flag, FlagKind

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.config.praefect import PraefectConfig
    from praefect.datastore import Datastore
    from praefect.domain.repository import RelativePath, VirtualStorage

EVENTS_INTERVAL = timedelta(seconds=1)
_DRY_RUN = (
    "Re-run the command with -apply to remove repositories from the database and disk "
    "or -apply and -db-only to remove from database only."
)


def run(invocation: Invocation) -> None:
    """Say whether the repository is recorded; with ``-apply`` remove it."""
    import asyncio

    asyncio.run(_remove(invocation.load_config(), invocation))


async def _remove(config: PraefectConfig, invocation: Invocation) -> None:
    from praefect.cli.database import open_records
    from praefect.domain.repository import RelativePath, VirtualStorage

    virtual_storage = VirtualStorage(invocation.text("virtual-storage"))
    relative_path = RelativePath(invocation.text("relative-path"))
    async with open_records(config, prefix="connect to database: ") as datastore:
        await _look_up(datastore, virtual_storage, relative_path)
        if not invocation.switch("apply"):
            print(_DRY_RUN)
        elif invocation.switch("db-only"):
            await _remove_records(datastore, virtual_storage, relative_path)
            await _remove_events(datastore, virtual_storage, relative_path)
        else:
            await _remove_everywhere(config, virtual_storage, relative_path)
            print("Removing replication events...", flush=True)
            await _remove_events(datastore, virtual_storage, relative_path)
            print("Replication event removal completed.")


async def _look_up(datastore: Datastore, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
    from praefect.domain.errors import PraefectError

    try:
        is_found = await datastore.repositories.repository_exists(virtual_storage, relative_path)
    except PraefectError as exc:
        advice = "Please make sure the database parameters are set correctly and the database is accessible."
        print(f"error getting storages from database: {exc}. {advice}", flush=True)
        return
    if not is_found:
        raise CommandError("repository is not being tracked in Praefect")
    print("Repository found in the database.", flush=True)


async def _remove_records(datastore: Datastore, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
    from praefect.domain.errors import PraefectError

    print(f"Attempting to remove {relative_path} from the database...", flush=True)
    try:
        await datastore.repositories.delete_repository(virtual_storage, relative_path)
    except PraefectError as exc:
        raise CommandError(f"remove repository from database: {exc}") from exc
    print("Repository removal from database completed.", flush=True)


async def _remove_everywhere(
    config: PraefectConfig, virtual_storage: VirtualStorage, relative_path: RelativePath
) -> None:
    from praefect.cli.running_praefect import describe_rpc_error, dial_praefect
    from praefect.proto import repository_pb2, shared_pb2
    from praefect.transport.grpc.status import StatusError

    print(f"Attempting to remove {relative_path} from the database, and delete it from all gitaly nodes...", flush=True)
    repository = shared_pb2.Repository(storage_name=virtual_storage, relative_path=relative_path)
    async with dial_praefect(config, error_prefix="repository removal failed: error dialing: ") as praefect:
        try:
            await praefect.unary(
                "/gitaly.RepositoryService/RemoveRepository",
                repository_pb2.RemoveRepositoryRequest(repository=repository),
                repository_pb2.RemoveRepositoryResponse,
                metadata=[("client_name", "remove-repository")],
            )
        except StatusError as exc:
            raise CommandError(f"repository removal failed: {describe_rpc_error(exc)}") from exc
    print("Repository removal completed.", flush=True)


async def _remove_events(datastore: Datastore, virtual_storage: VirtualStorage, relative_path: RelativePath) -> None:
    """Delete the repository's jobs, and wait for those that are being done."""
    from praefect.domain.errors import PraefectError
    from praefect.runtime.ticker import IntervalTicker

    ticker = IntervalTicker(EVENTS_INTERVAL)
    try:
        while await datastore.queue.delete_events(virtual_storage, relative_path):
            await ticker.wait()
    except PraefectError as exc:
        raise CommandError(f"remove scheduled replication events: {exc}") from exc


COMMAND = Command(
    name="remove-repository",
    summary="remove a repository from the cluster",
    description="Says whether the repository is recorded. With -apply its records are removed, and its replicas from\n"
    "all nodes; with -db-only as well, the replicas stay on the disks.",
    usage=(
        "praefect remove-repository -virtual-storage NAME -relative-path PATH [-apply [-db-only]]",
        "praefect -config praefect.config.toml remove-repository -virtual-storage default \\",
        "  -relative-path @hashed/aa/bb/cc.git -apply",
    ),
    flags=(
        Flag(name="virtual-storage", text="virtual storage of the repository", required=True),
        Flag(name="relative-path", text="relative path of the repository", required=True),
        Flag(name="apply", kind=FlagKind.BOOL, text="remove it"),
        Flag(name="db-only", kind=FlagKind.BOOL, text="remove the records only"),
    ),
    run=run,
)
