"""How much of a diff is shown: limits that apply while it is read, file by file."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_MAX_FILES, _MAX_LINES, _MAX_BYTES = 5000, 250_000, 25_600_000
_SAFE_FILES, _SAFE_LINES, _SAFE_BYTES = 500, 25_000, 2_560_000
_MAX_PATCH_BYTES = 512_000


class Shown(enum.Enum):
    """What becomes of a file."""

    WHOLE = "whole"
    COLLAPSED = "collapsed"  # named, without its patch
    TOO_LARGE = "too large"  # named, without its patch
    OVERFLOW = "overflow"  # the limit of the whole diff is reached


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffLimits:
    """A request's limits, capped; 0 counts as 0.

    Attributes:
        enforce: whether files and the diff are cut at the maximum.
        collapse: whether patches are left out once the diff is no longer safe.
        patch_bytes_by_extension: overrides by extension with its dot, or by the name of a file without one.
        collect_paths: go on naming files after the limit.
    """

    enforce: bool = False
    collapse: bool = False
    max_files: int = 0
    max_lines: int = 0
    max_bytes: int = 0
    safe_files: int = 0
    safe_lines: int = 0
    safe_bytes: int = 0
    patch_bytes: int = 0
    patch_bytes_by_extension: Mapping[str, int] = field(default_factory=dict)
    collect_paths: bool = False

    def capped(self) -> DiffLimits:
        """Return the limits, none above what the node allows."""
        return DiffLimits(
            enforce=self.enforce,
            collapse=self.collapse,
            max_files=min(self.max_files, _MAX_FILES),
            max_lines=min(self.max_lines, _MAX_LINES),
            max_bytes=min(self.max_bytes, _MAX_BYTES),
            safe_files=min(self.safe_files, _SAFE_FILES),
            safe_lines=min(self.safe_lines, _SAFE_LINES),
            safe_bytes=min(self.safe_bytes, _SAFE_BYTES),
            patch_bytes=min(self.patch_bytes, _MAX_PATCH_BYTES),
            patch_bytes_by_extension={
                key: min(value, _MAX_PATCH_BYTES) for key, value in self.patch_bytes_by_extension.items()
            },
            collect_paths=self.collect_paths,
        )

    def patch_limit(self, path: bytes) -> int:
        """Return how large the patch of a file may be."""
        name = PurePosixPath(path.decode("utf-8", "replace"))
        return self.patch_bytes_by_extension.get(name.suffix or name.name, self.patch_bytes)


class DiffCounter:
    """Counts what was shown and says what becomes of the next file."""

    def __init__(self, limits: DiffLimits) -> None:
        self._limits = limits
        self.files = 0
        self.lines = 0
        self.size = 0
        self.exceeded = False

    def judge(self, path: bytes, lines: int, size: int) -> Shown:
        """Decide about a file whose patch has so many content lines and bytes of them."""
        limits = self._limits
        self.files += 1
        shown = Shown.WHOLE
        if limits.collapse and self._is_unsafe(lines, size) and lines:
            shown = Shown.COLLAPSED
        elif limits.enforce and size >= limits.patch_limit(path) and limits.patch_limit(path):
            shown = Shown.TOO_LARGE
        if shown is Shown.WHOLE:
            self.lines += lines
            self.size += size
        if limits.enforce and self._is_over():
            self.exceeded = True
            return Shown.OVERFLOW
        return shown

    def _is_unsafe(self, lines: int, size: int) -> bool:
        limits = self._limits
        return (
            self.files > limits.safe_files
            or self.lines + lines > limits.safe_lines
            or self.size + size > limits.safe_bytes
        )

    def _is_over(self) -> bool:
        limits = self._limits
        return self.lines >= limits.max_lines or self.size >= limits.max_bytes or self.files > limits.max_files
