"""Small disks that can be filled: a tmpfs in a private mount namespace, where there is the right to make one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

SIZE_BYTES = 96 << 20
CHUNK_BYTES = 1 << 20
_PRIVATE = "FAULT_PRIVATE_MOUNTS"
"""Set in processes whose mounts nobody else sees."""
_UNSHARE = {
    True: ("unshare", "--mount", "--propagation", "private"),
    False: ("unshare", "--user", "--map-current-user", "--keep-caps", "--mount", "--propagation", "private"),
}
_TRY = 'd=$(mktemp -d) && mount -t tmpfs -o size=1m fault "$d"; code=$?; umount "$d"; rmdir "$d"; exit $code'


def may_mount() -> bool:
    """Whether this process may make small disks."""
    return os.environ.get(_PRIVATE) == "1"


def enter_command() -> Sequence[str] | None:
    """Return the command that starts another where its mounts are its own; ``None`` if that is not allowed."""
    command = _UNSHARE[os.geteuid() == 0]
    try:
        tried = subprocess.run([*command, "sh", "-c", _TRY], capture_output=True, check=False)
    except OSError:
        return None
    return command if tried.returncode == 0 else None


def enter_private_mounts() -> None:
    """Start this program again where its mounts are its own; go on without if that is not allowed."""
    command = None if _PRIVATE in os.environ else enter_command()
    if command is not None:
        # What came after "-m tests.fault" is passed on; -m itself is not in the arguments.
        arguments = [*command, sys.executable, "-m", "tests.fault", *sys.argv[1:]]
        os.execvpe(arguments[0], arguments, {**os.environ, _PRIVATE: "1"})


class SmallDisk:
    """A directory on a disk of its own."""

    def __init__(self, directory: Path) -> None:
        self._ballast = directory / "ballast"

    async def fill(self) -> None:
        """Write until nothing more fits; again after something was deleted."""
        await asyncio.to_thread(self._fill)

    def _fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            size = CHUNK_BYTES
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def empty(self) -> None:
        """Give the room back."""
        with suppress(FileNotFoundError):
            self._ballast.unlink()


@asynccontextmanager
async def small_disk(directory: Path) -> AsyncIterator[SmallDisk]:
    """Mount a small disk on a directory, made if missing."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    await _run("mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES},mode=0700", "fault", str(directory))
    try:
        yield SmallDisk(directory)
    finally:
        await _run("umount", "--lazy", str(directory))


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
