"""UserCreateTag, UserDeleteTag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError, PraefectError
from praefect.node.git.errors import GitCommandError
from praefect.node.git.names import TAGS_PREFIX
from praefect.node.git.objects import tag_message
from praefect.node.git.update_ref import ReferenceExistsError as ExistsError
from praefect.node.hooks.reference_update import (
    AccessRefusedError,
    CustomHookRefusedError,
    ReferenceChange,
    ReferenceNotUpdatedError,
)
from praefect.node.operations.commits import NewTag, write_tag
from praefect.node.services.commits import find_commit
from praefect.node.services.operation.part import Operation, OperationPart, require_user, signature_of
from praefect.proto.errors_pb2 import ReferenceExistsError
from praefect.proto.operations_pb2 import (
    UserCreateTagError,
    UserCreateTagRequest,
    UserCreateTagResponse,
    UserDeleteTagRequest,
    UserDeleteTagResponse,
)
from praefect.proto.shared_pb2 import Tag
from praefect.transport.grpc.status import StatusCode, StatusError

if TYPE_CHECKING:
    from praefect.node.git.catfile import ObjectInfo
    from praefect.transport.grpc.server_call import ServerCall


class TagPart(OperationPart):
    """Tags come and go."""

    async def user_create_tag(self, request: UserCreateTagRequest, call: ServerCall) -> UserCreateTagResponse:
        """Create a tag, annotated if there is a message."""
        base = self._context.storages.open(request.repository)
        _validate(request)
        async with self._context.objects.reader(base) as reader:
            target = await reader.info(request.target_revision)
            if target is not None and target.type == "tag" and not request.message.strip():
                target = await reader.info(request.target_revision + b"^{}")
        if target is None:
            text = request.target_revision.decode("utf-8", "replace")
            raise FailedPreconditionError(f"revspec '{text}' not found")
        async with self._operation(request, call) as operation:
            oid = await self._write_object(operation, request, target)
            change = ReferenceChange(reference=TAGS_PREFIX + request.tag_name, old=operation.zero_id, new=oid.encode())
            try:
                await self._update_reference(operation, change)
            except PraefectError as error:
                raise await self._creation_error(operation, change, error) from error
        return UserCreateTagResponse(tag=await self._tag(operation, request.tag_name, oid))

    async def user_delete_tag(self, request: UserDeleteTagRequest, call: ServerCall) -> UserDeleteTagResponse:
        """Delete a tag."""
        base = self._context.storages.open(request.repository)
        require_user(request.user, present=request.HasField("user"))
        if not request.tag_name:
            raise InvalidArgumentError("empty tag name")
        reference = TAGS_PREFIX + request.tag_name
        expected = await self._expected_old(base, request.expected_old_oid)
        current = expected or await self._object_id(base, reference)
        if current is None:
            name = request.tag_name.decode("utf-8", "replace")
            raise FailedPreconditionError(f"tag not found: {name}")
        operation = Operation(call=call, base=base, user=request.user)
        change = ReferenceChange(reference=reference, old=current.encode(), new=operation.zero_id)
        try:
            await self._update_reference(operation, change)
        except CustomHookRefusedError as error:
            return UserDeleteTagResponse(pre_receive_error=error.text)
        except ReferenceNotUpdatedError as error:
            raise FailedPreconditionError(str(error)) from error
        return UserDeleteTagResponse()

    async def _write_object(self, operation: Operation, request: UserCreateTagRequest, target: ObjectInfo) -> str:
        """Return the id that the reference gets, of a new tag object or of the target itself."""
        if not request.message.strip():
            return target.oid
        timestamp = request.timestamp if request.HasField("timestamp") else None
        tag = NewTag(
            name=request.tag_name,
            target=target.oid,
            target_type=target.type,
            message=request.message,
            tagger=signature_of(request.user, timestamp),
        )
        try:
            return await write_tag(self._context.git, operation.repository, tag)
        except GitCommandError as error:
            reference = (TAGS_PREFIX + request.tag_name).decode("utf-8", "replace")
            text = f"Gitlab::Git::CommitError: Could not update {reference}. Please refresh and try again."
            raise NotFoundError(text) from error

    async def _tag(self, operation: Operation, name: bytes, oid: str) -> Tag:
        async with self._context.objects.reader(operation.base) as reader:
            found = await reader.read(oid.encode()) if (await reader.info(oid.encode() + b"^{tag}")) else None
        tag = tag_message(oid, name, found.data) if found is not None else Tag(name=name, id=oid)
        commit = await find_commit(self._context.objects, operation.base, oid.encode())
        if commit is not None:
            tag.target_commit.CopyFrom(commit)
        return tag

    async def _creation_error(
        self, operation: Operation, change: ReferenceChange, error: PraefectError
    ) -> PraefectError:
        if isinstance(error, AccessRefusedError):
            detail = UserCreateTagError(access_check=error.detail)
            text = f"reference update denied by access checks: {error}"
            return StatusError(StatusCode.PERMISSION_DENIED, text, [detail])
        if isinstance(error, CustomHookRefusedError):
            detail = UserCreateTagError(custom_hook=error.detail)
            text = f"reference update denied by custom hooks: {error}"
            return StatusError(StatusCode.PERMISSION_DENIED, text, [detail])
        if not isinstance(error, ReferenceNotUpdatedError):
            return error
        if isinstance(error.cause, ExistsError):
            existing = await self._object_id(operation.base, change.reference) or ""
            exists = ReferenceExistsError(reference_name=change.reference, oid=existing)
            detail = UserCreateTagError(reference_exists=exists)
            return StatusError(StatusCode.ALREADY_EXISTS, "tag reference exists already", [detail])
        detail = UserCreateTagError(reference_update=error.detail)
        return StatusError(StatusCode.FAILED_PRECONDITION, f"reference update failed: {error}", [detail])


def _validate(request: UserCreateTagRequest) -> None:
    require_user(request.user, present=request.HasField("user"))
    if not request.tag_name:
        raise InvalidArgumentError("empty tag name")
    if not request.target_revision:
        raise InvalidArgumentError("empty target revision")
    if b"\0" in request.message:
        raise InvalidArgumentError("tag message contains NUL byte")
    if request.message.strip() and b"\n" in request.tag_name:
        raise InvalidArgumentError("tag header contains newline")
