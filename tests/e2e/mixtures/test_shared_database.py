"""Upstream's praefect and ours on one database: at the same time, and one after the other on one configuration file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from praefect.proto import ref_pb2
from tests.support.eventually import eventually
from tests.support.git_client import git
from tests.support.upstream import MixedCluster, Mixture, needs_praefect, repository, run_mixture
from tests.support.upstream_story import Story

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), needs_praefect]

OURS, UPSTREAMS = "praefect", "praefect-2"


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[MixedCluster]:
    """Our nodes, with our praefect and upstream's before them."""
    async with run_mixture(tmp_path / "c", Mixture(praefects=[UPSTREAMS]), praefects=2) as mixed:
        yield mixed


async def _read(mixed: MixedCluster, path: str, praefect: str) -> str:
    """Read the default branch through one praefect."""
    request = ref_pb2.FindBranchRequest(repository=repository(path), name=b"main")
    response = await mixed.call("/gitaly.RefService/FindBranch", request, ref_pb2.FindBranchResponse, praefect=praefect)
    return response.branch.target_commit.id


async def _write(mixed: MixedCluster, story: Story, praefect: str) -> str:
    """Move the default branch through one praefect, to a commit that nobody has yet."""
    kind = ref_pb2.UpdateReferencesRequest
    (await git(story.work, "commit", "-q", "--allow-empty", "-m", f"through {praefect}")).ok()
    head = (await git(story.work, "rev-parse", "HEAD")).ok().output
    (await mixed.client.push(story.work, "HEAD:refs/heads/next")).ok()
    update = kind.Update(reference=b"refs/heads/main", old_object_id=story.head.encode(), new_object_id=head.encode())
    request = kind(repository=story.target, updates=[update])
    await mixed.call(
        "/gitaly.RefService/UpdateReferences", [request], ref_pb2.UpdateReferencesResponse, praefect=praefect
    )
    story.head = head
    return head


@pytest.mark.parametrize(("writer", "reader"), [(OURS, UPSTREAMS), (UPSTREAMS, OURS)])
async def test_what_one_writes_without_a_node_the_other_never_reads_stale(
    both: MixedCluster, tmp_path: Path, writer: str, reader: str
) -> None:
    story = Story(mixed=both, directory=tmp_path)
    await story.begin()
    old = story.head
    for praefect in (OURS, UPSTREAMS):  # fills both caches of current replicas
        assert await _read(both, story.path, praefect) == old
    primary = await both.primary(story.path)
    secondary = next(name for name in both.cluster.layout.node_names if name != primary)
    both.cluster.child(secondary).kill()
    await both.cluster.child(secondary).wait()

    async def written() -> bool:
        try:
            await _write(both, story, writer)
        except Exception:  # noqa: BLE001 - upstream notices a death after some failed calls
            return False
        return True

    await eventually(written, within_seconds=60)
    await both.cluster.start_node(secondary)

    # It is repaired by whichever praefect takes the job; until then nobody may read from it.
    found: set[str] = set()

    async def repaired() -> bool:
        for praefect in (reader, writer):
            found.add(await _read(both, story.path, praefect))
        return not await both.outdated(story.path)

    await eventually(repaired, within_seconds=60)
    assert found == {story.head}


async def test_both_write_at_once_and_all_nodes_end_equal(both: MixedCluster, tmp_path: Path) -> None:
    story = Story(mixed=both, directory=tmp_path)
    await story.begin()
    jobs = await both.jobs_so_far()
    before = await both.record(story.path)

    async def write(praefect: str) -> None:
        kind = ref_pb2.UpdateReferencesRequest
        for number in range(10):
            update = kind.Update(
                reference=f"refs/heads/{praefect}/{number}".encode(),
                old_object_id=b"0" * 40,
                new_object_id=story.head.encode(),
            )
            request = kind(repository=story.target, updates=[update])
            kind_of_answer = ref_pb2.UpdateReferencesResponse
            await both.call("/gitaly.RefService/UpdateReferences", [request], kind_of_answer, praefect=praefect)

    async with asyncio.TaskGroup() as writers:
        for praefect in (OURS, UPSTREAMS):
            writers.create_task(write(praefect), name=praefect)

    await both.wait_until_equal(story.path)
    record = await both.record(story.path)
    assert before is not None
    assert before.generation is not None
    assert record is not None
    assert record.generation == before.generation + 20
    assert await both.jobs_so_far() == jobs
    listed = await git(both.replicas(record)[0], "for-each-ref", "--format=%(refname)", "refs/heads/")
    assert len(listed.ok().output.splitlines()) == 21


