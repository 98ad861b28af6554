"""What the processes of a cluster hold: memory and file descriptors."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from praefect.app.cluster import Cluster
from tests.fault.checks.references import Violation

MORE_FILES = 24
MORE_BYTES = 80 << 20
SETTLE_SECONDS = 25.0  # nodes keep idle cat-file processes for up to 20 s


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


def _open_files(pid: int) -> dict[str, int]:
    """Count a process's descriptors by what they are, and its children by their command lines."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found[re.sub(r"[0-9]{2,}", "N", os.readlink(entry))] += 1  # noqa: PTH115 - what it names is no path
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                arguments = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                found["child: " + re.sub(r"[0-9a-f]{2,}", "N", b" ".join(arguments).decode())[:200]] += 1
    return dict(found.most_common(12))


async def check_footprints(cluster: Cluster, before: Mapping[str, Footprint]) -> list[Violation]:
    """Compare with what the processes held at the start; they get a while to let go."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + SETTLE_SECONDS
    while True:
        now = footprints(cluster)
        found = [
            Violation(
                "processes hold what they held at the start",
                f"{name}: {before[name]}, now {footprint}: {_open_files(cluster.child(name).pid)}",
            )
            for name, footprint in now.items()
            if footprint.files > before[name].files + MORE_FILES
            or footprint.resident_bytes > before[name].resident_bytes + MORE_BYTES
        ]
        if not found or loop.time() > give_up:
            return found
        await asyncio.sleep(0.5)
