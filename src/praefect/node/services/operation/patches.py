"""UserApplyPatch: mails with patches, applied by git in a temporary work tree."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InternalError, InvalidArgumentError, PraefectError
from praefect.node.default_branch import find_default_branch
from praefect.node.git.command import Command
from praefect.node.git.relay import Ends, relay
from praefect.node.hooks.reference_update import CustomHookRefusedError
from praefect.node.operations.commits import NewCommit, signature_environment
from praefect.node.services.duplex import rest_of
from praefect.node.services.operation.part import (
    Operation,
    OperationPart,
    branch_update,
    require_user,
    signature_of,
)
from praefect.node.storage.temporary import discard_in_thread
from praefect.proto.operations_pb2 import UserApplyPatchError, UserApplyPatchRequest, UserApplyPatchResponse
from praefect.transport.grpc.status import StatusCode, StatusError, wrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from praefect.transport.grpc.server_call import ServerCall

    Header = UserApplyPatchRequest.Header

WORK_TREES = "gitlab-worktree"
_MAX_REASON_BYTES = 64 * 1024


class PatchPart(OperationPart):
    """Patches from mails."""

    async def user_apply_patch(
        self, requests: AsyncIterator[UserApplyPatchRequest], call: ServerCall
    ) -> UserApplyPatchResponse:
        """Apply patches on top of a branch, or of the default branch for a new one."""
        first = await anext(requests, None)
        if first is None or first.WhichOneof("user_apply_patch_request_payload") != "header":
            raise InvalidArgumentError("empty UserApplyPatch_Header")
        header = first.header
        self._context.storages.open(header.repository)
        require_user(header.user, present=header.HasField("user"))
        if not header.target_branch:
            raise InvalidArgumentError("empty Branch")
        async with self._operation(header, call) as operation:
            base = operation.base
            had_branches = await self._has_branches(base)
            current = await self._branch_commit(base, header.target_branch)
            old = await self._expected_old(base, header.expected_old_oid) or current
            start = current or await self._default_commit(operation)
            commit = await self._apply(operation, header, start, requests)
            try:
                await self._update_branch(operation, header.target_branch, commit, old)
            except CustomHookRefusedError as error:
                detail = UserApplyPatchError(custom_hook=error.detail)
                raise StatusError(StatusCode.PERMISSION_DENIED, error.text, [detail]) from error
            except PraefectError as error:
                raise wrap("update reference", error) from error
        return UserApplyPatchResponse(branch_update=branch_update(commit, current, had_branches=had_branches))

    async def _default_commit(self, operation: Operation) -> str:
        branch = await find_default_branch(self._context.git, operation.base)
        commit = await self._commit_id(operation.base, branch) if branch else None
        if commit is None:
            raise InternalError("default branch not found")
        return commit

    async def _apply(
        self, operation: Operation, header: Header, start: str, requests: AsyncIterator[UserApplyPatchRequest]
    ) -> str:
        hooks = self._context.reference_hooks(operation.base, operation.call)
        committer = signature_of(header.user, header.timestamp if header.HasField("timestamp") else None)
        async with self._work_tree(operation, start) as work_tree:
            as_committer = NewCommit(tree="", parents=(), message=b"", author=committer, committer=committer)
            environment = {
                name: value
                for name, value in signature_environment(as_committer).items()
                if name.startswith("GIT_COMMITTER_")
            }
            command = Command(
                name="am",
                flags=["--quiet", "--3way"],
                worktree=work_tree,
                hooks=hooks,
                environment={**environment, **operation.repository.object_environment()},
            )
            said = bytearray()

            async def listen(data: bytes) -> None:
                said.extend(data[: _MAX_REASON_BYTES - len(said)])

            ends = Ends(stdin=rest_of(requests, lambda request: request.patches), stdout=listen)
            async with self._context.git.start(None, command, stdin=PIPE) as process:
                returncode = await relay(process, ends)
                stderr = process.stderr
            if returncode != 0:
                raise _failure(bytes(said), stderr)
            head = Command(name="rev-parse", flags=["--quiet", "--verify"], revisions=["HEAD^{commit}"])
            located = Command(name=head.name, flags=head.flags, revisions=head.revisions, worktree=work_tree)
            return (await self._context.git.output(operation.repository, located)).decode("ascii").strip()

    @asynccontextmanager
    async def _work_tree(self, operation: Operation, commit: str) -> AsyncIterator[Path]:
        path = operation.base.path / WORK_TREES / f"am-{secrets.token_hex(8)}"
        hooks = self._context.reference_hooks(operation.base, operation.call)
        await asyncio.to_thread(path.parent.mkdir, mode=0o700, exist_ok=True)
        try:
            command = Command(
                name="worktree", action="add", flags=["--detach", "--force"], arguments=[str(path), commit], hooks=hooks
            )
            await self._context.git.output(operation.repository, command)
            yield path
        finally:
            await discard_in_thread(path)
            await discard_in_thread(operation.base.path / "worktrees" / path.name)
            for directory in (path.parent, operation.base.path / "worktrees"):
                with contextlib.suppress(OSError):  # others may be in use
                    directory.rmdir()


def _failure(stdout: bytes, stderr: bytes) -> PraefectError:
    text = stdout.decode("utf-8", "replace")
    if text.startswith("Patch failed at"):
        return FailedPreconditionError(text)
    reason = stderr.decode("utf-8", "replace").strip() or text.strip()
    return InternalError(f"apply patch: {reason}")
