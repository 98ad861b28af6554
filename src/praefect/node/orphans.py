"""Ends git processes that outlived the node that started them.

A killed node leaves git processes behind that may still commit what they were told: a write of the past, which must not
come after one that the next node has acknowledged. So a starting node ends them first.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from praefect.observability.log import get_logger

PATIENCE_SECONDS = 5.0
POLL_SECONDS = 0.01
_INIT = 1
_MARK = b"GIT_CONFIG_SYSTEM=/dev/null"  # in the environment of every git process of a node, and hardly of a person's

_log = get_logger("node.recovery")


def end_orphans(storage: Path) -> int:
    """Kill the git processes that work in ``storage`` and have lost their parent; return how many. Blocks."""
    orphans = [pid for pid in _process_ids() if _is_orphan(pid, os.fsencode(storage))]
    for pid in orphans:
        # Each was started in a process group of its own, with everything it starts.
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(_is_running(pid) for pid in orphans) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if orphans:
        _log.warning("ended git processes of a killed node", count=len(orphans))
    return len(orphans)


def _process_ids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _is_orphan(pid: int, storage: bytes) -> bool:
    try:
        directory = Path(f"/proc/{pid}")
        arguments = (directory / "cmdline").read_bytes().split(b"\0")
        works_here = any(argument == storage or storage + b"/" in argument for argument in arguments)
        return (
            works_here
            and os.path.basename(arguments[0]).startswith(b"git")  # noqa: PTH119 - bytes
            and _parent(directory) == _INIT
            and _MARK in (directory / "environ").read_bytes().split(b"\0")
        )
    except OSError:
        return False


def _parent(directory: Path) -> int:
    return int((directory / "stat").read_text().rpartition(")")[2].split()[1])


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
