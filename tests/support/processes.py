"""Looking at processes from outside."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


def processes_of(path: Path) -> list[int]:
    """Return the living processes that have ``path`` in their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if os.fsencode(path) in arguments and state != "Z":
            found.append(int(entry.name))
    return found


async def wait_for_a_process(path: Path) -> None:
    """Wait until a process works on ``path``."""
    async with asyncio.timeout(10):
        while not processes_of(path):  # noqa: ASYNC110 - the kernel has no event for it
            await asyncio.sleep(0)


async def wait_for_no_process(path: Path) -> None:
    """Wait until no process works on ``path`` any more."""
    async with asyncio.timeout(10):
        while processes_of(path):  # noqa: ASYNC110 - the kernel has no event for it
            await asyncio.sleep(0)
