"""The node as its operator sees it: start, stop, one line per fault, and being killed."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from praefect.domain.errors import PraefectError
from praefect.proto import health_pb2, ref_pb2
from praefect.proto import repository_pb2 as pb
from praefect.proto.shared_pb2 import Repository
from tests.support.eventually import eventually
from tests.support.node_process import NodeProcess, node_process, run_program, write_config
from tests.support.storage_node import make_commit, run_git

SERVICE = "/gitaly.RepositoryService/"
ROUNDS = 8


def repository(path: str) -> Repository:
    return Repository(storage_name="default", relative_path=path)


async def test_version_and_help() -> None:
    code, stdout, _ = await run_program("-version")
    assert (code, stdout.startswith("praefect-node, version ")) == (0, True)
    code, stdout, _ = await run_program("-h")
    assert code == 0
    assert "praefect-node serve" in stdout


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory with a short path: a node's sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="node-") as directory:
        yield Path(directory)


async def test_stops_on_a_signal_and_leaves_nothing(tmp_path: Path) -> None:
    async with node_process(tmp_path) as node:
        request = pb.CreateRepositoryRequest(repository=repository("a.git"))
        await node.channel.unary(f"{SERVICE}CreateRepository", request, pb.CreateRepositoryResponse)
        node.process.terminate()
        assert await node.process.wait() == 0
    assert not (tmp_path / "node.sock").exists()
    assert list((tmp_path / "run").iterdir()) == []
    assert list((tmp_path / "storage/+gitaly/tmp").iterdir()) == []


async def test_dash_config_serves_too(tmp_path: Path) -> None:
    config = write_config(tmp_path, listen_addr='"127.0.0.1:1x"')
    code, _, stderr = await run_program("-config", config)
    assert code == 1
    assert stderr.count("\n") == 1


async def test_faults_at_start_are_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = write_config(tmp_path, listen_addr=f'"127.0.0.1:{port}"')
        code, _, stderr = await run_program("serve", config)
    assert code == 1
    assert stderr == f"praefect-node: listen tcp 127.0.0.1:{port}: bind: address already in use\n"
    assert list((tmp_path / "run").iterdir()) == []

    config.write_text("listen_addr = [")
    code, _, stderr = await run_program("serve", config)
    assert (code, stderr.count("\n")) == (1, 1)
    assert "load toml" in stderr

    config = write_config(tmp_path)
    config.write_text(config.read_text() + '[git]\nexecutable = "/nonexistent/git"\n')
    code, _, stderr = await run_program("serve", config)
    assert code == 1
    assert stderr == 'praefect-node: git: cannot start "/nonexistent/git": No such file or directory\n'


async def test_too_long_runtime_directory_is_named(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    config = write_config(tmp_path, runtime_dir=f'"{deep}"')
    code, _, stderr = await run_program("serve", config)
    assert code == 1
    assert "your socket path is likely too long, please change Gitaly's runtime directory" in stderr


async def test_check(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    code, stdout, _ = await run_program("check", config)
    assert code == 1
    lines = stdout.splitlines()
    assert lines[0] == "git ... OK"
    assert lines[1] == f'storage "default" ({tmp_path}/storage) ... OK'
    assert lines[2].startswith("internal API (not configured) ... ")


async def test_dead_processes_runtime_directory_is_removed(tmp_path: Path) -> None:
    async with node_process(tmp_path) as node:
        node.kill()
        await node.process.wait()
    (left,) = (tmp_path / "run").iterdir()
    async with node_process(tmp_path):
        assert left not in list((tmp_path / "run").iterdir())


async def write_until_killed(node: NodeProcess, number: int, acknowledged: dict[str, str]) -> None:
    """Change a repository of one's own in every way there is, noting what was acknowledged."""
    path = f"r{number}.git"
    channel = node.channel
    storage = node.log.parent / "storage"
    try:
        if path not in acknowledged:
            request = pb.CreateRepositoryRequest(repository=repository(path))
            await channel.unary(f"{SERVICE}CreateRepository", request, pb.CreateRepositoryResponse)
            acknowledged[path] = ""
        for step in range(1000):
            commit = await make_commit(storage / path, {"a": f"{number} {step}".encode()})
            write = pb.WriteRefRequest(repository=repository(path), ref=b"refs/heads/main", revision=commit.encode())
            # Whatever was in doubt before stays so until a write is acknowledged.
            acknowledged[path] += f"?{commit}"
            await channel.unary(f"{SERVICE}WriteRef", write, pb.WriteRefResponse)
            acknowledged[path] = commit
            head = pb.WriteRefRequest(repository=repository(path), ref=b"HEAD", revision=f"refs/heads/h{step}".encode())
            await channel.unary(f"{SERVICE}WriteRef", head, pb.WriteRefResponse)
            hooks = [pb.SetCustomHooksRequest(repository=repository(path))]
            await channel.client_stream(f"{SERVICE}SetCustomHooks", hooks, pb.SetCustomHooksResponse)
            updates = ref_pb2.UpdateReferencesRequest.Update(
                reference=f"refs/heads/b{step}".encode(), new_object_id=commit.encode()
            )
            await channel.client_stream(
                "/gitaly.RefService/UpdateReferences",
                [ref_pb2.UpdateReferencesRequest(repository=repository(path), updates=[updates])],
                ref_pb2.UpdateReferencesResponse,
            )
            maintain = pb.OptimizeRepositoryRequest(repository=repository(path), strategy="STRATEGY_EAGER")
            await channel.unary(f"{SERVICE}OptimizeRepository", maintain, pb.OptimizeRepositoryResponse)
            temporary = repository(f"t{number}-{step}.git")
            create = pb.CreateRepositoryRequest(repository=temporary)
            await channel.unary(f"{SERVICE}CreateRepository", create, pb.CreateRepositoryResponse)
            remove = pb.RemoveRepositoryRequest(repository=temporary)
            await channel.unary(f"{SERVICE}RemoveRepository", remove, pb.RemoveRepositoryResponse)
    except PraefectError:
        return  # the node is gone


