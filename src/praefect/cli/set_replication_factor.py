"""``set-replication-factor``: say on how many storages a repository is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.config.praefect import PraefectConfig

_MOST = 2**31 - 1  # of the field on the wire


def run(invocation: Invocation) -> None:
    """Tell the running Praefect and print the storages it chose."""
    import asyncio

    asyncio.run(_set(invocation.load_config(), invocation))


async def _set(config: PraefectConfig, invocation: Invocation) -> None:
    from praefect.cli.known import known_repositories
    from praefect.cli.running_praefect import INFO_SERVICE, describe_rpc_error, dial_praefect
    from praefect.proto import praefect_pb2
    from praefect.transport.grpc.status import StatusError

    request = praefect_pb2.SetReplicationFactorRequest(
        virtual_storage=invocation.text("virtual-storage"),
        relative_path=invocation.text("relative-path"),
        replication_factor=min(invocation.number("replication-factor"), _MOST),
    )
    invocation.output.summary = lambda: (
        "praefect was asked to set the replication factor and does it wholly or not at all; "
        "metadata says which storages are assigned"
    )
    async with dial_praefect(config, error_prefix="error dialing: ") as praefect:
        try:
            response = await praefect.unary(
                f"{INFO_SERVICE}/SetReplicationFactor", request, praefect_pb2.SetReplicationFactorResponse
            )
        except StatusError as exc:
            hints = await known_repositories(config, request.virtual_storage, request.relative_path)
            raise CommandError(describe_rpc_error(exc), hints=hints) from exc
    storages = sorted(response.storages)
    invocation.output.result["assignments"] = storages
    invocation.output.say(f"current assignments: {', '.join(storages)}")


COMMAND = Command(
    name="set-replication-factor",
    summary="set the replication factor of a repository",
    description="Assigns storages to the repository, or takes assignments away, until it has as many as wanted.\n"
    "Replicas are copied and removed in the background.\n\n"
    "Example: praefect -config praefect.config.toml set-replication-factor -virtual-storage default \\\n"
    "  -relative-path @hashed/aa/bb/cc.git -replication-factor 2",
    flags=(
        Flag(name="virtual-storage", text="virtual storage of the repository", required=True),
        Flag(name="relative-path", text="relative path of the repository", required=True),
        Flag(
            name="replication-factor", kind=FlagKind.UINT, text="number of storages that keep a replica", required=True
        ),
        FORMAT,
    ),
    run=run,
)