async def test_both_judge_health_and_elect_the_same_primary(both: MixedCluster, tmp_path: Path) -> None:
    story = Story(mixed=both, directory=tmp_path)
    await story.begin()
    async with both.rows() as rows:

        async def everybody_was_seen() -> bool:
            seen = await rows.run(
                "SELECT praefect_name, node_name FROM node_status WHERE last_seen_active_at IS NOT NULL"
            )
            return len(seen) == 6

        await eventually(everybody_was_seen)
    primary = await both.primary(story.path)
    both.cluster.child(primary).kill()
    await both.cluster.child(primary).wait()

    async def both_serve() -> bool:
        try:
            heads = [await _read(both, story.path, praefect) for praefect in (OURS, UPSTREAMS)]
            heads += [await _write(both, story, praefect) for praefect in (OURS, UPSTREAMS)]
        except Exception:  # noqa: BLE001 - upstream notices a death after some failed calls
            return False
        return True

    await eventually(both_serve, within_seconds=60)
    assert await both.primary(story.path) != primary
    await both.cluster.start_node(primary)
    await both.wait_until_equal(story.path)
    assert {await _read(both, story.path, praefect) for praefect in (OURS, UPSTREAMS)} == {story.head}


@pytest.mark.parametrize("left", [OURS, UPSTREAMS])
async def test_either_verifies_what_is_marked_by_either(both: MixedCluster, tmp_path: Path, left: str) -> None:
    """A replica whose directory is gone is struck from the records by the one that still runs, and made again."""
    story = Story(mixed=both, directory=tmp_path)
    await story.begin()
    other = UPSTREAMS if left == OURS else OURS
    await both.cluster.child(other).stop()
    command = "ours" if left == UPSTREAMS else "upstream"
    config = both.cluster.layout.praefect_config_of(left)

    async def verified() -> bool:
        async with both.rows() as rows:
            return not await rows.run(
                "SELECT storage FROM storage_repositories"
                " WHERE verified_at IS NULL OR verification_leased_until IS NOT NULL"
            )

    await eventually(verified)
    result = await both.run(command, "verify", "-virtual-storage", "default", config=config)
    assert (result.code, result.stdout) == (0, "3 replicas marked unverified\n")
    await eventually(verified)
    record = await both.record(story.path)
    assert record is not None
    lost = both.replicas(record)[2]
    lost.rename(tmp_path / "moved")
    assert (await both.run(command, "verify", "-virtual-storage", "default", config=config)).code == 0
    await both.wait_until_equal(story.path)
    assert lost.is_dir()


async def test_upstream_to_ours_and_back_on_one_file(tmp_path: Path) -> None:
    async with run_mixture(tmp_path / "c", Mixture(praefects=["praefect"])) as mixed:
        cluster = mixed.cluster
        story = Story(mixed=mixed, directory=tmp_path)
        await story.begin()
        for ours, praefects in ((False, []), (True, ["praefect"]), (False, [])):
            await story.push()
            await story.create_branch()
            await story.delete_branch()
            assert await mixed.outdated(story.path) == ""
            before = await mixed.record(story.path)
            await cluster.child("praefect").stop()
            if ours:
                doubts = await mixed.run("ours", "doubts")
                assert (doubts.code, doubts.stdout) == (0, "0 in doubt, 0 of them interrupted.\n"), doubts
            mixed.become(Mixture(praefects=praefects))
            await cluster.start_praefect()
            assert await mixed.record(story.path) == before
            for program in ("upstream", "ours"):
                checked = await mixed.run(program, "check", "-q")
                assert (checked.code, checked.stdout.splitlines()[-1]) == (0, "All checks passed."), checked
        await story.lose_a_primary()


async def test_killed_praefect_is_settled_before_upstream_goes_on(tmp_path: Path) -> None:
    async with run_mixture(tmp_path / "c", Mixture()) as mixed:
        cluster = mixed.cluster
        story = Story(mixed=mixed, directory=tmp_path)
        await story.begin()
        stopped = asyncio.Event()

        async def write() -> None:
            kind = ref_pb2.UpdateReferencesRequest
            number = 0
            while not stopped.is_set():
                number += 1
                name = f"refs/heads/many/{number}".encode()
                update = kind.Update(reference=name, old_object_id=b"0" * 40, new_object_id=story.head.encode())
                request = kind(repository=story.target, updates=[update])
                try:
                    await mixed.call("/gitaly.RefService/UpdateReferences", [request], ref_pb2.UpdateReferencesResponse)
                except Exception:  # noqa: BLE001 - the end of the praefect in the middle of a write
                    return

        async with asyncio.TaskGroup() as writers:
            writers.create_task(write(), name="writer")
            for _ in range(5):
                generation = (await mixed.client.metadata(1)).generation
                await eventually(lambda: _moved(mixed, generation))  # noqa: B023 - awaited at once
            cluster.child("praefect").kill()
            await cluster.child("praefect").wait()
            stopped.set()
        settled = await mixed.run("ours", "doubts", "--settle")
        assert settled.code == 0, settled
        mixed.become(Mixture(praefects=["praefect"]))
        await cluster.start_praefect()
        await mixed.wait_until_equal(story.path)
        await story.push()
        await mixed.wait_until_equal(story.path)


async def _moved(mixed: MixedCluster, generation: int) -> bool:
    return (await mixed.client.metadata(1)).generation > generation
