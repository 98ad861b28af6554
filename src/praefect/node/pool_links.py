"""Linking a repository to its object pool, and making it independent again."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, PraefectError
from praefect.node.git.command import Command
from praefect.node.pools import relative_objects_path
from praefect.node.storage.alternates import alternates_file, read_alternates
from praefect.node.storage.durable import publish, sync_file
from praefect.node.storage.replacing import replace_file
from praefect.node.voting import Phase, vote_hash
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.voting import Voter

_LINK_ORDER = (".keep", ".pack", ".rev", ".idx")


async def link(repository: LocalRepository, pool: LocalRepository, voter: Voter) -> None:
    """Let ``repository`` borrow from ``pool``.

    Raises:
        InternalError: it borrows from elsewhere.
        PraefectError: the other nodes do not agree.
    """
    wanted = relative_objects_path(repository, pool)
    file = alternates_file(repository.path)
    try:
        present = os.fsdecode(file.read_bytes()).strip()
    except FileNotFoundError:
        present = ""
    if present == wanted:
        await voter.vote(vote_hash(b"repository linked"), voter.dialect.idle_phase)
    elif not present or read_alternates(repository.path / "objects") == [pool.path / "objects"]:
        await replace_file(file, os.fsencode(wanted), voter)
    else:
        raise InternalError("unexpected alternates content")
    await asyncio.to_thread(_drop_member_bitmaps, repository.path, pool.path)


def _drop_member_bitmaps(member: Path, pool: Path) -> None:
    """Delete the member's bitmaps if the pool has one; git uses only one and complains about more."""
    if any((pool / "objects" / "pack").glob("pack-*.bitmap")):
        for bitmap in (member / "objects" / "pack").glob("pack-*.bitmap"):
            bitmap.unlink(missing_ok=True)


async def disconnect(git: Git, repository: LocalRepository, voter: Voter) -> None:
    """Give ``repository`` links to everything it borrows and make it stop borrowing.

    Raises:
        InternalError: it borrows from several, or would lack something.
        PraefectError: the other nodes do not agree.
    """
    objects = repository.path / "objects"
    alternates = read_alternates(objects)
    if not alternates:
        try:
            await voter.vote(vote_hash(b"no alternates"), voter.dialect.idle_phase)
        except PraefectError as exc:
            raise wrap("vote on missing alternates", exc) from exc
        return
    if len(alternates) > 1:
        raise InternalError("multiple alternates")
    if not repository.root.contains(alternates[0]):
        raise InternalError("alternate object directory is outside of the storage")
    await _vote_around(voter, b"migrate objects", before=True)
    await asyncio.to_thread(link_objects, alternates[0], objects)
    await _vote_around(voter, b"migrate objects", before=False)
    await _vote_around(voter, b"disconnect alternate", before=True)
    await _drop_alternates(git, repository)
    await _vote_around(voter, b"disconnect alternate", before=False)


async def _vote_around(voter: Voter, subject: bytes, *, before: bool) -> None:
    vote = vote_hash(subject)
    if before:
        await voter.vote(vote, Phase.PREPARING)
        await voter.vote(vote, Phase.PREPARED)
    else:
        await voter.vote(vote, Phase.COMMITTED)


async def _drop_alternates(git: Git, repository: LocalRepository) -> None:
    file = alternates_file(repository.path)
    backup = file.with_name(f"alternates.{int(time.time())}.{secrets.token_hex(6)}")
    await asyncio.to_thread(publish, file, backup)
    check = Command(name="rev-list", flags=["--objects", "--all", "--quiet"])
    kept = False
    try:
        await git.output(repository, check)
        kept = True
    except PraefectError as exc:
        raise wrap("connectivity check", exc) from exc
    finally:
        if not kept:  # also when the call was cancelled: the repository must stay whole
            publish(backup, file)


def link_objects(source: Path, target: Path) -> None:
    """Link every file of an object directory, but ``info``, into another; what is there already stays. Blocks."""
    files = [
        Path(directory, name).relative_to(source)
        for directory, _, names in os.walk(source)
        for name in names
        if not name.startswith("tmp_")
    ]
    changed = set()
    for file in sorted((file for file in files if file.parts[0] != "info"), key=_link_order):
        place = target / file
        if not place.parent.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            changed.add(place.parent.parent)
        try:
            os.link(source / file, place)
            changed.add(place.parent)
        except FileExistsError:
            continue
    for directory in sorted(changed, reverse=True):
        sync_file(directory)


def _link_order(file: Path) -> tuple[int, str]:
    if file.parts[0] != "pack":
        return (0, str(file))
    try:
        return (1 + _LINK_ORDER.index(file.suffix), str(file))
    except ValueError:
        return (1 + len(_LINK_ORDER), str(file))
