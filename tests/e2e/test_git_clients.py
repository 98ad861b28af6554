"""Stock git against a whole cluster: clone, fetch, push, in every protocol, and what is refused."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from praefect.app.cluster import VIRTUAL_STORAGE
from praefect.proto import repository_pb2, shared_pb2
from praefect.transport.dial import open_channel
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.cluster import ClusterClient, relative_path
from tests.support.eventually import eventually
from tests.support.git_client import commit_file, git

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest.mark.parametrize("version", ["0", "1", "2"])
async def test_clone_fetch_and_push_in_each_protocol(shared: ClusterClient, tmp_path: Path, version: str) -> None:
    protocol = f"protocol.version={version}"
    project = await shared.create_project(f"protocol-{version}")
    work = await shared.clone(project["path_with_namespace"], tmp_path, "work", "-c", protocol)
    head = await commit_file(work, "file.txt", "content\n")
    (await git(work, "push", "origin", "HEAD:main", config=(protocol,))).ok()

    other = await shared.clone(project["path_with_namespace"], tmp_path, "other", "-c", protocol)
    newer = await commit_file(work, "file.txt", "more\n")
    (await git(work, "push", "origin", "HEAD:main", config=(protocol,))).ok()
    (await git(other, "fetch", "-q", "origin", config=(protocol,))).ok()

    assert (await git(other, "rev-parse", "HEAD")).output == head
    assert (await git(other, "rev-parse", "origin/main")).output == newer
    assert set(map(str, (await shared.references(project["id"])).values())) == {str({"refs/heads/main": newer})}


async def test_shallow_and_partial_clones(shared: ClusterClient, tmp_path: Path) -> None:
    project = await shared.create_project("shallow")
    work = await shared.clone("shallow", tmp_path)
    for number in range(4):
        await commit_file(work, f"file-{number}.txt", f"{number}\n")
    (await shared.push(work)).ok()

    shallow = await shared.clone("shallow", tmp_path, "shallow", "--depth", "1")
    assert (await git(shallow, "rev-list", "--count", "HEAD")).output == "1"
    (await git(shallow, "fetch", "-q", "--unshallow")).ok()
    assert (await git(shallow, "rev-list", "--count", "HEAD")).output == "5"

    partial = await shared.clone("shallow", tmp_path, "partial", "--filter=blob:none")
    assert (partial / "file-3.txt").read_text() == "3\n"
    assert project["default_branch"] == "main"


async def test_large_push_arrives_whole_on_every_node(shared: ClusterClient, tmp_path: Path) -> None:
    project = await shared.create_project("large")
    work = await shared.clone("large", tmp_path)
    blob = os.urandom(24 << 20)
    (work / "blob.bin").write_bytes(blob)
    (await git(work, "add", ".")).ok()
    (await git(work, "commit", "-q", "-m", "a large blob")).ok()
    (await shared.push(work)).ok()

    again = await shared.clone("large", tmp_path, "again")

    assert (again / "blob.bin").read_bytes() == blob
    for repository in (await shared.repositories(project["id"])).values():
        (await git(repository, "fsck", "--strict")).ok()


async def test_wrong_credentials_are_asked_for_again(shared: ClusterClient, tmp_path: Path) -> None:
    await shared.create_project("private")
    url = shared.cluster.url.replace("http://", "http://root:wrong@") + "/private.git"

    result = await git(tmp_path, "clone", url, "work")

    assert result.code == 128
    assert "Authentication failed" in result.errors


async def test_unknown_project_is_not_found(shared: ClusterClient, tmp_path: Path) -> None:
    result = await git(tmp_path, "clone", shared.cluster.clone_url("no/such"), "work")

    assert result.code == 128
    assert "not found" in result.errors


async def test_deleting_and_forcing_branches(shared: ClusterClient, tmp_path: Path) -> None:
    project = await shared.create_project("branches")
    work = await shared.clone("branches", tmp_path)
    first = await commit_file(work, "a.txt", "a\n")
    (await shared.push(work, "HEAD:refs/heads/topic", "HEAD:refs/tags/v1")).ok()
    (await git(work, "commit", "-q", "--amend", "-m", "rewritten")).ok()
    second = (await git(work, "rev-parse", "HEAD")).output
    assert (await shared.push(work, "HEAD:refs/heads/topic")).code != 0
    (await shared.push(work, "+HEAD:refs/heads/topic", ":refs/tags/v1")).ok()

    for references in (await shared.references(project["id"])).values():
        assert isinstance(references, dict)
        assert references["refs/heads/topic"] == second != first
        assert "refs/tags/v1" not in references


async def test_client_that_dies_half_way_leaves_nothing(shared: ClusterClient, tmp_path: Path) -> None:
    project = await shared.create_project("half")
    before = await shared.references(project["id"])
    credentials = aiohttp.encode_basic_auth("root", shared.cluster.secrets.access_token)
    command = f"{'0' * 40} {'1' * 40} refs/heads/x\0 report-status"
    packet = f"{len(command) + 4:04x}{command}0000".encode() + b"PACK\x00\x00\x00\x02\x00\x00\x00\x01" + b"x" * 1000

    async def dying_body() -> AsyncIterator[bytes]:
        yield packet
        raise ConnectionResetError

    async with aiohttp.ClientSession(headers={"Authorization": credentials}, trust_env=False) as session:
        with pytest.raises((aiohttp.ClientError, ConnectionResetError)):
            await session.post(
                f"{shared.cluster.url}/half.git/git-receive-pack",
                data=dying_body(),
                headers={"Content-Type": "application/x-git-receive-pack-request"},
            )

    async def is_clean() -> bool:
        repositories = (await shared.repositories(project["id"])).values()
        return not any(path for repository in repositories for path in (repository / "objects").glob("tmp_objdir*"))

    await eventually(is_clean)
    assert await shared.references(project["id"]) == before


@pytest.mark.parametrize(
    "path",
    ["../escape.git", "/etc", "a/../../escape.git", "@cluster/../../x.git"],
)
async def test_paths_never_leave_the_storage(shared: ClusterClient, path: str) -> None:
    name = shared.cluster.layout.node_names[0]
    async with open_channel(shared.cluster.node_address(name), token=shared.cluster.secrets.internal_token) as channel:
        with pytest.raises(StatusError) as refusal:
            await channel.unary(
                "/gitaly.RepositoryService/CreateRepository",
                repository_pb2.CreateRepositoryRequest(
                    repository=shared_pb2.Repository(storage_name=name, relative_path=path)
                ),
                repository_pb2.CreateRepositoryResponse,
            )

    assert refusal.value.code is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("revision", [b"--output=/tmp/x", b"-v"])
async def test_revisions_are_never_options(shared: ClusterClient, revision: bytes) -> None:
    project = await shared.create_project(f"options-{revision.hex()}")
    repository = shared_pb2.Repository(storage_name=VIRTUAL_STORAGE, relative_path=relative_path(project["id"]))
    async with open_channel(shared.cluster.praefect_address, token=shared.cluster.secrets.external_token) as channel:
        with pytest.raises(StatusError) as refusal:
            await channel.unary(
                "/gitaly.RepositoryService/WriteRef",
                repository_pb2.WriteRefRequest(repository=repository, ref=b"refs/heads/x", revision=revision),
                repository_pb2.WriteRefResponse,
            )

    assert refusal.value.code is StatusCode.INVALID_ARGUMENT
