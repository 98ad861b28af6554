"""Changing references: UpdateReferences, DeleteRefs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, InvalidArgumentError, NotFoundError, PraefectError
from praefect.node.git.errors import GitCommandError
from praefect.node.git.names import InvalidReferenceNameError, check_reference_name
from praefect.node.git.object_format import object_format_of
from praefect.node.git.references import Listing, collect_references
from praefect.node.git.update_ref import (
    PackedReferencesLockedError,
    ReferenceLockedError,
    ReferenceMismatchError,
    RefusedVoteError,
    TargetMissingError,
    reference_transaction,
)
from praefect.node.services.ref.part import RefPart
from praefect.node.voting import Phase, vote_hash
from praefect.proto.errors_pb2 import InvalidRefFormatError, ReferencesLockedError, ReferenceStateMismatchError
from praefect.proto.ref_pb2 import (
    DeleteRefsError,
    DeleteRefsRequest,
    DeleteRefsResponse,
    UpdateReferencesError,
    UpdateReferencesRequest,
    UpdateReferencesResponse,
)
from praefect.transport.grpc.status import StatusCode, StatusError, wrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from praefect.node.git.object_format import ObjectFormat
    from praefect.node.git.update_ref import ReferenceTransaction
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.voting import Voter
    from praefect.transport.grpc.server_call import ServerCall

_BAD_CHARACTERS = b" \t\n\x7f~^:?*[\\"


class UpdatePart(RefPart):
    """RPCs that change many references at once."""

    async def update_references(
        self, requests: AsyncIterator[UpdateReferencesRequest], call: ServerCall
    ) -> UpdateReferencesResponse:
        """Change all references of the stream, or none."""
        first = await anext(requests, None)
        if first is None:
            raise InternalError("receiving first request: EOF")
        repository = self._storages.open(first.repository)
        object_format = object_format_of(repository.path)
        voter = self._context.voter(call)
        async with reference_transaction(self._git, repository, voter=voter) as transaction:
            count = _queue(transaction, first.updates, object_format)
            async for request in requests:
                if request.HasField("repository"):
                    raise InvalidArgumentError("repository set in subsequent request")
                count += _queue(transaction, request.updates, object_format)
            if not count:
                raise InvalidArgumentError("no updates specified")
            try:
                await transaction.commit()
            except PraefectError as exc:
                raise _update_error(exc) from exc
        return UpdateReferencesResponse()

    async def delete_refs(self, request: DeleteRefsRequest, call: ServerCall) -> DeleteRefsResponse:
        """Delete references; those that are missing already are no error."""
        repository = self._storages.open(request.repository)
        _check_delete(request)
        names = list(request.refs) or await self._names_without(repository, list(request.except_with_prefix))
        bad = [name for name in names if not name.startswith(b"refs/") or any(c in _BAD_CHARACTERS for c in name)]
        if bad:
            detail = DeleteRefsError(invalid_format=InvalidRefFormatError(refs=bad))
            raise StatusError(StatusCode.INVALID_ARGUMENT, "invalid references", [detail])
        await self._delete(repository, names, self._context.voter(call))
        return DeleteRefsResponse()

    async def _names_without(self, repository: LocalRepository, prefixes: list[bytes]) -> list[bytes]:
        references = await collect_references(self._git, repository, Listing(patterns=[]))
        return [each.name for each in references if not each.name.startswith(tuple(prefixes))]

    async def _delete(self, repository: LocalRepository, names: list[bytes], voter: Voter) -> None:
        # Without old values git's own hook has nothing to vote on, so the names are.
        vote = vote_hash(b"".join(name + b"\n" for name in names))
        async with reference_transaction(self._git, repository, deref=False) as transaction:
            for name in names:
                transaction.delete(name)
            await _cast(voter, vote, Phase.PREPARING, "preparing vote")
            try:
                await transaction.prepare()
            except PraefectError as exc:
                raise _delete_error(exc) from exc
            await _cast(voter, vote, Phase.PREPARED, "prepared vote" if voter.dialect.is_new else "preparatory vote")
            try:
                await transaction.commit()
            except PraefectError as exc:
                raise wrap("unable to commit", exc) from exc
        await _cast(voter, vote, Phase.COMMITTED, "committing vote")


def _queue(
    transaction: ReferenceTransaction, updates: Sequence[UpdateReferencesRequest.Update], object_format: ObjectFormat
) -> int:
    for update in updates:
        try:
            check_reference_name(update.reference)
        except InvalidReferenceNameError as exc:
            detail = UpdateReferencesError(invalid_format=InvalidRefFormatError(refs=[update.reference]))
            raise StatusError(StatusCode.INVALID_ARGUMENT, f"validating reference: {exc}", [detail]) from exc
        new = object_format.check_id(update.new_object_id)
        old = object_format.check_id(update.old_object_id) if update.old_object_id else None
        transaction.update(update.reference, new, old)
    return len(updates)


def _update_error(exc: PraefectError) -> PraefectError:
    if isinstance(exc, ReferenceLockedError | PackedReferencesLockedError):
        locked = UpdateReferencesError(references_locked=ReferencesLockedError(refs=[exc.reference]))
        return StatusError(StatusCode.ABORTED, "reference is already locked", [locked])
    if isinstance(exc, ReferenceMismatchError):
        mismatch = ReferenceStateMismatchError(
            reference_name=exc.reference, expected_object_id=exc.expected, actual_object_id=exc.actual
        )
        detail = UpdateReferencesError(reference_state_mismatch=mismatch)
        return StatusError(StatusCode.ABORTED, "reference does not point to expected object", [detail])
    if isinstance(exc, TargetMissingError):
        return NotFoundError("target object missing")
    if isinstance(exc, RefusedVoteError | GitCommandError):
        return InternalError(f"committing update: {exc}")
    return wrap("committing update", exc)


def _check_delete(request: DeleteRefsRequest) -> None:
    if request.refs and request.except_with_prefix:
        raise InvalidArgumentError("ExceptWithPrefix and Refs are mutually exclusive")
    if not request.refs and not request.except_with_prefix:
        raise InvalidArgumentError("empty ExceptWithPrefix and Refs")
    if any(not name for name in request.refs):
        raise InvalidArgumentError("empty ref")
    if any(not prefix for prefix in request.except_with_prefix):
        raise InvalidArgumentError("empty prefix for exclusion")


def _delete_error(exc: PraefectError) -> PraefectError:
    if isinstance(exc, ReferenceLockedError | PackedReferencesLockedError):
        detail = DeleteRefsError(references_locked=ReferencesLockedError(refs=[exc.reference]))
        return StatusError(StatusCode.ABORTED, "cannot lock references", [detail])
    return wrap("unable to prepare", exc)


async def _cast(voter: Voter, vote: bytes, phase: Phase, prefix: str) -> None:
    try:
        await voter.vote(vote, phase)
    except PraefectError as exc:
        raise wrap(prefix, exc) from exc
