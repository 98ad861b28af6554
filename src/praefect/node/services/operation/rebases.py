"""UserRebaseConfirmable, UserRebaseToRef, UserSquash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import (
    AbortedError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PraefectError,
)
from praefect.node.git.names import HEADS_PREFIX
from praefect.node.hooks.reference_update import CustomHookRefusedError, ReferenceNotUpdatedError
from praefect.node.operations.commits import NewCommit, write_commit
from praefect.node.operations.identity import Identity, Signature
from praefect.node.operations.merging import Merge, MergeConflictError, merge_trees
from praefect.node.operations.remote_commits import bring_commit, is_same_repository
from praefect.node.operations.replaying import RebaseConflictError, Replayer
from praefect.node.services.duplex import Sender, self_sending
from praefect.node.services.operation.merges import require_merge_request_reference
from praefect.node.services.operation.part import (
    Operation,
    OperationPart,
    moment_for,
    require_user,
    signature_of,
)
from praefect.node.voting import Dialect, Phase, VoteRefusedError, vote_hash
from praefect.proto.errors_pb2 import AccessCheckError, ResolveRevisionError
from praefect.proto.operations_pb2 import (
    UserRebaseConfirmableError,
    UserRebaseConfirmableRequest,
    UserRebaseConfirmableResponse,
    UserRebaseToRefRequest,
    UserRebaseToRefResponse,
    UserSquashError,
    UserSquashRequest,
    UserSquashResponse,
)
from praefect.transport.grpc.status import StatusCode, StatusError, wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.message import Message

    from praefect.node.voting import Voter
    from praefect.transport.grpc.server_call import ServerCall

    Header = UserRebaseConfirmableRequest.Header


class RebasePart(OperationPart):
    """Commits made again on top of others."""

    def user_rebase_confirmable(
        self, requests: AsyncIterator[UserRebaseConfirmableRequest], call: ServerCall
    ) -> AsyncGenerator[Message, None]:
        """Rebase a branch, once the client has seen the result and wants it."""
        return self_sending(self._rebase_confirmable(requests, call))

    async def user_rebase_to_ref(self, request: UserRebaseToRefRequest, call: ServerCall) -> UserRebaseToRefResponse:
        """Rebase a commit onto a reference's and write the result to another reference."""
        self._context.storages.open(request.repository)
        _validate_rebase_to_ref(request)
        async with self._operation(request, call) as operation:
            base = operation.base
            upstream = await self._commit_id(base, request.first_parent_ref)
            if upstream is None:
                raise InvalidArgumentError("invalid upstream reference")
            source = await self._commit_id(base, request.source_sha.encode())
            if source is None:
                raise InvalidArgumentError("invalid source SHA")
            await self._require_plain(base, request.target_ref)
            expected = await self._expected_old(base, request.expected_old_oid)
            old = expected or await self._object_id(base, request.target_ref)
            committer = signature_of(request.user, request.timestamp if request.HasField("timestamp") else None)
            target = request.target_ref.decode("utf-8", "replace")
            try:
                result = await self._replayer(operation, committer).rebase(upstream, source)
            except RebaseConflictError as error:
                text = f"failed to rebase {source} on {upstream} while preparing {target} due to conflict"
                raise FailedPreconditionError(text) from error
            if operation.quarantine is not None:
                await operation.quarantine.migrate()
            await self._write_reference(operation, request.target_ref, result, old, "could not update")
        return UserRebaseToRefResponse(commit_id=result)

    async def user_squash(self, request: UserSquashRequest, call: ServerCall) -> UserSquashResponse:
        """Make one commit of all that a branch changes; no reference changes."""
        self._context.storages.open(request.repository)
        _validate_squash(request)
        async with self._operation(request, call) as operation:
            commit = await self._squash(operation, request)
            voter = self._context.voter(call)
            vote = vote_hash(commit.encode())
            preparing, prepared = _squash_vote_names(voter)
            await _vote_on_squash(voter, vote, Phase.PREPARING, preparing)
            await _vote_on_squash(voter, vote, Phase.PREPARED, prepared)
            if operation.quarantine is not None:
                await operation.quarantine.migrate()
            await _vote_on_squash(voter, vote, Phase.COMMITTED, "committing")
        return UserSquashResponse(squash_sha=commit)

    async def _rebase_confirmable(
        self, requests: AsyncIterator[UserRebaseConfirmableRequest], call: ServerCall
    ) -> None:
        first = await anext(requests, None)
        if first is None:
            raise InternalError("EOF")
        if first.WhichOneof("user_rebase_confirmable_request_payload") != "header":
            raise InvalidArgumentError("empty UserRebaseConfirmableRequest.Header")
        header = first.header
        self._context.storages.open(header.repository)
        _validate_rebase(header)
        sender = Sender[UserRebaseConfirmableResponse](call)
        async with self._operation(header, call) as operation:
            result = await self._rebase(operation, header)
            await sender.send(UserRebaseConfirmableResponse(rebase_sha=result))
            second = await anext(requests, None)
            if second is None:
                raise InternalError("EOF")
            if not second.apply:
                raise FailedPreconditionError("rebase aborted by client")
            try:
                options = tuple(header.git_push_options)
                await self._update_branch(operation, header.branch, result, header.branch_sha, push_options=options)
            except PraefectError as error:
                raise _rebase_error(error) from error
            await sender.send(UserRebaseConfirmableResponse(rebase_applied=True))

    async def _rebase(self, operation: Operation, header: Header) -> str:
        upstream = await self._remote_commit(operation, header)
        branch = await self._commit_id(operation.base, header.branch_sha.encode())
        if branch is None:
            raise NotFoundError("branch sha not found")
        committer = signature_of(header.user, header.timestamp if header.HasField("timestamp") else None)
        try:
            return await self._replayer(operation, committer).rebase(upstream, branch)
        except RebaseConflictError as error:
            detail = UserRebaseConfirmableError(rebase_conflict=error.conflict.detail(error.commit))
            text = f"rebasing commits: {error}"
            raise StatusError(StatusCode.FAILED_PRECONDITION, text, [detail]) from error

    async def _remote_commit(self, operation: Operation, header: Header) -> str:
        revision = HEADS_PREFIX + header.remote_branch
        if is_same_repository(header.remote_repository, header.repository):
            commit = await self._commit_id(operation.base, revision)
            if commit is None:
                raise NotFoundError("remote branch not found")
            return commit
        metadata = operation.call.metadata
        try:
            return await bring_commit(self._context, metadata, operation.repository, header.remote_repository, revision)
        except PraefectError as error:
            raise wrap("remote repository", error) from error

    async def _squash(self, operation: Operation, request: UserSquashRequest) -> str:
        git, repository = self._context.git, operation.repository
        start = await self._squash_end(operation, request.start_sha, "start")
        end = await self._squash_end(operation, request.end_sha, "end")
        try:
            tree = await merge_trees(git, repository, Merge(ours=start, theirs=end))
        except MergeConflictError as error:
            detail = UserSquashError(rebase_conflict=error.detail(start, end))
            raise StatusError(StatusCode.FAILED_PRECONDITION, f"squashing commits: {error}", [detail]) from error
        moment = moment_for(request.user, request.timestamp if request.HasField("timestamp") else None)
        commit = NewCommit(
            tree=tree,
            parents=[start],
            message=request.commit_message + b"\n",
            author=Signature(identity=Identity.of_user(request.author), moment=moment),
            committer=Signature(identity=Identity.of_user(request.user), moment=moment),
        )
        return await write_commit(git, repository, commit)

    async def _squash_end(self, operation: Operation, revision: str, name: str) -> str:
        commit = await self._commit_id(operation.base, revision.encode())
        if commit is None:
            detail = UserSquashError(resolve_revision=ResolveRevisionError(revision=revision.encode()))
            text = f"resolving {name} revision: reference not found"
            raise StatusError(StatusCode.INVALID_ARGUMENT, text, [detail])
        return commit

    def _replayer(self, operation: Operation, committer: Signature) -> Replayer:
        return Replayer(
            git=self._context.git,
            objects=self._context.objects,
            repository=operation.repository,
            committer=committer,
        )


