"""``accept-dataloss``: declare one replica of a repository the latest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Arguments, Command, CommandError, Flag

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.config.praefect import PraefectConfig
    from praefect.proto import praefect_pb2


def run(invocation: Invocation) -> None:
    """Tell the running Praefect."""
    import asyncio

    asyncio.run(_accept(invocation.load_config(), invocation))


async def _accept(config: PraefectConfig, invocation: Invocation) -> None:
    from praefect.cli.running_praefect import INFO_SERVICE, describe_rpc_error, dial_praefect
    from praefect.proto import praefect_pb2
    from praefect.transport.grpc.status import StatusError

    request = praefect_pb2.SetAuthoritativeStorageRequest(
        virtual_storage=invocation.text("virtual-storage"),
        relative_path=invocation.text("relative-path"),
        authoritative_storage=invocation.text("authoritative-storage"),
    )
    invocation.output.summary = lambda: (
        "praefect was asked to accept the loss and does it wholly or not at all; "
        "metadata says which replicas are up to date"
    )
    async with dial_praefect(config, error_prefix="error dialing: ") as praefect:
        try:
            await praefect.unary(
                f"{INFO_SERVICE}/SetAuthoritativeStorage", request, praefect_pb2.SetAuthoritativeStorageResponse
            )
        except StatusError as exc:
            hints = await _hints(config, request)
            raise CommandError(f"set authoritative storage: {describe_rpc_error(exc)}", hints=hints) from exc
    invocation.output.result |= {
        "virtual_storage": request.virtual_storage,
        "relative_path": request.relative_path,
        "authoritative_storage": request.authoritative_storage,
    }


async def _hints(config: PraefectConfig, request: praefect_pb2.SetAuthoritativeStorageRequest) -> list[str]:
    from praefect.cli.known import known_repositories, known_storages

    return known_storages(config, request.virtual_storage, request.authoritative_storage) or await known_repositories(
        config, request.virtual_storage, request.relative_path
    )


COMMAND = Command(
    name="accept-dataloss",
    summary="accept the loss of writes and make a repository writable again",
    description="Declares the replica on one storage the latest. All other replicas become outdated and are\n"
    "overwritten from it, so that writes only they have are lost.\n\n"
    "Example: praefect -config praefect.config.toml accept-dataloss -virtual-storage default \\\n"
    "  -relative-path @hashed/aa/bb/cc.git -authoritative-storage gitaly-1",
    flags=(
        Flag(name="virtual-storage", text="virtual storage of the repository", required=True),
        Flag(name="relative-path", text="relative path of the repository", required=True),
        Flag(name="authoritative-storage", text="storage whose replica is the latest", required=True),
        FORMAT,
    ),
    arguments=Arguments.REFUSED_SILENTLY,
    run=run,
)
