"""Making a repository equal to the one on another storage."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message

from praefect.domain.errors import InternalError, NotFoundError, PraefectError
from praefect.domain.references import is_reference_name
from praefect.node.creation import Blueprint, create_repository
from praefect.node.custom_hooks import set_custom_hooks
from praefect.node.default_branch import head_target, set_default_branch
from praefect.node.git.object_format import ObjectFormat
from praefect.node.git.revisions import resolve_commit
from praefect.node.housekeeping.dead_locks import clear_dead_locks
from praefect.node.internal_fetch import InternalFetch, RemoteRepository, fetch_internally
from praefect.node.snapshot import unpack_snapshot
from praefect.node.storage.replacing import replace_file
from praefect.node.storage.repository import is_valid
from praefect.node.storage.temporary import discard_in_thread
from praefect.proto import commit_pb2, ref_pb2, repository_pb2
from praefect.proto.shared_pb2 import OBJECT_FORMAT_SHA256
from praefect.transport.grpc.status import StatusCode, StatusError, wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable

    from praefect.node.context import NodeContext
    from praefect.node.remote import ServerAddress
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.voting import Voter
    from praefect.proto.shared_pb2 import Repository
    from praefect.transport.grpc.channel import Channel
    from praefect.transport.grpc.server_call import ServerCall

_REPOSITORY = "/gitaly.RepositoryService/"
_Response = TypeVar("_Response", bound=Message)
_DataResponse = TypeVar(
    "_DataResponse",
    repository_pb2.GetConfigResponse,
    repository_pb2.GetCustomHooksResponse,
    repository_pb2.GetSnapshotResponse,
)


class InvalidSourceError(NotFoundError):
    """The source repository is gone; Praefect deletes its record on this very text."""

    def __init__(self) -> None:
        super().__init__("invalid source repository")


class Replication:
    """One replication: from ``source``, on another server, to ``target`` here."""

    def __init__(
        self, context: NodeContext, call: ServerCall, *, source: Repository, target: Repository, server: ServerAddress
    ) -> None:
        self._context = context
        self._call = call
        self._voter: Voter = context.voter(call)
        self._source = source
        self._target_message = target
        self._server = server
        self._channel: Channel = context.remotes.channel(server)

    async def run(self) -> None:
        """Do it; may be repeated at will.

        Raises:
            InvalidSourceError: there is nothing to replicate.
            PraefectError: a step failed; what was done before stays.
        """
        await self._require_source()
        target = self._context.storages.locate(self._target_message)
        if not is_valid(target.path):
            await self._create(target)
        target = self._context.storages.open(self._target_message)
        await clear_dead_locks(target, self._context.temporary)
        await self._sync(target)
        await self._context.objects.forget(target)

    async def _require_source(self) -> None:
        exists = await self._ask(
            "RepositoryExists",
            repository_pb2.RepositoryExistsRequest(repository=self._source),
            repository_pb2.RepositoryExistsResponse,
        )
        if not exists.exists:
            raise InvalidSourceError
        try:
            await self._ask(
                "RepositoryInfo",
                repository_pb2.RepositoryInfoRequest(repository=self._source),
                repository_pb2.RepositoryInfoResponse,
            )
        except StatusError as exc:
            raise _source_error(exc, "repository info") from exc

    async def _create(self, target: LocalRepository) -> None:
        if target.path.exists():
            grave = self._context.temporary.create(target.root, "invalid")
            try:
                target.path.rename(grave / "repo")
            finally:
                await discard_in_thread(grave)
        object_format = await self._object_format()
        blueprint = Blueprint(object_format=object_format)
        await create_repository(
            self._context, self._target_message, self._voter, seed=self._unpack, blueprint=blueprint
        )

    async def _unpack(self, built: LocalRepository) -> None:
        request = repository_pb2.GetSnapshotRequest(repository=self._source)
        responses = self._channel.server_stream(
            f"{_REPOSITORY}GetSnapshot", request, repository_pb2.GetSnapshotResponse
        )
        try:
            async with aclosing(_data(responses)) as archive:
                await unpack_snapshot(built, archive)
        except StatusError as exc:
            raise _source_error(exc, "extracting snapshot") from exc

    async def _sync(self, target: LocalRepository) -> None:
        await self._step("synchronizing gitconfig", self._sync_config(target))
        await self._step("synchronizing references", self._sync_references(target))
        await self._step("synchronizing custom hooks", self._sync_hooks(target))

    async def _step(self, name: str, step: Awaitable[None]) -> None:
        try:
            await step
        except StatusError as exc:
            raise _source_error(exc, name) from exc

    async def _sync_config(self, target: LocalRepository) -> None:
        request = repository_pb2.GetConfigRequest(repository=self._source)
        responses = self._channel.server_stream(f"{_REPOSITORY}GetConfig", request, repository_pb2.GetConfigResponse)
        async with aclosing(_data(responses)) as data:
            content = b"".join([chunk async for chunk in data])
        await replace_file(target.path / "config", content, self._voter)

    async def _sync_references(self, target: LocalRepository) -> None:
        head = await self._source_head()
        resolves = bool(head) and await self._resolves_at_source(head)
        await fetch_internally(
            self._context,
            target,
            InternalFetch(
                source=RemoteRepository(server=self._server, message=self._source),
                refspecs=["+refs/*:refs/*"],
                flags=["--prune", "--atomic", "--no-tags"],
                config=[("fetch.negotiationAlgorithm", "skipping"), ("fetch.fsckObjects", "false")],
                hooks=self._context.reference_hooks(target, self._call),
            ),
        )
        if resolves:
            await self._sync_head(target, head)

    async def _sync_head(self, target: LocalRepository, head: bytes) -> None:
        if is_reference_name(head):
            async with self._context.objects.reader(target) as reader:
                if await resolve_commit(reader, head) is None:
                    raise InternalError("default branch of the source does not resolve after the fetch")
            if head_target(target) != head:
                await set_default_branch(target, head, self._voter)

    async def _source_head(self) -> bytes:
        request = ref_pb2.FindDefaultBranchNameRequest(repository=self._source, head_only=True)
        response = await self._channel.unary(
            "/gitaly.RefService/FindDefaultBranchName", request, ref_pb2.FindDefaultBranchNameResponse
        )
        return response.name

    async def _resolves_at_source(self, head: bytes) -> bool:
        request = commit_pb2.FindCommitRequest(repository=self._source, revision=head)
        response = await self._channel.unary("/gitaly.CommitService/FindCommit", request, commit_pb2.FindCommitResponse)
        return response.HasField("commit")

    async def _object_format(self) -> ObjectFormat:
        request = repository_pb2.ObjectFormatRequest(repository=self._source)
        response = await self._ask("ObjectFormat", request, repository_pb2.ObjectFormatResponse)
        return ObjectFormat.SHA256 if response.format == OBJECT_FORMAT_SHA256 else ObjectFormat.SHA1

    async def _sync_hooks(self, target: LocalRepository) -> None:
        request = repository_pb2.GetCustomHooksRequest(repository=self._source)
        responses = self._channel.server_stream(
            f"{_REPOSITORY}GetCustomHooks", request, repository_pb2.GetCustomHooksResponse
        )
        async with aclosing(_data(responses)) as archive:
            await set_custom_hooks(self._context, target, archive, self._voter)

    async def _ask(self, method: str, request: Message, response_type: type[_Response]) -> _Response:
        return await self._channel.unary(f"{_REPOSITORY}{method}", request, response_type)


async def _data(responses: AsyncGenerator[_DataResponse, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(responses):
        async for response in responses:
            yield response.data


def _source_error(exc: StatusError, step: str) -> PraefectError:
    """Translate the refusals that say that the source is gone."""
    gone = exc.code is StatusCode.NOT_FOUND and "repository not found" in exc.message
    invalid = exc.code is StatusCode.FAILED_PRECONDITION and "repository not valid" in exc.message
    return InvalidSourceError() if gone or invalid else wrap(step, exc)
