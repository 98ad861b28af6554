"""Upstream's nodes and ours behind upstream's praefect and ours: votes agree, and what was lost is repaired."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.git_client import commit_file
from tests.support.upstream import NODES, Mixture, needs_gitaly, needs_praefect, run_mixture
from tests.support.upstream_story import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MIXTURES = [
    pytest.param(Mixture(nodes=NODES), id="upstream's nodes behind our praefect", marks=needs_gitaly),
    pytest.param(Mixture(praefects=["praefect"]), id="our nodes behind upstream's praefect", marks=needs_praefect),
    pytest.param(Mixture(nodes=["gitaly-1"]), id="one upstream node of three behind our praefect", marks=needs_gitaly),
    pytest.param(Mixture(nodes=NODES[1:]), id="two upstream nodes of three behind our praefect", marks=needs_gitaly),
    pytest.param(
        Mixture(nodes=["gitaly-2"], praefects=["praefect"]),
        id="one upstream node of three behind upstream's praefect",
        marks=[needs_gitaly, needs_praefect],
    ),
]


@pytest.mark.parametrize("mixture", MIXTURES)
async def test_every_write_leaves_all_nodes_equal(mixture: Mixture, tmp_path: Path) -> None:
    async with run_mixture(tmp_path / "c", mixture) as mixed:
        story = Story(mixed=mixed, directory=tmp_path)
        await story.begin()
        await story.write_everything()
        assert story.found() == {}
        await story.remove_fork()
        await story.lose_a_primary()


@needs_gitaly
@pytest.mark.parametrize("dead", [["gitaly-1"], ["gitaly-2", "gitaly-3"]], ids=["from ours", "from upstream's"])
async def test_replicas_of_each_kind_are_copied_from_the_other(dead: list[str], tmp_path: Path) -> None:
    async with run_mixture(tmp_path / "c", Mixture(nodes=["gitaly-1"])) as mixed:
        story = Story(mixed=mixed, directory=tmp_path)
        await story.begin()
        for name in dead:
            mixed.cluster.child(name).kill()
            await mixed.cluster.child(name).wait()
        await commit_file(story.work, "file.txt", f"without {dead}\n")
        await eventually(story.pushed, within_seconds=60)
        await story.push_several()
        await story.set_custom_hooks()
        for name in dead:
            await mixed.cluster.start_node(name)
        await mixed.wait_until_equal(story.path)
        record = await mixed.record(story.path)
        assert record is not None
        for directory in mixed.replicas(record):
            assert (directory / "custom_hooks" / "pre-receive").is_file(), directory
        assert await mixed.fsck(story.path) == {}
