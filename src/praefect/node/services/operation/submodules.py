"""UserUpdateSubmodule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InternalError, InvalidArgumentError, PraefectError
from praefect.node.git.object_format import InvalidObjectIdError, object_format_of
from praefect.node.hooks.reference_update import CustomHookRefusedError, ReferenceNotUpdatedError
from praefect.node.operations.commits import NewCommit, write_commit
from praefect.node.operations.trees import SUBMODULE_MODE, Directory, Entry, Tree, read_tree, write_tree
from praefect.node.services.operation.part import (
    Operation,
    OperationPart,
    branch_update,
    require_user,
    signature_of,
)
from praefect.proto.errors_pb2 import PathError
from praefect.proto.operations_pb2 import (
    UserUpdateSubmoduleError,
    UserUpdateSubmoduleRequest,
    UserUpdateSubmoduleResponse,
)
from praefect.transport.grpc.status import StatusCode, StatusError

if TYPE_CHECKING:
    from praefect.transport.grpc.server_call import ServerCall


class SubmodulePart(OperationPart):
    """Submodules move to other commits."""

    async def user_update_submodule(
        self, request: UserUpdateSubmoduleRequest, call: ServerCall
    ) -> UserUpdateSubmoduleResponse:
        """Make a commit that moves a submodule."""
        base = self._context.storages.open(request.repository)
        _validate(request)
        try:
            object_format_of(base.path).check_id(request.commit_sha)
        except InvalidObjectIdError as error:
            raise InvalidArgumentError("invalid CommitSha") from error
        if not await self._has_branches(base):
            raise FailedPreconditionError("Repository is empty")
        current = await self._branch_commit(base, request.branch)
        if current is None:
            raise InvalidArgumentError("Cannot find branch")
        old = await self._expected_old(base, request.expected_old_oid) or current
        async with self._operation(request, call) as operation:
            commit = await self._commit(operation, request, current)
            try:
                await self._update_branch(operation, request.branch, commit, old)
            except PraefectError as error:
                raise _update_error(error) from error
        return UserUpdateSubmoduleResponse(branch_update=branch_update(commit, current, had_branches=True))

    async def _commit(self, operation: Operation, request: UserUpdateSubmoduleRequest, parent: str) -> str:
        git, repository, objects = self._context.git, operation.repository, self._context.objects
        async with objects.reader(operation.base) as reader:
            tree = Tree(reader, Directory(oid=await read_tree(objects, operation.base, parent)))
            found = await tree.find(request.submodule)
            if not isinstance(found, Entry) or found.mode != SUBMODULE_MODE:
                kind = PathError.ERROR_TYPE_INVALID_PATH
                raise _path_error("Invalid submodule path", request.submodule, kind)
            if found.oid == request.commit_sha:
                name = request.submodule.decode("utf-8", "replace")
                text = f"The submodule {name} is already at {request.commit_sha}"
                raise _path_error(text, request.submodule, PathError.ERROR_TYPE_PATH_EXISTS)
            await tree.put(request.submodule, Entry(SUBMODULE_MODE, request.commit_sha))
            tree_id = await write_tree(git, repository, tree)
        signature = signature_of(request.user, request.timestamp if request.HasField("timestamp") else None)
        made = NewCommit(
            tree=tree_id, parents=[parent], message=request.commit_message, author=signature, committer=signature
        )
        return await write_commit(git, repository, made)


def _validate(request: UserUpdateSubmoduleRequest) -> None:
    require_user(request.user, present=request.HasField("user"))
    if not request.branch:
        raise InvalidArgumentError("empty branch name")
    for name, value in (
        ("CommitSha", request.commit_sha),
        ("Submodule", request.submodule),
        ("CommitMessage", request.commit_message),
    ):
        if not value:
            raise InvalidArgumentError(f"empty {name}")


def _path_error(text: str, path: bytes, kind: PathError.ErrorType) -> StatusError:
    detail = UserUpdateSubmoduleError(path_error=PathError(path=path, error_type=kind))
    return StatusError(StatusCode.INVALID_ARGUMENT, text, [detail])


def _update_error(error: PraefectError) -> PraefectError:
    if isinstance(error, CustomHookRefusedError):
        detail = UserUpdateSubmoduleError(custom_hook=error.detail)
        return StatusError(StatusCode.PERMISSION_DENIED, error.text, [detail])
    if isinstance(error, ReferenceNotUpdatedError):
        detail = UserUpdateSubmoduleError(reference_update=error.detail)
        return StatusError(StatusCode.FAILED_PRECONDITION, str(error), [detail])
    return InternalError(f"updating ref with hooks: {error}")
