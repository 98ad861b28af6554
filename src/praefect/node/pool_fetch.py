"""Fetching a pool's first member into the pool."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, PraefectError
from praefect.node.git.command import NO_HOOKS, Command
from praefect.node.git.object_format import object_format_of
from praefect.node.git.update_ref import reference_transaction
from praefect.node.housekeeping.optimize import Strategy, optimize
from praefect.node.housekeeping.stale import remove_stale_files
from praefect.node.quoting import quote
from praefect.node.voting import Phase, vote_hash
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from praefect.node.context import NodeContext
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.voting import Voter
    from praefect.transport.grpc.server_call import ServerCall

_REFSPEC = "+refs/*:refs/remotes/origin/*"
_PRUNED = re.compile(rb"^ \* \[would prune\] (\S+)$", re.MULTILINE)
_DANGLING = re.compile(rb"^dangling \w+ ([0-9a-f]+)$", re.MULTILINE)


async def fetch_into_pool(
    context: NodeContext, origin: LocalRepository, pool: LocalRepository, call: ServerCall
) -> None:
    """Make the pool's copy of ``origin``'s references what they are now, keep what would dangle, and tidy up.

    Raises:
        PraefectError: git failed or the other nodes do not agree.
    """
    await remove_stale_files(pool)
    voter = context.voter(call)
    await _prune(context.git, origin, pool, voter)
    command = Command(
        name="fetch",
        flags=["--quiet", "--atomic", "--no-tags", "--no-write-fetch-head", "--no-show-forced-updates"],
        arguments=[str(origin.path), _REFSPEC],
        config=[("advice.fetchShowForcedUpdates", "false")],
        hooks=context.reference_hooks(pool, call),
    )
    completed = await context.git.run(pool, command)
    if completed.returncode != 0:
        raise InternalError(
            f"fetch into object pool: exit status {completed.returncode}, stderr: {quote(completed.stderr)}"
        )
    await _keep_dangling(context.git, pool)
    await optimize(context, pool, Strategy.HEURISTICAL)


async def _prune(git: Git, origin: LocalRepository, pool: LocalRepository, voter: Voter) -> None:
    command = Command(
        name="remote",
        action="prune",
        flags=["--dry-run"],
        arguments=["origin"],
        config=[("remote.origin.url", str(origin.path)), ("remote.origin.fetch", _REFSPEC)],
        hooks=NO_HOOKS,
    )
    names = [b"refs/remotes/" + name for name in _PRUNED.findall(await git.output(pool, command))]
    zero = object_format_of(pool.path).zero_id
    vote = vote_hash(b"".join(b"%b %b %b\n" % (zero, zero, name) for name in names))
    try:
        await voter.vote(vote, Phase.PREPARING)
        async with reference_transaction(git, pool, deref=False) as transaction:
            for name in names:
                transaction.delete(name)
            await transaction.prepare()
            await voter.vote(vote, Phase.PREPARED)
            await transaction.commit()
        await voter.vote(vote, Phase.COMMITTED)
    except PraefectError as exc:
        raise wrap("deleting pruned references", exc) from exc


async def _keep_dangling(git: Git, pool: LocalRepository) -> None:
    command = Command(name="fsck", flags=["--connectivity-only", "--dangling"])
    completed = await git.run(pool, command)
    dangling = _DANGLING.findall(completed.stdout)
    if not dangling:
        return
    async with reference_transaction(git, pool) as transaction:
        for oid in dangling:
            transaction.update(b"refs/dangling/" + oid, oid)
        await transaction.commit()
