"""Replacing a file as a whole: whoever reads it sees the old one or the new one, and nobody but its owner any."""

import os
import stat
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Final

from praefect.config.faults import ConfigError, describe_os_error

MODE: Final = 0o600


class Outcome(StrEnum):
    """What became of a file."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    MODE_CORRECTED = "unchanged, mode corrected"


def read_if_there(path: Path) -> bytes | None:
    """The content of a file, None if there is none.

    Raises:
        ConfigError: it is there and cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(describe_os_error(exc, "read", str(path))) from exc


def replace_file(path: Path, data: bytes) -> Outcome:
    """Give a file this content, mode 0600 and its owner of before (for a new one that of its directory).

    A file that has the content already is not touched, apart from its mode.

    Raises:
        ConfigError: the system does not let us.
    """
    before = read_if_there(path)
    try:
        if before == data:
            return _correct_mode(path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(path, data)
    except OSError as exc:
        raise ConfigError(describe_os_error(exc, "write", str(path))) from exc
    return Outcome.WRITTEN


def _correct_mode(path: Path) -> Outcome:
    if stat.S_IMODE(path.stat().st_mode) == MODE:
        return Outcome.UNCHANGED
    path.chmod(MODE)
    return Outcome.MODE_CORRECTED


def _replace(path: Path, data: bytes) -> None:
    owner = (path if path.exists() else path.parent).stat()
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), MODE)
            if os.geteuid() == 0:
                os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)  # noqa: PTH105  # as the rest here
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
