"""What the processes of a cluster hold: memory and file descriptors."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from praefect.app.cluster import Cluster
from tests.fault.checks.references import Violation

MORE_FILES = 24
MORE_BYTES = 80 << 20
SETTLE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one process holds."""

    files: int
    resident_bytes: int


def footprints(cluster: Cluster) -> dict[str, Footprint]:
    """Return what each running process holds."""
    return {child.name: _footprint(child.pid) for child in cluster.children() if child.running}


def _footprint(pid: int) -> Footprint:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Footprint(len(os.listdir(f"/proc/{pid}/fd")), pages * os.sysconf("SC_PAGE_SIZE"))  # noqa: PTH208


async def check_footprints(cluster: Cluster, before: Mapping[str, Footprint]) -> list[Violation]:
    """Compare with what the processes held at the start; they get a while to let go."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + SETTLE_SECONDS
    while True:
        now = footprints(cluster)
        found = [
            Violation("processes hold what they held at the start", f"{name}: {before[name]}, now {footprint}")
            for name, footprint in now.items()
            if footprint.files > before[name].files + MORE_FILES
            or footprint.resident_bytes > before[name].resident_bytes + MORE_BYTES
        ]
        if not found or loop.time() > give_up:
            return found
        await asyncio.sleep(0.5)
