"""UserCherryPick, UserRevert."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import (
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PraefectError,
    ResourceExhaustedError,
)
from praefect.node.git.names import HEADS_PREFIX
from praefect.node.hooks.reference_update import AccessRateLimitedError, CustomHookRefusedError
from praefect.node.operations.commits import NewCommit, write_commit
from praefect.node.operations.identity import Identity, Signature
from praefect.node.operations.merging import Merge, MergeConflictError, empty_tree_of, is_ancestor, merge_trees
from praefect.node.operations.remote_commits import bring_commit, is_same_repository
from praefect.node.operations.replaying import CommitNotFoundError, OldCommit, load_commit
from praefect.node.operations.trees import read_tree
from praefect.node.quoting import quote
from praefect.node.services.operation.part import (
    Operation,
    OperationPart,
    branch_update,
    require_user,
    signature_of,
)
from praefect.proto.errors_pb2 import AccessCheckError, ChangesAlreadyAppliedError, NotAncestorError
from praefect.proto.operations_pb2 import (
    OperationBranchUpdate,
    UserCherryPickError,
    UserCherryPickRequest,
    UserCherryPickResponse,
    UserRevertError,
    UserRevertRequest,
    UserRevertResponse,
)
from praefect.transport.grpc.status import StatusCode, StatusError

if TYPE_CHECKING:
    from praefect.transport.grpc.server_call import ServerCall


class BranchDivergedError(PraefectError):
    """The branch has commits that the result does not have.

    Attributes:
        detail: what clients get to see.
    """

    def __init__(self, branch_commit: str, result: str) -> None:
        super().__init__("branch diverged")
        self.detail = NotAncestorError(parent_revision=branch_commit.encode(), child_revision=result.encode())


class PickPart(OperationPart):
    """One commit's change made on a branch, or undone there."""

    async def user_cherry_pick(self, request: UserCherryPickRequest, call: ServerCall) -> UserCherryPickResponse:
        """Make the change of a commit on a branch."""
        self._context.storages.open(request.repository)
        _validate(request)
        async with self._operation(request, call) as operation:
            start = await self._start(operation, request)
            try:
                commit = await load_commit(self._context.objects, operation.repository, request.commit.id)
            except CommitNotFoundError as error:
                text = f"cherry-pick: commit lookup: {error}: {quote(request.commit.id)}"
                raise NotFoundError(text) from error
            result = await self._pick(operation, request, start, commit)
            try:
                update = await self._publish(operation, request, start if request.dry_run else result)
            except PraefectError as error:
                raise _cherry_pick_error(error) from error
        return UserCherryPickResponse(branch_update=update)

    async def user_revert(self, request: UserRevertRequest, call: ServerCall) -> UserRevertResponse:
        """Undo the change of a commit on a branch."""
        self._context.storages.open(request.repository)
        _validate(request)
        async with self._operation(request, call) as operation:
            start = await self._start(operation, request)
            try:
                commit = await load_commit(self._context.objects, operation.repository, request.commit.id)
            except CommitNotFoundError as error:
                raise NotFoundError(f"revert commit lookup: {error}") from error
            result = await self._revert(operation, request, start, commit)
            try:
                update = await self._publish(operation, request, start if request.dry_run else result)
            except PraefectError as error:
                raise _revert_error(error) from error
        return UserRevertResponse(branch_update=update)

    async def _start(self, operation: Operation, request: UserCherryPickRequest | UserRevertRequest) -> str:
        """Return the commit to build on.

        Raises:
            InvalidArgumentError: there is no such branch.
        """
        branch = request.start_branch_name or request.branch_name
        revision = HEADS_PREFIX + branch
        source = request.start_repository
        if request.HasField("start_repository") and not is_same_repository(source, request.repository):
            return await bring_commit(self._context, operation.call.metadata, operation.repository, source, revision)
        start = await self._commit_id(operation.base, revision)
        if start is None:
            raise InvalidArgumentError("resolve start ref: reference not found")
        return start

    async def _pick(self, operation: Operation, request: UserCherryPickRequest, start: str, commit: OldCommit) -> str:
        git, repository = self._context.git, operation.repository
        base = commit.parent or empty_tree_of(repository)
        try:
            tree = await merge_trees(git, repository, Merge(ours=start, theirs=commit.oid, base=base))
        except MergeConflictError as error:
            detail = UserCherryPickError(cherry_pick_conflict=error.detail())
            raise StatusError(StatusCode.FAILED_PRECONDITION, f"cherry pick: {error}", [detail]) from error
        if tree == await read_tree(self._context.objects, repository, start):
            detail = UserCherryPickError(changes_already_applied=ChangesAlreadyAppliedError())
            text = "cherry-pick: could not apply because the result was empty"
            raise StatusError(StatusCode.FAILED_PRECONDITION, text, [detail])
        author = commit.author
        if request.commit_author_name and request.commit_author_email:
            identity = Identity.of(request.commit_author_name, request.commit_author_email)
            author = Signature(identity=identity, moment=author.moment)
        committer = signature_of(request.user, request.timestamp if request.HasField("timestamp") else None)
        made = NewCommit(tree=tree, parents=[start], message=request.message, author=author, committer=committer)
        return await write_commit(git, repository, made)

    async def _revert(self, operation: Operation, request: UserRevertRequest, start: str, commit: OldCommit) -> str:
        git, repository = self._context.git, operation.repository
        theirs = commit.parent or empty_tree_of(repository)
        try:
            tree = await merge_trees(git, repository, Merge(ours=start, theirs=theirs, base=commit.oid))
        except MergeConflictError as error:
            detail = UserRevertError(merge_conflict=error.detail())
            text = "revert: there are conflicting files"
            raise StatusError(StatusCode.FAILED_PRECONDITION, text, [detail]) from error
        if tree == await read_tree(self._context.objects, repository, start):
            detail = UserRevertError(changes_already_applied=ChangesAlreadyAppliedError())
            text = "revert: could not apply because the result was empty"
            raise StatusError(StatusCode.FAILED_PRECONDITION, text, [detail])
        signature = signature_of(request.user, request.timestamp if request.HasField("timestamp") else None)
        made = NewCommit(tree=tree, parents=[start], message=request.message, author=signature, committer=signature)
        return await write_commit(git, repository, made)

    async def _publish(
        self, operation: Operation, request: UserCherryPickRequest | UserRevertRequest, result: str
    ) -> OperationBranchUpdate:
        base = operation.base
        had_branches = await self._has_branches(base)
        current = await self._branch_commit(base, request.branch_name)
        old = await self._expected_old(base, request.expected_old_oid) or current
        if current is not None and not await is_ancestor(
            self._context.git, operation.repository, old or current, result
        ):
            raise BranchDivergedError(old or current, result)
        await self._update_branch(operation, request.branch_name, result, old)
        return branch_update(result, current, had_branches=had_branches)


