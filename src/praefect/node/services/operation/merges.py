"""UserMergeBranch, UserMergeToRef, UserFFBranch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PraefectError,
)
from praefect.node.git.names import HEADS_PREFIX
from praefect.node.hooks.reference_update import (
    AccessRefusedError,
    CustomHookRefusedError,
    ReferenceNotUpdatedError,
)
from praefect.node.operations.commits import NewCommit, write_commit
from praefect.node.operations.merging import Merge, MergeConflictError, is_ancestor, merge_trees
from praefect.node.services.duplex import Sender, self_sending
from praefect.node.services.operation.part import (
    Operation,
    OperationPart,
    branch_update,
    require_user,
    signature_of,
)
from praefect.proto.operations_pb2 import (
    UserFFBranchError,
    UserFFBranchRequest,
    UserFFBranchResponse,
    UserMergeBranchError,
    UserMergeBranchRequest,
    UserMergeBranchResponse,
    UserMergeToRefRequest,
    UserMergeToRefResponse,
)
from praefect.transport.grpc.status import StatusCode, StatusError, wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.message import Message

    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

MERGE_REQUESTS_PREFIX = b"refs/merge-requests"


class MergePart(OperationPart):
    """Merges into branches and into the references of merge requests."""

    def user_merge_branch(
        self, requests: AsyncIterator[UserMergeBranchRequest], call: ServerCall
    ) -> AsyncGenerator[Message, None]:
        """Merge a commit into a branch, once the client has seen the result and wants it."""
        return self_sending(self._merge_branch(requests, call))

    async def user_merge_to_ref(self, request: UserMergeToRefRequest, call: ServerCall) -> UserMergeToRefResponse:
        """Merge a commit into a reference's commit and write the result to another reference."""
        repository = self._context.storages.open(request.repository)
        _validate_merge_to_ref(request)
        first_parent = request.first_parent_ref or HEADS_PREFIX + request.branch
        ours = await self._commit_id(repository, first_parent)
        theirs = await self._commit_id(repository, request.source_sha.encode())
        if ours is None or theirs is None:
            raise InvalidArgumentError("Invalid merge source")
        await self._require_plain(repository, request.target_ref)
        expected = await self._expected_old(repository, request.expected_old_oid)
        old = expected or await self._object_id(repository, request.target_ref)
        operation = Operation(call=call, base=repository, user=request.user)
        try:
            commit = await self._merge(operation, request, [ours, theirs])
        except PraefectError as error:
            target = request.target_ref.decode("utf-8", "replace")
            text = f"Failed to create merge commit for source_sha {theirs} and target_sha {ours} at {target}"
            raise FailedPreconditionError(text) from error
        await self._write_reference(operation, request.target_ref, commit, old, "Could not update")
        return UserMergeToRefResponse(commit_id=commit)

    async def user_ff_branch(self, request: UserFFBranchRequest, call: ServerCall) -> UserFFBranchResponse:
        """Move a branch forward to a commit that descends from it."""
        base = self._context.storages.open(request.repository)
        require_user(request.user, present=request.HasField("user"))
        if not request.branch:
            raise InvalidArgumentError("empty branch name")
        if not request.commit_id:
            raise InvalidArgumentError("empty commit id")
        expected = await self._expected_old(base, request.expected_old_oid)
        old = expected or await self._branch_commit(base, request.branch)
        if old is None:
            raise InvalidArgumentError("reference not found")
        if not await self._is_ancestor(base, old, request.commit_id):
            raise FailedPreconditionError("not fast forward")
        operation = Operation(call=call, base=base, user=request.user)
        try:
            await self._update_branch(operation, request.branch, request.commit_id, old)
        except CustomHookRefusedError as error:
            detail = UserFFBranchError(custom_hook=error.detail)
            raise StatusError(StatusCode.PERMISSION_DENIED, error.text, [detail]) from error
        except ReferenceNotUpdatedError as error:
            detail = UserFFBranchError(reference_update=error.detail)
            raise StatusError(StatusCode.FAILED_PRECONDITION, str(error), [detail]) from error
        except PraefectError as error:
            raise InternalError(f"updating ref with hooks: {error}") from error
        return UserFFBranchResponse(branch_update=branch_update(request.commit_id, old, had_branches=True))

    async def _merge_branch(self, requests: AsyncIterator[UserMergeBranchRequest], call: ServerCall) -> None:
        first = await anext(requests, None)
        if first is None:
            raise InternalError("EOF")
        self._context.storages.open(first.repository)
        _validate_merge_branch(first)
        sender = Sender[UserMergeBranchResponse](call)
        async with self._operation(first, call) as operation:
            expected = await self._expected_old(operation.base, first.expected_old_oid)
            old = expected or await self._branch_commit(operation.base, first.branch)
            if old is None:
                raise NotFoundError("reference not found")
            commit = await self._merge_commit(operation, first, old)
            await sender.send(UserMergeBranchResponse(commit_id=commit))
            second = await anext(requests, None)
            if second is None:
                raise InternalError("EOF")
            if not second.apply:
                raise FailedPreconditionError("merge aborted by client")
            try:
                await self._update_branch(operation, first.branch, commit, old)
            except PraefectError as error:
                raise _merge_error(error) from error
            update = branch_update(commit, old, had_branches=True)
            await sender.send(UserMergeBranchResponse(branch_update=update))

    async def _merge_commit(self, operation: Operation, request: UserMergeBranchRequest, ours: str) -> str:
        try:
            return await self._merge(operation, request, [ours, request.commit_id], squash=request.squash)
        except MergeConflictError as error:
            detail = UserMergeBranchError(merge_conflict=error.detail(ours, request.commit_id))
            text = f"merging commits: {error}"
            raise StatusError(StatusCode.FAILED_PRECONDITION, text, [detail]) from error

    async def _merge(
        self,
        operation: Operation,
        request: UserMergeBranchRequest | UserMergeToRefRequest,
        sides: list[str],
        *,
        squash: bool = False,
    ) -> str:
        git, repository = self._context.git, operation.repository
        tree = await merge_trees(git, repository, Merge(ours=sides[0], theirs=sides[1]))
        signature = signature_of(request.user, request.timestamp if request.HasField("timestamp") else None)
        parents = sides[:1] if squash else sides
        commit = NewCommit(tree=tree, parents=parents, message=request.message, author=signature, committer=signature)
        return await write_commit(git, repository, commit)

    async def _is_ancestor(self, repository: LocalRepository, ancestor: str, descendant: str) -> bool:
        if await self._commit_id(repository, descendant.encode()) is None:
            raise InternalError("checking for ancestry: invalid commit")
        return await is_ancestor(self._context.git, repository, ancestor, descendant)


