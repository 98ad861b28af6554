"""UserCommitFiles: changes of files, made into one commit on a branch.

Source: node.md 15 and 15.1.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.domain.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    PraefectError,
)
from praefect.node.git.names import HEADS_PREFIX
from praefect.node.hooks.reference_update import (
    AccessRefusedError,
    CustomHookRefusedError,
    ReferenceNotUpdatedError,
)
from praefect.node.operations.commits import NewCommit, write_commit
from praefect.node.operations.file_actions import ActionKind, FileAction, apply_actions
from praefect.node.operations.identity import Identity, Signature
from praefect.node.operations.remote_commits import bring_commit, is_same_repository
from praefect.node.operations.trees import Directory, Tree, hash_files, read_tree, write_tree
from praefect.node.quoting import quote
from praefect.node.services.operation.part import (
    Operation,
    OperationPart,
    branch_update,
    moment_for,
    require_user,
)
from praefect.node.storage.temporary import discard_in_thread
from praefect.proto.operations_pb2 import (
    UserCommitFilesActionHeader,
    UserCommitFilesError,
    UserCommitFilesRequest,
    UserCommitFilesRequestHeader,
    UserCommitFilesResponse,
)
from praefect.transport.grpc.status import StatusCode, StatusError, wrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall


@dataclass(slots=True)
class _Spool:
    """The contents of a request's files, on disk until all are there.

    Attributes:
        actions: in the request's order, each with the file that has its content.
    """

    directory: Path
    actions: list[tuple[UserCommitFilesActionHeader, Path]] = field(default_factory=list)
    _undecoded: bytes = b""

    async def take(self, request: UserCommitFilesRequest) -> None:
        """Take one message behind the header."""
        action = request.action
        if action.WhichOneof("user_commit_files_action_payload") == "header":
            self.end()
            path = self.directory / str(len(self.actions))
            await asyncio.to_thread(path.touch)
            self.actions.append((action.header, path))
        elif not self.actions:
            raise InvalidArgumentError("content before an action")
        else:
            await self._append(action.content)

    def end(self) -> None:
        """Check that the last content was complete."""
        if self._undecoded:
            raise InternalError("illegal base64 data: unexpected end")

    async def _append(self, content: bytes) -> None:
        header, path = self.actions[-1]
        data = self._decode(content) if header.base64_content else content
        await asyncio.to_thread(_append_to, path, data)

    def _decode(self, content: bytes) -> bytes:
        encoded = self._undecoded + content.translate(None, b"\r\n")
        whole = len(encoded) // 4 * 4
        self._undecoded = encoded[whole:]
        try:
            return base64.b64decode(encoded[:whole], validate=True)
        except binascii.Error as error:
            raise InternalError("illegal base64 data") from error


def _append_to(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class FilesPart(OperationPart):
    """Commits of files."""

    async def user_commit_files(
        self, requests: AsyncIterator[UserCommitFilesRequest], call: ServerCall
    ) -> UserCommitFilesResponse:
        """Make a commit that changes files and move the branch to it."""
        first = await anext(requests, None)
        if first is None or first.WhichOneof("user_commit_files_request_payload") != "header":
            raise InvalidArgumentError("empty UserCommitFilesRequestHeader")
        header = first.header
        self._context.storages.open(header.repository)
        _validate(header)
        async with self._operation(header, call) as operation:
            spool = _Spool(self._context.temporary.create(operation.base.root, "commit-files"))
            try:
                async for request in requests:
                    await spool.take(request)
                spool.end()
                return await self._commit_files(operation, header, spool)
            finally:
                await discard_in_thread(spool.directory)

    async def _commit_files(
        self, operation: Operation, header: UserCommitFilesRequestHeader, spool: _Spool
    ) -> UserCommitFilesResponse:
        base = operation.base
        had_branches = await self._has_branches(base)
        current = await self._branch_commit(base, header.branch_name)
        try:
            parent = await self._parent(operation, header, had_branches=had_branches)
        except PraefectError as error:
            raise wrap("resolve parent commit", error) from error
        tree = await self._changed_tree(operation, parent, spool)
        commit = await self._write_commit(operation, header, tree, parent)
        old = await self._old_value(base, header, parent, current)
        try:
            await self._update_branch(operation, header.branch_name, commit, old)
        except PraefectError as error:
            raise _update_error(error) from error
        return UserCommitFilesResponse(branch_update=branch_update(commit, current, had_branches=had_branches))

    async def _parent(
        self, operation: Operation, header: UserCommitFilesRequestHeader, *, had_branches: bool
    ) -> str | None:
        """Return the commit to build on, ``None`` for the first commit of a repository."""
        remote = header.start_repository if header.HasField("start_repository") else None
        branch = header.start_branch_name or header.branch_name
        revision = header.start_sha.encode() if header.start_sha else HEADS_PREFIX + branch
        if remote is not None and not is_same_repository(remote, header.repository):
            metadata = operation.call.metadata
            return await bring_commit(self._context, metadata, operation.repository, remote, revision)
        commit = await self._commit_id(operation.base, revision)
        if commit is None and (had_branches or header.start_sha):
            refish = quote(revision + b"^{commit}")
            raise InternalError(f"resolving refish {refish} in *localrepo.Repo: reference not found")
        return commit

    async def _changed_tree(self, operation: Operation, parent: str | None, spool: _Spool) -> str:
        git, repository = self._context.git, operation.repository
        paths = [os.fsdecode(path) for _, path in spool.actions]
        blobs = await hash_files(git, repository, paths)
        actions = [
            FileAction(
                kind=_kind(each.action),
                path=each.file_path,
                previous_path=each.previous_path,
                blob=blob,
                is_executable=each.execute_filemode,
                keeps_content=each.infer_content,
            )
            for (each, _), blob in zip(spool.actions, blobs, strict=True)
        ]
        async with self._context.objects.reader(operation.repository) as reader:
            tree = Tree(reader)
            if parent is not None:
                tree.root = Directory(oid=await read_tree(self._context.objects, operation.repository, parent))
            await apply_actions(tree, actions, empty_blob=await self._empty_blob(operation, actions))
            return await write_tree(git, repository, tree)

    async def _empty_blob(self, operation: Operation, actions: list[FileAction]) -> str:
        """Return the id of an empty file, written only if an action needs one of its own."""
        if not any(action.kind is ActionKind.CREATE_DIRECTORY for action in actions):
            return ""
        return (await hash_files(self._context.git, operation.repository, ["/dev/null"]))[0]

    async def _write_commit(
        self, operation: Operation, header: UserCommitFilesRequestHeader, tree: str, parent: str | None
    ) -> str:
        timestamp = header.timestamp if header.HasField("timestamp") else None
        moment = moment_for(header.user, timestamp)
        committer = Identity.of_user(header.user)
        author = Identity.of(
            header.commit_author_name or header.user.name, header.commit_author_email or header.user.email
        )
        if not (committer.is_complete and author.is_complete):
            raise InvalidArgumentError(
                "commit: failed to parse signature - Signature cannot have an empty name or email"
            )
        return await write_commit(
            self._context.git,
            operation.repository,
            NewCommit(
                tree=tree,
                parents=[parent] if parent else [],
                message=header.commit_message,
                author=Signature(identity=author, moment=moment),
                committer=Signature(identity=committer, moment=moment),
            ),
        )

    async def _old_value(
        self,
        repository: LocalRepository,
        header: UserCommitFilesRequestHeader,
        parent: str | None,
        current: str | None,
    ) -> str | None:
        expected = await self._expected_old(repository, header.expected_old_oid)
        if expected is not None:
            return expected
        if current is None or header.force:
            return current
        return parent


def _validate(header: UserCommitFilesRequestHeader) -> None:
    require_user(header.user, present=header.HasField("user"), text="empty User")
    if not header.commit_message:
        raise InvalidArgumentError("empty CommitMessage")
    if not header.branch_name:
        raise InvalidArgumentError("empty BranchName")


def _kind(number: int) -> ActionKind:
    try:
        return ActionKind(number)
    except ValueError as error:
        raise InvalidArgumentError(f"unknown action: {number}") from error


def _update_error(error: PraefectError) -> PraefectError:
    prefixed = f"update reference: {error}"
    if isinstance(error, AccessRefusedError):
        detail = UserCommitFilesError(access_check=error.detail)
        text = f"denied by access checks: {prefixed}"
        return StatusError(StatusCode.PERMISSION_DENIED, text, [detail])
    if isinstance(error, CustomHookRefusedError):
        detail = UserCommitFilesError(custom_hook=error.detail)
        text = f"denied by custom hooks: {prefixed}"
        return StatusError(StatusCode.PERMISSION_DENIED, text, [detail])
    if isinstance(error, ReferenceNotUpdatedError):
        return FailedPreconditionError(str(error))
    return wrap("update reference", error)
