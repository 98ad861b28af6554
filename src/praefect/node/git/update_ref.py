"""Changing references: one ``git update-ref --stdin`` transaction, driven step by step.

Votes are cast here, over the lines that git would give its reference-transaction hook, so that no hook process has to
start: PREPARED when git holds all locks, COMMITTED when it has written. As with the hook, a failed COMMITTED vote is
not an error: the change is made, and the proxy repairs who differs.
"""

from __future__ import annotations

import contextlib
import re
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, PraefectError
from praefect.node.git.command import NO_HOOKS, Command, HookSetup
from praefect.node.git.errors import GitCommandError, StdinClosedError
from praefect.node.git.object_format import object_format_of
from praefect.node.voting import Phase, SilentVoter, Voter, vote_hash
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.node.git.process import GitProcess
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository

_log = get_logger("node.git")


class ReferenceUpdateError(InternalError):
    """Git refused to change references.

    Attributes:
        reference: the one it names, if any.
    """

    text = "reference update failed"

    def __init__(self, reference: bytes = b"") -> None:
        self.reference = reference
        super().__init__(self.text)


class ReferenceLockedError(ReferenceUpdateError):
    """Somebody else holds the lock of the reference."""

    text = "reference is already locked"


class PackedReferencesLockedError(ReferenceUpdateError):
    """Somebody else holds the lock of the packed references."""

    text = "packed-refs file is locked"


class InvalidReferenceFormatError(ReferenceUpdateError):
    """The name is none that git accepts."""

    text = "invalid reference format"


class FileDirectoryConflictError(ReferenceUpdateError):
    """One name would be a directory where the other is a file."""

    text = "file directory conflict"


class InTransactionConflictError(FileDirectoryConflictError):
    """The same, between two names of one transaction."""

    text = "conflicting reference updates in the same transaction"


class ReferenceExistsError(ReferenceUpdateError):
    """The reference was to be created and is there."""

    text = "reference already exists"


class MultipleUpdatesError(ReferenceUpdateError):
    """The same reference stands twice in one transaction."""

    text = "reference has been updated multiple times within a transaction"


class TargetMissingError(ReferenceUpdateError):
    """The object the reference should point to is not there."""

    text = "target object missing"


class NonCommitTargetError(ReferenceUpdateError):
    """A branch should point to something that is no commit."""

    text = "target object not a commit"


class ReferenceMismatchError(ReferenceUpdateError):
    """The reference is not where the caller expects it.

    Attributes:
        expected: the old value the caller gave, hexadecimal.
        actual: the value found, hexadecimal; empty or zeros if there is none.
    """

    text = "reference does not point to expected object"

    def __init__(self, reference: bytes, expected: bytes, actual: bytes) -> None:
        self.expected = expected
        self.actual = actual
        super().__init__(reference)


class RefusedVoteError(InternalError):
    """The other nodes did not agree to the prepared change; git would say ``exit status 128`` after its hook failed."""

    def __init__(self) -> None:
        super().__init__("exit status 128")


_NAME = rb"'(?P<ref>[^']*)'"
_FAILURES: tuple[tuple[re.Pattern[bytes], type[ReferenceUpdateError]], ...] = (
    (re.compile(rb"Unable to create '[^']*packed-refs\.lock': File exists"), PackedReferencesLockedError),
    (
        re.compile(rb"cannot lock ref " + _NAME + rb": Unable to create '[^']*\.lock': File exists"),
        ReferenceLockedError,
    ),
    (re.compile(rb"invalid ref format: (?P<ref>.*)"), InvalidReferenceFormatError),
    (re.compile(rb"(?:update|create|delete|verify) (?P<ref>[^:]*): ?(?:invalid|bad) ref"), InvalidReferenceFormatError),
    (re.compile(rb"refusing to update ref with bad name " + _NAME), InvalidReferenceFormatError),
    (re.compile(rb"cannot process " + _NAME + rb" and '[^']*' at the same time"), InTransactionConflictError),
    (re.compile(rb"cannot lock ref '[^']*': " + _NAME + rb" exists; cannot create"), FileDirectoryConflictError),
    (re.compile(rb"cannot lock ref " + _NAME + rb": there is a non-empty directory"), FileDirectoryConflictError),
    (re.compile(rb"cannot lock ref " + _NAME + rb": reference already exists"), ReferenceExistsError),
    (re.compile(rb"multiple updates for (?:ref )?" + _NAME), MultipleUpdatesError),
    (re.compile(rb"trying to write ref " + _NAME + rb" with nonexistent object"), TargetMissingError),
    (re.compile(rb"cannot update ref " + _NAME + rb": trying to write ref '[^']*' with nonexist"), TargetMissingError),
    (re.compile(rb"trying to write non-commit object [0-9a-f]+ to branch " + _NAME), NonCommitTargetError),
)
_MISMATCH = re.compile(
    rb"cannot lock ref " + _NAME + rb": is at (?P<actual>[0-9a-f]+) but expected (?P<expected>[0-9a-f]+)"
)
_UNRESOLVED = re.compile(rb"cannot lock ref " + _NAME + rb": (?:unable to resolve reference|reference is missing)")


