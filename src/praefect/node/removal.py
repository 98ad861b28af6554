"""Removing a repository: moved away in one rename under its lock, deleted afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, NotFoundError, PraefectError
from praefect.node.storage.durable import sync_file
from praefect.node.storage.locking import lock_file
from praefect.node.storage.temporary import discard_in_thread
from praefect.node.voting import Phase, vote_hash
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from pathlib import Path

    from praefect.node.context import NodeContext
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.voting import Voter


async def remove_repository(context: NodeContext, repository: LocalRepository, voter: Voter) -> None:
    """Remove a repository that was found valid.

    Raises:
        NotFoundError: it is gone.
        FailedPreconditionError: it is locked, or was removed meanwhile.
        PraefectError: a vote failed.
    """
    if not repository.path.exists():
        raise NotFoundError("repository does not exist")
    path = repository.relative_path.encode("utf-8", "surrogateescape")
    await _cast(voter, b"acquiring distributed lock " + path, Phase.PREPARING, "vote on rename")
    with lock_file(repository.path, held="repository is already locked"):
        if not repository.path.exists():
            raise FailedPreconditionError("repository was concurrently removed")
        await _cast(voter, b"pre-remove " + path, Phase.PREPARED, "vote on rename")
        grave = context.temporary.create(repository.root, f"{repository.path.name}+removed")
        try:
            await asyncio.to_thread(_move_away, repository, grave / "repo")
            await context.objects.forget(repository)
            await _cast(voter, b"post-remove " + path, Phase.COMMITTED, "vote on finalizing")
        finally:
            await discard_in_thread(grave)


def _move_away(repository: LocalRepository, grave: Path) -> None:
    repository.path.rename(grave)
    sync_file(repository.path.parent)


async def _cast(voter: Voter, subject: bytes, phase: Phase, prefix: str) -> None:
    try:
        await voter.vote(vote_hash(subject), phase)
    except PraefectError as exc:
        raise wrap(prefix, exc) from exc
