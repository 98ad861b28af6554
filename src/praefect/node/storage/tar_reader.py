"""Unpacking an archive that arrives piece by piece, never outside the directory it is for.

Nothing waits here: ``feed`` takes what came and writes what is complete, so it can run in a thread per piece.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from praefect.domain.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = tarfile.BLOCKSIZE
_LONG_NAME = tarfile.GNUTYPE_LONGNAME
_LONG_LINK = tarfile.GNUTYPE_LONGLINK
_PAX = tarfile.XHDTYPE
_SKIPPED_TYPES = frozenset([tarfile.XGLTYPE])
_FILE_TYPES = frozenset([tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE])
_MAX_EXTENSION_BYTES = 1024 * 1024


class ArchiveError(InternalError):
    """The bytes are no archive, or one with members that must not be unpacked."""


class TarReader:
    """Unpacks below ``directory``, which exists.

    Args:
        directory: where to.
        select: whether a member, named by its normalised path, is wanted.
        keep_modes: give files and directories exactly the archive's permissions; else the process's umask applies.
    """

    def __init__(self, directory: Path, *, select: Callable[[str], bool], keep_modes: bool) -> None:
        self._directory = directory
        self._select = select
        self._keep_modes = keep_modes
        self._buffer = bytearray()
        self._file: IO[bytes] | None = None
        self._file_mode = 0
        self._left = 0  # bytes of the current member's content still to come
        self._padding = 0
        self._extension: bytearray | None = None
        self._extension_type = b""
        self._long_name = ""
        self._long_link = ""
        self._ended = False
        self._directory_modes: list[tuple[Path, int]] = []
        self.members = 0

    def feed(self, data: bytes) -> None:
        """Unpack what ``data`` completes. Blocks.

        Raises:
            ArchiveError: this is no archive, or a member leads outside.
        """
        self._buffer += data
        while self._step():
            pass

    def finish(self) -> None:
        """Check that the archive was whole and give directories their modes. Blocks.

        Raises:
            ArchiveError: it was cut off.
        """
        if self._left or self._padding or self._file is not None or self._extension is not None or self._buffer:
            raise ArchiveError("unexpected end of archive")
        for path, mode in reversed(self._directory_modes):
            path.chmod(mode)

    def close(self) -> None:
        """Forget a half-written file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _step(self) -> bool:
        if self._ended:
            self._buffer.clear()
            return False
        if self._left:
            return self._take_content()
        if self._padding:
            return self._take_padding()
        if len(self._buffer) < _BLOCK:
            return False
        block = bytes(self._buffer[:_BLOCK])
        del self._buffer[:_BLOCK]
        if block == bytes(_BLOCK):
            self._ended = True
            return True
        self._start_member(block)
        return True

    def _take_content(self) -> bool:
        piece = bytes(self._buffer[: self._left])
        if not piece:
            return False
        del self._buffer[: len(piece)]
        self._left -= len(piece)
        if self._file is not None:
            self._file.write(piece)
        elif self._extension is not None:
            self._extension += piece
        if not self._left:
            self._end_member()
        return True

    def _take_padding(self) -> bool:
        taken = min(self._padding, len(self._buffer))
        del self._buffer[:taken]
        self._padding -= taken
        return taken > 0

    def _start_member(self, block: bytes) -> None:
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as exc:
            raise ArchiveError("invalid tar header") from exc
        self._left = info.size if info.type not in (tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE) else 0
        self._padding = -self._left % _BLOCK
        if info.type in (_LONG_NAME, _LONG_LINK, _PAX):
            if self._left > _MAX_EXTENSION_BYTES:
                raise ArchiveError("tar extension header too large")
            self._extension, self._extension_type = bytearray(), info.type
        elif info.type not in _SKIPPED_TYPES:
            self._start_entry(info)
        if not self._left:
            self._end_member()

    def _start_entry(self, info: tarfile.TarInfo) -> None:
        name = PurePosixPath(self._long_name or info.name)
        link = self._long_link or info.linkname
        self._long_name = self._long_link = ""
        self._require_inside(name)
        if not self._select(str(name)):
            return
        self.members += 1
        target = self._directory / name
        if info.type == tarfile.DIRTYPE:
            self._make_directory(target, info.mode)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if info.type == tarfile.SYMTYPE:
            self._require_inside(name.parent / link if not link.startswith("/") else PurePosixPath(link))
            target.unlink(missing_ok=True)
            target.symlink_to(link)
        elif info.type in _FILE_TYPES:
            self._open_file(target, info.mode)
        else:
            raise ArchiveError("unsupported type of archive member")

    def _make_directory(self, target: Path, mode: int) -> None:
        target.mkdir(parents=True, exist_ok=True)
        if self._keep_modes:
            self._directory_modes.append((target, mode & 0o7777))

    def _open_file(self, target: Path, mode: int) -> None:
        target.unlink(missing_ok=True)
        executable = 0o777 if mode & 0o100 else 0o666
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, executable)
        self._file = os.fdopen(descriptor, "wb")
        self._file_mode = mode & 0o7777

    def _end_member(self) -> None:
        if self._file is not None:
            if self._keep_modes:
                os.fchmod(self._file.fileno(), self._file_mode)
            self._file.close()
            self._file = None
        elif self._extension is not None:
            self._end_extension(bytes(self._extension))
            self._extension = None

    def _end_extension(self, content: bytes) -> None:
        if self._extension_type == _PAX:
            records = _pax_records(content)
            self._long_name = records.get("path", self._long_name)
            self._long_link = records.get("linkpath", self._long_link)
            return
        text = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
        if self._extension_type == _LONG_NAME:
            self._long_name = text
        else:
            self._long_link = text

    def _require_inside(self, path: PurePosixPath) -> None:
        normal = os.path.normpath(str(path))
        if path.is_absolute() or normal == ".." or normal.startswith("../"):
            raise ArchiveError("archive member leads outside")
        if os.path.realpath(self._directory / path.parent) != str(
            Path(os.path.realpath(self._directory)) / path.parent
        ):
            raise ArchiveError("archive member leads through a symlink")


def _pax_records(content: bytes) -> dict[str, str]:
    records = {}
    position = 0
    while position < len(content):
        length_text, _, _ = content[position:].partition(b" ")
        if not length_text.isdigit() or int(length_text) == 0:
            raise ArchiveError("invalid tar extension header")
        record = content[position + len(length_text) + 1 : position + int(length_text) - 1]
        key, _, value = record.partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        position += int(length_text)
    return records
