"""Reading ``git diff --patch --raw`` as it comes: one file after the other, each patch without its head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from praefect.node.git.process import GitProcess

_MAX_PATCH_BYTES = 64 * 1024 * 1024
_CONTENT_MARKS = (b" ", b"+", b"-", b"\\")


@dataclass(slots=True, kw_only=True)
class FilePatch:
    """One file of a diff.

    Attributes:
        patch: hunks and their lines; empty for a file without any.
        lines: content lines, hunk headers not counted.
        content_bytes: bytes of those lines.
        header: the line its patch begins with.
        is_cut: the patch grew beyond all bounds and is not whole.
    """

    from_path: bytes
    to_path: bytes
    from_id: str
    to_id: str
    old_mode: int
    new_mode: int
    status: str
    binary: bool = False
    patch: bytearray = field(default_factory=bytearray)
    lines: int = 0
    content_bytes: int = 0
    added: int = 0
    removed: int = 0
    is_cut: bool = False
    header: bytes = b""


async def file_patches(process: GitProcess) -> AsyncGenerator[FilePatch, None]:
    """Yield the files of a running ``git diff --patch --raw --full-index``, patches complete.

    All raw lines come first, then an empty line, then the patches in the same order. A file may have no patch, when
    what differs is ignored; such files come last.
    """
    files = []
    line = await _line(process)
    while line.startswith(b":"):
        files.extend(_raw_line(line))
        line = await _line(process)
    while not line.startswith(b"diff --") and not _is_end(process, line):
        line = await _line(process)
    while line.startswith(b"diff --"):
        # Two objects compared by their ids are named by neither's path.
        file = next((each for each in files if each.header == line or len(files) == 1), None)
        if file is None:
            raise InternalError("diff: a patch belongs to no changed file")
        files.remove(file)
        line = await _read_patch(process, file)
        yield file
    for file in files:
        yield file


def _is_end(process: GitProcess, line: bytes) -> bool:
    return not line and process.stdout.at_eof()


async def _line(process: GitProcess) -> bytes:
    return await process.read_until(b"\n")


def _raw_line(line: bytes) -> list[FilePatch]:
    head, *paths = line.split(b"\t")
    old_mode, new_mode, old_id, new_id, status = head[1:].split(b" ", 4)
    names = [unquote(path) for path in paths]
    kind = status[:1].decode()
    file = FilePatch(
        from_path=names[0],
        to_path=names[-1],
        from_id=old_id.decode(),
        to_id=new_id.decode(),
        old_mode=int(old_mode, 8),
        new_mode=int(new_mode, 8),
        status=kind,
        header=_header(paths[0], paths[-1]),
    )
    if kind != "T":
        return [file]
    # A change of type is shown as a deletion and an addition, as git's patch does.
    zero = "0" * len(file.from_id)
    gone = FilePatch(
        from_path=names[0],
        to_path=names[0],
        from_id=file.from_id,
        to_id=zero,
        old_mode=file.old_mode,
        new_mode=0,
        status="D",
        header=file.header,
    )
    new = FilePatch(
        from_path=names[0],
        to_path=names[0],
        from_id=zero,
        to_id=file.to_id,
        old_mode=0,
        new_mode=file.new_mode,
        status="A",
        header=file.header,
    )
    return [gone, new]


def _header(from_path: bytes, to_path: bytes) -> bytes:
    return b"diff --git " + _prefixed(b"a/", from_path) + b" " + _prefixed(b"b/", to_path)


def _prefixed(prefix: bytes, path: bytes) -> bytes:
    return b'"' + prefix + path[1:] if path.startswith(b'"') else prefix + path


async def _read_patch(process: GitProcess, file: FilePatch) -> bytes:
    """Read up to the next file's first line and return that."""
    in_hunks = False
    while True:
        line = await _line(process)
        if _is_end(process, line) or (line.startswith(b"diff --") and not _continues(line)):
            return line
        if line.startswith(b"@@"):
            in_hunks = True
        if not in_hunks:
            if line.startswith((b"Binary files ", b"GIT binary patch")):
                file.binary = True
                _add(file, line)
                file.lines += 1
                file.content_bytes += len(line) + 1
            continue
        _add(file, line)
        if line.startswith(b"@@"):
            continue
        if line.startswith(_CONTENT_MARKS) or line.startswith(b"~"):
            file.lines += 1
            file.content_bytes += len(line) + 1
        file.added += line.startswith(b"+")
        file.removed += line.startswith(b"-")


def _continues(line: bytes) -> bool:
    return not line.startswith((b"diff --git ", b"diff --cc ", b"diff --combined "))


def _add(file: FilePatch, line: bytes) -> None:
    if len(file.patch) + len(line) > _MAX_PATCH_BYTES:
        file.is_cut = True
        return
    file.patch += line
    file.patch += b"\n"


_ESCAPES = {
    ord("a"): 7,
    ord("b"): 8,
    ord("f"): 12,
    ord("n"): 10,
    ord("r"): 13,
    ord("t"): 9,
    ord("v"): 11,
    ord("\\"): ord("\\"),
    ord('"'): ord('"'),
}


def unquote(path: bytes) -> bytes:
    """Undo git's quoting of unusual paths.

    Source: git-config(1), core.quotePath.
    """
    if not path.startswith(b'"') or not path.endswith(b'"') or len(path) < 2:
        return path
    result = bytearray()
    position = 1
    while position < len(path) - 1:
        char = path[position]
        if char != ord("\\"):
            result.append(char)
            position += 1
            continue
        following = path[position + 1]
        if following in _ESCAPES:
            result.append(_ESCAPES[following])
            position += 2
        else:
            result.append(int(path[position + 1 : position + 4], 8))
            position += 4
    return bytes(result)
