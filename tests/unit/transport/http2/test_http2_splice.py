"""A proxy's middle: two connections joined stream by stream, also of different engines."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest
import pytest_asyncio

from praefect.transport.http2 import ErrorCode, SpliceEnd, SpliceResult, Stream, StreamClosedError
from tests.support.http2_pair import QUIET, Pair, join, receive_all, settle

NARROW = replace(QUIET, initial_window_size=1000, connection_window=65535)


@dataclass
class Call:
    """One call through the proxy: the client's stream, the proxy's two, and the node's."""

    client: Stream
    front: Stream
    back: Stream
    node: Stream
    ends: dict[str, SpliceResult] = field(default_factory=dict)

    def note(self, direction: str) -> Callable[[SpliceResult], None]:
        def done(result: SpliceResult) -> None:
            assert direction not in self.ends
            self.ends[direction] = result

        return done

    def splice(self) -> None:
        """Join both directions as a proxy does."""

        def head() -> None:
            assert self.back.head is not None
            self.front.send_head(self.back.head.status, self.back.head.headers)

        self.front.splice_to(self.back, self.note("request"))
        self.back.splice_to(self.front, self.note("response"), first=head)


@dataclass
class Proxy:
    front: Pair
    back: Pair

    async def call(self, *, spliced: bool = True, end_stream: bool = False) -> Call:
        client, front = await self.front.open(end_stream=end_stream)
        back, node = await self.back.open()
        call = Call(client, front, back, node)
        if spliced:
            call.splice()
        return call


async def proxy(engines: tuple[str, str], *, front_narrow: bool = False, back_narrow: bool = False) -> Proxy:
    """Connect a client to a proxy and the proxy to a node; the first engine is in front, the second at the back."""
    front, back = engines
    limits = NARROW if front_narrow else QUIET
    front_pair = await join("httpunk", front, client_limits=limits, server_limits=limits)
    limits = NARROW if back_narrow else QUIET
    return Proxy(front_pair, await join(back, "h2", client_limits=limits, server_limits=limits))


@pytest_asyncio.fixture
async def plain(engines: tuple[str, str]) -> AsyncIterator[Proxy]:
    middle = await proxy(engines)
    yield middle
    for pair in (middle.front, middle.back):
        pair.client.close()
    await settle()


async def test_a_call_is_passed_on(plain: Proxy) -> None:
    call = await plain.call()
    await call.client.send(b"question", end_stream=True)
    assert await receive_all(call.node) == b"question"
    assert call.ends["request"] == SpliceResult(end=SpliceEnd.END_STREAM, spliced_bytes=8)
    call.node.send_head(200, [("x-head", b"1")])
    await call.node.send(b"answer")
    call.node.send_trailers([("grpc-status", b"0")])

    head = await call.client.response()
    assert head.headers == [("x-head", b"1")]
    assert await call.client.receive() == b"answer"
    assert call.ends["response"] == SpliceResult(
        end=SpliceEnd.TRAILERS, trailers=[("grpc-status", b"0")], spliced_bytes=6
    )
    assert call.client.receive_nowait() is None
    call.front.send_trailers([("grpc-status", b"0"), ("added", b"1")])
    assert await call.client.receive() == b""
    assert call.client.trailers == [("grpc-status", b"0"), ("added", b"1")]
    assert plain.front.server.open_streams == plain.back.client.open_streams == 0


async def test_what_was_buffered_goes_first(plain: Proxy) -> None:
    call = await plain.call(spliced=False)
    await call.client.send(b"one")
    await settle()
    call.node.send_head(200, [])
    await call.node.send(b"uno")
    await settle()
    assert await call.front.receive() == b"one"
    await call.client.send(b"two")
    await settle()
    call.splice()
    await call.client.send(b"three", end_stream=True)
    assert await receive_all(call.node) == b"twothree"
    await call.node.send(b"dos", end_stream=True)
    assert await receive_all(call.client) == b"unodos"
    assert call.ends["response"].end is SpliceEnd.END_STREAM
    assert call.client.trailers is None
    assert plain.front.server.open_streams == plain.back.client.open_streams == 0


