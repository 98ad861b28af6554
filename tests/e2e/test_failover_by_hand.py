"""Primaries are moved by hand under a running cluster: the next push is led by the new one, and nothing is lost."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from praefect.app.cluster import VIRTUAL_STORAGE
from praefect.app.layout import program
from tests.support.cluster import ClusterClient
from tests.support.eventually import eventually
from tests.support.git_client import commit_file, git

pytestmark = pytest.mark.slow


async def failover(own: ClusterClient, *words: str) -> tuple[int, str]:
    config = str(own.cluster.layout.praefect_config)
    process = await asyncio.create_subprocess_exec(
        *(*program("praefect"), "-config", config, "failover", "-virtual-storage", VIRTUAL_STORAGE, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_a_node_is_emptied_and_stopped_without_a_failed_push(own: ClusterClient, tmp_path: Path) -> None:
    project = await own.create_project("app")
    work = await own.clone("app", tmp_path)
    old = (await own.metadata(project["id"])).primary
    new = next(name for name in own.cluster.layout.node_names if name != old)

    code, output = await failover(own, "-to", new)
    assert (code, f"{old} -> {new}" in output) == (0, True)
    assert (await own.metadata(project["id"])).primary == old

    code, output = await failover(own, "-from", old, "-apply")
    assert (code, "1 repository moved" in output) == (0, True)
    primary = (await own.metadata(project["id"])).primary
    assert primary != old
    await own.cluster.child(old).stop()
    head = await commit_file(work, "a.txt", "a\n")
    (await own.push(work)).ok()

    code, output = await failover(own, "-to", old, "-apply")
    assert (code, f'stays on {primary}: "{old}" is' in output) == (1, True)
    await own.cluster.start_node(old)

    async def moves_back() -> bool:
        return (await failover(own, "-to", old, "-apply"))[0] == 0

    await eventually(moves_back, within_seconds=60)
    metadata = await own.metadata(project["id"])
    assert metadata.primary == old
    again = await own.clone("app", tmp_path, "again")
    assert (await git(again, "rev-parse", "HEAD")).ok().output == head


async def test_with_failover_by_hand_the_refused_write_names_the_command_that_helps(
    own: ClusterClient, tmp_path: Path
) -> None:
    config = own.cluster.layout.praefect_config
    config.write_text(f"{config.read_text()}\n[failover]\nmanual = true\n")
    await own.cluster.child("praefect").stop()
    await own.cluster.start_praefect()
    project = await own.create_project("app")
    work = await own.clone("app", tmp_path)
    old = (await own.metadata(project["id"])).primary
    own.cluster.child(old).kill()
    await own.cluster.child(old).wait()
    await commit_file(work, "a.txt", "a\n")

    refusals: list[str] = []

    async def refused_by_hand() -> bool:
        refusals.append((await own.push(work)).errors)
        return "(failover.manual)" in refusals[-1]

    await eventually(refused_by_hand, within_seconds=60)
    assert f'"{old}" is down' in refusals[-1]
    await own.clone("app", tmp_path, "read")
    assert (await own.metadata(project["id"])).primary == old

    advice = re.search(r"praefect failover (-.* -apply)", refusals[-1])
    assert advice is not None, refusals[-1]
    new = next(name for name in own.cluster.layout.node_names if name != old)
    words = advice[1].replace("STORAGE", new).split()
    assert words[:2] == ["-virtual-storage", VIRTUAL_STORAGE]
    code, output = await failover(own, *words[2:])
    assert (code, f"{old} -> {new}" in output) == (0, True), output
    (await own.push(work)).ok()
    assert (await own.metadata(project["id"])).primary == new
