"""UserCreateBranch, UserUpdateBranch, UserDeleteBranch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    PraefectError,
    ResourceExhaustedError,
)
from praefect.node.git.names import HEADS_PREFIX
from praefect.node.git.object_format import InvalidObjectIdError, object_format_of
from praefect.node.hooks.reference_update import (
    AccessRateLimitedError,
    AccessRefusedError,
    CustomHookRefusedError,
    ReferenceChange,
    ReferenceNotUpdatedError,
)
from praefect.node.quoting import quote
from praefect.node.services.commits import find_commit
from praefect.node.services.operation.part import Operation, OperationPart, require_user
from praefect.proto.operations_pb2 import (
    UserCreateBranchError,
    UserCreateBranchRequest,
    UserCreateBranchResponse,
    UserDeleteBranchError,
    UserDeleteBranchRequest,
    UserDeleteBranchResponse,
    UserUpdateBranchRequest,
    UserUpdateBranchResponse,
)
from praefect.proto.shared_pb2 import Branch
from praefect.transport.grpc.status import StatusCode, StatusError

if TYPE_CHECKING:
    from praefect.node.git.object_format import ObjectFormat
    from praefect.transport.grpc.server_call import ServerCall


class BranchPart(OperationPart):
    """Branches come, move and go."""

    async def user_create_branch(self, request: UserCreateBranchRequest, call: ServerCall) -> UserCreateBranchResponse:
        """Create a branch."""
        base = self._context.storages.open(request.repository)
        require_user(request.user, present=request.HasField("user"))
        _require_name(request.branch_name)
        if not request.start_point:
            raise InvalidArgumentError("empty start point")
        start = await find_commit(self._context.objects, base, request.start_point)
        if start is None:
            text = request.start_point.decode("utf-8", "replace")
            raise FailedPreconditionError(f"revspec '{text}' not found")
        operation = Operation(call=call, base=base, user=request.user)
        try:
            await self._update_branch(operation, request.branch_name, start.id, None)
        except CustomHookRefusedError as error:
            detail = UserCreateBranchError(custom_hook=error.detail)
            text = f"creation denied by custom hooks: {error}"
            raise StatusError(StatusCode.PERMISSION_DENIED, text, [detail]) from error
        except AccessRateLimitedError as error:
            raise ResourceExhaustedError(str(error)) from error
        except ReferenceNotUpdatedError as error:
            raise FailedPreconditionError(str(error)) from error
        return UserCreateBranchResponse(branch=Branch(name=request.branch_name, target_commit=start))

    async def user_update_branch(self, request: UserUpdateBranchRequest, call: ServerCall) -> UserUpdateBranchResponse:
        """Move a branch from one commit to another."""
        base = self._context.storages.open(request.repository)
        require_user(request.user, present=request.HasField("user"))
        _require_name(request.branch_name)
        for name, value in (("newrev", request.newrev), ("oldrev", request.oldrev)):
            if not value:
                raise InvalidArgumentError(f"empty {name}")
        object_format = object_format_of(base.path)
        change = ReferenceChange(
            reference=HEADS_PREFIX + request.branch_name,
            new=_object_id(object_format, "newrev", request.newrev),
            old=_object_id(object_format, "oldrev", request.oldrev),
        )
        try:
            await self._update_reference(Operation(call=call, base=base, user=request.user), change)
        except CustomHookRefusedError as error:
            return UserUpdateBranchResponse(pre_receive_error=error.text)
        except PraefectError as error:
            branch = request.branch_name.decode("utf-8", "replace")
            raise FailedPreconditionError(f"Could not update {branch}. Please refresh and try again.") from error
        return UserUpdateBranchResponse()

    async def user_delete_branch(self, request: UserDeleteBranchRequest, call: ServerCall) -> UserDeleteBranchResponse:
        """Delete a branch."""
        base = self._context.storages.open(request.repository)
        require_user(request.user, present=request.HasField("user"))
        _require_name(request.branch_name)
        reference = HEADS_PREFIX + request.branch_name
        expected = await self._expected_old(base, request.expected_old_oid)
        current = expected or await self._object_id(base, reference)
        if current is None:
            raise FailedPreconditionError(f"branch not found: {quote(request.branch_name)}")
        operation = Operation(call=call, base=base, user=request.user)
        change = ReferenceChange(reference=reference, old=current.encode(), new=operation.zero_id)
        try:
            await self._update_reference(operation, change)
        except PraefectError as error:
            raise _deletion_error(error) from error
        return UserDeleteBranchResponse()


def _require_name(name: bytes) -> None:
    if not name:
        raise InvalidArgumentError("empty branch name")


def _object_id(object_format: ObjectFormat, name: str, value: bytes) -> bytes:
    try:
        return object_format.check_id(value)
    except InvalidObjectIdError as error:
        raise InternalError(f"could not parse {name}: {error}") from error


def _deletion_error(error: PraefectError) -> PraefectError:
    if isinstance(error, AccessRateLimitedError):
        return ResourceExhaustedError(str(error))
    if isinstance(error, AccessRefusedError):
        detail = UserDeleteBranchError(access_check=error.detail)
        return StatusError(StatusCode.PERMISSION_DENIED, f"deletion denied by access checks: {error}", [detail])
    if isinstance(error, CustomHookRefusedError):
        detail = UserDeleteBranchError(custom_hook=error.detail)
        return StatusError(StatusCode.PERMISSION_DENIED, f"deletion denied by custom hooks: {error}", [detail])
    if isinstance(error, ReferenceNotUpdatedError):
        detail = UserDeleteBranchError(reference_update=error.detail)
        return StatusError(StatusCode.FAILED_PRECONDITION, f"reference update failed: {error}", [detail])
    return error