async def test_what_the_sink_was_given_before_goes_first(engines: tuple[str, str]) -> None:
    middle = await proxy(engines, back_narrow=True)
    call = await middle.call(spliced=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await call.back.send(b"a" * 1500)
    await call.client.send(b"b" * 100)
    await settle()
    call.splice()
    await call.client.send(b"c" * 1500, end_stream=True)
    await settle()
    assert await receive_all(call.node) == b"a" * 1500 + b"b" * 100 + b"c" * 1500


async def test_streams_that_ended_before_they_are_spliced(plain: Proxy) -> None:
    call = await plain.call(spliced=False)
    await call.client.send(b"question", end_stream=True)
    await settle()
    call.front.splice_to(call.back, call.note("request"))
    assert call.ends["request"] == SpliceResult(end=SpliceEnd.END_STREAM, spliced_bytes=8)
    assert await receive_all(call.node) == b"question"
    call.node.send_head(200, [])
    await call.node.send(b"answer")
    call.node.send_trailers([("grpc-status", b"0")])
    await settle()
    call.back.splice_to(call.front, call.note("response"), first=lambda: call.front.send_head(200, []))
    assert call.ends["response"].end is SpliceEnd.TRAILERS
    call.front.send_trailers([])
    assert await receive_all(call.client) == b"answer"


async def test_an_empty_request_is_passed_on(plain: Proxy) -> None:
    call = await plain.call(end_stream=True)
    assert await receive_all(call.node) == b""
    assert call.ends["request"] == SpliceResult(end=SpliceEnd.END_STREAM)


async def test_a_head_alone_is_kept_as_trailers(plain: Proxy) -> None:
    call = await plain.call()
    call.node.send_head(200, [("grpc-status", b"5")], end_stream=True)
    await settle()
    result = call.ends["response"]
    assert (result.end, result.trailers, result.spliced_bytes) == (SpliceEnd.TRAILERS, [("grpc-status", b"5")], 0)
    assert call.client.head is None
    call.front.send_head(200, result.trailers or [], end_stream=True)
    assert (await call.client.response()).end_stream


async def test_trailers_of_the_request_are_kept(plain: Proxy) -> None:
    call = await plain.call()
    await call.client.send(b"x")
    call.client.send_trailers([("last", b"1")])
    await settle()
    assert call.ends["request"] == SpliceResult(end=SpliceEnd.TRAILERS, trailers=[("last", b"1")], spliced_bytes=1)
    call.back.send_trailers([("last", b"2")])
    assert await receive_all(call.node) == b"x"
    assert call.node.trailers == [("last", b"2")]


@pytest.mark.parametrize("front_narrow", [False, True])
@pytest.mark.parametrize("back_narrow", [False, True])
async def test_bulk_passes_both_ways_whole(engines: tuple[str, str], *, front_narrow: bool, back_narrow: bool) -> None:
    middle = await proxy(engines, front_narrow=front_narrow, back_narrow=back_narrow)
    call = await middle.call()
    payload = bytes(range(251)) * 1000

    async def send(stream: Stream) -> None:
        for start in range(0, len(payload), 30_000):
            await stream.send(payload[start : start + 30_000])
        if stream is call.node:
            await up  # a complete response would refuse the rest of the request
        await stream.send(b"", end_stream=True)

    call.node.send_head(200, [])
    async with asyncio.TaskGroup() as tasks:
        up = tasks.create_task(receive_all(call.node))
        tasks.create_task(send(call.client))
        tasks.create_task(send(call.node))
        down = tasks.create_task(receive_all(call.client))
    assert up.result() == down.result() == payload
    assert {name: (end.end, end.spliced_bytes) for name, end in call.ends.items()} == {
        "request": (SpliceEnd.END_STREAM, len(payload)),
        "response": (SpliceEnd.END_STREAM, len(payload)),
    }


async def test_a_slow_client_bounds_what_the_proxy_holds(engines: tuple[str, str]) -> None:
    middle = await proxy(engines, front_narrow=True)
    limit = QUIET.initial_window_size
    call = await middle.call()
    sent = 0

    async def send() -> None:
        nonlocal sent
        call.node.send_head(200, [])
        for _ in range(64):
            await call.node.send(bytes(1 << 15))
            sent += 1 << 15
        call.node.send_trailers([("grpc-status", b"0")])

    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send())
        await settle(300)
        assert not sending.done()
        assert sent <= limit + (1 << 16)
        received = 0
        while received < 64 << 15:
            received += len(await call.client.receive())
    await settle()
    call.front.send_trailers(call.ends["response"].trailers or [])
    assert await call.client.receive() == b""


