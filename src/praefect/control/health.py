"""Health: asks every node every second, publishes this process's view and records it for the others.

Traffic adds evidence: a node whose connection was refused or reset is taken out of this process's view at once and
comes back with its next successful check. Source: the Praefect reference on local checks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from praefect.domain.errors import PraefectError
from praefect.domain.repository import Storage, VirtualStorage
from praefect.observability.correlation import new_correlation_id
from praefect.observability.log import get_logger
from praefect.runtime.ticker import Ticker

ROUND_LIMIT_SECONDS = 1.0
RECORD_LIMIT_SECONDS = 5.0

_log = get_logger("HealthManager")


class NodeChecker(Protocol):
    """Asks one node whether it serves."""

    async def check(self, virtual_storage: VirtualStorage, storage: Storage, correlation_id: str) -> None:
        """Return if the node answered SERVING, raise ``PraefectError`` otherwise."""


class HealthRecords(Protocol):
    """The table ``node_status``."""

    async def record(self, praefect_name: str, observations: Sequence[tuple[VirtualStorage, Storage, bool]]) -> None:
        """Store what this process saw, in one statement."""


@dataclass(slots=True)
class NodeHealth:
    """This process's view of one node; times are the loop's clock."""

    healthy: bool = False
    unhealthy_since: float | None = None  # start of the present run of evidence against it
    checked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """One round: who answered."""

    healthy: Mapping[VirtualStorage, tuple[Storage, ...]]
    recorded: bool


@dataclass(slots=True)
class HealthMonitor:
    """Checks nodes, publishes the result and records it.

    ``recorded_once`` is set when a round has been completed and written: the process may open its listeners.
    ``returned`` is told when a node that did not answer answers again.
    """

    praefect_name: str
    nodes: Mapping[VirtualStorage, Sequence[Storage]]
    checker: NodeChecker
    records: HealthRecords
    recorded_once: asyncio.Event = field(default_factory=asyncio.Event)
    returned: Callable[[VirtualStorage], None] = field(default=lambda _virtual_storage: None)
    _view: dict[tuple[VirtualStorage, Storage], NodeHealth] = field(init=False)
    _heard_since: float = field(default=float("-inf"), init=False)  # since when some node or other has been healthy

    def __post_init__(self) -> None:
        self._view = {(vs, storage): NodeHealth() for vs, storages in self.nodes.items() for storage in storages}

    def healthy_storages(self, virtual_storage: VirtualStorage) -> tuple[Storage, ...]:
        """Return the storages that are healthy by this process's evidence, in configuration order."""
        return tuple(s for s in self.nodes.get(virtual_storage, ()) if self._view[virtual_storage, s].healthy)

    def is_healthy(self, virtual_storage: VirtualStorage, storage: Storage) -> bool:
        """Return whether one node is healthy by this process's evidence."""
        node = self._view.get((virtual_storage, storage))
        return node is not None and node.healthy

    def unhealthy_seconds(self, virtual_storage: VirtualStorage, storage: Storage) -> float | None:
        """Return for how long the evidence against a node has lasted, ``None`` for a healthy one.

        Who hears from nobody has no evidence against anybody: its own network may be at fault.
        """
        node = self._view.get((virtual_storage, storage))
        if node is None or node.unhealthy_since is None:
            return None
        if not self._hears_anybody():
            return 0.0
        return asyncio.get_running_loop().time() - max(node.unhealthy_since, self._heard_since)

    def report_unreachable(self, virtual_storage: VirtualStorage, storage: Storage) -> None:
        """Take a node out of the view because traffic found it refusing, resetting or silent."""
        if (virtual_storage, storage) in self._view:
            self._publish((virtual_storage, storage), healthy=False)

    async def run_once(self) -> HealthReport:
        """Check every node under a common limit, publish, then record."""
        results: dict[tuple[VirtualStorage, Storage], bool] = dict.fromkeys(self._view, False)
        try:
            async with asyncio.timeout(ROUND_LIMIT_SECONDS), asyncio.TaskGroup() as checks:
                for key in self._view:
                    checks.create_task(self._check(key, results), name=f"check {key[1]}")
        except TimeoutError:
            for (virtual_storage, storage), node in self._view.items():
                if not results[virtual_storage, storage] and node.healthy:
                    _log.error(
                        "failed checking node health",
                        error="health check timed out",
                        virtual_storage=virtual_storage,
                        storage=storage,
                    )
        for key, healthy in results.items():
            self._publish(key, healthy=healthy)
        recorded = await self._record(results)
        return HealthReport(healthy={vs: self.healthy_storages(vs) for vs in self.nodes}, recorded=recorded)

    async def run(self, ticker: Ticker) -> None:
        """Do a round per tick until cancelled; the first at once."""
        _log.info("health manager started")
        try:
            while True:
                await self.run_once()
                await ticker.wait()
        finally:
            _log.info("health manager stopped")

    async def _check(
        self, key: tuple[VirtualStorage, Storage], results: dict[tuple[VirtualStorage, Storage], bool]
    ) -> None:
        virtual_storage, storage = key
        correlation_id = new_correlation_id()
        try:
            await self.checker.check(virtual_storage, storage, correlation_id)
        except PraefectError as exc:
            _log.error(
                "failed checking node health",
                error=str(exc),
                virtual_storage=virtual_storage,
                storage=storage,
                correlation_id=correlation_id,
            )
        else:
            results[key] = True
            # At once: a node that answers is used before the slowest has been waited for.
            self._publish(key, healthy=True)

    def _publish(self, key: tuple[VirtualStorage, Storage], *, healthy: bool) -> None:
        node = self._view[key]
        has_returned = healthy and node.checked and not node.healthy
        now = asyncio.get_running_loop().time()
        if healthy and not self._hears_anybody():
            self._heard_since = now
        _mark(node, healthy=healthy, now=now)
        if has_returned:
            self.returned(key[0])

    def _hears_anybody(self) -> bool:
        return any(node.healthy for node in self._view.values())

    async def _record(self, results: Mapping[tuple[VirtualStorage, Storage], bool]) -> bool:
        observations = [(vs, storage, healthy) for (vs, storage), healthy in sorted(results.items())]
        try:
            async with asyncio.timeout(RECORD_LIMIT_SECONDS):
                await self.records.record(self.praefect_name, observations)
        except (PraefectError, TimeoutError) as exc:
            _log.error("checking health failed", error=f"update checks: {exc or 'timed out'}")
            return False
        self.recorded_once.set()
        return True


def _mark(node: NodeHealth, *, healthy: bool, now: float) -> None:
    node.checked = True
    node.healthy = healthy
    if healthy:
        node.unhealthy_since = None
    elif node.unhealthy_since is None:
        node.unhealthy_since = now
