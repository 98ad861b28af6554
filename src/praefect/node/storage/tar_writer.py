"""Archives made from a directory, piece by piece and with modes that do not depend on this machine."""

from __future__ import annotations

import asyncio
import os
import stat
import tarfile
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 128 * 1024
_BLOCK = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One entry of an archive: a file or directory on disk, or content given here.

    Attributes:
        name: path in the archive.
        path: what is read; ``None`` with ``content``.
    """

    name: str
    path: Path | None = None
    content: bytes = b""


async def tar_stream(members: Iterable[Member]) -> AsyncGenerator[bytes, None]:
    """Yield an archive of ``members`` in pieces of at most 128 KiB, nothing for none; what vanished is left out."""
    pieces = _coalesced(members)
    while piece := await asyncio.to_thread(next, pieces, b""):
        yield piece


def tree_members(directory: Path, name: str) -> Iterator[Member]:
    """Yield ``directory`` and everything below it, in byte order of names, under ``name``."""
    yield Member(name=name, path=directory)
    try:
        entries = sorted(directory.iterdir(), key=lambda entry: os.fsencode(entry.name))
    except FileNotFoundError:
        return
    for entry in entries:
        child = f"{name}/{entry.name}"
        if entry.is_dir() and not entry.is_symlink():
            yield from tree_members(entry, child)
        else:
            yield Member(name=child, path=entry)


def _coalesced(members: Iterable[Member]) -> Iterator[bytes]:
    buffer = bytearray()
    for piece in _pieces(members):
        buffer += piece
        while len(buffer) >= _CHUNK_BYTES:
            yield bytes(buffer[:_CHUNK_BYTES])
            del buffer[:_CHUNK_BYTES]
    if buffer:
        yield bytes(buffer)


def _pieces(members: Iterable[Member]) -> Iterator[bytes]:
    empty = True
    for member in members:
        empty = False
        if member.path is None:
            yield _header(member.name, tarfile.REGTYPE, 0o666, len(member.content))
            yield member.content
            yield _padding(len(member.content))
        else:
            yield from _entry(member.name, member.path)
    if not empty:
        yield bytes(2 * _BLOCK)


def _entry(name: str, path: Path) -> Iterator[bytes]:
    try:
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            yield _header(f"{name}/", tarfile.DIRTYPE, 0o777, 0)
        elif stat.S_ISLNK(status.st_mode):
            yield _header(name, tarfile.SYMTYPE, 0o777, 0, link=str(path.readlink()))
        elif stat.S_ISREG(status.st_mode):
            yield from _file(name, path)
    except FileNotFoundError:
        return


def _file(name: str, path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        mode = 0o777 if status.st_mode & stat.S_IXUSR else 0o666
        yield _header(name, tarfile.REGTYPE, mode, status.st_size)
        left = status.st_size
        while left:
            data = file.read(min(_CHUNK_BYTES, left)) or bytes(min(_CHUNK_BYTES, left))
            left -= len(data)
            yield data
        yield _padding(status.st_size)


def _header(name: str, kind: bytes, mode: int, size: int, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = mode
    info.size = size
    info.linkname = link
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
