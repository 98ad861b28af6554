"""How praefect starts, stops and lives through an outage of its database."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from praefect.app.proxy import run_proxy
from praefect.config.praefect import BackgroundVerificationConfig, ReconciliationConfig, RepositoriesCleanupConfig
from praefect.config.praefect_sections import DatabaseConfig
from praefect.datastore.pool import connect
from praefect.domain.errors import PraefectError
from praefect.observability.log import capture
from praefect.proto import ref_pb2, repository_pb2
from praefect.runtime.signals import ShutdownError, Stop
from praefect.transport.dial import open_channel
from praefect.transport.grpc.status import OK, Status, StatusCode, StatusError, leading_error
from tests.support.eventually import eventually
from tests.support.gate import Gate
from tests.support.postgres import Rows
from tests.support.scripted_cluster import G1, G2, G3, TOKEN, Cluster, Repository, configuration, running_cluster
from tests.support.scripted_node import NodeCall, ScriptedNode, agree, scripted_node

FIND = "/gitaly.RefService/FindLocalBranches"
WRITE = "/gitaly.RepositoryService/WriteRef"


async def read(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(FIND, ref_pb2.FindLocalBranchesRequest(repository=repository.message))


async def write(cluster: Cluster, repository: Repository) -> Status:
    return await cluster.status(WRITE, repository_pb2.WriteRefRequest(repository=repository.message))


# --- the start-up gate ---


@asynccontextmanager
async def starting(database: DatabaseConfig, stop: Stop) -> AsyncIterator[tuple[Path, asyncio.Event]]:
    """Start a proxy; yields its socket, and an event that is set when it has started."""
    started, leave = asyncio.Event(), asyncio.Event()
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pf-")))
        node: ScriptedNode = await stack.enter_async_context(scripted_node(G1, directory))
        config = configuration(database, {G1: node}, directory)

        async def run() -> None:
            async with run_proxy(config, "test", stop):
                started.set()
                await leave.wait()

        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        tasks.create_task(run())
        yield Path(config.socket_path), started
        leave.set()


async def test_nobody_is_let_in_before_health_is_recorded(database: DatabaseConfig) -> None:
    async with await connect(database) as connection:
        rows = Rows(connection)
        await rows.run("ALTER TABLE node_status RENAME TO elsewhere")
        with capture() as lines:
            async with starting(database, Stop()) as (socket, started):

                async def failed_twice() -> bool:
                    return len([line for line in lines if line["msg"] == "checking health failed"]) > 1

                await eventually(failed_twice)
                assert not socket.exists()
                assert not started.is_set()
                await rows.run("ALTER TABLE elsewhere RENAME TO node_status")
                async with asyncio.timeout(20):
                    await started.wait()
                assert socket.exists()
        assert not socket.exists()


async def test_stop_ends_the_waiting(database: DatabaseConfig) -> None:
    async with await connect(database) as connection:
        rows, stop = Rows(connection), Stop()
        await rows.run("ALTER TABLE node_status RENAME TO elsewhere")
        async with starting(database, stop) as (socket, started):
            stop.request()
            async with asyncio.timeout(20):
                await started.wait()
            assert not socket.exists()
        await rows.run("ALTER TABLE elsewhere RENAME TO node_status")


async def test_database_that_is_away_at_the_start_is_an_error(database: DatabaseConfig) -> None:
    stop = Stop()
    with tempfile.TemporaryDirectory(prefix="pf-") as directory:
        config = configuration(replace(database, dbname="missing"), {}, Path(directory))
        with pytest.raises(PraefectError, match='database "missing" does not exist'):
            async with run_proxy(config, "test", stop):
                pass


# --- the graceful stop ---


class Lingering:
    """A read that ends when it is told to."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, call: NodeCall) -> None:
        self.arrived.set()
        await self.release.wait()
        await call.answer()


