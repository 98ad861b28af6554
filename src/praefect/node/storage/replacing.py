"""Replacing one file of a repository: written aside, locked, voted on, renamed over the old one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError
from praefect.node.storage.durable import publish, sync_file
from praefect.node.storage.locking import AlreadyLockedError, lock_file
from praefect.node.voting import Phase, vote_hash

if TYPE_CHECKING:
    from praefect.node.voting import Voter

_Fingerprint = tuple[int, int, int] | None


class FileLockedError(InternalError):
    """Somebody else is changing the file."""

    def __init__(self) -> None:
        super().__init__("file already locked")


class FileChangedError(InternalError):
    """The file is no longer what it was when its new content was made."""

    def __init__(self) -> None:
        super().__init__("file changed")


async def replace_file(path: Path, content: bytes, voter: Voter, *, mode: int = 0o644) -> None:
    """Give ``path`` new content, atomically and durably, if the other nodes agree.

    Raises:
        FileLockedError: it is locked.
        FileChangedError: it changed meanwhile.
        PraefectError: a vote failed; before the rename nothing has changed.
    """
    before = _fingerprint(path)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    try:
        await asyncio.to_thread(_write, temporary, content, mode)
        try:
            with lock_file(path, held="file already locked"):
                await _commit(path, temporary, content, before, voter)
        except AlreadyLockedError as exc:
            raise FileLockedError from exc
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


async def _commit(path: Path, temporary: Path, content: bytes, before: _Fingerprint, voter: Voter) -> None:
    _require_unchanged(path, before)
    vote = vote_hash(content)
    await voter.vote(vote_hash(b"preparing commit locked file"), Phase.PREPARING)
    await voter.vote(vote, Phase.PREPARED)
    _require_unchanged(path, before)
    await asyncio.to_thread(publish, temporary, path)
    await voter.vote(vote, Phase.COMMITTED)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    sync_file(path)


def _require_unchanged(path: Path, before: _Fingerprint) -> None:
    if _fingerprint(path) != before:
        raise FileChangedError


def _fingerprint(path: Path) -> _Fingerprint:
    try:
        status = os.stat(path)  # noqa: PTH116 - the three numbers are what upstream compares
    except FileNotFoundError:
        return None
    return (status.st_size, status.st_mtime_ns, status.st_mode)