async def test_a_full_transport_of_the_sink_bounds_what_the_proxy_holds(engines: tuple[str, str]) -> None:
    middle = await proxy(engines)
    limit = QUIET.initial_window_size
    call = await middle.call()
    middle.front.server_wire.stalled = True
    call.node.send_head(200, [])
    async with asyncio.TaskGroup() as tasks:

        async def send() -> None:
            for _ in range(64):
                await call.node.send(bytes(1 << 15))

        sending = tasks.create_task(send())
        await settle(300)
        assert not sending.done()
        assert middle.front.server_wire.get_write_buffer_size() < 256 << 10
        # Other calls of the same node go on.
        other = await middle.back.open()
        await other[0].send(b"x", end_stream=True)
        assert await receive_all(other[1]) == b"x"
        other[1].send_head(200, [])
        await other[1].send(b"y" * 100_000, end_stream=True)
        assert len(await receive_all(other[0])) == 100_000
        middle.front.server_wire.resume()
        received = 0
        while received < 64 << 15:
            received += len(await call.client.receive())
    assert limit < 64 << 15


async def test_the_source_may_end_long_before_the_sink_took_all(engines: tuple[str, str]) -> None:
    middle = await proxy(engines, front_narrow=True)
    call = await middle.call(end_stream=True)
    call.node.send_head(200, [])
    await call.node.send(b"z" * 50_000)
    call.node.send_trailers([("grpc-status", b"0")])
    await settle(100)
    assert call.ends["response"].end is SpliceEnd.TRAILERS
    assert call.ends["response"].spliced_bytes == 50_000
    assert middle.back.client.open_streams == 0
    call.front.send_trailers([("grpc-status", b"0")])
    assert await receive_all(call.client) == b"z" * 50_000
    assert call.client.trailers == [("grpc-status", b"0")]


async def test_a_half_close_waits_behind_data_that_the_sink_does_not_take(engines: tuple[str, str]) -> None:
    middle = await proxy(engines, back_narrow=True)
    call = await middle.call()
    await call.client.send(b"z" * 50_000, end_stream=True)
    await settle(100)
    assert call.ends["request"].end is SpliceEnd.END_STREAM
    assert await receive_all(call.node) == b"z" * 50_000


async def test_the_client_cancels(plain: Proxy) -> None:
    call = await plain.call()
    await call.client.send(b"some")
    await settle()
    call.client.reset()
    await settle()
    request, response = call.ends["request"], call.ends["response"]
    assert (request.end, response.end) == (SpliceEnd.SOURCE_FAILED, SpliceEnd.SINK_FAILED)
    for result in (request, response):
        assert result.error is not None
        assert (result.error.code, result.error.remote) == (ErrorCode.CANCEL, True)
    assert call.back.error is None
    call.back.reset()
    await settle()
    assert call.node.error is not None


async def test_the_node_resets(plain: Proxy) -> None:
    call = await plain.call()
    call.node.send_head(200, [])
    await call.node.send(b"part")
    await settle()
    call.node.reset(ErrorCode.INTERNAL_ERROR)
    await settle()
    assert call.ends["response"].end is SpliceEnd.SOURCE_FAILED
    assert call.ends["request"].end is SpliceEnd.SINK_FAILED
    assert call.front.error is None
    assert await call.client.receive() == b"part"


@pytest.mark.parametrize("broken", ["client", "node"])
async def test_a_connection_breaks(plain: Proxy, broken: str) -> None:
    call = await plain.call()
    if broken == "client":
        plain.front.client_wire.lose()
    else:
        plain.back.server_wire.lose()
    await settle()
    ends = {name: result.end for name, result in call.ends.items()}
    assert (
        ends
        == {
            "client": {"request": SpliceEnd.SOURCE_FAILED, "response": SpliceEnd.SINK_FAILED},
            "node": {"request": SpliceEnd.SINK_FAILED, "response": SpliceEnd.SOURCE_FAILED},
        }[broken]
    )


async def test_a_local_reset_ends_both_directions(plain: Proxy) -> None:
    call = await plain.call()
    call.back.reset()
    result = call.ends["response"]
    assert result.end is SpliceEnd.SOURCE_FAILED
    assert result.error is not None
    assert not result.error.remote
    assert call.ends["request"].end is SpliceEnd.SINK_FAILED


async def test_the_rest_for_a_sink_that_failed_is_discarded_and_credited(plain: Proxy) -> None:
    call = await plain.call()
    call.back.reset()
    async with asyncio.timeout(10):
        for _ in range(40):
            await call.client.send(bytes(1 << 16))
    assert call.front.error is None


async def test_the_node_answers_before_the_request_ends(plain: Proxy) -> None:
    call = await plain.call()
    await call.client.send(b"some")
    await settle()
    call.node.send_head(200, [])
    await call.node.send(b"enough")
    call.node.send_trailers([("grpc-status", b"3")])
    await settle()
    assert call.ends["response"].end is SpliceEnd.TRAILERS
    assert call.ends["request"].end is SpliceEnd.SINK_FAILED
    call.front.send_trailers([("grpc-status", b"3")])
    assert await receive_all(call.client) == b"enough"
    assert call.client.trailers == [("grpc-status", b"3")]
    assert plain.front.server.open_streams == plain.back.client.open_streams == 0