async def test_calls_in_flight_end_and_nobody_else_is_let_in(database: DatabaseConfig) -> None:
    lingering = Lingering()
    async with asyncio.TaskGroup() as tasks, running_cluster(database) as cluster:
        repository = await cluster.repository(replicas={G1: 0})
        cluster.nodes[G1].on("FindLocalBranches", lingering)
        call = tasks.create_task(_call_from_outside(cluster, repository))
        await lingering.arrived.wait()
        writes = tasks.create_task(_come_late(cluster, repository, lingering))
        cluster.stop.receive(signal.SIGTERM)
    assert call.result() == OK
    assert writes.result().code is StatusCode.UNAVAILABLE


async def _call_from_outside(cluster: Cluster, repository: Repository) -> Status:
    """Call over a connection of its own, which outlives the fixture's."""
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    async with open_channel(cluster.address, token=TOKEN) as channel:
        try:
            await channel.unary(FIND, request, ref_pb2.FindLocalBranchesResponse, timeout=20)
        except StatusError as exc:
            return exc.status
        return OK


async def _come_late(cluster: Cluster, repository: Repository, lingering: Lingering) -> Status:
    """Connect when the proxy has begun to stop, and then let the call in flight end."""

    async def closed() -> bool:
        return not Path(cluster.config.socket_path).exists()

    await eventually(closed)
    status = await _call_from_outside(cluster, repository)
    lingering.release.set()
    return status


@pytest.mark.parametrize("forced", [False, True], ids=["grace period over", "second signal"])
async def test_calls_that_do_not_end_are_cut_off(database: DatabaseConfig, *, forced: bool) -> None:
    lingering = Lingering()
    grace = timedelta(minutes=1) if forced else timedelta(milliseconds=200)
    reason = "force shutdown" if forced else "grace period expired"
    calls: list[asyncio.Task[Status]] = []

    async def run(tasks: asyncio.TaskGroup) -> None:
        async with running_cluster(database, graceful_stop_timeout=grace) as cluster:
            repository = await cluster.repository(replicas={G1: 0})
            cluster.nodes[G1].on("FindLocalBranches", lingering)
            calls.append(tasks.create_task(_call_from_outside(cluster, repository)))
            await lingering.arrived.wait()
            cluster.stop.receive(signal.SIGTERM)
            if forced:
                cluster.stop.receive(signal.SIGTERM)

    async with asyncio.TaskGroup() as tasks:
        with pytest.raises(ExceptionGroup) as stopped, capture() as lines:
            await run(tasks)
    error = leading_error(stopped.value)
    assert isinstance(error, ShutdownError)
    assert str(error) == f'received signal "terminated": wait: {reason}'
    assert calls[0].result() == Status(StatusCode.CANCELLED, "server is stopping")
    waited = [(line["msg"], line.get("signal")) for line in lines if str(line["msg"]).startswith("wait: ")]
    assert waited == [("wait: signal received", 15) if forced else ("wait: grace period ticker ticked", None)]


async def test_write_in_flight_is_recorded_before_praefect_ends(database: DatabaseConfig) -> None:
    voted = asyncio.Event()

    async def vote_and_wait(call: NodeCall) -> None:
        await agree(call)
        voted.set()
        await asyncio.sleep(0.2)

    async with asyncio.TaskGroup() as tasks, running_cluster(database) as cluster:
        repository = await cluster.repository()
        cluster.nodes[G1].on("WriteRef", vote_and_wait)
        request = repository_pb2.WriteRefRequest(repository=repository.message)

        async def call() -> Status:
            async with open_channel(cluster.address, token=TOKEN) as channel:
                await channel.unary(WRITE, request, repository_pb2.WriteRefResponse, timeout=20)
                return OK

        done = tasks.create_task(call())
        await voted.wait()
        cluster.stop.receive(signal.SIGTERM)
    assert done.result() == OK
    async with await connect(database) as connection:
        assert await Rows(connection).run("SELECT generation FROM repositories") == [(1,)]


