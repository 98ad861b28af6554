"""``metadata``: show what is recorded of a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind
from praefect.config.quoting import quote

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.config.praefect import PraefectConfig
    from praefect.proto import praefect_pb2

_NO_REPLICA = -1


def run(invocation: Invocation) -> None:
    """Ask the running Praefect and print its answer."""
    import asyncio

    config = invocation.load_config()
    _check_selection(invocation)
    asyncio.run(_show(config, invocation))


def _check_selection(invocation: Invocation) -> None:
    repository_id = invocation.number("repository-id")
    virtual_storage, relative_path = invocation.text("virtual-storage"), invocation.text("relative-path")
    if repository_id and (virtual_storage or relative_path):
        raise CommandError("virtual storage and relative path can't be provided with a repository ID")
    if repository_id:
        return
    if not virtual_storage and not relative_path:
        raise CommandError("repository ID or virtual storage and relative path required")
    if not virtual_storage:
        raise CommandError("virtual storage is required with relative path")
    if not relative_path:
        raise CommandError("relative path is required with virtual storage")


async def _show(config: PraefectConfig, invocation: Invocation) -> None:
    from praefect.cli.known import known_repositories
    from praefect.cli.running_praefect import INFO_SERVICE, describe_rpc_error, dial_praefect
    from praefect.proto import praefect_pb2
    from praefect.transport.grpc.status import StatusError

    request = praefect_pb2.GetRepositoryMetadataRequest()
    if invocation.number("repository-id"):
        request.repository_id = invocation.number("repository-id")
    else:
        request.path.virtual_storage = invocation.text("virtual-storage")
        request.path.relative_path = invocation.text("relative-path")
    async with dial_praefect(config, error_prefix="dial: ") as praefect:
        try:
            response = await praefect.unary(
                f"{INFO_SERVICE}/GetRepositoryMetadata", request, praefect_pb2.GetRepositoryMetadataResponse
            )
        except StatusError as exc:
            path = request.path
            hints = (
                await known_repositories(config, path.virtual_storage, path.relative_path)
                if request.HasField("path")
                else []
            )
            raise CommandError(f"get metadata: {describe_rpc_error(exc)}", hints=hints) from exc
    invocation.output.result["repository"] = document(response)
    invocation.output.say(render(response))


def document(metadata: praefect_pb2.GetRepositoryMetadataResponse) -> dict[str, object]:
    """Say the answer in a document; null stands for what there is not."""
    return {
        "repository_id": metadata.repository_id,
        "virtual_storage": metadata.virtual_storage,
        "relative_path": metadata.relative_path,
        "replica_path": metadata.replica_path,
        "primary": metadata.primary or None,
        "generation": metadata.generation,
        "replicas": [
            {
                "storage": replica.storage,
                "assigned": replica.assigned,
                "generation": None if replica.generation == _NO_REPLICA else replica.generation,
                "healthy": replica.healthy,
                "valid_primary": replica.valid_primary,
                "verified_at": replica.verified_at.ToJsonString() if replica.HasField("verified_at") else None,
            }
            for replica in metadata.replicas
        ],
    }


def render(metadata: praefect_pb2.GetRepositoryMetadataResponse) -> str:
    """Write the answer."""
    lines = [
        f"Repository ID: {metadata.repository_id}",
        f"Virtual Storage: {quote(metadata.virtual_storage)}",
        f"Relative Path: {quote(metadata.relative_path)}",
        f"Replica Path: {quote(metadata.replica_path)}",
        f"Primary: {quote(metadata.primary)}",
        f"Generation: {metadata.generation}",
        "Replicas:",
    ]
    for replica in metadata.replicas:
        lines += [
            f"- Storage: {quote(replica.storage)}",
            f"  Assigned: {_bool(value=replica.assigned)}",
            f"  Generation: {_generation(replica.generation, metadata.generation)}",
            f"  Healthy: {_bool(value=replica.healthy)}",
            f"  Valid Primary: {_bool(value=replica.valid_primary)}",
            f"  Verified At: {_verified_at(replica)}",
        ]
    return "\n".join(lines)


def _bool(*, value: bool) -> str:
    return "true" if value else "false"


def _generation(replica: int, repository: int) -> str:
    if replica == _NO_REPLICA:
        return "replica not yet created"
    if replica == repository:
        return f"{replica}, fully up to date"
    return f"{replica}, behind by {repository - replica} changes"


def _verified_at(replica: praefect_pb2.GetRepositoryMetadataResponse.Replica) -> str:
    if not replica.HasField("verified_at"):
        return "unverified"
    from praefect.cli.times import format_utc

    return format_utc(replica.verified_at.seconds, replica.verified_at.nanos)


COMMAND = Command(
    name="metadata",
    summary="show the metadata of a repository",
    description="Shows the records of a repository and of its replicas. The repository is named by its ID, or by\n"
    "virtual storage and relative path.\n\n"
    "Example: praefect -config praefect.config.toml metadata -repository-id 1",
    flags=(
        Flag(name="repository-id", kind=FlagKind.INT, text="ID of the repository"),
        Flag(name="virtual-storage", text="virtual storage of the repository"),
        Flag(name="relative-path", text="relative path of the repository"),
        FORMAT,
    ),
    run=run,
)
