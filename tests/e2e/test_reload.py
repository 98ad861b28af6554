"""Reloads under traffic: another process takes over, and no call fails, not even those that began before."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from praefect.app.cluster import VIRTUAL_STORAGE, ClusterOptions, run_cluster
from praefect.proto import commit_pb2, repository_pb2, shared_pb2
from praefect.transport.dial import open_channel
from praefect.transport.grpc.channel import TypedCall
from praefect.transport.grpc.token import make_token
from tests.support.cluster import ClusterClient, relative_path
from tests.support.eventually import eventually
from tests.support.git_client import commit_file, git
from tests.support.reloading import Reloadable, upgrades_enabled, wait_for_end

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

RELOADS = 5


@dataclass(frozen=True, slots=True)
class ReloadableCluster:
    """A cluster whose praefect can be reloaded."""

    client: ClusterClient
    praefect: Reloadable

    def log_lines(self) -> list[dict[str, object]]:
        """Return what all praefect processes logged."""
        text = self.client.cluster.layout.log("praefect").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest_asyncio.fixture
async def reloadable(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReloadableCluster]:
    """A cluster with a praefect that SIGHUP reloads."""
    directory = tmp_path_factory.mktemp("cluster")
    with upgrades_enabled(directory / "praefect.pid") as praefect:
        async with run_cluster(ClusterOptions(directory=directory)) as cluster:
            yield ReloadableCluster(ClusterClient(cluster), praefect)


@dataclass(slots=True)
class Traffic:
    """Calls, one after the other until told to stop; a failure ends the test."""

    done: dict[str, int] = field(default_factory=dict)
    stopped: bool = False

    async def repeat(self, name: str, call: Callable[[int], Awaitable[None]]) -> None:
        number = 0
        while not self.stopped:
            await call(number)
            number += 1
            self.done[name] = number

    async def wait_for_one_more_of_each(self) -> None:
        """Wait until every kind of call was begun and ended anew."""
        before = dict(self.done)

        async def more() -> bool:
            return all(self.done[name] > before.get(name, 0) + 1 for name in self.done)

        await eventually(more, within_seconds=60)


async def test_no_call_fails_during_five_reloads(reloadable: ReloadableCluster, tmp_path: Path) -> None:
    client = reloadable.client
    token = client.cluster.secrets.external_token
    address = client.cluster.praefect_address
    project = await client.create_project("busy")
    repository = shared_pb2.Repository(storage_name=VIRTUAL_STORAGE, relative_path=relative_path(project["id"]))
    work = await client.clone("busy", tmp_path)
    exists = repository_pb2.RepositoryExistsRequest(repository=repository)

    async def push(number: int) -> None:
        await commit_file(work, "file.txt", f"{number}\n")
        (await client.push(work)).ok()

    async def clone(number: int) -> None:
        await client.clone("busy", tmp_path, f"clone-{number}")

    async def with_a_new_connection(_number: int) -> None:
        async with open_channel(address, token=token) as channel:
            assert (
                await channel.unary(
                    "/gitaly.RepositoryService/RepositoryExists", exists, repository_pb2.RepositoryExistsResponse
                )
            ).exists

    async with (
        open_channel(address, token=token) as kept,
        grpc.aio.insecure_channel(address.removeprefix("tcp://")) as stock,
    ):
        find_commit = stock.unary_unary(
            "/gitaly.CommitService/FindCommit",
            request_serializer=commit_pb2.FindCommitRequest.SerializeToString,
            response_deserializer=commit_pb2.FindCommitResponse.FromString,
        )

        async def with_our_connection(_number: int) -> None:
            await kept.unary(
                "/gitaly.RepositoryService/RepositoryExists", exists, repository_pb2.RepositoryExistsResponse
            )

        async def with_a_stock_client(_number: int) -> None:
            answer = await find_commit(
                commit_pb2.FindCommitRequest(repository=repository, revision=b"HEAD"),
                metadata=(("authorization", make_token(token.encode(), time.time())),),
            )
            assert answer.commit.id

        traffic = Traffic()
        calls = (push, clone, with_a_new_connection, with_our_connection, with_a_stock_client)
        async with asyncio.TaskGroup() as tasks:
            for call in calls:
                traffic.done[call.__name__] = 0
                tasks.create_task(traffic.repeat(call.__name__, call), name=call.__name__)
            for _ in range(RELOADS):
                await traffic.wait_for_one_more_of_each()
                await wait_for_end(await reloadable.praefect.reload())
            await traffic.wait_for_one_more_of_each()
            traffic.stopped = True

    lines = [line["msg"] for line in reloadable.log_lines()]
    assert lines.count("Upgrade succeeded") == RELOADS
    assert lines.count("[graceful upgrade] stopping old Gitaly") == RELOADS
    assert lines.count("[graceful upgrade] stopped old Gitaly") == RELOADS
    assert "Upgrade failed" not in lines
    head = (await git(work, "rev-parse", "HEAD")).output
    assert all(refs == {"refs/heads/main": head} for refs in (await client.references(project["id"])).values())


async def test_call_in_flight_ends_in_the_old_process(reloadable: ReloadableCluster) -> None:
    client = reloadable.client
    project = await client.create_project("long")
    repository = shared_pb2.Repository(storage_name=VIRTUAL_STORAGE, relative_path=relative_path(project["id"]))
    async with (
        open_channel(client.cluster.praefect_address, token=client.cluster.secrets.external_token) as channel,
        channel.bidi("/gitaly.CommitService/CheckObjectsExist", commit_pb2.CheckObjectsExistResponse) as call,
    ):
        await call.send(commit_pb2.CheckObjectsExistRequest(repository=repository, revisions=[b"HEAD"]))
        assert [one.exists for one in (await _next(call)).revisions] == [True]

        former = await reloadable.praefect.reload()
        await call.send(commit_pb2.CheckObjectsExistRequest(revisions=[b"refs/heads/none"]))
        assert [one.exists for one in (await _next(call)).revisions] == [False]
        await call.half_close()
        assert await call.receive() is None

    await wait_for_end(former)


async def _next(call: TypedCall[commit_pb2.CheckObjectsExistResponse]) -> commit_pb2.CheckObjectsExistResponse:
    answer = await call.receive()
    assert answer is not None
    return answer


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What a service manager would hear of all programs that are started."""
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(address))
        listening.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(address))
        yield listening


