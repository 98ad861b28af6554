"""This process's view of the nodes: checks, evidence from traffic, and what is recorded for the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from praefect.control.health import HealthMonitor
from praefect.domain.errors import UnavailableError
from praefect.domain.repository import Storage, VirtualStorage
from praefect.runtime.ticker import ManualTicker
from tests.support.virtual_time import run_virtual

VS = VirtualStorage("default")
G1, G2, G3 = Storage("gitaly-1"), Storage("gitaly-2"), Storage("gitaly-3")


@dataclass
class Nodes:
    """Nodes that answer, refuse or are silent, and a table that may be away."""

    down: set[Storage] = field(default_factory=set)
    silent: set[Storage] = field(default_factory=set)
    database_is_away: bool = False
    correlation_ids: list[str] = field(default_factory=list)
    recorded: list[tuple[str, list[tuple[VirtualStorage, Storage, bool]]]] = field(default_factory=list)

    async def check(self, virtual_storage: VirtualStorage, storage: Storage, correlation_id: str) -> None:
        self.correlation_ids.append(correlation_id)
        if storage in self.silent:
            await asyncio.get_running_loop().create_future()
        if storage in self.down:
            raise UnavailableError("connection refused")

    async def record(self, praefect_name: str, observations: Sequence[tuple[VirtualStorage, Storage, bool]]) -> None:
        if self.database_is_away:
            raise UnavailableError("no database")
        self.recorded.append((praefect_name, list(observations)))


def _monitor(nodes: Nodes) -> HealthMonitor:
    return HealthMonitor(praefect_name="host:2305", nodes={VS: [G3, G1, G2]}, checker=nodes, records=nodes)


async def test_nobody_is_healthy_before_the_first_round() -> None:
    assert _monitor(Nodes()).healthy_storages(VS) == ()
    assert not _monitor(Nodes()).is_healthy(VS, G1)


async def test_one_check_decides_either_way() -> None:
    nodes = Nodes(down={G2})
    monitor = _monitor(nodes)
    await monitor.run_once()
    assert monitor.healthy_storages(VS) == (G3, G1)

    nodes.down = {G1}
    await monitor.run_once()
    assert monitor.healthy_storages(VS) == (G3, G2)


async def test_observations_are_recorded_in_order_of_names() -> None:
    nodes = Nodes(down={G2})
    await _monitor(nodes).run_once()
    assert nodes.recorded == [("host:2305", [(VS, G1, True), (VS, G2, False), (VS, G3, True)])]


async def test_each_check_has_its_own_correlation_id() -> None:
    nodes = Nodes()
    await _monitor(nodes).run_once()
    assert len(set(nodes.correlation_ids)) == 3


def test_silent_node_delays_a_round_by_a_second_and_others_are_used_meanwhile() -> None:
    async def body() -> None:
        nodes = Nodes(silent={G1})
        monitor = _monitor(nodes)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            round_ = tasks.create_task(monitor.run_once())
            await asyncio.sleep(0.5)
            assert monitor.healthy_storages(VS) == (G3, G2)
            await round_
        assert loop.time() == pytest.approx(1.0)
        assert monitor.healthy_storages(VS) == (G3, G2)
        assert nodes.recorded[0][1] == [(VS, G1, False), (VS, G2, True), (VS, G3, True)]

    run_virtual(body())


async def test_view_is_published_although_the_database_is_away() -> None:
    nodes = Nodes(database_is_away=True)
    monitor = _monitor(nodes)
    report = await monitor.run_once()
    assert not report.recorded
    assert monitor.healthy_storages(VS) == (G3, G1, G2)
    assert not monitor.recorded_once.is_set()

    nodes.database_is_away = False
    await monitor.run_once()
    assert monitor.recorded_once.is_set()


async def test_loop_survives_a_database_that_is_away() -> None:
    nodes, ticker = Nodes(database_is_away=True), ManualTicker()
    monitor = _monitor(nodes)
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(monitor.run(ticker))
        await ticker.tick()
        nodes.database_is_away = False
        await ticker.tick()
        loop.cancel()
    assert len(nodes.recorded) == 1


async def test_traffic_takes_a_node_out_at_once_and_a_check_brings_it_back() -> None:
    monitor = _monitor(Nodes())
    await monitor.run_once()
    monitor.report_unreachable(VS, G1)
    assert monitor.healthy_storages(VS) == (G3, G2)
    monitor.report_unreachable(VS, Storage("unknown"))
    await monitor.run_once()
    assert monitor.healthy_storages(VS) == (G3, G1, G2)


def test_evidence_has_a_beginning() -> None:
    async def body() -> None:
        nodes = Nodes()
        monitor = _monitor(nodes)
        await monitor.run_once()
        assert monitor.unhealthy_seconds(VS, G1) is None
        monitor.report_unreachable(VS, G1)
        nodes.down = {G1}
        await asyncio.sleep(2)
        await monitor.run_once()
        monitor.report_unreachable(VS, G1)
        assert monitor.unhealthy_seconds(VS, G1) == pytest.approx(2.0)
        nodes.down = set()
        await monitor.run_once()
        assert monitor.unhealthy_seconds(VS, G1) is None
        assert monitor.unhealthy_seconds(VS, Storage("unknown")) is None

    run_virtual(body())


def test_who_hears_from_nobody_has_no_evidence() -> None:
    async def body() -> None:
        nodes = Nodes()
        monitor = _monitor(nodes)
        await monitor.run_once()
        nodes.down = {G1, G2, G3}
        await monitor.run_once()
        await asyncio.sleep(5)
        assert monitor.unhealthy_seconds(VS, G1) == 0.0
        nodes.down = {G1}
        await monitor.run_once()
        assert monitor.unhealthy_seconds(VS, G1) == pytest.approx(0.0)
        await asyncio.sleep(2)
        nodes.down = {G1, G3}
        await monitor.run_once()
        assert monitor.unhealthy_seconds(VS, G1) == pytest.approx(2.0)

    run_virtual(body())


async def test_return_of_a_node_is_told() -> None:
    nodes = Nodes(down={G2})
    monitor = _monitor(nodes)
    told: list[VirtualStorage] = []
    monitor.returned = told.append
    await monitor.run_once()
    assert told == [], "nobody was away before the first round"
    nodes.down = set()
    await monitor.run_once()
    await monitor.run_once()
    assert told == [VS]
    monitor.report_unreachable(VS, G1)
    await monitor.run_once()
    assert told == [VS, VS]
