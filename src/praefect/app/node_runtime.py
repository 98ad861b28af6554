"""The private directory of a running node process, with its sockets and hook programs."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWNED = re.compile(r"gitaly-(\d+)")
_MAX_SOCKET_PATH_BYTES = 107


class RuntimeDirectoryError(InternalError):
    """The directory cannot be made; the node cannot start."""


@contextmanager
def runtime_directory(configured: str) -> Iterator[Path]:
    """Make ``gitaly-<pid>`` below the configured directory, or below a fresh temporary one; gone at the end.

    Directories of dead processes are removed first.

    Raises:
        RuntimeDirectoryError: it cannot be made, or sockets in it would have too long paths.
    """
    own = None if configured else Path(tempfile.mkdtemp(prefix=f"gitaly-{os.getpid()}-"))
    parent = own or Path(configured)
    directory = parent / f"gitaly-{os.getpid()}"
    try:
        _remove_dead(parent if own is None else parent.parent)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
        sockets = directory / "sock.d"
        sockets.mkdir(mode=0o700)
        _require_short(sockets / f"intern-{secrets.token_hex(2)}")
        yield directory
    except OSError as exc:
        raise RuntimeDirectoryError(f'runtime_dir: cannot use "{parent}": {exc.strerror}') from exc
    finally:
        shutil.rmtree(own or directory, ignore_errors=True)


def _require_short(path: Path) -> None:
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
        raise RuntimeDirectoryError(
            "failed creating internal test socket: invalid argument: your socket path is likely too long, "
            "please change Gitaly's runtime directory"
        )


def _remove_dead(parent: Path) -> None:
    for entry in parent.iterdir():
        match = _OWNED.match(entry.name)
        if match is None or _is_alive(int(match[1])):
            continue
        if entry.is_dir() and not entry.is_symlink() and entry.stat().st_uid == os.geteuid():
            shutil.rmtree(entry, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
