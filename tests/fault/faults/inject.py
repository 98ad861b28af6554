"""Doing what a schedule says to a cluster, and undoing all of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from praefect.app.cluster import Cluster
from praefect.app.layout import Endpoint
from praefect.app.processes import ProcessCrashedError
from tests.fault.faults.disk import SmallDisk
from tests.fault.faults.schedule import Fault, Kind
from tests.fault.faults.skewed import set_skew
from tests.fault.faults.wire import Wire

START_SECONDS = 60.0
RESTART_SECONDS = 0.5
REFILL_SECONDS = 0.1


@dataclass(slots=True)
class Wires:
    """The wires of a cluster, by praefect and part, on ports of their own; the cluster's options take ``detour``."""

    stack: AsyncExitStack
    ports: Iterator[int]
    wires: dict[tuple[str, str], Wire] = field(default_factory=dict)

    async def detour(self, praefect: str, part: str, endpoint: Endpoint) -> Endpoint:
        """Put a wire before a part."""
        wire = await self.stack.enter_async_context(Wire(endpoint, next(self.ports)))
        self.wires[praefect, part] = wire
        return wire.endpoint


class Injector:
    """Strikes and heals the parts of a cluster.

    Args:
        disks: the nodes' small disks; a fault of another disk is left out.
        note: is told what happens.
    """

    def __init__(
        self, cluster: Cluster, wires: Wires, disks: Mapping[str, SmallDisk], note: Callable[[str], None]
    ) -> None:
        self._cluster = cluster
        self._wires = wires.wires
        self._disks = disks
        self._note = note
        self.restarted: set[str] = set()

    async def run(self, faults: tuple[Fault, ...], began: float) -> None:
        """Carry a schedule out; ``began`` is the loop's time at which the traffic began."""
        async with asyncio.TaskGroup() as group:
            for number, fault in enumerate(faults):
                group.create_task(self._one(fault, began), name=f"fault {number}")

    async def heal(self) -> None:
        """Undo everything, also what was not planned."""
        for wire in self._wires.values():
            await wire.heal()
        for disk in self._disks.values():
            disk.empty()
        for child in self._cluster.children():
            if child.running:
                _signal_tree(child.pid, signal.SIGCONT)
        names = (*self._cluster.layout.node_names, *self._cluster.layout.praefect_names)
        for name in names:
            if not self._cluster.child(name).running:
                self._note(f"{name} had ended by itself")
                await self._start(name)

    async def _one(self, fault: Fault, began: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(began + fault.began_seconds - loop.time())
        self._note(f"begins: {fault.describe()}")
        until = began + fault.began_seconds + fault.lasts_seconds
        if fault.kind is Kind.NODE_DISK_FULL:
            await self._keep_full(fault, until)
        else:
            await self._strike(fault)
        await asyncio.sleep(until - loop.time())
        self._note(f"heals: {fault.describe()}")
        await self._mend(fault)
        self._note(f"healed: {fault.describe()}")

    async def _keep_full(self, fault: Fault, until: float) -> None:
        """Fill a disk, and fill again what is deleted meanwhile."""
        loop = asyncio.get_running_loop()
        disk = self._disks.get(fault.target)
        while disk is not None and loop.time() < until:
            await disk.fill()
            await asyncio.sleep(min(REFILL_SECONDS, max(0.0, until - loop.time())))

    async def _strike(self, fault: Fault) -> None:
        if fault.kind.concerns_a_wire:
            await self._strike_wire(fault)
        elif fault.kind.concerns_a_clock:
            set_skew(self._config(fault.target), fault.skew_seconds)
        elif fault.kind is Kind.POSTGRES_KILLED:
            _signal_tree(self._postmaster(), signal.SIGKILL)
        elif fault.kind is Kind.POSTGRES_STOPPED:
            _signal_tree(self._postmaster(), signal.SIGSTOP)
        elif fault.kind is Kind.POSTGRES_RESTARTED:
            os.kill(self._postmaster(), signal.SIGINT)
        else:
            child = self._cluster.child(fault.target)
            if fault.kind in {Kind.NODE_KILLED, Kind.PRAEFECT_KILLED}:
                _signal_tree(child.pid, signal.SIGKILL)
                await child.wait()
            elif fault.kind in {Kind.NODE_STOPPED, Kind.PRAEFECT_STOPPED}:
                _signal_tree(child.pid, signal.SIGSTOP)
            else:
                await child.stop()

    async def _strike_wire(self, fault: Fault) -> None:
        wire = self._wires[fault.praefect, fault.target]
        if fault.kind in {Kind.NODE_CUT, Kind.POSTGRES_CUT}:
            await wire.cut()
        elif fault.kind in {Kind.NODE_STALLED, Kind.POSTGRES_STALLED}:
            wire.stall(fault.way)
        else:
            wire.delay(fault.way, fault.delay_seconds)

    async def _mend(self, fault: Fault) -> None:
        if fault.kind.concerns_a_wire:
            await self._wires[fault.praefect, fault.target].heal(reset=fault.reset)
        elif fault.kind.concerns_a_clock:
            set_skew(self._config(fault.target), 0.0)
        elif fault.kind is Kind.NODE_DISK_FULL:
            if fault.target in self._disks:
                self._disks[fault.target].empty()
        elif fault.kind in {Kind.POSTGRES_KILLED, Kind.POSTGRES_RESTARTED}:
            assert self._cluster.postgres is not None
            await self._cluster.postgres.restart()
        elif fault.kind is Kind.POSTGRES_STOPPED:
            _signal_tree(self._postmaster(), signal.SIGCONT)
        elif fault.kind in {Kind.NODE_STOPPED, Kind.PRAEFECT_STOPPED}:
            _signal_tree(self._cluster.child(fault.target).pid, signal.SIGCONT)
        else:
            await self._start(fault.target)

    async def _start(self, name: str) -> None:
        self.restarted.add(name)
        if name in self._cluster.layout.node_names:
            await self._cluster.start_node(name)
            return
        # Praefect ends at once if PostgreSQL is away when it starts; its supervisor starts it again.
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    await self._cluster.start_praefect(name)
                except ProcessCrashedError as exc:
                    self._note(f"{name} ended as it started: exit code {exc.code}")
                    await asyncio.sleep(RESTART_SECONDS)
                else:
                    return

    def _config(self, name: str) -> Path:
        layout = self._cluster.layout
        return layout.node_config(name) if name in layout.node_names else layout.praefect_config_of(name)

    def _postmaster(self) -> int:
        assert self._cluster.postgres is not None
        return self._cluster.postgres.process_id


def _signal_tree(root: int, number: signal.Signals) -> None:
    """Signal a process and all that descend from it, the process first so that it starts no more of them."""
    with suppress(ProcessLookupError):
        if number is not signal.SIGCONT:
            os.kill(root, number)
    for pid in _descendants(root):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    with suppress(ProcessLookupError):
        if number is signal.SIGCONT:
            os.kill(root, number)


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