async def test_service_manager_hears_of_every_step(manager: socket.socket, reloadable: ReloadableCluster) -> None:
    loop = asyncio.get_running_loop()

    async def told() -> list[str]:
        async with asyncio.timeout(60):
            return (await loop.sock_recv(manager, 1000)).decode().split("\n")

    started: list[list[str]] = []
    with suppress(BlockingIOError):
        while message := manager.recv(1000):
            started.append(message.decode().split("\n"))
    assert started
    assert all(message == ["READY=1"] for message in started)

    former = await reloadable.praefect.reload()
    begun = await told()
    assert begun[0] == "RELOADING=1"
    assert begun[1].startswith("MONOTONIC_USEC=")
    assert await told() == [f"MAINPID={reloadable.praefect.pid}", "READY=1"]
    await wait_for_end(former)

    successor = reloadable.praefect.pid
    os.kill(successor, signal.SIGTERM)
    assert await told() == ["STOPPING=1"]
    await wait_for_end(successor)


async def test_successor_that_cannot_start_changes_nothing(reloadable: ReloadableCluster) -> None:
    config = reloadable.client.cluster.layout.praefect_config
    before = config.read_text()
    former = reloadable.praefect.pid
    config.write_text(before.replace("[auth]", "[[auth]]"))

    os.kill(former, signal.SIGHUP)

    async def failed() -> bool:
        return any(line["msg"] == "Upgrade failed" for line in reloadable.log_lines())

    await eventually(failed)
    assert reloadable.praefect.pid == former
    assert (await reloadable.client.create_project("after"))["path_with_namespace"] == "after"

    config.write_text(before)
    await wait_for_end(await reloadable.praefect.reload())
    assert (await reloadable.client.create_project("again"))["path_with_namespace"] == "again"