# --- the database away ---


@asynccontextmanager
async def cluster_behind_a_gate(database: DatabaseConfig, **changes: Any) -> AsyncIterator[tuple[Cluster, Gate]]:
    """Run a cluster whose way to PostgreSQL can be cut; the test's own stays open."""
    if not database.host.startswith("/"):
        pytest.skip("needs a PostgreSQL on a unix socket")
    port = database.port or 5432
    with tempfile.TemporaryDirectory(prefix="pf-") as directory:
        name = f".s.PGSQL.{port}"
        gate = Gate(path=Path(directory) / name, target=Path(database.host) / name)
        async with gate, running_cluster(replace(database, host=directory), rows=database, **changes) as cluster:
            yield cluster, gate


async def test_known_repositories_are_read_while_the_database_is_away(database: DatabaseConfig) -> None:
    async with cluster_behind_a_gate(database) as (cluster, gate):
        known, unknown = await cluster.repository("a.git"), await cluster.repository("b.git")
        await cluster.heard()
        assert await read(cluster, known) == OK

        gate.cut()
        with capture() as lines:
            for _ in range(20):
                assert await read(cluster, known) == OK
        routes = [line["route"] for line in lines if line.get("grpc.code") == "OK"]
        stale = [route for route in routes if isinstance(route, dict) and route.get("possibly_stale")]
        assert len(stale) == cluster.parts.metrics.stale_reads.labels("default").value > 0
        assert (await read(cluster, unknown)).code is StatusCode.UNAVAILABLE
        status = await write(cluster, known)
        assert status.code is StatusCode.UNAVAILABLE
        assert [len(node.called("WriteRef")) for node in cluster.nodes.values()] == [0, 0, 0]
        exists = repository_pb2.RepositoryExistsRequest(repository=known.message)
        status = await cluster.status("/gitaly.RepositoryService/RepositoryExists", exists)
        assert status.code is StatusCode.UNAVAILABLE
        assert status.message.startswith("repository exists: ")

        await gate.restore()

        async def writes_again() -> bool:
            return await write(cluster, known) == OK

        await eventually(writes_again)
        assert await read(cluster, unknown) == OK


async def test_loops_live_through_an_outage(database: DatabaseConfig) -> None:
    changes: dict[str, Any] = {
        "reconciliation": ReconciliationConfig(scheduling_interval=timedelta(milliseconds=50)),
        "background_verification": BackgroundVerificationConfig(),
        "repositories_cleanup": RepositoriesCleanupConfig(check_interval=timedelta(milliseconds=50)),
    }
    async with cluster_behind_a_gate(database, **changes) as (cluster, gate):
        for node in cluster.nodes.values():
            node.on("ReplicateRepository", agree)
        with capture() as lines:
            gate.cut()

            async def everybody_has_failed() -> bool:
                failed = {line["msg"] for line in lines}
                return {
                    "checking health failed",
                    "failed to dequeue replication events",
                    "automatic reconciliation failed",
                    "unable to acquire next storage to verify",
                } <= failed

            await eventually(everybody_has_failed)
        await gate.restore()
        repository = await cluster.repository(generation=1, replicas={G1: 1})

        async def repaired() -> bool:
            return await cluster.generations(repository) == {"": 1, G1: 1, G2: 1, G3: 1}

        await eventually(repaired)


async def test_write_that_cannot_be_recorded_is_in_doubt(database: DatabaseConfig) -> None:
    async with cluster_behind_a_gate(database) as (cluster, gate):
        repository = await cluster.repository()

        async def agree_and_cut(call: NodeCall) -> None:
            await agree(call)
            if call.node.name == G1:
                gate.cut()

        for node in cluster.nodes.values():
            node.on("WriteRef", agree_and_cut)
        status = await write(cluster, repository)
        assert status.code is StatusCode.ABORTED
        assert status.message.startswith("outcome unknown: ")
        await gate.restore()
