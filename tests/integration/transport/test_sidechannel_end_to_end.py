"""Sidechannels on real sockets, directly and through a proxy, and the death of each side at each step."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from praefect.domain.errors import PraefectError
from praefect.transport.dial import Dialer, DialOptions, open_channel
from praefect.transport.grpc.status import StatusCode, StatusError
from praefect.transport.http2 import engine
from praefect.transport.sidechannel import ClientSidechannel, Sidechannel, SidechannelBrokenError, SidechannelRegistry
from tests.support.bridged_cluster import Cluster, call_with_sidechannel, calling, running
from tests.support.eventually import eventually
from tests.support.grpc_echo import UNARY, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from praefect.transport.http2 import Engine

CHUNK = bytes(range(256)) * 256  # 64 KiB


@pytest.fixture(params=["httpunk", "h2"])
def http2(request: pytest.FixtureRequest) -> Engine:
    return engine(str(request.param))


@pytest.fixture
async def cluster(http2: Engine) -> AsyncIterator[Cluster]:
    async with running(http2) as cluster:
        yield cluster


@pytest.fixture(params=["direct", "proxied"])
def address(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """Whom the client calls."""
    return cluster.node_address if request.param == "direct" else cluster.proxy_address


async def echo_upper(sidechannel: Sidechannel) -> None:
    while data := await sidechannel.read():
        await sidechannel.write(data.upper())


async def ask_for_upper(sidechannel: ClientSidechannel) -> None:
    async with sidechannel:
        await sidechannel.write(b"want ")
        await sidechannel.write(b"done")
        await sidechannel.close_write()
        answer = b""
        while data := await sidechannel.read():
            answer += data
        assert answer == b"WANT DONE"


class TestBytes:
    async def test_request_and_response(self, cluster: Cluster, address: str, http2: Engine) -> None:
        cluster.node.work = echo_upper
        async with calling(address, http2) as (channel, registry):
            for _ in range(3):
                assert await call_with_sidechannel(channel, registry, ask_for_upper) == b"done"
            assert len(registry) == 0

    async def test_many_at_once_on_one_connection(self, cluster: Cluster, address: str, http2: Engine) -> None:
        cluster.node.work = echo_upper
        async with calling(address, http2) as (channel, registry), asyncio.TaskGroup() as tasks:
            for _ in range(30):
                tasks.create_task(call_with_sidechannel(channel, registry, ask_for_upper))
        assert cluster.node.calls == 30

    async def test_much_in_both_directions(self, cluster: Cluster, address: str, http2: Engine) -> None:
        digests: dict[str, str] = {}
        count = 200  # 12.5 MiB

        async def read_all(name: str, read: Callable[[], Awaitable[bytes]]) -> None:
            digest = hashlib.sha256()
            while data := await read():
                digest.update(data)
            digests[name] = digest.hexdigest()

        async def work(sidechannel: Sidechannel) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(read_all("node", sidechannel.read))
                for _ in range(count):
                    await sidechannel.write(CHUNK)

        async def use(sidechannel: ClientSidechannel) -> None:
            async with sidechannel, asyncio.TaskGroup() as tasks:
                tasks.create_task(read_all("client", sidechannel.read))
                for _ in range(count):
                    await sidechannel.write(CHUNK)
                await sidechannel.close_write()

        cluster.node.work = work
        async with calling(address, http2) as (channel, registry):
            await call_with_sidechannel(channel, registry, use)
        expected = hashlib.sha256(CHUNK * count).hexdigest()
        assert digests == {"node": expected, "client": expected}

    async def test_response_of_the_call_comes_after_the_bytes(
        self, cluster: Cluster, address: str, http2: Engine
    ) -> None:
        """A client that reads late still gets everything, because nobody ends its stream before."""

        async def work(sidechannel: Sidechannel) -> None:
            while await sidechannel.read():
                pass
            await sidechannel.write(CHUNK)

        received = bytearray()

        async def use(sidechannel: ClientSidechannel) -> None:
            await sidechannel.close_write()
            while data := await sidechannel.read():
                received.extend(data)
            await sidechannel.close()

        cluster.node.work = work
        async with calling(address, http2) as (channel, registry):
            await call_with_sidechannel(channel, registry, use)
        assert received == CHUNK

    async def test_slow_client_holds_up_the_node_and_not_other_calls(
        self, cluster: Cluster, address: str, http2: Engine
    ) -> None:
        written = 0
        total = 64 << 20

        async def pour(sidechannel: Sidechannel) -> None:
            nonlocal written
            while written < total:
                await sidechannel.write(CHUNK)
                written += len(CHUNK)

        cluster.node.work = pour
        go_on = asyncio.Event()

        async def read_late(sidechannel: ClientSidechannel) -> None:
            await sidechannel.close_write()
            await go_on.wait()
            sidechannel.abort()

        async with calling(address, http2) as (channel, registry), asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(_expect_failure(call_with_sidechannel(channel, registry, read_late)))
            await eventually(_steady(lambda: written))
            assert 0 < written < 4 << 20
            cluster.node.work = echo_upper
            for _ in range(3):
                assert await call_with_sidechannel(channel, registry, ask_for_upper) == b"done"
            go_on.set()
        assert isinstance(slow.result(), StatusError)

    async def test_call_that_opens_no_sidechannel(self, cluster: Cluster, address: str, http2: Engine) -> None:
        async with calling(address, http2) as (channel, registry), registry.register() as waiter:
            answer = await channel.unary(UNARY, value(b"x"), BytesValue, metadata=[waiter.metadata], timeout=10)
            assert answer.value == b"x"
            assert not waiter.arrived

    async def test_unix_sockets(self, http2: Engine, tmp_path: Path) -> None:
        async with running(http2, directory=tmp_path) as cluster:
            cluster.node.work = echo_upper
            for address in (cluster.node_address, cluster.proxy_address):
                async with calling(address, http2) as (channel, registry):
                    assert await call_with_sidechannel(channel, registry, ask_for_upper) == b"done"


class TestDeath:
    """Each side dies at each step; the others notice and nothing is left."""

    async def test_client_on_a_plain_connection(self, cluster: Cluster, address: str) -> None:
        cluster.node.work = echo_upper
        async with open_channel(address, token=None) as channel:
            error = await _expect_failure(
                channel.unary(UNARY, value(b"x"), BytesValue, metadata=[("gitaly-sidechannel-id", "0")], timeout=10)
            )
        assert isinstance(error, StatusError)
        assert error.code == StatusCode.INTERNAL
        if cluster.bridges:
            # The node took the closed stream for the end of its input.
            assert str(error) == "unexpected EOF"
            assert str(cluster.bridges[0].error) == (
                "sidechannel: proxy callback: fail to extract mux session: non-multiplexed connection"
            )
        else:
            assert str(error) == "fail to extract mux session: non-multiplexed connection"

    async def test_client_that_does_not_know_the_id(self, cluster: Cluster, address: str, http2: Engine) -> None:
        cluster.node.work = echo_upper
        async with calling(address, http2) as (channel, _):
            error = await _expect_failure(
                channel.unary(UNARY, value(b"x"), BytesValue, metadata=[("gitaly-sidechannel-id", "9")], timeout=10)
            )
        assert str(error) in {"receive confirmation: EOF", "unexpected EOF"}

    async def test_client_that_closes_without_ending_its_request(
        self, cluster: Cluster, address: str, http2: Engine
    ) -> None:
        cluster.node.work = echo_upper

        async def use(sidechannel: ClientSidechannel) -> None:
            await sidechannel.write(b"wan")
            await sidechannel.close()

        async with calling(address, http2) as (channel, registry):
            error = await _expect_failure(call_with_sidechannel(channel, registry, use))
        assert str(error) == "unexpected EOF"
        assert isinstance(cluster.node.failure, SidechannelBrokenError)

    async def test_client_that_aborts_its_sidechannel(self, cluster: Cluster, address: str, http2: Engine) -> None:
        cluster.node.work = echo_upper

        async def use(sidechannel: ClientSidechannel) -> None:
            await sidechannel.write(b"wan")
            assert await sidechannel.read() == b"WAN"
            sidechannel.abort()

        async with calling(address, http2) as (channel, registry):
            error = await _expect_failure(call_with_sidechannel(channel, registry, use))
        assert str(error) == "connection reset"

    async def test_client_that_sends_no_packets(self, cluster: Cluster, address: str, http2: Engine) -> None:
        cluster.node.work = echo_upper

        async def use(sidechannel: ClientSidechannel) -> None:
            sidechannel.endpoint.transport.write(b"GET / HTTP/1.1")
            while await sidechannel.read():
                pass

        async with calling(address, http2) as (channel, registry):
            await _expect_failure(call_with_sidechannel(channel, registry, use))
        assert isinstance(cluster.node.failure, PraefectError)

    @pytest.mark.parametrize("step", ["before", "opened", "flowing"])
    async def test_client_whose_connection_breaks(
        self, cluster: Cluster, address: str, http2: Engine, step: str
    ) -> None:
        flowing = asyncio.Event()

        async def pour(sidechannel: Sidechannel) -> None:
            while step == "flowing":
                await sidechannel.write(CHUNK)
                flowing.set()
            await sidechannel.read()

        cluster.node.work = pour
        registry = SidechannelRegistry()
        options = DialOptions(multiplex=True, sidechannels=registry, engine=http2)
        connection = await Dialer(address, options).connect()
        await connection.wait_ready()
        waiter = registry.register()
        headers = [("content-type", b"application/grpc"), ("gitaly-sidechannel-id", str(waiter.id).encode())]
        stream = await connection.open_stream("POST", "http", "x", UNARY, headers)
        if step != "before":
            await stream.send(b"\0\0\0\0\0", end_stream=True)
            await waiter.accept()
        if step == "flowing":
            await flowing.wait()
        connection.abort()
        if step != "before":
            await eventually(_is(lambda: cluster.node.failure is not None or not cluster.node_server.running_calls))
        await eventually(_is(lambda: len(cluster.backchannels) == 0))
        await eventually(_is(lambda: cluster.node_server.running_calls == 0))

    async def test_node_that_fails_before_it_opens(self, cluster: Cluster, address: str, http2: Engine) -> None:
        cluster.node.work = _never
        async with calling(address, http2) as (channel, registry):
            async with registry.register() as waiter:
                error = await _expect_failure(
                    channel.unary("/praefect.test.Echo/Missing", value(b""), BytesValue, metadata=[waiter.metadata])
                )
            assert isinstance(error, StatusError)
            assert error.code == StatusCode.UNIMPLEMENTED
            assert len(registry) == 0
            assert all(bridge.error is None for bridge in cluster.bridges)

    async def test_node_that_fails_in_the_middle(self, cluster: Cluster, address: str, http2: Engine) -> None:
        async def fail(sidechannel: Sidechannel) -> None:
            await sidechannel.write(b"half a pack")
            raise SidechannelBrokenError("disk on fire")

        cluster.node.work = fail
        seen: list[str] = []

        async with (
            calling(address, http2) as (channel, registry),
            registry.register() as waiter,
            asyncio.TaskGroup() as tasks,
        ):
            calling_it = channel.unary(UNARY, value(b""), BytesValue, metadata=[waiter.metadata], timeout=10)
            failing = tasks.create_task(_expect_failure(calling_it))
            sidechannel = await waiter.accept()
            try:
                await _read_all(sidechannel)
            except SidechannelBrokenError as exc:
                seen.append(str(exc))
        assert seen == ["connection reset"]
        error = failing.result()
        assert isinstance(error, StatusError)
        assert str(error) == "disk on fire"
        if cluster.bridges:  # the call's own error has won
            assert str(cluster.bridges[0].error) == "sidechannel: proxy callback: connection reset"

    async def test_node_whose_process_dies(self, cluster: Cluster, http2: Engine) -> None:
        flowing = asyncio.Event()

        async def pour(sidechannel: Sidechannel) -> None:
            while True:
                await sidechannel.write(CHUNK)
                flowing.set()

        async def use(sidechannel: ClientSidechannel) -> None:
            await sidechannel.close_write()
            await flowing.wait()
            assert cluster.to_node.connection is not None
            cluster.to_node.connection.abort()  # as the proxy sees it
            while await sidechannel.read():
                pass

        cluster.node.work = pour
        async with calling(cluster.proxy_address, http2) as (channel, registry):
            error = await _expect_failure(call_with_sidechannel(channel, registry, use))
        assert isinstance(error, StatusError | SidechannelBrokenError)
        await eventually(_is(lambda: cluster.node_server.running_calls == 0))

    async def test_call_that_the_client_cancels(self, cluster: Cluster, address: str, http2: Engine) -> None:
        async def pour(sidechannel: Sidechannel) -> None:
            while True:
                await sidechannel.write(CHUNK)

        cluster.node.work = pour
        async with calling(address, http2) as (channel, registry), registry.register() as waiter:
            async with channel.call(UNARY, metadata=[waiter.metadata]) as call:
                await call.send(b"", last=True)
                sidechannel = await waiter.accept()
                assert await sidechannel.read()
            # Leaving the call cancelled it: the sidechannel is cut off, not ended.
            with pytest.raises(SidechannelBrokenError):
                await _read_all(sidechannel)
        await eventually(_is(lambda: cluster.node_server.running_calls == 0))

    async def test_call_whose_deadline_passes(self, cluster: Cluster, address: str, http2: Engine) -> None:
        async def wait(sidechannel: Sidechannel) -> None:
            await sidechannel.read()

        cluster.node.work = wait
        async with calling(address, http2) as (channel, registry), registry.register() as waiter:
            error = await _expect_failure(
                channel.unary(UNARY, value(b""), BytesValue, metadata=[waiter.metadata], timeout=0.2)
            )
            assert isinstance(error, StatusError)
            assert error.code == StatusCode.DEADLINE_EXCEEDED
        await eventually(_is(lambda: cluster.node_server.running_calls == 0))

    async def test_nothing_is_left_of_finished_calls(self, cluster: Cluster, http2: Engine) -> None:
        cluster.node.work = echo_upper
        async with calling(cluster.proxy_address, http2) as (channel, registry):
            await call_with_sidechannel(channel, registry, ask_for_upper)
            session = cluster.backchannels.peer(1).session
            assert session is not None
            await eventually(_is(lambda: session.open_streams == 1))


async def _read_all(sidechannel: ClientSidechannel) -> None:
    while await sidechannel.read():
        pass


async def _never(sidechannel: Sidechannel) -> None:
    raise AssertionError("opened")


async def _expect_failure(work: Awaitable[object]) -> Exception:
    try:
        await work
    except (PraefectError, StatusError) as exc:
        return exc
    raise AssertionError("succeeded")


def _is(condition: Callable[[], object]) -> Callable[[], Awaitable[object]]:
    async def check() -> object:
        return condition()

    return check


def _steady(number: Callable[[], int]) -> Callable[[], Awaitable[object]]:
    """Whether a number has stopped growing."""
    last = -1

    async def check() -> object:
        nonlocal last
        before, last = last, number()
        return before == last and last > 0

    return check