def _validate_merge_branch(request: UserMergeBranchRequest) -> None:
    require_user(request.user, present=request.HasField("user"))
    if not request.branch:
        raise InvalidArgumentError("empty branch name")
    if not request.commit_id:
        raise InvalidArgumentError("empty commit ID")
    if not request.message:
        raise InvalidArgumentError("empty message")


def _validate_merge_to_ref(request: UserMergeToRefRequest) -> None:
    require_user(request.user, present=request.HasField("user"))
    if not request.first_parent_ref and not request.branch:
        raise InvalidArgumentError("empty first parent ref and branch name")
    if not request.source_sha:
        raise InvalidArgumentError("empty source SHA")
    require_merge_request_reference(request.target_ref)


def require_merge_request_reference(reference: bytes) -> None:
    """Check that a reference is one that only the front door writes.

    Raises:
        InvalidArgumentError: it is not.
    """
    if not reference:
        raise InvalidArgumentError("empty target ref")
    if not reference.startswith(MERGE_REQUESTS_PREFIX):
        raise InvalidArgumentError("invalid target ref")


def _merge_error(error: PraefectError) -> PraefectError:
    if isinstance(error, AccessRefusedError):
        detail = UserMergeBranchError(access_check=error.detail)
        return StatusError(StatusCode.PERMISSION_DENIED, error.text, [detail])
    if isinstance(error, CustomHookRefusedError):
        detail = UserMergeBranchError(custom_hook=error.detail)
        return StatusError(StatusCode.PERMISSION_DENIED, error.text, [detail])
    if isinstance(error, ReferenceNotUpdatedError):
        detail = UserMergeBranchError(reference_update=error.detail)
        return StatusError(StatusCode.FAILED_PRECONDITION, str(error), [detail])
    return wrap("target update", error)
