"""A repository as an archive that needs nothing else: references, objects (borrowed ones included), few settings."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import PraefectError
from praefect.node.git.command import Command
from praefect.node.storage.alternates import all_object_directories
from praefect.node.storage.tar_reader import TarReader
from praefect.node.storage.tar_writer import Member, tar_stream, tree_members
from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository

_log = get_logger("node.snapshot")
_FAN_OUT = re.compile(r"[0-9a-f]{2}")
_LOOSE = re.compile(r"[0-9a-f]{38}|[0-9a-f]{62}")
_PACK = re.compile(r"pack-[0-9a-f]+\.(?:pack|idx)")
_MEMBER = re.compile(
    r"(?:\./)?(?:HEAD|packed-refs|config|shallow|refs(?:/.*)?|reftable(?:/.*)?|branches(?:/.*)?"
    r"|objects|objects/pack|objects/[0-9a-f]{2}|objects/[0-9a-f]{2}/[0-9a-f]+|objects/pack/pack-[0-9a-f]+\.(?:pack|idx))"
)


async def snapshot(git: Git, repository: LocalRepository) -> AsyncGenerator[bytes, None]:
    """Return the archive, to be iterated over.

    Loose references come before the packed ones, and all references before objects, so that a reference or object
    which moves from loose to packed meanwhile is in the archive at least once.
    """
    config = await _filtered_config(git, repository)
    return tar_stream(_members(repository, config))


async def _filtered_config(git: Git, repository: LocalRepository) -> bytes:
    """Return the settings without which git would not understand the files."""
    file = repository.path / "config"
    try:
        listing = await git.output(None, Command(name="config", flags=["--list", "-z", f"--file={file}"]))
    except PraefectError:
        listing = b""
    version = b"0"
    extensions = []
    for entry in listing.split(b"\0"):
        key, _, value = entry.partition(b"\n")
        if key == b"core.repositoryformatversion":
            version = value
        elif key.startswith(b"extensions."):
            extensions.append(b"\t%b = %b\n" % (key.removeprefix(b"extensions."), value))
    content = b"[core]\n\trepositoryformatversion = %b\n" % version
    return content + b"[extensions]\n" + b"".join(extensions) if extensions else content


def _members(repository: LocalRepository, config: bytes) -> Iterator[Member]:
    path = repository.path
    yield Member(name="HEAD", path=path / "HEAD")
    for directory in ("refs", "reftable", "branches"):
        if (path / directory).is_dir():
            yield from (each for each in tree_members(path / directory, directory) if not each.name.endswith(".lock"))
    yield Member(name="packed-refs", path=path / "packed-refs")
    yield Member(name="config", content=config)
    yield Member(name="shallow", path=path / "shallow")
    seen: set[str] = set()
    for objects in _object_directories(repository):
        for member in _object_members(objects):
            if member.name not in seen:
                seen.add(member.name)
                yield member


def _object_directories(repository: LocalRepository) -> list[Path]:
    own = repository.path / "objects"
    try:
        return all_object_directories(repository.root, own)
    except PraefectError as exc:
        _log.warning("snapshot leaves out borrowed objects", error=str(exc), relative_path=repository.relative_path)
        return [own]


def _object_members(objects: Path) -> Iterator[Member]:
    yield Member(name="objects", path=objects)
    for directory in _entries(objects):
        if _FAN_OUT.fullmatch(directory.name):
            yield from _files(directory, _LOOSE)
    # Packs after loose objects: repacking writes the pack first and then deletes what was loose.
    yield from _files(objects / "pack", _PACK)


def _files(directory: Path, wanted: re.Pattern[str]) -> Iterator[Member]:
    files = [file for file in _entries(directory) if wanted.fullmatch(file.name)]
    if files:
        name = f"objects/{directory.name}"
        yield Member(name=name, path=directory)
        yield from (Member(name=f"{name}/{file.name}", path=file) for file in files)


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir(), key=lambda entry: os.fsencode(entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


async def unpack_snapshot(repository: LocalRepository, archive: AsyncIterator[bytes]) -> None:
    """Unpack an archive over an initialised repository; only files that a snapshot has are taken from it.

    Raises:
        ArchiveError: it is no archive, or leads outside.
    """
    reader = TarReader(repository.path, select=_is_wanted, keep_modes=False)
    try:
        async for piece in archive:
            await asyncio.to_thread(reader.feed, piece)
        await asyncio.to_thread(reader.finish)
    finally:
        reader.close()


def _is_wanted(name: str) -> bool:
    return _MEMBER.fullmatch(name) is not None
