"""HEAD: which branch it names, and making it name another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, PraefectError
from praefect.domain.references import is_reference_name
from praefect.node.git.command import Command
from praefect.node.git.names import HEADS_PREFIX
from praefect.node.git.object_format import object_format_of
from praefect.node.quoting import quote
from praefect.node.storage.durable import publish, sync_file
from praefect.node.storage.locking import lock_file
from praefect.node.voting import Phase, vote_hash
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from pathlib import Path

    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.voting import Voter

_log = get_logger("node.default_branch")
_FALLBACKS = (b"refs/heads/main", b"refs/heads/master")


def head_target(repository: LocalRepository) -> bytes:
    """Return what HEAD says: a reference's name, or an object id if it is detached; empty if it cannot be read."""
    try:
        content = (repository.path / "HEAD").read_bytes()
    except OSError:
        return b""
    return content.removeprefix(b"ref:").strip()


async def find_default_branch(git: Git, repository: LocalRepository) -> bytes:
    """Return the default branch, empty if there is none: HEAD's if it exists, else main, master, or the first."""
    candidates = dict.fromkeys([head_target(repository), *_FALLBACKS])
    wanted = [name for name in candidates if name.startswith(b"refs/")]
    command = Command(name="for-each-ref", flags=["--format=%(refname)"], arguments=wanted)
    present = set((await git.output(repository, command)).split(b"\n"))
    for name in wanted:
        if name in present:
            return name
    first = Command(name="for-each-ref", flags=["--format=%(refname)", "--count=1"], arguments=[HEADS_PREFIX])
    return (await git.output(repository, first)).strip()


async def set_default_branch(repository: LocalRepository, target: bytes, voter: Voter) -> None:
    """Make HEAD name ``target``, a full reference name that need not exist.

    HEAD is written as git does it, under ``HEAD.lock``, because older git cannot do it in a transaction.

    Raises:
        PraefectError: the name is bad, HEAD is locked, or the other nodes do not agree.
    """
    if not is_reference_name(target):
        raise InternalError(f"{quote(target)} is a malformed refname")
    head = repository.path / "HEAD"
    vote = vote_hash(b"%b ref:%b HEAD\n" % (object_format_of(repository.path).zero_id, target))
    with lock_file(head, held="reference is already locked") as lock:
        lock.write_bytes(b"ref: %b\n" % target)
        lock.chmod(0o644)
        try:
            await voter.vote(vote, Phase.PREPARED)
        except PraefectError as exc:
            raise InternalError("commit: exit status 128") from exc
        await asyncio.to_thread(_publish, lock, head)
    try:
        await voter.vote(vote, Phase.COMMITTED)
    except PraefectError as exc:
        _log.warning("committed default branch not acknowledged", error=str(exc))


def _publish(lock: Path, head: Path) -> None:
    sync_file(lock)
    publish(lock, head)
