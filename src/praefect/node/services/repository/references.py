"""References: WriteRef, HasLocalBranches, FindMergeBase."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from praefect.domain.errors import AbortedError, InternalError, InvalidArgumentError, PraefectError
from praefect.node.default_branch import set_default_branch
from praefect.node.git.command import Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.names import InvalidRevisionError, check_revision
from praefect.node.git.object_format import object_format_of
from praefect.node.git.revisions import resolve
from praefect.node.git.update_ref import (
    PackedReferencesLockedError,
    ReferenceExistsError,
    ReferenceLockedError,
    ReferenceMismatchError,
    ReferenceUpdateError,
    reference_transaction,
)
from praefect.node.services.repository.part import RepositoryPart
from praefect.proto.errors_pb2 import ReferenceNotFoundError
from praefect.proto.repository_pb2 import (
    FindMergeBaseRequest,
    FindMergeBaseResponse,
    HasLocalBranchesRequest,
    HasLocalBranchesResponse,
    WriteRefRequest,
    WriteRefResponse,
)
from praefect.transport.grpc.status import StatusCode, StatusError, wrap

if TYPE_CHECKING:
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall


class ReferencesPart(RepositoryPart):
    """RPCs about references."""

    async def write_ref(self, request: WriteRefRequest, call: ServerCall) -> WriteRefResponse:
        """Set one reference, or HEAD's target."""
        repository = self._storages.open(request.repository)
        _check_write(request)
        voter = self._context.voter(call)
        if request.ref == b"HEAD":
            try:
                await set_default_branch(repository, request.revision, voter)
            except PraefectError as exc:
                raise wrap("setting default branch", exc) from exc
            return WriteRefResponse()
        new = await self._resolve(repository, request.revision, "new")
        old = await self._resolve(repository, request.old_revision, "old") if request.old_revision else None
        try:
            async with reference_transaction(self._git, repository, voter=voter) as transaction:
                transaction.update(request.ref, new, old)
                await transaction.commit()
        except PraefectError as exc:
            raise _write_error(exc) from exc
        return WriteRefResponse()

    async def has_local_branches(self, request: HasLocalBranchesRequest, call: ServerCall) -> HasLocalBranchesResponse:
        """Tell whether there is any branch."""
        del call
        repository = self._storages.open(request.repository)
        command = Command(name="for-each-ref", flags=["--count=1"], arguments=["refs/heads/"])
        return HasLocalBranchesResponse(value=bool(await self._git.output(repository, command)))

    async def find_merge_base(self, request: FindMergeBaseRequest, call: ServerCall) -> FindMergeBaseResponse:
        """Return the best common ancestor."""
        del call
        repository = self._storages.open(request.repository)
        if len(request.revisions) < 2:
            raise InvalidArgumentError("at least 2 revisions are required")
        for revision in request.revisions:
            check_revision(revision)
        completed = await self._git.run(repository, Command(name="merge-base", arguments=list(request.revisions)))
        if completed.returncode == 1 and not completed.stderr:
            return FindMergeBaseResponse()
        return FindMergeBaseResponse(base=completed.check().decode().strip())

    async def _resolve(self, repository: LocalRepository, revision: bytes, which: str) -> bytes:
        if object_format_of(repository.path).is_zero(revision):
            return revision
        async with self._context.objects.reader(repository) as reader:
            found = await resolve(reader, revision)
        if found is None:
            raise StatusError(
                StatusCode.NOT_FOUND,
                f"resolving {which} revision: reference not found",
                [ReferenceNotFoundError(reference_name=revision)],
            )
        return found.encode()


def _check_write(request: WriteRefRequest) -> None:
    try:
        check_revision(request.ref)
    except InvalidRevisionError as exc:
        raise wrap("invalid ref", exc) from exc
    try:
        check_revision(request.revision)
        if request.old_revision:
            check_revision(request.old_revision)
    except InvalidRevisionError as exc:
        raise wrap("invalid revision", exc) from exc
    if request.ref != b"HEAD" and not request.ref.startswith(b"refs/"):
        raise InvalidArgumentError("ref has to be a full reference")


def _write_error(exc: PraefectError) -> PraefectError:
    if isinstance(exc, ReferenceLockedError | PackedReferencesLockedError):
        return AbortedError("reference is locked already")
    if isinstance(exc, ReferenceMismatchError | ReferenceExistsError):
        return InternalError(f"error when running update-ref command: {ReferenceMismatchError.text}")
    if isinstance(exc, GitCommandError):
        return InternalError(f"error when running update-ref command: {exc.status}, stderr: {os.fsdecode(exc.stderr)}")
    if isinstance(exc, ReferenceUpdateError | InternalError):
        return InternalError(f"error when running update-ref command: {exc}")
    return exc