def classify_failure(stderr: bytes) -> ReferenceUpdateError | None:
    """Return the error that git's message stands for, ``None`` for an unknown one."""
    mismatch = _MISMATCH.search(stderr)
    if mismatch is not None:
        if not mismatch["expected"].strip(b"0"):
            return ReferenceExistsError(mismatch["ref"])
        return ReferenceMismatchError(mismatch["ref"], mismatch["expected"], mismatch["actual"])
    unresolved = _UNRESOLVED.search(stderr)
    if unresolved is not None:
        return ReferenceMismatchError(unresolved["ref"], b"", b"")
    for pattern, error in _FAILURES:
        match = pattern.search(stderr)
        if match is not None:
            return error(match.groupdict().get("ref") or b"")
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    old: bytes
    new: bytes
    reference: bytes

    def hook_line(self) -> bytes:
        return b"%b %b %b\n" % (self.old, self.new, self.reference)


class ReferenceTransaction:
    """A transaction on references: queue changes, then ``prepare`` and ``commit``; leaving without it aborts."""

    def __init__(self, process: GitProcess, zero_id: bytes, voter: Voter) -> None:
        self._process = process
        self._zero_id = zero_id
        self._voter = voter
        self._lines: list[_Line] = []
        self._old_values: dict[bytes, bytes] = {}
        self._prepared = False

    async def start(self) -> None:
        """Begin; called by ``reference_transaction``."""
        await self._dialogue(b"start\0", b"start")

    def update(self, reference: bytes, new: bytes, old: bytes | None = None) -> None:
        """Queue a change to ``new`` (all zeros: delete); ``old`` is checked if given (all zeros: must not exist)."""
        self._queue(b"update %b\0%b\0%b\0" % (reference, new, old or b""))
        self._lines.append(_Line(old=old or self._zero_id, new=new, reference=reference))
        if old:
            self._old_values[reference] = old

    def create(self, reference: bytes, new: bytes) -> None:
        """Queue a creation; the reference must not exist."""
        self.update(reference, new, self._zero_id)

    def delete(self, reference: bytes, old: bytes | None = None) -> None:
        """Queue a deletion; without ``old`` it may be missing."""
        self.update(reference, self._zero_id, old)

    @property
    def hook_input(self) -> bytes:
        """The lines git gives its reference-transaction hook for what is queued."""
        return b"".join(line.hook_line() for line in self._lines)

    async def prepare(self) -> None:
        """Check everything and take the locks; then let the other nodes agree.

        Raises:
            ReferenceUpdateError: git refuses; nothing has changed.
            RefusedVoteError: the other nodes do; nothing has changed.
        """
        await self._dialogue(b"prepare\0", b"prepare")
        self._prepared = True
        if self._is_voted_on():
            try:
                await self._voter.vote(vote_hash(self.hook_input), Phase.PREPARED)
            except PraefectError as exc:
                raise RefusedVoteError from exc

    async def commit(self) -> None:
        """Make the change visible; prepares first if that was not done.

        Raises:
            ReferenceUpdateError: git refuses; nothing has changed.
            RefusedVoteError: the other nodes do; nothing has changed.
        """
        if not self._prepared:
            await self.prepare()
        await self._dialogue(b"commit\0", b"commit")
        if not self._is_voted_on():
            return
        try:
            await self._voter.vote(vote_hash(self.hook_input), Phase.COMMITTED)
        except PraefectError as exc:
            _log.warning("committed reference update not acknowledged", error=str(exc))

    def _is_voted_on(self) -> bool:
        zero = self._zero_id
        return any(line.old != zero or line.new != zero for line in self._lines)

    def _queue(self, line: bytes) -> None:
        with contextlib.suppress(StdinClosedError):  # git has refused an earlier line; the next answer says so
            self._process.write_nowait(line)

    async def _dialogue(self, command: bytes, name: bytes) -> None:
        self._queue(command)
        answer = await self._process.read_line()
        if answer == name + b": ok":
            return
        returncode = await self._process.wait()
        failure = classify_failure(self._process.stderr)
        if isinstance(failure, ReferenceMismatchError) and not failure.expected:
            failure.expected = self._old_values.get(failure.reference, b"")
        raise failure or GitCommandError(returncode, self._process.stderr)


@asynccontextmanager
async def reference_transaction(
    git: Git,
    repository: LocalRepository,
    *,
    voter: Voter | None = None,
    hooks: HookSetup = NO_HOOKS,
    deref: bool = True,
) -> AsyncIterator[ReferenceTransaction]:
    """Open a transaction; leaving without ``commit`` aborts it.

    Votes are cast by ``voter``; git's own hooks are off unless ``hooks`` says otherwise.
    """
    flags = ["-z", "--stdin"] if deref else ["-z", "--stdin", "--no-deref"]
    command = Command(name="update-ref", flags=flags, hooks=hooks)
    async with git.start(repository, command, stdin=PIPE) as process:
        transaction = ReferenceTransaction(process, object_format_of(repository.path).zero_id, voter or SilentVoter())
        await transaction.start()
        yield transaction
        process.close_stdin()
        await process.wait()