async def test_the_proxy_answers_before_the_request_ends(plain: Proxy) -> None:
    call = await plain.call()
    await call.client.send(b"some")
    await settle()
    call.front.send_head(200, [("grpc-status", b"8")], end_stream=True)
    result = call.ends["request"]
    assert result.end is SpliceEnd.SOURCE_FAILED
    assert result.error is not None
    assert not result.error.remote
    call.back.reset()
    assert call.ends["response"].end is SpliceEnd.SOURCE_FAILED
    assert (await call.client.response()).end_stream


async def test_splicing_streams_that_are_cut_off(plain: Proxy) -> None:
    call = await plain.call(spliced=False)
    call.front.reset()
    call.splice()
    assert call.ends["request"].end is SpliceEnd.SOURCE_FAILED
    assert call.ends["response"].end is SpliceEnd.SINK_FAILED


async def test_streams_are_spliced_once(plain: Proxy) -> None:
    call = await plain.call()
    with pytest.raises(RuntimeError):
        call.front.splice_to(call.back, call.note("again"))
    with pytest.raises(TypeError):
        call.front.splice_to(object(), call.note("wrong"))  # type: ignore[arg-type]


async def test_done_may_act_on_both_streams(plain: Proxy) -> None:
    """The reactions of a proxy, right from the driver."""
    call = await plain.call(spliced=False)

    def finish(result: SpliceResult) -> None:
        call.ends["response"] = result
        call.front.send_trailers(result.trailers or [])
        call.back.reset()

    def cancel(result: SpliceResult) -> None:
        call.ends["request"] = result
        if result.end is not SpliceEnd.END_STREAM:
            call.back.reset()
            call.front.reset()

    call.front.splice_to(call.back, cancel)
    call.node.send_head(200, [])
    await call.node.send(b"answer")
    await settle()
    call.back.splice_to(call.front, finish, first=lambda: call.front.send_head(200, []))
    call.node.send_trailers([("grpc-status", b"0")])
    assert await receive_all(call.client) == b"answer"
    assert call.client.trailers == [("grpc-status", b"0")]

    other = await plain.call(spliced=False)
    other.front.splice_to(other.back, lambda _: other.front.reset())
    other.back.splice_to(other.front, lambda _: other.back.reset())
    other.client.reset()
    await settle()
    assert other.node.error is not None
    assert plain.front.server.open_streams == plain.back.client.open_streams == 0


async def test_spliced_streams_are_forgotten(plain: Proxy) -> None:
    async def scene(number: int) -> list[weakref.ref[Stream]]:
        call = await plain.call()
        match number:
            case 0:
                call.client.reset()
                await settle()
                call.back.reset()
            case 1:
                call.node.reset()
                await settle()
                call.front.reset()
            case _:
                await call.client.send(b"x", end_stream=True)
                call.node.send_head(200, [])
                await call.node.send(b"y")
                call.node.send_trailers([])
                await settle()
                call.front.send_trailers([])
                assert await receive_all(call.client) == b"y"
        await settle()
        return [weakref.ref(stream) for stream in (call.client, call.front, call.back, call.node)]

    references = [reference for number in range(4) for reference in await scene(number)]
    last = await plain.call()
    gc.collect()
    assert [reference() for reference in references if reference() is not None] == []
    assert last.front.error is None


async def test_the_head_goes_before_the_first_byte_and_once(plain: Proxy) -> None:
    call = await plain.call(spliced=False)
    heads: list[int] = []

    def head() -> None:
        heads.append(len(heads))
        call.front.send_head(200, [])

    call.back.splice_to(call.front, call.note("response"), first=head)
    call.node.send_head(200, [])
    await settle()
    assert heads == []
    for _ in range(3):
        await call.node.send(b"x")
        await settle()
        assert heads == [0]
    await call.node.send(b"", end_stream=True)
    assert await receive_all(call.client) == b"xxx"
    assert heads == [0]


async def test_errors_of_the_source_are_told_with_their_facts(plain: Proxy) -> None:
    call = await plain.call()
    call.node.reset(ErrorCode.REFUSED_STREAM)
    await settle()
    error = call.ends["response"].error
    assert isinstance(error, StreamClosedError)
    assert error.unprocessed
