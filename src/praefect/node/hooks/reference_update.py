"""Changing one reference on behalf of a user, with the hooks that a push of the same change would run.

Source: node.md 8.5, wire.md 6.6 and 6.8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, PraefectError
from praefect.node.git.update_ref import ReferenceUpdateError, reference_transaction
from praefect.node.hooks.calls import HookCall
from praefect.node.hooks.custom_hooks import CustomHookFailedError, Hook
from praefect.node.hooks.internal_api import NotAllowedError, RateLimitedError
from praefect.node.hooks.payload import RECEIVE_HOOKS, RequestedHooks, UserDetails
from praefect.node.voting import Phase, vote_hash
from praefect.observability.log import get_logger
from praefect.proto.errors_pb2 import AccessCheckError, CustomHookError
from praefect.proto.errors_pb2 import ReferenceUpdateError as ReferenceUpdateDetail
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from praefect.node.git.runner import Git
    from praefect.node.hooks.handlers import HookHandlers
    from praefect.node.hooks.setup import HookSetups
    from praefect.node.storage.quarantine import Quarantine
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.voting import Voter
    from praefect.proto.shared_pb2 import User
    from praefect.transport.grpc.metadata import Metadata

_log = get_logger("hooks")

_PROTOCOL = "web"
_MAX_OUTPUT_BYTES = 64 * 1024  # it travels in the trailers of the answer
_HOOK_TYPES = {
    Hook.PRE_RECEIVE: CustomHookError.HOOK_TYPE_PRERECEIVE,
    Hook.UPDATE: CustomHookError.HOOK_TYPE_UPDATE,
    Hook.POST_RECEIVE: CustomHookError.HOOK_TYPE_POSTRECEIVE,
}


class HookRefusedError(PraefectError):
    """A hook does not want the change.

    Attributes:
        text: the reason, without words about where it comes from.
    """

    def __init__(self, hook: Hook, text: str) -> None:
        super().__init__(f"running {hook.value} hooks: {text}")
        self.hook = hook
        self.text = text


class AccessRefusedError(HookRefusedError):
    """The front door does not allow it.

    Attributes:
        detail: what clients get to see.
    """

    def __init__(self, hook: Hook, error: NotAllowedError | RateLimitedError, *, user_id: str, changes: bytes) -> None:
        super().__init__(hook, str(error))
        self.detail = AccessCheckError(error_message=error.text, protocol=_PROTOCOL, user_id=user_id, changes=changes)


class AccessRateLimitedError(AccessRefusedError):
    """The front door does not allow it now; some operations let the client know that it may try again later."""


class CustomHookRefusedError(HookRefusedError):
    """An administrator's hook does not allow it.

    Attributes:
        detail: what clients get to see, its output verbatim.
    """

    def __init__(self, hook: Hook, error: CustomHookFailedError, output: CapturedOutput) -> None:
        stderr, stdout = bytes(output.stderr_bytes), bytes(output.stdout_bytes)
        spoken = stderr if stderr.strip() else stdout
        super().__init__(hook, spoken.decode("utf-8", "replace") if spoken.strip() else str(error))
        self.detail = CustomHookError(stdout=stdout, stderr=stderr, hook_type=_HOOK_TYPES[hook])


class ReferenceNotUpdatedError(PraefectError):
    """Git refuses the change of the reference.

    Attributes:
        cause: why.
        detail: what clients get to see.
    """

    def __init__(self, change: ReferenceChange, cause: ReferenceUpdateError) -> None:
        super().__init__(f"reference update: {cause}")
        self.cause = cause
        self.detail = ReferenceUpdateDetail(
            reference_name=change.reference, old_oid=change.old.decode("ascii"), new_oid=change.new.decode("ascii")
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceChange:
    """One reference with its old and new object ids; all zeros is no object."""

    reference: bytes
    old: bytes
    new: bytes

    @property
    def line(self) -> bytes:
        """The change as hooks read it and as nodes vote on it."""
        return b"%b %b %b\n" % (self.old, self.new, self.reference)


class CapturedOutput:
    """Keeps the beginning of a hook's output."""

    def __init__(self) -> None:
        self.stdout_bytes = bytearray()
        self.stderr_bytes = bytearray()

    async def stdout(self, data: bytes) -> None:
        """See ``HookOutput``."""
        self.stdout_bytes += data[: _MAX_OUTPUT_BYTES - len(self.stdout_bytes)]

    async def stderr(self, data: bytes) -> None:
        """See ``HookOutput``."""
        self.stderr_bytes += data[: _MAX_OUTPUT_BYTES - len(self.stderr_bytes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateContext:
    """On whose behalf, where and in which transaction references change.

    Attributes:
        quarantine: where the objects of the change are, if they are not in the repository yet; it is migrated once
            the change is allowed.
    """

    repository: LocalRepository
    user: User
    voter: Voter
    metadata: Metadata
    quarantine: Quarantine | None = None
    push_options: Sequence[str] = ()


class ReferenceUpdater:
    """Changes references for user operations."""

    def __init__(self, git: Git, handlers: HookHandlers, setups: HookSetups) -> None:
        self._git = git
        self._handlers = handlers
        self._setups = setups

    async def update(self, context: UpdateContext, change: ReferenceChange) -> None:
        """Ask, run hooks, vote and change; a refusal leaves nothing behind.

        Raises:
            AccessRefusedError: the front door does not allow it.
            CustomHookRefusedError: a custom hook does not.
            ReferenceNotUpdatedError: git does not.
            PraefectError: anything else, votes included; after the COMMITTED vote the change is made nonetheless.
        """
        quarantine = context.quarantine
        call = self._hook_call(context)
        output = CapturedOutput()
        asked = call if quarantine is None else replace(call, repository=quarantine.repository)
        await _hook(Hook.PRE_RECEIVE, context, change, output, self._handlers.pre_receive(asked, change.line, output))
        if quarantine is not None:
            await quarantine.migrate()
        output = CapturedOutput()
        running = self._handlers.update(call, change.reference, change.old, change.new, output)
        await _hook(Hook.UPDATE, context, change, output, running)
        await self._change(context, change)
        output = CapturedOutput()
        try:
            await _hook(
                Hook.POST_RECEIVE, context, change, output, self._handlers.post_receive(call, change.line, output)
            )
        except CustomHookRefusedError as error:
            _log.warning("custom post-receive hook failed", error=error.text)
        except AccessRefusedError as error:
            # The change is made: nobody may take this for a refusal without effect.
            raise InternalError(str(error)) from error

    def _hook_call(self, context: UpdateContext) -> HookCall:
        user = UserDetails(
            userid=context.user.gl_id,
            username=context.user.gl_username,
            protocol=_PROTOCOL,
            remote_ip=context.metadata.first("remote_ip") or "",
        )
        repository = context.repository.without_quarantine()
        payload = self._setups.payload(
            repository,
            RECEIVE_HOOKS | RequestedHooks.REFERENCE_TRANSACTION,
            transaction=context.voter.transaction,
            metadata=context.metadata,
            user=user,
        )
        return HookCall(repository=repository, payload=payload, push_options=context.push_options)

    async def _change(self, context: UpdateContext, change: ReferenceChange) -> None:
        voter = context.voter
        vote = vote_hash(change.line)
        try:
            async with reference_transaction(self._git, context.repository.without_quarantine()) as transaction:
                transaction.update(change.reference, change.new, change.old)
                await _vote(voter, vote, Phase.PREPARING, "pre-locked")
                await transaction.prepare()
                await _vote(voter, vote, Phase.PREPARED, "preparatory")
                await transaction.commit()
                await _vote(voter, vote, Phase.COMMITTED, "committing")
        except ReferenceUpdateError as error:
            raise ReferenceNotUpdatedError(change, error) from error


async def _hook(
    hook: Hook, context: UpdateContext, change: ReferenceChange, output: CapturedOutput, running: Awaitable[None]
) -> None:
    try:
        await running
    except RateLimitedError as error:
        raise AccessRateLimitedError(hook, error, user_id=context.user.gl_id, changes=change.line) from error
    except NotAllowedError as error:
        raise AccessRefusedError(hook, error, user_id=context.user.gl_id, changes=change.line) from error
    except CustomHookFailedError as error:
        raise CustomHookRefusedError(hook, error, output) from error
    except PraefectError as error:
        raise wrap(f"running {hook.value} hooks", error) from error


async def _vote(voter: Voter, vote: bytes, phase: Phase, name: str) -> None:
    try:
        await voter.vote(vote, phase)
    except PraefectError as error:
        raise wrap(
            f"executing {name} reference-transaction hook", wrap("error voting on transaction", error)
        ) from error
