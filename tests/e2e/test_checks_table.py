"""The four checks before, during and after each fault: exit code, and the line that names the part and the reason."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from praefect.app.cluster import VIRTUAL_STORAGE, Cluster
from praefect.app.layout import program
from praefect.app.processes import Child
from tests.support.cluster import ClusterClient
from tests.support.eventually import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NODE = "gitaly-2"
CHECKS = ("dial-nodes", "sql-ping", "check", "gateway check")
REFUSED = "connection refused"


async def stop_node(cluster: Cluster) -> None:
    await cluster.child(NODE).stop()


async def start_node(cluster: Cluster) -> None:
    await cluster.start_node(NODE)


async def give_node_another_token(cluster: Cluster) -> None:
    await stop_node(cluster)
    replace(cluster.layout.node_config(NODE), cluster.secrets.internal_token, "wrong")
    await start_node(cluster)


async def give_node_its_token(cluster: Cluster) -> None:
    await stop_node(cluster)
    replace(cluster.layout.node_config(NODE), "wrong", cluster.secrets.internal_token)
    await start_node(cluster)


async def stop_praefect(cluster: Cluster) -> None:
    await cluster.child("praefect").stop()


async def start_praefect(cluster: Cluster) -> None:
    await cluster.start_praefect()


async def stop_postgresql(cluster: Cluster) -> None:
    assert cluster.postgres is not None
    os.kill(cluster.postgres.process_id, signal.SIGINT)  # fast shutdown
    await cluster.postgres.wait()


async def start_postgresql(cluster: Cluster) -> None:
    assert cluster.postgres is not None
    await cluster.postgres.restart()


async def spoil_the_password(cluster: Cluster) -> None:
    replace(cluster.layout.praefect_config, cluster.secrets.sql_password, "wrong")


async def restore_the_password(cluster: Cluster) -> None:
    replace(cluster.layout.praefect_config, "wrong", cluster.secrets.sql_password)


async def spoil_the_gateways_token(cluster: Cluster) -> None:
    replace(cluster.layout.gateway_config, cluster.secrets.external_token, "wrong")


async def restore_the_gateways_token(cluster: Cluster) -> None:
    replace(cluster.layout.gateway_config, "wrong", cluster.secrets.external_token)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A row of the table.

    Attributes:
        cause: brings it about.
        repair: ends it.
        failing: the checks that fail, with words that stand in one line of their output; ``{node}`` and ``{praefect}``
            are addresses. All other checks are content.
    """

    cause: Callable[[Cluster], Awaitable[None]]
    repair: Callable[[Cluster], Awaitable[None]]
    failing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


FAULTS = [
    Fault(
        cause=stop_node,
        repair=start_node,
        failing=dict.fromkeys(("dial-nodes", "check"), ("[{node}]", "ERROR", REFUSED)),
    ),
    Fault(
        cause=give_node_another_token,
        repair=give_node_its_token,
        failing=dict.fromkeys(("dial-nodes", "check"), ("[{node}]", "ERROR", "permission denied")),
    ),
    Fault(
        cause=stop_praefect,
        repair=start_praefect,
        failing={"gateway check": (VIRTUAL_STORAGE, "{praefect}", "14:", REFUSED)},
    ),
    Fault(
        cause=stop_postgresql,
        repair=start_postgresql,
        failing=dict.fromkeys(("sql-ping", "check"), ("server", "socket")),
    ),
    Fault(
        cause=spoil_the_password,
        repair=restore_the_password,
        failing=dict.fromkeys(("sql-ping", "check"), ("password authentication failed", '"praefect"')),
    ),
    Fault(
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
        about = f"{fault.cause.__name__}: {results}"
        assert codes == {name: int(name in fault.failing) for name in CHECKS}, about
        for name, words in fault.failing.items():
            expected = [word.format(**addresses) for word in words]
            lines = results[name].output.splitlines()
            assert any(all(word in line for word in expected) for line in lines), about
        assert all("Traceback" not in result.output for result in results.values()), about
        await fault.repair(cluster)
        await become_content(fault.failing, cluster, tmp_path)
