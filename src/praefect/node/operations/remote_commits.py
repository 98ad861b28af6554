"""Commits of other repositories: asking where they are served, and fetching what is missing here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError
from praefect.node.git.command import NO_HOOKS
from praefect.node.git.revisions import resolve
from praefect.node.internal_fetch import InternalFetch, RemoteRepository, fetch_internally
from praefect.node.quoting import quote
from praefect.node.remote import server_of
from praefect.proto.commit_pb2 import FindCommitRequest, FindCommitResponse

if TYPE_CHECKING:
    from praefect.node.context import NodeContext
    from praefect.node.storage.repository import LocalRepository
    from praefect.proto.shared_pb2 import Repository
    from praefect.transport.grpc.metadata import Metadata

_ANY_COMMIT = "uploadpack.allowAnySHA1InWant=true"


def is_same_repository(one: Repository, other: Repository) -> bool:
    """Tell whether two messages name the same place."""
    return (one.storage_name, one.relative_path) == (other.storage_name, other.relative_path)


async def bring_commit(
    context: NodeContext, metadata: Metadata, target: LocalRepository, source: Repository, revision: bytes
) -> str:
    """Return the id of the commit that ``revision`` names in ``source``, and make sure that ``target`` has it.

    Raises:
        ServersMetadataError: the call does not say where ``source`` is.
        InternalError: ``source`` has no such commit.
        PraefectError: it could not be asked or fetched from.
    """
    server = server_of(metadata, source.storage_name)
    answer = await context.remotes.channel(server).unary(
        "/gitaly.CommitService/FindCommit", FindCommitRequest(repository=source, revision=revision), FindCommitResponse
    )
    commit = answer.commit.id
    if not commit:
        refish = quote(revision + b"^{commit}")
        raise InternalError(f"resolving refish {refish} in *remoterepo.Repo: reference not found")
    async with context.objects.reader(target) as reader:
        is_here = await resolve(reader, commit.encode()) is not None
    if not is_here:
        fetch = InternalFetch(
            source=RemoteRepository(server=server, message=source, config_options=[_ANY_COMMIT]),
            refspecs=[commit],
            flags=["--no-tags"],
            config=[("fetch.fsckObjects", "false")],
            hooks=NO_HOOKS,
        )
        await fetch_internally(context, target, fetch)
    return commit
