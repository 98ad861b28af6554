"""Tree objects: their entries, and finding one by path."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.node.git.command import Command

if TYPE_CHECKING:
    from praefect.node.git.catfile import ObjectReader
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEntry:
    """One entry. ``type`` is ``blob``, ``tree`` or ``commit`` (a submodule)."""

    mode: int
    type: str
    oid: str
    path: bytes


def parse_tree(data: bytes, oid_bytes: int) -> list[TreeEntry]:
    """Take a tree object apart; paths are names."""
    entries = []
    position = 0
    while position < len(data):
        end = data.index(b"\0", position)
        mode_text, _, name = data[position:end].partition(b" ")
        mode = int(mode_text, 8)
        oid = data[end + 1 : end + 1 + oid_bytes].hex()
        entries.append(TreeEntry(mode=mode, type=_type_of(mode), oid=oid, path=name))
        position = end + 1 + oid_bytes
    return entries


def _type_of(mode: int) -> str:
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFDIR:
        return "tree"
    return "commit" if kind == 0o160000 else "blob"


async def find_entry(reader: ObjectReader, revision: bytes, path: bytes) -> TreeEntry | None:
    """Return the entry at ``path`` of a revision's tree, ``None`` if there is none."""
    parts = [part for part in path.rstrip(b"/").split(b"/") if part != b"."]
    if not parts or any(part in (b"", b"..") for part in parts):
        return None
    tree = await reader.read(revision + b":" + b"/".join(parts[:-1]))
    if tree is None or tree.type != "tree":
        return None
    for entry in parse_tree(tree.data, len(tree.oid) // 2):
        if entry.path == parts[-1]:
            return TreeEntry(mode=entry.mode, type=entry.type, oid=entry.oid, path=b"/".join(parts))
    return None


async def list_tree(
    git: Git, repository: LocalRepository, tree: str, prefix: bytes, *, recursive: bool
) -> list[TreeEntry]:
    """Return the entries of a tree, paths below ``prefix``.

    Raises:
        GitCommandError: git failed.
    """
    flags = ["-z", "-r", "-t"] if recursive else ["-z"]
    output = await git.output(repository, Command(name="ls-tree", flags=flags, arguments=[tree]))
    entries = []
    for line in output.split(b"\0"):
        head, separator, path = line.partition(b"\t")
        if separator:
            mode, kind, oid = head.split(b" ")
            full = prefix + b"/" + path if prefix else path
            entries.append(TreeEntry(mode=int(mode, 8), type=kind.decode(), oid=oid.decode(), path=full))
    return entries
