"""``remove-repository``: remove a repository from the records and from all disks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.cli.output import Output
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
        removal = Removal(
            config=config,
            datastore=datastore,
            virtual_storage=virtual_storage,
            relative_path=relative_path,
            output=invocation.output,
        )
        await removal.look_up()
        if not invocation.switch("apply"):
            invocation.output.say(_DRY_RUN)
        elif invocation.switch("db-only"):
            await removal.remove_records()
            await removal.remove_events()
        else:
            await removal.remove_everywhere()
            invocation.output.say("Removing replication events...")
            await removal.remove_events()
            invocation.output.say("Replication event removal completed.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """The removal of one repository; says what it does, and to whoever interrupts it, what was done."""

    config: PraefectConfig
    datastore: Datastore
    virtual_storage: VirtualStorage
    relative_path: RelativePath
    output: Output

    async def look_up(self) -> None:
        """Find the record.

        Raises:
            CommandError: there is none.
        """
        from praefect.cli.known import known_repositories
        from praefect.domain.errors import PraefectError

        self.output.result |= {
            "found": None,
            "records_removed": False,
            "replicas_removed": False,
            "events_removed": False,
        }
        self.output.summary = lambda: "nothing was removed"
        try:
            is_found = await self.datastore.repositories.repository_exists(self.virtual_storage, self.relative_path)
        except PraefectError as exc:
            advice = "Please make sure the database parameters are set correctly and the database is accessible."
            self.output.say(f"error getting storages from database: {exc}. {advice}")
            return
        self.output.result["found"] = is_found
        if not is_found:
            hints = await known_repositories(self.config, self.virtual_storage, self.relative_path, self.datastore)
            raise CommandError("repository is not being tracked in Praefect", hints=hints)
        self.output.say("Repository found in the database.")

    async def remove_records(self) -> None:
        """Delete the records in one transaction.

        Raises:
            CommandError: the database refuses.
        """
        from praefect.domain.errors import PraefectError

        self.output.say(f"Attempting to remove {self.relative_path} from the database...")
        self.output.summary = lambda: "the records were being removed, all of them are gone or none; look with metadata"
        try:
            await self.datastore.repositories.delete_repository(self.virtual_storage, self.relative_path)
        except PraefectError as exc:
            raise CommandError(f"remove repository from database: {exc}") from exc
        self.output.result["records_removed"] = True
        self.output.say("Repository removal from database completed.")

    async def remove_everywhere(self) -> None:
        """Have the running Praefect remove records and replicas.

        Raises:
            CommandError: it does not.
        """
        from praefect.cli.running_praefect import describe_rpc_error, dial_praefect
        from praefect.proto import repository_pb2, shared_pb2
        from praefect.transport.grpc.status import StatusError

        where = "the database, and delete it from all gitaly nodes"
        self.output.say(f"Attempting to remove {self.relative_path} from {where}...")
        self.output.summary = lambda: (
            "praefect was asked to remove the repository; metadata says whether its records are left, "
            "list-untracked-repositories whether replicas are"
        )
        repository = shared_pb2.Repository(storage_name=self.virtual_storage, relative_path=self.relative_path)
        async with dial_praefect(self.config, error_prefix="repository removal failed: error dialing: ") as praefect:
            try:
                await praefect.unary(
                    "/gitaly.RepositoryService/RemoveRepository",
                    repository_pb2.RemoveRepositoryRequest(repository=repository),
                    repository_pb2.RemoveRepositoryResponse,
                    metadata=[("client_name", "remove-repository")],
                )
            except StatusError as exc:
                raise CommandError(f"repository removal failed: {describe_rpc_error(exc)}") from exc
        self.output.result |= {"records_removed": True, "replicas_removed": True}
        self.output.say("Repository removal completed.")

    async def remove_events(self) -> None:
        """Delete the repository's jobs, and wait for those that are being done.

        Raises:
            CommandError: the database refuses.
        """
        from praefect.domain.errors import PraefectError
        from praefect.runtime.ticker import IntervalTicker

        self.output.summary = lambda: (
            "the repository is removed; replication events that were being processed may be left"
        )
        ticker = IntervalTicker(EVENTS_INTERVAL)
        try:
            while await self.datastore.queue.delete_events(self.virtual_storage, self.relative_path):
                self.output.show("waiting for replication events that are being processed")
                await ticker.wait()
        except PraefectError as exc:
            raise CommandError(f"remove scheduled replication events: {exc}") from exc
        self.output.result["events_removed"] = True


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
        FORMAT,
    ),
    run=run,
)
