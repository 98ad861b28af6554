"""What the parts of OperationService have in common."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from praefect.domain.errors import FailedPreconditionError, InvalidArgumentError, PraefectError
from praefect.node.git.command import Command
from praefect.node.git.names import HEADS_PREFIX
from praefect.node.git.object_format import InvalidObjectIdError, object_format_of
from praefect.node.git.update_ref import reference_transaction
from praefect.node.hooks.reference_update import ReferenceChange, ReferenceUpdater, UpdateContext
from praefect.node.operations.identity import Identity, Moment, Signature, moment_of
from praefect.node.quoting import quote
from praefect.node.storage.quarantine import Quarantine, quarantine
from praefect.proto.operations_pb2 import OperationBranchUpdate
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from praefect.node.context import NodeContext
    from praefect.node.storage.repository import LocalRepository
    from praefect.proto.shared_pb2 import Repository, User
    from praefect.transport.grpc.server_call import ServerCall


class _UserRequest(Protocol):
    @property
    def repository(self) -> Repository:
        """Where."""

    @property
    def user(self) -> User:
        """Who."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call's repository, user and transaction, and the quarantine its objects are made in.

    Attributes:
        base: the repository without the quarantine of this operation.
    """

    call: ServerCall
    base: LocalRepository
    user: User
    quarantine: Quarantine | None = None

    @property
    def repository(self) -> LocalRepository:
        """The repository that git commands of this operation use."""
        return self.quarantine.repository if self.quarantine else self.base

    @property
    def zero_id(self) -> bytes:
        """The id of no object."""
        return object_format_of(self.base.path).zero_id


class OperationPart:
    """Some RPCs of OperationService.

    Args:
        updater: changes references with hooks and votes.
    """

    def __init__(self, context: NodeContext, updater: ReferenceUpdater) -> None:
        self._context = context
        self._updater = updater

    @asynccontextmanager
    async def _operation(self, request: _UserRequest, call: ServerCall) -> AsyncIterator[Operation]:
        """Open the quarantine of a call; what is not migrated is gone at the end."""
        base = self._context.storages.open(request.repository)
        async with quarantine(self._context.temporary, base) as apart:
            yield Operation(call=call, base=base, user=request.user, quarantine=apart)

    async def _commit_id(self, repository: LocalRepository, revision: bytes) -> str | None:
        """Return the id of the commit that ``revision`` leads to."""
        return await self._object_id(repository, revision + b"^{commit}")

    async def _object_id(self, repository: LocalRepository, revision: bytes) -> str | None:
        async with self._context.objects.reader(repository) as reader:
            info = await reader.info(revision)
        return info.oid if info else None

    async def _branch_commit(self, repository: LocalRepository, branch: bytes) -> str | None:
        """Return the commit a branch points to."""
        return await self._commit_id(repository, HEADS_PREFIX + branch)

    async def _has_branches(self, repository: LocalRepository) -> bool:
        command = Command(name="for-each-ref", flags=["--count=1", "--format=x"], arguments=[HEADS_PREFIX])
        return bool(await self._context.git.output(repository, command))

    async def _expected_old(self, repository: LocalRepository, value: str) -> str | None:
        """Return the old value that a request insists on, ``None`` if it does not.

        Raises:
            InvalidArgumentError: it is no full id, or no object has it.
        """
        if not value:
            return None
        object_format = object_format_of(repository.path)
        try:
            oid = object_format.check_id(value)
        except InvalidObjectIdError as error:
            raise wrap("invalid expected old object ID", error) from error
        if object_format.is_zero(oid):
            return value
        if await self._object_id(repository, oid) is None:
            raise InvalidArgumentError("cannot resolve expected old object ID: reference not found")
        return value

    async def _update_branch(
        self,
        operation: Operation,
        branch: bytes,
        new: str,
        old: str | None,
        *,
        push_options: Sequence[str] = (),
    ) -> None:
        """Move a branch; ``old`` is ``None`` for one that must not exist."""
        change = ReferenceChange(
            reference=HEADS_PREFIX + branch, old=old.encode() if old else operation.zero_id, new=new.encode()
        )
        await self._update_reference(operation, change, push_options=push_options)

    async def _require_plain(self, repository: LocalRepository, reference: bytes) -> None:
        """Check that a reference, if it exists, names an object and not another reference.

        Raises:
            FailedPreconditionError: it is symbolic.
        """
        command = Command(name="for-each-ref", flags=["--format=%(symref)"], arguments=[reference])
        if (await self._context.git.output(repository, command)).strip():
            raise FailedPreconditionError(f"target reference is symbolic: {quote(reference)}")

    async def _write_reference(
        self, operation: Operation, reference: bytes, new: str, old: str | None, complaint: str
    ) -> None:
        """Set a reference that no user pushes to: without hooks, with git's own votes.

        Raises:
            FailedPreconditionError: that is not possible; ``complaint`` begins the text.
        """
        voter = self._context.voter(operation.call)
        try:
            async with reference_transaction(self._context.git, operation.base, voter=voter) as transaction:
                transaction.update(reference, new.encode(), old.encode() if old else operation.zero_id)
                await transaction.commit()
        except PraefectError as error:
            text = f"{complaint} {reference.decode('utf-8', 'replace')}. Please refresh and try again"
            raise FailedPreconditionError(text) from error

    async def _update_reference(
        self, operation: Operation, change: ReferenceChange, *, push_options: Sequence[str] = ()
    ) -> None:
        await self._updater.update(
            UpdateContext(
                repository=operation.base,
                user=operation.user,
                voter=self._context.voter(operation.call),
                metadata=operation.call.metadata,
                quarantine=operation.quarantine,
                push_options=push_options,
            ),
            change,
        )


def branch_update(commit: str, previous: str | None, *, had_branches: bool) -> OperationBranchUpdate:
    """Return what a client gets to know of a branch that moved; ``previous`` is ``None`` for a new one."""
    return OperationBranchUpdate(commit_id=commit, repo_created=not had_branches, branch_created=previous is None)


def require_user(user: User, *, present: bool, text: str = "empty user") -> None:
    """Check that a request says who acts.

    Raises:
        InvalidArgumentError: it does not.
    """
    if not present or not user.ByteSize():
        raise InvalidArgumentError(text)


def moment_for(user: User, timestamp: Timestamp | None) -> Moment:
    """Return the time of a request in its user's zone; see ``moment_of``."""
    return moment_of(timestamp, user.timezone)


def signature_of(user: User, timestamp: Timestamp | None) -> Signature:
    """Return a user's signature at the request's time."""
    return Signature(identity=Identity.of_user(user), moment=moment_for(user, timestamp))
