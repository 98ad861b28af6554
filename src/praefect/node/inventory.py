"""What lies in a repository's directory: counts, sizes and the heads of git's own files. Reads no object.

Source: git's Documentation/gitformat-{commit-graph,pack,bundle}, technical/bitmap-format, multi-pack-index.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from praefect.node.creation import FULL_REPACK_STAMP
from praefect.node.storage.alternates import alternates_file, read_alternates

STALE_SECONDS = 10 * 24 * 3600

_FAN_OUT = re.compile(r"[0-9a-f]{2}")
_LOOSE_OBJECT = re.compile(r"[0-9a-f]{38}|[0-9a-f]{62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """One pack file. ``size`` is in bytes."""

    name: str
    size: int
    cruft: bool
    keep: bool
    reverse_index: bool
    bitmap: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitmap:
    """The head of a bitmap file."""

    version: int
    hash_cache: bool
    lookup_table: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiPackIndex:
    """The head of a multi-pack index; ``names`` are the packs it covers."""

    version: int
    packs: int
    large_offsets: bool
    reverse_index: bool
    bitmapped_packs: bool
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitGraph:
    """What the commit graph holds; a single file counts as no chain."""

    chain_length: int = 0
    exists: bool = False
    bloom_filters: bool = False
    generation_data: bool = False
    generation_overflow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Everything at once. Times are nanoseconds since the epoch, 0 for none; sizes are bytes."""

    loose_references: int
    packed_references_size: int
    loose_objects: int
    loose_size: int
    stale_loose_objects: int
    stale_loose_size: int
    garbage: int
    packs: tuple[Pack, ...]
    bitmap: Bitmap | None
    midx: MultiPackIndex | None
    midx_bitmap: Bitmap | None
    commit_graph: CommitGraph
    alternates: tuple[Path, ...]
    alternates_time: int
    full_repack_time: int


