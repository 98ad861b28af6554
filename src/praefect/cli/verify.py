"""``verify``: have replicas looked at again by the background verifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.config.praefect import PraefectConfig
    from praefect.proto import praefect_pb2


def run(invocation: Invocation) -> None:
    """Tell the running Praefect and print how many replicas are concerned."""
    import asyncio

    config = invocation.load_config()
    _check_selection(invocation)
    asyncio.run(_mark(config, invocation))


def _check_selection(invocation: Invocation) -> None:
    repository_id = invocation.number("repository-id")
    virtual_storage, storage = invocation.text("virtual-storage"), invocation.text("storage")
    if repository_id and (virtual_storage or storage):
        raise CommandError("virtual storage and storage can't be provided with a repository ID")
    if storage and not virtual_storage:
        raise CommandError("virtual storage must be passed with storage")
    if not repository_id and not virtual_storage:
        raise CommandError("(repository id), (virtual storage) or (virtual storage, storage) required")


def _request(invocation: Invocation) -> praefect_pb2.MarkUnverifiedRequest:
    from praefect.proto import praefect_pb2

    request = praefect_pb2.MarkUnverifiedRequest()
    virtual_storage, storage = invocation.text("virtual-storage"), invocation.text("storage")
    if invocation.number("repository-id"):
        request.repository_id = invocation.number("repository-id")
    elif storage:
        request.storage.virtual_storage, request.storage.storage = virtual_storage, storage
    else:
        request.virtual_storage = virtual_storage
    return request


async def _mark(config: PraefectConfig, invocation: Invocation) -> None:
    from praefect.cli.known import known_storages, known_virtual_storages
    from praefect.cli.running_praefect import INFO_SERVICE, describe_rpc_error, dial_praefect
    from praefect.proto import praefect_pb2
    from praefect.transport.grpc.status import StatusError

    output = invocation.output
    output.summary = lambda: (
        "praefect was asked to mark the replicas and marks all or none; metadata says when each was verified"
    )
    async with dial_praefect(config, error_prefix="dial: ") as praefect:
        try:
            response = await praefect.unary(
                f"{INFO_SERVICE}/MarkUnverified", _request(invocation), praefect_pb2.MarkUnverifiedResponse
            )
        except StatusError as exc:
            raise CommandError(f"verify replicas: {describe_rpc_error(exc)}") from exc
    output.result["replicas_marked"] = response.replicas_marked
    output.say(f"{response.replicas_marked} replicas marked unverified")
    virtual_storage, storage = invocation.text("virtual-storage"), invocation.text("storage")
    if storage:
        output.hint(known_storages(config, virtual_storage, storage))
    elif virtual_storage:
        output.hint(known_virtual_storages(config, virtual_storage))


COMMAND = Command(
    name="verify",
    summary="mark replicas as unverified",
    description="Marks the replicas of a repository, of a virtual storage or of one storage as unverified, so that\n"
    "the background verifier looks at them with priority.\n\n"
    "Example: praefect -config praefect.config.toml verify -virtual-storage default -storage gitaly-1",
    flags=(
        Flag(name="repository-id", kind=FlagKind.INT, text="ID of a repository"),
        Flag(name="virtual-storage", text="virtual storage whose replicas are marked"),
        Flag(name="storage", text="storage whose replicas are marked, together with -virtual-storage"),
        FORMAT,
    ),
    run=run,
)
