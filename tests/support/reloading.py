"""A praefect process that SIGHUP replaces by another: who it is now, and when the former one is gone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.eventually import eventually


class Reloadable:
    """The process that a process file names."""

    def __init__(self, pid_file: Path) -> None:
        self._pid_file = pid_file

    @property
    def pid(self) -> int:
        """The process in charge."""
        return int(self._pid_file.read_text())

    async def reload(self) -> int:
        """Send SIGHUP and wait until another process is in charge; return the former one."""
        former = self.pid
        os.kill(former, signal.SIGHUP)

        async def replaced() -> bool:
            return self.pid != former

        await eventually(replaced)
        return former

    def end(self) -> None:
        """Kill the process in charge, if there is one."""
        with suppress(OSError, ValueError):
            os.kill(self.pid, signal.SIGKILL)


@contextmanager
def upgrades_enabled(pid_file: Path) -> Iterator[Reloadable]:
    """Let programs that are started within the block be reloadable; the last one is killed at the end."""
    reloadable = Reloadable(pid_file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITALY_UPGRADES_ENABLED", "true")
        patch.setenv("GITALY_PID_FILE", str(pid_file))
        try:
            yield reloadable
        finally:
            reloadable.end()


async def wait_for_end(pid: int) -> None:
    """Wait until a process, not necessarily a child, is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            async with asyncio.timeout(30):
                await ended.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)
