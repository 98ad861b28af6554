"""The pid file of a cluster: which server has it open, and whether that server is ready.

Source: the PostgreSQL manual on ``postmaster.pid``; line 1 is the process id, line 8 the state.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Final

from praefect.datastore.embedded.errors import EmbeddedPostgresError

_POLL_SECONDS: Final = 0.01


def is_ready(cluster: Path, process_id: int) -> bool:
    """Tell whether this very server says that it accepts connections."""
    lines = _lines(cluster)
    return len(lines) >= 8 and lines[0] == str(process_id) and lines[7].strip() == "ready"


def find_postmaster(cluster: Path) -> int | None:
    """Return the process id of the server that has the cluster open, None if there is none.

    A number in the pid file proves nothing, for it may have been given to another process since: a server's working
    directory is its cluster.
    """
    lines = _lines(cluster)
    if not lines or not lines[0].isdigit():
        return None
    process_id = int(lines[0])
    try:
        directory = Path(f"/proc/{process_id}/cwd").readlink()
    except OSError:
        return None
    return process_id if directory == cluster.resolve() else None


async def stop_stray(cluster: Path, patience_seconds: float) -> None:
    """Stop the server that an earlier process left on the cluster.

    Raises:
        EmbeddedPostgresError: It does not go away.
    """
    process_id = find_postmaster(cluster)
    for stop in (signal.SIGINT, signal.SIGQUIT):
        if process_id is None:
            return
        try:
            os.kill(process_id, stop)
        except ProcessLookupError:
            return
        try:
            async with asyncio.timeout(patience_seconds):
                # It is no child of ours, so that there is nothing to wait for.
                while find_postmaster(cluster) is not None:  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            continue
        return
    raise EmbeddedPostgresError(f'process {process_id} keeps "{cluster}" open and does not stop')


def _lines(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