@dataclass(slots=True)
class _Loose:
    count: int = 0
    size: int = 0
    stale_count: int = 0
    stale_size: int = 0
    garbage: int = 0
    stale_before: float = field(default_factory=lambda: time.time() - STALE_SECONDS)

    def add(self, file: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            status = file.stat()
            if not _LOOSE_OBJECT.fullmatch(file.name):
                self.garbage += 1
                return
            self.count += 1
            self.size += status.st_size
            if status.st_mtime < self.stale_before:
                self.stale_count += 1
                self.stale_size += status.st_size


def take_inventory(repository: Path) -> Inventory:
    """Look through the directory of a repository; what vanishes meanwhile is not counted. Blocks."""
    objects = repository / "objects"
    loose = _count_loose(objects)
    packs = _list_packs(objects / "pack")
    midx = read_midx(objects / "pack" / "multi-pack-index")
    return Inventory(
        loose_references=count_loose_references(repository),
        packed_references_size=_size(repository / "packed-refs"),
        loose_objects=loose.count,
        loose_size=loose.size,
        stale_loose_objects=loose.stale_count,
        stale_loose_size=loose.stale_size,
        garbage=loose.garbage,
        packs=packs,
        bitmap=_first_bitmap(objects / "pack", packs),
        midx=midx,
        midx_bitmap=_midx_bitmap(objects / "pack"),
        commit_graph=read_commit_graph(objects / "info"),
        alternates=tuple(read_alternates(objects)),
        alternates_time=_mtime(alternates_file(repository)),
        full_repack_time=_mtime(repository / FULL_REPACK_STAMP),
    )


def count_loose_references(repository: Path) -> int:
    """Return how many references have a file of their own. Blocks."""
    return sum(1 for file in (repository / "refs").rglob("*") if not file.name.endswith(".lock") and file.is_file())


def _count_loose(objects: Path) -> _Loose:
    loose = _Loose()
    for directory in _entries(objects):
        if _FAN_OUT.fullmatch(directory.name):
            for file in _entries(directory):
                loose.add(file)
    return loose


def _list_packs(directory: Path) -> tuple[Pack, ...]:
    entries = {entry.name: entry for entry in _entries(directory)}
    packs = []
    for name, entry in sorted(entries.items()):
        if name.startswith("pack-") and name.endswith(".pack"):
            stem = name.removesuffix(".pack")
            packs.append(
                Pack(
                    name=stem,
                    size=_size(entry),
                    cruft=f"{stem}.mtimes" in entries,
                    keep=f"{stem}.keep" in entries,
                    reverse_index=f"{stem}.rev" in entries,
                    bitmap=f"{stem}.bitmap" in entries,
                )
            )
    return tuple(packs)


def _first_bitmap(directory: Path, packs: tuple[Pack, ...]) -> Bitmap | None:
    for pack in packs:
        if pack.bitmap:
            return read_bitmap(directory / f"{pack.name}.bitmap")
    return None


def _midx_bitmap(directory: Path) -> Bitmap | None:
    for entry in _entries(directory):
        if entry.name.startswith("multi-pack-index-") and entry.suffix == ".bitmap":
            return read_bitmap(entry)
    return None


def read_bitmap(file: Path) -> Bitmap | None:
    """Read the head of a bitmap file, ``None`` if it is none."""
    head = _head(file, 8)
    if not head.startswith(b"BITM") or len(head) < 8:
        return None
    flags = int.from_bytes(head[6:8], "big")
    return Bitmap(version=int.from_bytes(head[4:6], "big"), hash_cache=bool(flags & 4), lookup_table=bool(flags & 16))


def read_midx(file: Path) -> MultiPackIndex | None:
    """Read the head of a multi-pack index, ``None`` if there is none."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return None
    if not content.startswith(b"MIDX") or len(content) < 12:
        return None
    chunks = _chunks(content, 12, content[6])
    start, end = chunks.get(b"PNAM", (0, 0))
    names = frozenset(name.decode("ascii", "replace") for name in content[start:end].split(b"\0") if name)
    return MultiPackIndex(
        version=content[4],
        packs=int.from_bytes(content[8:12], "big"),
        large_offsets=b"LOFF" in chunks,
        reverse_index=b"RIDX" in chunks,
        bitmapped_packs=b"BTMP" in chunks,
        names=frozenset(name.removesuffix(".idx").removesuffix(".pack") for name in names),
    )


def read_commit_graph(info: Path) -> CommitGraph:
    """Read what the commit graph, single or split, holds."""
    chain = info / "commit-graphs" / "commit-graph-chain"
    try:
        ids = chain.read_text(encoding="ascii").split()
        files = [info / "commit-graphs" / f"graph-{each}.graph" for each in ids]
    except FileNotFoundError:
        ids, files = [], [info / "commit-graph"]
    found = [kinds for kinds in map(_graph_chunks, files) if kinds is not None]
    if not found:
        return CommitGraph()
    return CommitGraph(
        exists=True,
        chain_length=len(ids),
        bloom_filters=all(b"BIDX" in kinds and b"BDAT" in kinds for kinds in found),
        generation_data=all(b"GDA2" in kinds for kinds in found),
        generation_overflow=any(b"GDO2" in kinds for kinds in found),
    )


def _graph_chunks(file: Path) -> set[bytes] | None:
    head = _head(file, 8 + 12 * 256)
    if not head.startswith(b"CGPH") or len(head) < 8:
        return None
    return set(_chunks(head, 8, head[6]))


def _chunks(content: bytes, start: int, count: int) -> dict[bytes, tuple[int, int]]:
    """Read git's table of chunks: four bytes of name, eight of offset; the next entry's offset is the end."""
    entries = [
        (content[position : position + 4], int.from_bytes(content[position + 4 : position + 12], "big"))
        for position in range(start, start + 12 * (count + 1), 12)
    ]
    return {name: (offset, entries[index + 1][1]) for index, (name, offset) in enumerate(entries[:-1])}


def _entries(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _head(file: Path, size: int) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(size)
    except FileNotFoundError:
        return b""


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _mtime(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
