"""What each hook does. Every way to call a hook ends here: the programs git starts, HookService, user operations.

On the primary, or without a transaction, the front door is asked and custom hooks run; all others only wait, in the
vote that ends each hook, for the primary to come so far. Source: wire.md 6.4 and 10, node.md 8.2.
"""

from __future__ import annotations

import enum
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from praefect.domain.errors import InternalError, PraefectError
from praefect.node.git.object_format import InvalidObjectIdError
from praefect.node.hooks.custom_hooks import CustomHooks, Hook
from praefect.node.hooks.internal_api import AllowedRequest, InternalApi, PostReceiveRequest
from praefect.node.hooks.messages import render
from praefect.node.voting import Phase, Transaction, Voter, is_primary, vote_hash
from praefect.observability.log import get_logger
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.node.hooks.calls import HookCall, HookOutput
    from praefect.node.hooks.payload import UserDetails

_log = get_logger("hooks")


class HookError(InternalError):
    """A hook was called with something missing."""


class ReferenceCounterError(PraefectError):
    """The front door did not take notice of the push; it gives no reason, so the message is empty."""

    def __init__(self) -> None:
        super().__init__("")


class TransactionState(enum.StrEnum):
    """The argument of git's reference-transaction hook."""

    PREPARING = "preparing"
    PREPARED = "prepared"
    COMMITTED = "committed"
    ABORTED = "aborted"


_VOTED_PHASES = {TransactionState.PREPARED: Phase.PREPARED, TransactionState.COMMITTED: Phase.COMMITTED}


class VoterSource(Protocol):
    """Knows who casts the votes of a transaction."""

    def for_transaction(self, transaction: Transaction | None) -> Voter:
        """Return the voter, a silent one without a transaction."""


class HookHandlers:
    """The hooks of this node."""

    def __init__(self, *, api: InternalApi, custom_hooks: CustomHooks, voters: VoterSource) -> None:
        self._api = api
        self._custom_hooks = custom_hooks
        self._voters = voters

    async def has_custom(self, hook: Hook, call: HookCall) -> bool:
        """Tell whether this node runs programs of administrators for a hook of this call."""
        return is_primary(call.payload.transaction) and await self._custom_hooks.exist(hook, call.repository.path)

    async def pre_receive(self, call: HookCall, changes: bytes, output: HookOutput) -> None:
        """Decide whether ``changes`` (lines ``old new ref``) may happen.

        Raises:
            NotAllowedError: the front door refuses, or could not be asked.
            RateLimitedError: not now.
            CustomHookFailedError: a custom hook refuses.
            PraefectError: something is missing, or the vote failed.
        """
        voter = self._voters.for_transaction(call.payload.transaction)
        if is_primary(voter.transaction):
            async with _stopping_others(voter):
                await self._check_push(call, changes, output)
        await _synchronize(voter, Hook.PRE_RECEIVE)

    async def update(self, call: HookCall, reference: bytes, old: bytes, new: bytes, output: HookOutput) -> None:
        """Decide whether one reference may change.

        Raises:
            CustomHookFailedError: a custom hook refuses.
            PraefectError: something is wrong with the call, or the vote failed.
        """
        voter = self._voters.for_transaction(call.payload.transaction)
        if is_primary(voter.transaction):
            async with _stopping_others(voter):
                _check_update(call, reference, old, new)
                await self._custom_hooks.run(Hook.UPDATE, call, output, arguments=[reference, old, new])
        await _synchronize(voter, Hook.UPDATE)

    async def post_receive(self, call: HookCall, changes: bytes, output: HookOutput) -> None:
        """Report that ``changes`` happened.

        Raises:
            NotAllowedError: the front door could not be told.
            ReferenceCounterError: it does not want to know.
            CustomHookFailedError: a custom hook failed.
            PraefectError: something is missing, or the vote failed.
        """
        voter = self._voters.for_transaction(call.payload.transaction)
        if is_primary(voter.transaction):
            async with _stopping_others(voter):
                await self._report_push(call, changes, output)
        await _synchronize(voter, Hook.POST_RECEIVE)

    async def reference_transaction(self, call: HookCall, state: TransactionState, changes: bytes) -> None:
        """Vote on a change of references that git is about to make or has made.

        Raises:
            PraefectError: the vote failed.
        """
        phase = _VOTED_PHASES.get(state)
        zero = call.payload.object_format.zero_id
        nothing = b"%b %b " % (zero, zero)
        # git writes such lines for a packed reference that it is about to delete; what counts comes in the next ones.
        if phase is None or all(line.startswith(nothing) for line in changes.splitlines()):
            return
        voter = self._voters.for_transaction(call.payload.transaction)
        try:
            await voter.vote(vote_hash(_without_log_lines(changes)), phase)
        except PraefectError as error:
            raise wrap("error voting on transaction", error) from error

    async def _check_push(self, call: HookCall, changes: bytes, output: HookOutput) -> None:
        user = _require_user(call, changes)
        repository = call.repository
        request = AllowedRequest(
            gl_repository=repository.gl_repository,
            repository_path=str(repository.path),
            relative_path=repository.relative_path,
            changes=changes,
            protocol=user.protocol,
            gl_id=user.userid,
            object_directory=repository.object_directory,
            alternate_object_directories=repository.alternate_object_directories,
            push_options=call.push_options,
            client_context=call.payload.client_context,
            remote_ip=user.remote_ip,
        )
        await self._api.allowed(request)
        await self._custom_hooks.run(Hook.PRE_RECEIVE, call, output, stdin=changes)
        if not await self._api.pre_receive(repository.gl_repository, remote_ip=user.remote_ip):
            raise ReferenceCounterError

    async def _report_push(self, call: HookCall, changes: bytes, output: HookOutput) -> None:
        user = _require_user(call, changes)
        request = PostReceiveRequest(
            gl_repository=call.repository.gl_repository,
            gl_id=user.userid,
            changes=changes,
            push_options=call.push_options,
            client_context=call.payload.client_context,
            remote_ip=user.remote_ip,
        )
        answer = await self._api.post_receive(request)
        for message in answer.messages:
            await output.stdout(render(message))
        if not answer.is_counter_decreased:
            raise ReferenceCounterError
        await self._custom_hooks.run(Hook.POST_RECEIVE, call, output, stdin=changes)