def _validate(request: UserCherryPickRequest | UserRevertRequest) -> None:
    require_user(request.user, present=request.HasField("user"))
    if not request.branch_name:
        raise InvalidArgumentError("empty branch name")
    if not request.HasField("commit"):
        raise InvalidArgumentError("empty commit")
    if not request.message:
        raise InvalidArgumentError("empty message")


def _cherry_pick_error(error: PraefectError) -> PraefectError:
    if isinstance(error, BranchDivergedError):
        detail = UserCherryPickError(target_branch_diverged=error.detail)
        return StatusError(StatusCode.FAILED_PRECONDITION, f"cherry-pick: {error}", [detail])
    if isinstance(error, CustomHookRefusedError):
        refusal = AccessCheckError(error_message=error.text.removesuffix("\n"))
        detail = UserCherryPickError(access_check=refusal)
        return StatusError(StatusCode.FAILED_PRECONDITION, "access check failed", [detail])
    return InternalError(f"update reference with hooks: {error}")


def _revert_error(error: PraefectError) -> PraefectError:
    if isinstance(error, BranchDivergedError):
        detail = UserRevertError(not_ancestor=error.detail)
        return StatusError(StatusCode.FAILED_PRECONDITION, f"revert: {error}", [detail])
    if isinstance(error, CustomHookRefusedError):
        detail = UserRevertError(custom_hook=error.detail)
        return StatusError(StatusCode.PERMISSION_DENIED, "revert: custom hook error", [detail])
    text = f"update reference with hooks: {error}"
    if isinstance(error, AccessRateLimitedError):
        return ResourceExhaustedError(text)
    return InternalError(text)
