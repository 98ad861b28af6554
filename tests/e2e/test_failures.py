"""What users see when a token is wrong or a part is missing, and that everything works again afterwards."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest

from praefect.app.cluster import VIRTUAL_STORAGE, ClusterOptions, run_cluster
from praefect.app.layout import program
from praefect.app.processes import Child
from praefect.proto import repository_pb2, shared_pb2
from praefect.transport.dial import open_channel
from praefect.transport.grpc.status import StatusCode, StatusError
from tests.support.cluster import ClusterClient, relative_path
from tests.support.eventually import eventually
from tests.support.git_client import commit_file, git

pytestmark = pytest.mark.slow


async def _run(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, stdin=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def _exists(own: ClusterClient, project_id: int, token: str | None = None) -> StatusCode:
    """Read a reference through praefect and return the code of the answer."""
    repository = shared_pb2.Repository(storage_name=VIRTUAL_STORAGE, relative_path=relative_path(project_id))
    async with open_channel(own.cluster.praefect_address, token=token or own.cluster.secrets.external_token) as channel:
        try:
            await channel.unary(
                "/gitaly.RepositoryService/HasLocalBranches",
                repository_pb2.HasLocalBranchesRequest(repository=repository),
                repository_pb2.HasLocalBranchesResponse,
                timeout=10.0,
            )
        except StatusError as exc:
            return exc.code
    return StatusCode.OK


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


async def test_wrong_external_token_is_permission_denied(own: ClusterClient, tmp_path: Path) -> None:
    project = await own.create_project("p")
    assert await _exists(own, project["id"], "wrong") is StatusCode.PERMISSION_DENIED

    config = own.cluster.layout.gateway_config
    await own.cluster.child("praefect-gateway").stop()
    _replace(config, own.cluster.secrets.external_token, "wrong")
    await own.cluster.start_gateway()
    result = await git(tmp_path, "clone", own.cluster.clone_url("p"), "work")
    status, body = await own.api("POST", "/api/v4/projects", json={"name": "q"})
    code, output = await _run(*program("praefect-gateway"), "check", str(config))

    assert "7:permission denied" in result.errors
    assert (status, body["message"].split(":")[0]) == (500, "7")
    assert (code, "7:permission denied" in output, VIRTUAL_STORAGE in output) == (1, True, True)


async def test_wrong_internal_token_is_permission_denied_and_named(own: ClusterClient) -> None:
    project = await own.create_project("p")
    config = own.cluster.layout.praefect_config
    await own.cluster.child("praefect").stop()
    _replace(config, own.cluster.secrets.internal_token, "wrong")
    await own.cluster.start_praefect()

    assert await _exists(own, project["id"]) is StatusCode.PERMISSION_DENIED
    for command in ("dial-nodes", "check"):
        code, output = await _run(*program("praefect"), "-config", str(config), command)
        assert code == 1, output
        assert "permission denied" in output.lower(), output


async def test_stopped_praefect_is_unavailable(own: ClusterClient, tmp_path: Path) -> None:
    project = await own.create_project("p")
    own.cluster.child("praefect").kill()
    await own.cluster.child("praefect").wait()

    result = await git(tmp_path, "clone", own.cluster.clone_url("p"), "work")

    assert await _exists(own, project["id"]) is StatusCode.UNAVAILABLE
    assert "14:" in result.errors
    await own.cluster.start_praefect()

    async def cloned() -> bool:
        return (await git(tmp_path, "clone", own.cluster.clone_url("p"), "work")).code == 0

    await eventually(cloned, within_seconds=10)


async def test_stopped_nodes_are_unavailable(own: ClusterClient, tmp_path: Path) -> None:
    project = await own.create_project("p")
    for name in own.cluster.layout.node_names:
        own.cluster.child(name).kill()
        await own.cluster.child(name).wait()

    result = await git(tmp_path, "clone", own.cluster.clone_url("p"), "work")

    assert await _exists(own, project["id"]) is StatusCode.UNAVAILABLE
    assert "14:" in result.errors
    code, output = await _run(*program("praefect"), "-config", str(own.cluster.layout.praefect_config), "dial-nodes")
    assert code == 1
    assert "127.0.0.1" in output
    for name in own.cluster.layout.node_names:
        await own.cluster.start_node(name)

    async def readable() -> bool:
        return await _exists(own, project["id"]) is StatusCode.OK

    await eventually(readable)


async def test_refused_push_shows_the_message_and_leaves_no_object(own: ClusterClient, tmp_path: Path) -> None:
    project = await own.create_project("p")
    await own.cluster.child("praefect-gateway").stop()
    config = own.cluster.layout.gateway_config
    config.write_text(
        config.read_text() + '\n[[protection]]\nbranch = "frozen"\nmessage = "This branch is frozen until Monday."\n'
    )
    await own.cluster.start_gateway()
    work = await own.clone("p", tmp_path)
    head = await commit_file(work, "a.txt", "a\n")

    result = await own.push(work, "HEAD:refs/heads/frozen")

    assert result.code != 0
    assert "This branch is frozen until Monday." in result.errors
    for name, repository in (await own.repositories(project["id"])).items():
        assert (await git(repository, "cat-file", "-e", head)).code != 0, name
    assert (await own.push(work, "HEAD:refs/heads/free")).ok()


async def test_killed_node_is_read_around_and_repaired(own: ClusterClient, tmp_path: Path) -> None:
    project = await own.create_project("p")
    work = await own.clone("p", tmp_path)
    primary = (await own.metadata(project["id"])).primary
    secondary = next(name for name in own.cluster.layout.node_names if name != primary)
    own.cluster.child(secondary).kill()
    await own.cluster.child(secondary).wait()

    await own.clone("p", tmp_path, "again")
    head = await commit_file(work, "a.txt", "a\n")
    (await own.push(work)).ok()
    await own.cluster.start_node(secondary)

    async def repaired() -> bool:
        references = await own.references(project["id"])
        return all(refs == {"refs/heads/main": head} for refs in references.values())

    await eventually(repaired)


async def test_postgresql_away_reads_go_on_and_writes_come_back(own: ClusterClient, tmp_path: Path) -> None:
    project = await own.create_project("p")
    work = await own.clone("p", tmp_path)
    assert await _exists(own, project["id"]) is StatusCode.OK
    postmaster = int((own.cluster.layout.postgres / "cluster" / "postmaster.pid").read_text().splitlines()[0])
    _signal_tree(postmaster, signal.SIGSTOP)
    try:
        assert await _exists(own, project["id"]) is StatusCode.OK
    finally:
        _signal_tree(postmaster, signal.SIGCONT)
    await commit_file(work, "a.txt", "a\n")

    async def pushed() -> bool:
        return (await own.push(work)).code == 0

    await eventually(pushed)


def _signal_tree(pid: int, number: signal.Signals) -> None:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                os.kill(int(entry.name), number)
    os.kill(pid, number)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("listen_addr = ", "toml"),
        ("", "no listen address or socket path configured"),
    ],
)
async def test_bad_configuration_is_one_readable_line(tmp_path: Path, fault: str, expected: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(fault)

    code, output = await _run(*program("praefect"), "-config", str(config))

    assert code == 1
    assert expected in output.splitlines()[0]
    assert "Traceback" not in output


async def test_port_in_use_is_one_readable_line(own: ClusterClient) -> None:
    command = (*program("praefect"), "-config", str(own.cluster.layout.praefect_config))
    child = Child(name="second", arguments=command, log=own.cluster.layout.log("second"))
    await child.start()

    assert await child.wait() == 1
    text = own.cluster.layout.log("second").read_text()
    assert "address already in use" in text
    assert "Traceback" not in text


async def test_second_start_finds_the_repositories_again(tmp_path: Path) -> None:
    options = ClusterOptions(directory=tmp_path / "cluster")
    async with run_cluster(options) as first:
        await ClusterClient(first).create_project("kept")
    async with run_cluster(options) as second:
        work = await ClusterClient(second).clone("kept", tmp_path)

    assert (work / "README.md").read_text() == "# kept\n"


async def test_absent_postgresql_at_start_is_one_line_and_exit_code_1(own: ClusterClient, tmp_path: Path) -> None:
    text = own.cluster.layout.praefect_config.read_text()
    elsewhere = re.sub(r'(listen_addr = )".*:\d+"', r'\1"127.0.0.1:0"', text)
    config = tmp_path / "config.toml"
    config.write_text(elsewhere.replace('user = "praefect"', 'user = "nobody-knows"'))

    code, output = await _run(*program("praefect"), "-config", str(config))

    assert code == 1
    assert "password authentication failed for user" in output
    assert "Traceback" not in output
