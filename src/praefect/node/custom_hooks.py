"""A repository's own hooks: replaced as one directory, voted on by contents and modes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, PraefectError
from praefect.node.storage.durable import sync_file, sync_tree
from praefect.node.storage.exchange import swap
from praefect.node.storage.locking import AlreadyLockedError, lock_file
from praefect.node.storage.tar_reader import ArchiveError, TarReader
from praefect.node.storage.temporary import discard_in_thread
from praefect.node.voting import Phase, vote_hash
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from praefect.node.context import NodeContext
    from praefect.node.storage.repository import LocalRepository
    from praefect.node.voting import Voter

DIRECTORY = "custom_hooks"

_GO_DIRECTORY = 0x80000000
_GO_SYMLINK = 0x08000000
_GO_DEVICE = 0x04000000
_GO_FIFO = 0x02000000
_GO_SOCKET = 0x01000000
_GO_SETUID = 0x00800000
_GO_SETGID = 0x00400000
_GO_CHAR_DEVICE = 0x00200000
_GO_STICKY = 0x00100000

_TYPES = {
    stat.S_IFDIR: _GO_DIRECTORY,
    stat.S_IFLNK: _GO_SYMLINK,
    stat.S_IFBLK: _GO_DEVICE,
    stat.S_IFCHR: _GO_DEVICE | _GO_CHAR_DEVICE,
    stat.S_IFIFO: _GO_FIFO,
    stat.S_IFSOCK: _GO_SOCKET,
}
_BITS = ((stat.S_ISUID, _GO_SETUID), (stat.S_ISGID, _GO_SETGID), (stat.S_ISVTX, _GO_STICKY))


async def set_custom_hooks(
    context: NodeContext, repository: LocalRepository, archive: AsyncIterator[bytes], voter: Voter
) -> None:
    """Replace a repository's custom hooks by those of a tar archive; an empty one removes them all.

    Raises:
        InternalError: the archive is bad, somebody else is replacing them, or a vote failed.
    """
    await _cast(voter, vote_hash(b"preparing set custom hooks"), Phase.PREPARING, "casting preparing vote")
    temporary = context.temporary.create(repository.root, "hooks")
    target = repository.path / DIRECTORY
    try:
        with lock_file(target, held="acquiring lock: file already locked"):
            new = await _unpack(archive, temporary)
            vote = await asyncio.to_thread(directory_vote, new)
            await _cast(voter, vote, Phase.PREPARED, "casting prepared vote")
            await asyncio.to_thread(_put_in_place, new, target)
            vote = await asyncio.to_thread(directory_vote, target)
            await _cast(voter, vote, Phase.COMMITTED, "casting committed vote")
    except AlreadyLockedError as exc:
        raise InternalError(str(exc)) from exc
    finally:
        await discard_in_thread(temporary)


async def _unpack(archive: AsyncIterator[bytes], temporary: Path) -> Path:
    # Like tar: a privileged process keeps the archive's modes, another one applies its umask.
    reader = TarReader(temporary, select=_is_hook, keep_modes=os.geteuid() == 0)
    received = 0
    try:
        async for piece in archive:
            received += len(piece)
            await asyncio.to_thread(reader.feed, piece)
        await asyncio.to_thread(reader.finish)
    except ArchiveError as exc:
        raise InternalError("extracting hooks: waiting for tar command completion: exit status 2") from exc
    finally:
        reader.close()
    new = temporary / DIRECTORY
    if not received:
        new.mkdir(mode=0o700)
    elif not new.is_dir():
        raise InternalError("extracting hooks: waiting for tar command completion: exit status 2")
    return new


def _is_hook(name: str) -> bool:
    return name == DIRECTORY or name.startswith(f"{DIRECTORY}/")


def _put_in_place(new: Path, target: Path) -> None:
    sync_tree(new)
    if target.exists():
        swap(new, target)
    else:
        new.rename(target)
    sync_file(target.parent)


async def _cast(voter: Voter, vote: bytes, phase: Phase, prefix: str) -> None:
    try:
        await voter.vote(vote, phase)
    except PraefectError as exc:
        raise wrap(f"{prefix}: vote failed", exc) from exc


def directory_vote(directory: Path) -> bytes:
    """Return the vote over a directory: paths, modes and contents of everything in it. Blocks."""
    digest = hashlib.sha1(usedforsecurity=False)
    _digest_entry(digest, directory, b".")
    return digest.digest()


def _digest_entry(digest: hashlib._Hash, path: Path, name: bytes) -> None:
    status = path.lstat()
    digest.update(name)
    digest.update(go_file_mode(status.st_mode).to_bytes(4, "big"))
    if not stat.S_ISDIR(status.st_mode):
        digest.update(path.read_bytes())
        return
    for entry in sorted(path.iterdir(), key=lambda entry: os.fsencode(entry.name)):
        child = os.fsencode(entry.name)
        _digest_entry(digest, entry, child if name == b"." else name + b"/" + child)


def go_file_mode(mode: int) -> int:
    """Return the mode word that the vote has: permissions, then bits of its own for types."""
    word = mode & 0o777
    for bit, go_bit in _BITS:
        if mode & bit:
            word |= go_bit
    return word | _TYPES.get(stat.S_IFMT(mode), 0)
