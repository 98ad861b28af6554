"""``dataloss``: show which repositories are unavailable or lag behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from praefect.cli.command import Invocation
    from praefect.cli.output import Output
    from praefect.config.praefect import PraefectConfig
    from praefect.proto import praefect_pb2
    from praefect.transport.grpc.channel import Channel


def run(invocation: Invocation) -> None:
    """Ask the running Praefect and print its answers as they come."""
    import asyncio

    asyncio.run(_report(invocation.load_config(), invocation))


async def _report(config: PraefectConfig, invocation: Invocation) -> None:
    from praefect.cli.known import known_virtual_storages
    from praefect.cli.running_praefect import dial_praefect

    wanted = invocation.text("virtual-storage")
    names = [wanted] if wanted else sorted(virtual.name for virtual in config.virtual_storages)
    partially = invocation.switch("partially-unavailable")
    async with dial_praefect(config, error_prefix="error dialing: ") as praefect:
        await _connect(praefect)
        for name in names:
            try:
                await _report_one(praefect, name, invocation.output, partially=partially)
            except CommandError as exc:
                raise CommandError(str(exc), hints=known_virtual_storages(config, name)) from exc


async def _connect(praefect: Channel) -> None:
    """A call to a server that is not there fails before anything is printed."""
    from praefect.cli.running_praefect import describe_rpc_error
    from praefect.transport.grpc.status import StatusError

    try:
        await praefect.connect()
    except StatusError as exc:
        raise CommandError(f"error checking: {describe_rpc_error(exc)}") from exc


async def _report_one(praefect: Channel, virtual_storage: str, output: Output, *, partially: bool) -> None:
    from praefect.cli.running_praefect import INFO_SERVICE, describe_rpc_error
    from praefect.proto import praefect_pb2
    from praefect.transport.grpc.status import StatusError

    output.say(f"Virtual storage: {virtual_storage}")
    found: list[object] = []
    output.append("virtual_storages", {"virtual_storage": virtual_storage, "repositories": found})
    request = praefect_pb2.DatalossRequest(virtual_storage=virtual_storage, include_partially_replicated=partially)
    is_empty = True
    try:
        async for response in praefect.server_stream(
            f"{INFO_SERVICE}/Dataloss", request, praefect_pb2.DatalossResponse
        ):
            if response.repositories:
                is_empty = False
                found += map(document, response.repositories)
                output.say("\n".join(render(response)))
    except StatusError as exc:
        raise CommandError(f"getting response: {describe_rpc_error(exc)}") from exc
    if is_empty and partially:
        output.say("  All repositories are fully available on all assigned storages!")
    elif is_empty:
        output.say("  All repositories are available!")


def document(repository: praefect_pb2.DatalossResponse.Repository) -> dict[str, object]:
    """Say of one repository what ``render`` says of it."""
    return {
        "relative_path": repository.relative_path,
        "unavailable": repository.unavailable,
        "primary": repository.primary or None,
        "storages": [
            {
                "storage": storage.name,
                "behind_by": storage.behind_by,
                "assigned": storage.assigned,
                "healthy": storage.healthy,
            }
            for storage in repository.storages
        ],
    }


def render(response: praefect_pb2.DatalossResponse) -> Iterator[str]:
    """Write one message of the answer, line by line."""
    yield "  Repositories:"
    for repository in response.repositories:
        mark = " (unavailable)" if repository.unavailable else _read_only_mark(repository)
        yield f"    {repository.relative_path}{mark}:"
        yield f"      Primary: {repository.primary or 'No Primary'}"
        yield "      In-Sync Storages:"
        for storage in repository.storages:
            if storage.behind_by == 0:
                yield f"        {storage.name}{_suffix(storage)}"
        yield "      Outdated Storages:"
        for storage in repository.storages:
            if storage.behind_by > 0:
                plural = "s" if storage.behind_by > 1 else ""
                lag = f"is behind by {storage.behind_by} change{plural} or less"
                yield f"        {storage.name} {lag}{_suffix(storage)}"


def _read_only_mark(repository: praefect_pb2.DatalossResponse.Repository) -> str:
    """Return the mark of a repository that can be read although none of its replicas may be primary."""
    is_read_only = repository.storages and not any(storage.valid_primary for storage in repository.storages)
    return " (read-only, replicas differ)" if is_read_only else ""


def _suffix(storage: praefect_pb2.DatalossResponse.Repository.Storage) -> str:
    assigned = ", assigned host" if storage.assigned else ""
    return assigned if storage.healthy else f"{assigned}, unhealthy"


COMMAND = Command(
    name="dataloss",
    summary="identify repositories that are unavailable or outdated",
    description="Lists repositories without an up-to-date replica that can be served. With -partially-unavailable\n"
    "also those that can be served, but not from all of their assigned storages.\n\n"
    "Example: praefect -config praefect.config.toml dataloss -virtual-storage default",
    flags=(
        Flag(name="virtual-storage", text="look only at this virtual storage"),
        Flag(
            name="partially-unavailable",
            kind=FlagKind.BOOL,
            text="also list repositories that some assigned storage cannot serve",
        ),
        FORMAT,
    ),
    run=run,
)
