"""Changing trees: directories are read as they are walked into, and only what changed is written.

The paths are those of git's trees: components separated by ``/``.
"""

from __future__ import annotations

from asyncio.subprocess import PIPE
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError
from praefect.node.git.command import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praefect.node.git.catfile import CatFilePool, ObjectReader
    from praefect.node.git.process import GitProcess
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository

TREE_MODE = 0o40000
FILE_MODE = 0o100644
EXECUTABLE_MODE = 0o100755
SUBMODULE_MODE = 0o160000


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name stands for, if it is no directory: a file, a symbolic link or a submodule."""

    mode: int
    oid: str

    @property
    def type(self) -> str:
        """The object's type."""
        return "commit" if self.mode == SUBMODULE_MODE else "blob"


@dataclass(slots=True)
class Directory:
    """A directory; its entries are unknown (``None``) until somebody looks."""

    oid: str = ""
    entries: dict[bytes, Entry | Directory] | None = None
    is_changed: bool = False


class PathOccupiedError(InternalError):
    """A directory is needed where a file is."""


@dataclass(slots=True)
class Tree:
    """The tree of a commit while it is being changed.

    Attributes:
        reader: reads what the tree had before.
    """

    reader: ObjectReader
    root: Directory = field(default_factory=lambda: Directory(entries={}))

    async def find(self, path: bytes) -> Entry | Directory | None:
        """Return what stands at ``path``, ``None`` if nothing does."""
        found: Entry | Directory | None = self.root
        for name in path.split(b"/"):
            if not isinstance(found, Directory):
                return None
            found = (await self._entries(found)).get(name)
        return found

    async def put(self, path: bytes, entry: Entry) -> None:
        """Place ``entry`` at ``path``, instead of what stands there; missing directories are made.

        Raises:
            PathOccupiedError: part of the path is a file.
        """
        *names, last = path.split(b"/")
        directory = self.root
        for name in names:
            directory.is_changed = True
            entries = await self._entries(directory)
            child = entries.setdefault(name, Directory(entries={}))
            if not isinstance(child, Directory):
                raise PathOccupiedError(name.decode("utf-8", "replace"))
            directory = child
        directory.is_changed = True
        (await self._entries(directory))[last] = entry

    async def remove(self, path: bytes) -> None:
        """Remove what stands at ``path``, and the directories that are empty then."""
        trail: list[tuple[dict[bytes, Entry | Directory], bytes]] = []
        directory = self.root
        for name in path.split(b"/"):
            directory.is_changed = True
            entries = await self._entries(directory)
            trail.append((entries, name))
            child = entries.get(name)
            if not isinstance(child, Directory):
                break
            directory = child
        for entries, name in reversed(trail):
            entries.pop(name, None)
            if entries:
                return

    async def _entries(self, directory: Directory) -> dict[bytes, Entry | Directory]:
        if directory.entries is None:
            found = await self.reader.read(directory.oid.encode())
            if found is None or found.type != "tree":
                raise InternalError(f"tree {directory.oid} is missing")
            directory.entries = parse_tree(found.data, hash_bytes=len(directory.oid) // 2)
        return directory.entries


def parse_tree(data: bytes, *, hash_bytes: int) -> dict[bytes, Entry | Directory]:
    """Take a tree object apart."""
    entries: dict[bytes, Entry | Directory] = {}
    position = 0
    while position < len(data):
        end = data.index(b"\0", position)
        mode, _, name = data[position:end].partition(b" ")
        position = end + 1 + hash_bytes
        oid = data[end + 1 : position].hex()
        number = int(mode, 8)
        entries[name] = Directory(oid=oid) if number == TREE_MODE else Entry(number, oid)
    return entries


async def write_tree(git: Git, repository: LocalRepository, tree: Tree) -> str:
    """Write the changed directories and return the id of the root."""
    if not tree.root.is_changed and tree.root.oid:
        return tree.root.oid
    command = Command(name="mktree", flags=["-z", "--batch", "--missing"])
    async with git.start(repository, command, stdin=PIPE) as process:
        oid = await _write(process, tree.root)
        process.close_stdin()
        await process.check()
    return oid


async def _write(process: GitProcess, directory: Directory) -> str:
    if directory.entries is None or (directory.oid and not directory.is_changed):
        return directory.oid
    lines = []
    for name, entry in directory.entries.items():
        if isinstance(entry, Directory):
            lines.append(b"%06o tree %b\t%b\0" % (TREE_MODE, (await _write(process, entry)).encode(), name))
        else:
            lines.append(b"%06o %b %b\t%b\0" % (entry.mode, entry.type.encode(), entry.oid.encode(), name))
    await process.write(b"".join(lines) + b"\0")
    oid = (await process.read_line()).decode("ascii")
    if not oid:
        await process.check()
        raise InternalError("git mktree ended early")
    return oid


async def hash_files(git: Git, repository: LocalRepository, files: Sequence[str]) -> list[str]:
    """Write the files as blobs and return their ids, in order. The names must have no line breaks."""
    if not files:
        return []
    command = Command(name="hash-object", flags=["-w", "--no-filters", "--stdin-paths"])
    listed = await git.output(repository, command, stdin="".join(f"{file}\n" for file in files).encode())
    return listed.decode("ascii").split()


async def read_tree(objects: CatFilePool, repository: LocalRepository, commit: str) -> str:
    """Return the id of a commit's tree."""
    async with objects.reader(repository) as reader:
        info = await reader.info(f"{commit}^{{tree}}".encode())
    if info is None:
        raise InternalError(f"commit {commit} has no tree")
    return info.oid