def _without_log_lines(changes: bytes) -> bytes:
    """Drop the line of HEAD that git before 2.46 adds when the branch it stands on changes: only its log does.

    Without it, nodes with different versions of git agree, and so do changes that need no hook to be voted on.
    """
    lines = changes.splitlines(keepends=True)
    branches = {line.removesuffix(b"\n").rpartition(b" ")[0] for line in lines if not line.endswith(b" HEAD\n")}
    return b"".join(
        line for line in lines if not (line.endswith(b" HEAD\n") and line.removesuffix(b" HEAD\n") in branches)
    )


def _require_user(call: HookCall, changes: bytes) -> UserDetails:
    if not changes:
        raise HookError("hook got no reference updates")
    if not call.repository.gl_repository:
        raise HookError("repository not set")
    user = call.payload.user
    if user is None:
        raise HookError("payload has no receive hooks info")
    if not user.userid:
        raise HookError("user ID not set")
    if not user.protocol:
        raise HookError("protocol not set")
    return user


def _check_update(call: HookCall, reference: bytes, old: bytes, new: bytes) -> None:
    if not reference:
        raise HookError("hook got no reference")
    for name, value in (("old", old), ("new", new)):
        try:
            call.payload.object_format.check_id(value)
        except InvalidObjectIdError as error:
            raise HookError(f"hook got invalid {name} value: {error}") from error


@asynccontextmanager
async def _stopping_others(voter: Voter) -> AsyncIterator[None]:
    """End the transaction for every node if the block fails: the others wait for a vote that will not come."""
    try:
        yield
    except Exception:
        try:
            await voter.stop()
        except PraefectError as error:
            _log.warning("transaction could not be stopped", error=str(error))
        raise


async def _synchronize(voter: Voter, hook: Hook) -> None:
    try:
        await voter.vote(vote_hash(f"synchronize {hook.value} hook".encode()), Phase.SYNCHRONIZED)
    except PraefectError as error:
        raise wrap(f"synchronizing {hook.value} hook", wrap("vote failed", error)) from error