@pytest.mark.slow
async def test_repositories_survive_being_killed_at_any_point(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)  # shown by a failure
    generator = random.Random(seed)
    acknowledged: dict[str, str] = {}
    storage = tmp_path / "storage"
    for _ in range(ROUNDS):
        async with node_process(tmp_path) as node, asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(write_until_killed(node, number, acknowledged))
            await asyncio.sleep(generator.uniform(0.05, 0.8))
            node.kill()
            await node.process.wait()
        for path, value in acknowledged.items():
            await eventually(partial(_is_sound, storage / path))
            found = await run_git(storage / path, "rev-parse", "-q", "--verify", "refs/heads/main", check=False)
            assert found.decode().strip() in value.split("?"), (seed, path, value)
    # After a start without a kill everything can be written again, and nothing is left over.
    async with node_process(tmp_path) as node:
        for path in acknowledged:
            commit = await make_commit(storage / path, {"last": b"1"})
            write = pb.WriteRefRequest(repository=repository(path), ref=b"refs/heads/main", revision=commit.encode())
            await _eventually(node, f"{SERVICE}WriteRef", write)
            head = pb.WriteRefRequest(repository=repository(path), ref=b"HEAD", revision=b"refs/heads/main")
            await _eventually(node, f"{SERVICE}WriteRef", head)
        await node.channel.unary(
            "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
        )

        async def no_locks_left() -> bool:
            return not list(storage.rglob("*.lock"))

        await eventually(no_locks_left)
    assert list((storage / "+gitaly/tmp").iterdir()) == []
    shutil.rmtree(storage)


async def _is_sound(path: Path) -> bool:
    """A git process that outlived the node may still be putting packs in their place."""
    try:
        await run_git(path, "fsck", "--strict", "--no-dangling")
    except AssertionError:
        return False
    return True


async def _eventually(node: NodeProcess, method: str, request: pb.WriteRefRequest) -> None:
    """The node clears what its predecessor left while it serves already."""

    async def works() -> bool:
        try:
            await node.channel.unary(method, request, pb.WriteRefResponse)
        except PraefectError:
            return False
        return True

    await eventually(works)
