"""Swapping two directories in one step, where the kernel can."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_UNSUPPORTED = frozenset([errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP])


def swap(one: Path, other: Path) -> None:
    """Exchange the names of two existing directories on the same file system. Blocks.

    Where the kernel or the file system cannot do it in one step there is a moment in which ``other`` is missing.
    Source: renameat2(2).
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        _swap_in_steps(one, other)
        return
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return
    number = ctypes.get_errno()
    if number not in _UNSUPPORTED:
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    _swap_in_steps(one, other)


def _swap_in_steps(one: Path, other: Path) -> None:
    aside = one.with_name(f"{one.name}.swap")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)
