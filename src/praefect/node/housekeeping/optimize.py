"""One maintenance run: stale files, configuration, worktrees, objects, references, commit graph. Never ``git gc``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from praefect.domain.errors import PraefectError
from praefect.node.creation import FULL_REPACK_STAMP
from praefect.node.git.command import NO_HOOKS, Command
from praefect.node.housekeeping.config_cleaning import clean_config
from praefect.node.housekeeping.dead_locks import clear_dead_locks
from praefect.node.housekeeping.plan import Plan, Repack, Strategy, make_plan, wants_packed_references
from praefect.node.housekeeping.stale import remove_stale_files
from praefect.node.inventory import take_inventory
from praefect.node.pools import is_pool_path
from praefect.node.storage.temporary import discard
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from praefect.node.context import NodeContext
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository

__all__ = ["Strategy", "optimize", "optimize_references", "prune_unreachable"]

_CRUFT_EXPIRATION = "10.days.ago"
_PRUNE_CUT = "30.minutes.ago"
_WORKTREE_AGE_SECONDS = 6 * 3600
_ISLANDS = [("pack.island", "r(e)fs/heads"), ("pack.island", "r(e)fs/tags"), ("pack.islandCore", "e")]
_POOL_ISLANDS = [
    ("pack.island", "refs/remotes/origin/he(a)ds"),
    ("pack.island", "refs/remotes/origin/t(a)gs"),
    ("pack.islandCore", "a"),
]


async def optimize(context: NodeContext, repository: LocalRepository, strategy: Strategy) -> None:
    """Tidy a repository up.

    Raises:
        MaintenanceRunningError: somebody else is at it.
        PraefectError: a step failed; the steps before it are done.
    """
    with context.maintenance.hold(repository):
        await _step("clean stale data", _clean(context, repository))
        is_pool = is_pool_path(repository.relative_path)
        inventory = await asyncio.to_thread(take_inventory, repository.path)
        plan = make_plan(inventory, strategy, is_pool=is_pool, now=time.time())
        await _step("could not repack", repack(context.git, repository, plan, is_pool=is_pool))
        if plan.prune:
            await _step("could not prune", prune(context.git, repository, "2.weeks.ago"))
        if plan.pack_refs:
            await _step("could not pack refs", pack_references(context.git, repository))
        if plan.commit_graph:
            replace = plan.replace_commit_graph
            await _step("could not write commit-graph", write_commit_graph(context.git, repository, replace=replace))


async def optimize_references(context: NodeContext, repository: LocalRepository) -> None:
    """Pack references if there are many loose ones.

    Raises:
        MaintenanceRunningError: somebody else is at it.
        GitCommandError: git failed.
    """
    with context.maintenance.hold(repository):
        if wants_packed_references(await asyncio.to_thread(take_inventory, repository.path)):
            await pack_references(context.git, repository)


async def prune_unreachable(context: NodeContext, repository: LocalRepository) -> None:
    """Drop everything unreachable that is older than half an hour.

    Raises:
        MaintenanceRunningError: somebody else is at it.
        PraefectError: a step failed.
    """
    with context.maintenance.hold(repository):
        await prune(context.git, repository, _PRUNE_CUT)
        await _full_repack(context.git, repository, bitmap=True, is_pool=False, expiration=_PRUNE_CUT)
        await write_commit_graph(context.git, repository, replace=True)


async def _step(name: str, step: Awaitable[None]) -> None:
    try:
        await step
    except PraefectError as exc:
        raise wrap(name, exc) from exc


async def _clean(context: NodeContext, repository: LocalRepository) -> None:
    git = context.git
    await clear_dead_locks(repository, context.temporary)
    await remove_stale_files(repository)
    await clean_config(git, repository)
    await asyncio.to_thread(_remove_worktrees, repository)
    if (repository.path / "worktrees").is_dir():
        await git.output(repository, Command(name="worktree", action="prune", hooks=NO_HOOKS))


def _remove_worktrees(repository: LocalRepository) -> None:
    directory = repository.path / "gitlab-worktree"
    if not directory.is_dir():
        return
    for worktree in directory.iterdir():
        if time.time() - worktree.stat().st_mtime > _WORKTREE_AGE_SECONDS:
            discard(worktree)


async def repack(git: Git, repository: LocalRepository, plan: Plan, *, is_pool: bool) -> None:
    """Repack objects as planned.

    Raises:
        GitCommandError: git failed.
    """
    if plan.repack is Repack.FULL:
        await _full_repack(git, repository, bitmap=plan.bitmap, is_pool=is_pool, expiration=_CRUFT_EXPIRATION)
    elif plan.repack is Repack.GEOMETRIC and plan.bitmap:
        await _repack(
            git,
            repository,
            ["--geometric=2", "--write-midx", "-d", "-l", *_bitmap(wanted=plan.bitmap)],
            is_pool=is_pool,
        )
    elif plan.repack is not Repack.NONE:
        # Older git cannot repack geometrically beside an alternate.
        await _repack(git, repository, ["-d", "-l", "--no-write-bitmap-index"], is_pool=is_pool)


async def _full_repack(git: Git, repository: LocalRepository, *, bitmap: bool, is_pool: bool, expiration: str) -> None:
    flags = ["-a", "-k"] if is_pool else ["--cruft", f"--cruft-expiration={expiration}"]
    await _repack(git, repository, [*flags, "-d", "-l", "--write-midx", *_bitmap(wanted=bitmap)], is_pool=is_pool)
    (repository.path / FULL_REPACK_STAMP).touch(mode=0o644)


def _bitmap(*, wanted: bool) -> list[str]:
    return ["--write-bitmap-index" if wanted else "--no-write-bitmap-index"]


async def _repack(git: Git, repository: LocalRepository, flags: list[str], *, is_pool: bool) -> None:
    config = _POOL_ISLANDS if is_pool else _ISLANDS
    command = Command(name="repack", flags=["--quiet", "--delta-islands", *flags], config=config)
    await git.output(repository, command)


async def prune(git: Git, repository: LocalRepository, before: str) -> None:
    """Delete unreachable loose objects that are older."""
    await git.output(repository, Command(name="prune", flags=[f"--expire={before}"]))


async def pack_references(git: Git, repository: LocalRepository) -> None:
    """Put loose references into one file."""
    flags = ["--all", "--auto"] if git.features.pack_refs_auto else ["--all"]
    await git.output(repository, Command(name="pack-refs", flags=flags))


async def write_commit_graph(git: Git, repository: LocalRepository, *, replace: bool) -> None:
    """Write the commit graph, from scratch or in addition to what is there."""
    flags = ["--reachable", "--changed-paths", "--size-multiple=4", "--split=replace" if replace else "--split"]
    await git.output(repository, Command(name="commit-graph", action="write", flags=flags))