def _validate_rebase_to_ref(request: UserRebaseToRefRequest) -> None:
    require_user(request.user, present=request.HasField("user"))
    if not request.first_parent_ref:
        raise InvalidArgumentError("empty first parent ref")
    if not request.source_sha:
        raise InvalidArgumentError("empty source sha")
    require_merge_request_reference(request.target_ref)


def _validate_squash(request: UserSquashRequest) -> None:
    require_user(request.user, present=request.HasField("user"))
    if not request.start_sha:
        raise InvalidArgumentError("empty start sha")
    if not request.end_sha:
        raise InvalidArgumentError("empty end sha")
    if not request.commit_message:
        raise InvalidArgumentError("empty message")
    if not request.HasField("author"):
        raise InvalidArgumentError("empty author")


def _validate_rebase(header: Header) -> None:
    require_user(header.user, present=header.HasField("user"))
    if not header.branch:
        raise InvalidArgumentError("empty branch name")
    if not header.branch_sha:
        raise InvalidArgumentError("empty branch sha")
    if not header.HasField("remote_repository"):
        raise InvalidArgumentError("empty remote repository")
    if not header.remote_branch:
        raise InvalidArgumentError("empty remote branch")


def _rebase_error(error: PraefectError) -> PraefectError:
    if isinstance(error, CustomHookRefusedError):
        refusal = AccessCheckError(error_message=error.text.removesuffix("\n"))
        detail = UserRebaseConfirmableError(access_check=refusal)
        return StatusError(StatusCode.PERMISSION_DENIED, "access check failed", [detail])
    if isinstance(error, ReferenceNotUpdatedError):
        return FailedPreconditionError(str(error))
    return InternalError(f"update ref: {error}")


def _squash_vote_names(voter: Voter) -> tuple[str, str]:
    return ("preparing", "preparatory" if voter.dialect is Dialect.R18_9 else "prepared")


async def _vote_on_squash(voter: Voter, vote: bytes, phase: Phase, name: str) -> None:
    try:
        await voter.vote(vote, phase)
    except VoteRefusedError as error:
        raise AbortedError(f"{name} vote on squashed commit: {error}") from error
    except PraefectError as error:
        raise wrap(f"{name} vote on squashed commit", error) from error
