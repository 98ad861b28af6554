"""What every page of metrics says about the process itself.

The names are those of Go's client library, because dashboards ask for them. Of its ``go_*`` metrics those are here that
mean something in Python: tasks of the event loop stand for goroutines.

Source: proc(5).
"""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.observability.metrics import Family, MetricType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_INFINITE = float(2**64)  # as an unlimited resource prints in Go


class ProcessCollector:
    """CPU, memory, file descriptors and network of this process; what /proc does not tell is left out.

    Args:
        proc: the process's directory there.
    """

    name = "process"

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._proc = proc

    def collect(self) -> Iterable[Family]:
        """Return what is known now."""
        for name, kind, description, value in (*self._usage(), *self._memory(), *self._network()):
            family = Family(name=f"process_{name}", help=description, type=kind)
            family.add(value)
            yield family

    def _usage(self) -> Iterator[tuple[str, MetricType, str, float]]:
        times = os.times()
        yield "cpu_seconds_total", MetricType.COUNTER, "User and system CPU seconds.", times.user + times.system
        descriptors = _limit(resource.RLIMIT_NOFILE)
        yield "max_fds", MetricType.GAUGE, "How many file descriptors may be open.", descriptors
        try:
            opened = len(os.listdir(self._proc / "fd"))  # noqa: PTH208 - only their number is wanted
        except OSError:
            return
        yield "open_fds", MetricType.GAUGE, "How many file descriptors are open.", opened

    def _memory(self) -> Iterator[tuple[str, MetricType, str, float]]:
        limit = _limit(resource.RLIMIT_AS)
        yield "virtual_memory_max_bytes", MetricType.GAUGE, "How much address space may be used.", limit
        try:
            # after the name in parentheses, which may hold anything: field 22 start time, 23 address space, 24 pages
            fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
            booted = _boot_time(self._proc.parent)
        except (OSError, ValueError):
            return
        started = booted + int(fields[19]) / os.sysconf("SC_CLK_TCK")
        resident = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        yield "start_time_seconds", MetricType.GAUGE, "When the process began, since the epoch.", started
        yield "virtual_memory_bytes", MetricType.GAUGE, "Address space in use.", int(fields[20])
        yield "resident_memory_bytes", MetricType.GAUGE, "Memory in use.", resident

    def _network(self) -> Iterator[tuple[str, MetricType, str, float]]:
        try:
            lines = [line.split() for line in (self._proc / "net" / "netstat").read_text().splitlines()]
        except OSError:
            return
        rows = [line for line in lines if line and line[0] == "IpExt:"]
        if len(rows) != 2:
            return
        counts = dict(zip(*rows, strict=False))
        for name, key, what in (("receive", "InOctets", "received"), ("transmit", "OutOctets", "sent")):
            if key in counts:
                description = f"Bytes {what} by the process's network namespace."
                yield f"network_{name}_bytes_total", MetricType.COUNTER, description, int(counts[key])


class RuntimeCollector:
    """Tasks, threads and version of the interpreter under the names of Go's runtime."""

    name = "go"

    def collect(self) -> Iterable[Family]:
        """Return what is known now."""
        version = {"version": f"python{platform.python_version()}"}
        for name, description, value, labels in (
            ("go_goroutines", "Tasks of the event loop.", float(_tasks()), None),
            ("go_info", "The interpreter.", 1.0, version),
            ("go_threads", "Threads.", float(threading.active_count()), None),
        ):
            family = Family(name=name, help=description, type=MetricType.GAUGE)
            family.add(value, labels)
            yield family


class BuildInfo:
    """The metric by which dashboards tell versions apart."""

    name = "gitlab_build_info"

    def __init__(self, *, module_path: str, version: str) -> None:
        self._labels = {
            "go_version": f"python{platform.python_version()}",
            "module_path": module_path,
            "module_version": version,
        }

    def collect(self) -> Iterable[Family]:
        """Return the one series, always 1."""
        family = Family(name=self.name, help="What runs here.", type=MetricType.GAUGE)
        family.add(1, self._labels)
        return (family,)


def _limit(kind: int) -> float:
    limit = resource.getrlimit(kind)[0]
    return _INFINITE if limit == resource.RLIM_INFINITY else limit


def _boot_time(proc: Path) -> int:
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    msg = "no boot time"
    raise ValueError(msg)


def _tasks() -> int:
    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # no loop runs
        return 0
