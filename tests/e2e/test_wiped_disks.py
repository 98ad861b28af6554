"""Disks that are not what the database believes, on real nodes."""

from __future__ import annotations

import shutil
from pathlib import Path

from praefect.proto import praefect_pb2
from praefect.transport.dial import open_channel
from tests.support.cluster import ClusterClient
from tests.support.eventually import eventually
from tests.support.git_client import commit_file, git


async def _verify(own: ClusterClient, repository_id: int) -> None:
    """Ask for a verification, as ``praefect verify`` does."""
    async with open_channel(own.cluster.praefect_address, token=own.cluster.secrets.external_token) as channel:
        await channel.unary(
            "/gitaly.PraefectInfoService/MarkUnverified",
            praefect_pb2.MarkUnverifiedRequest(repository_id=repository_id),
            praefect_pb2.MarkUnverifiedResponse,
            timeout=10.0,
        )


async def test_wiped_and_changed_replicas_are_found_and_replaced(own: ClusterClient, tmp_path: Path) -> None:
    project = await own.create_project("p")
    work = await own.clone("p", tmp_path)
    head = await commit_file(work, "a.txt", "a\n")
    (await own.push(work)).ok()
    metadata = await own.metadata(project["id"])
    directories = await own.repositories(project["id"])
    wiped, changed = (name for name in own.cluster.layout.node_names if name != metadata.primary)

    async def is_right() -> bool:
        references = await own.references(project["id"])
        now = await own.metadata(project["id"])
        return all(refs == {"refs/heads/main": head} for refs in references.values()) and all(
            replica.generation == now.generation for replica in now.replicas
        )

    assert await is_right()
    (await git(directories[changed], "update-ref", "refs/heads/main", f"{head}^")).ok()
    await _verify(own, metadata.repository_id)
    await eventually(is_right, within_seconds=60)

    shutil.rmtree(directories[wiped])
    await _verify(own, metadata.repository_id)
    await eventually(is_right, within_seconds=60)
    (await own.push(work, "HEAD:refs/heads/next")).ok()
