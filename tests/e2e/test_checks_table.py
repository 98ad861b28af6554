"""The four checks before, during and after each fault: exit code, and the line that names the part and the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from praefect.app.cluster import VIRTUAL_STORAGE, Cluster
from praefect.app.layout import program
from praefect.app.processes import Child
from tests.support import cluster_faults as faults
from tests.support.cluster import ClusterClient
from tests.support.eventually import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NODE = "gitaly-2"
CHECKS = ("dial-nodes", "sql-ping", "check", "gateway check")
REFUSED = "connection refused"


async def spoil_the_password(cluster: Cluster) -> None:
    faults.replace(cluster.layout.praefect_config, cluster.secrets.sql_password, faults.WRONG)


async def restore_the_password(cluster: Cluster) -> None:
    faults.replace(cluster.layout.praefect_config, faults.WRONG, cluster.secrets.sql_password)


async def spoil_the_gateways_token(cluster: Cluster) -> None:
    faults.spoil_gateway_token(cluster)


async def restore_the_gateways_token(cluster: Cluster) -> None:
    faults.restore_gateway_token(cluster)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A row of the table.

    Attributes:
        name: what is wrong.
        cause: brings it about.
        repair: ends it.
        failing: the checks that fail, with words that stand in one line of their output; ``{node}`` and ``{praefect}``
            are addresses. All other checks are content.
    """

    name: str
    cause: Callable[[Cluster], Awaitable[None]]
    repair: Callable[[Cluster], Awaitable[None]]
    failing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


FAULTS = [
    Fault(
        name="a node is stopped",
        cause=lambda cluster: faults.stop_nodes(cluster, NODE),
        repair=lambda cluster: faults.start_nodes(cluster, NODE),
        failing=dict.fromkeys(("dial-nodes", "check"), ("[{node}]", "ERROR", REFUSED)),
    ),
    Fault(
        name="a node has another token",
        cause=lambda cluster: faults.spoil_node_tokens(cluster, NODE),
        repair=lambda cluster: faults.restore_node_tokens(cluster, NODE),
        failing=dict.fromkeys(("dial-nodes", "check"), ("[{node}]", "ERROR", "permission denied")),
    ),
    Fault(
        name="Praefect is stopped",
        cause=faults.stop_praefect,
        repair=faults.start_praefect,
        failing={"gateway check": (VIRTUAL_STORAGE, "{praefect}", "14:", REFUSED)},
    ),
    Fault(
        name="PostgreSQL is stopped",
        cause=faults.stop_postgresql,
        repair=faults.start_postgresql,
        failing=dict.fromkeys(("sql-ping", "check"), ("server", "socket")),
    ),
    Fault(
        name="Praefect's password for PostgreSQL is wrong",
        cause=spoil_the_password,
        repair=restore_the_password,
        failing=dict.fromkeys(("sql-ping", "check"), ("password authentication failed", '"praefect"')),
    ),
    Fault(
        name="the gateway's token is wrong",
        cause=spoil_the_gateways_token,
        repair=restore_the_gateways_token,
        failing={"gateway check": (VIRTUAL_STORAGE, "{praefect}", "7:permission denied")},
    ),
]


@dataclass(frozen=True, slots=True)
class Result:
    """How a check ended, and all it printed."""

    code: int
    output: str


async def run_checks(cluster: Cluster, directory: Path, names: Iterable[str] = CHECKS) -> dict[str, Result]:
    """Run checks, all four if not said, at the same time."""
    layout = cluster.layout
    praefect = (*program("praefect"), "-config", str(layout.praefect_config))
    commands = {name: (*praefect, name) for name in CHECKS}
    commands["gateway check"] = (*program("praefect-gateway"), "check", str(layout.gateway_config))

    async def run(name: str) -> Result:
        log = directory / name
        log.unlink(missing_ok=True)
        child = Child(name=name, arguments=commands[name], log=log)
        await child.start()
        return Result(await child.wait(), log.read_text())

    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(run(name), name=name) for name in names}
    return {name: task.result() for name, task in tasks.items()}


async def become_content(names: Iterable[str], cluster: Cluster, directory: Path) -> None:
    async def content() -> bool:
        results = await run_checks(cluster, directory, names)
        return all(result.code == 0 for result in results.values())

    await eventually(content)


async def test_checks_name_each_fault_and_only_that(own: ClusterClient, tmp_path: Path) -> None:
    cluster = own.cluster
    await own.create_project("app")
    addresses = {"node": cluster.node_address(NODE), "praefect": cluster.praefect_address}
    results = await run_checks(cluster, tmp_path)
    assert {name: result.code for name, result in results.items()} == dict.fromkeys(CHECKS, 0), results
    for fault in FAULTS:
        await fault.cause(cluster)
        results = await run_checks(cluster, tmp_path)
        codes = {name: result.code for name, result in results.items()}
        about = f"{fault.name}: {results}"
        assert codes == {name: int(name in fault.failing) for name in CHECKS}, about
        for name, words in fault.failing.items():
            expected = [word.format(**addresses) for word in words]
            lines = results[name].output.splitlines()
            assert any(all(word in line for word in expected) for line in lines), about
        assert all("Traceback" not in result.output for result in results.values()), about
        await fault.repair(cluster)
        await become_content(fault.failing, cluster, tmp_path)
