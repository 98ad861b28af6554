"""Random conversations: what is received is what was sent, whatever the windows, the order and the end."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from praefect.transport.http2 import ErrorCode, Limits, SpliceResult, Stream, StreamClosedError
from tests.support.http2_pair import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    PREFACE,
    QUIET,
    Pair,
    frame,
    headers,
    join,
    raw_client,
    raw_server,
    reset,
    settle,
    window_update,
)
from tests.support.http2_pair import settings as settings_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

COMMON = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

windows = st.sampled_from([1, 10, 100, 1000, 20_000, 1 << 19])
limits = st.builds(
    lambda window, spare, frame_size: replace(
        QUIET, initial_window_size=window, connection_window=65535 + spare, max_frame_size=frame_size
    ),
    windows,
    st.sampled_from([0, 1000, 1 << 20]),
    st.sampled_from([16384, 20_000]),
)
ENDINGS = ("end", "trailers", "client resets", "server resets")
steps = st.tuples(
    st.sampled_from(
        ["send", "send", "send", "read", "read", "settle", "stall", "resume", "end", "reset"],
    ),
    st.booleans(),  # at the client
    st.integers(0, 2),  # which call
    st.one_of(st.integers(0, 50), st.integers(0, 6000)),
)


def _run(main: Callable[[], Awaitable[None]]) -> None:
    """Run one example; what callbacks raise fails it."""
    errors: list[dict[str, object]] = []

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        await main()

    with asyncio.Runner() as runner:
        runner.run(guarded())
    assert not errors, errors


@dataclass
class End:
    """One side of a call: a queue of what it is to send, and what it got."""

    stream: Stream
    other: End | None = None
    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    plan: deque[bytes | None] = field(default_factory=deque)
    ended: bool = False
    cut: bool = False
    sender: asyncio.Task[None] | None = None

    async def send_plan(self) -> None:
        while self.plan:
            piece = self.plan.popleft()
            try:
                if piece is None:
                    self.stream.send_trailers([("sent", str(len(self.sent)).encode())])
                    return
                await self.stream.send(piece)
            except StreamClosedError:
                return

    def read(self) -> bool:
        """Take what is there; say whether the end was reached."""
        try:
            while (data := self.stream.receive_nowait()) is not None:
                if not data:
                    return True
                self.received += data
        except StreamClosedError:
            return True
        return False


async def _start(pair: Pair) -> list[tuple[End, End]]:
    calls = []
    for _ in range(3):
        client, server = await pair.open()
        server.send_head(200, [])
        here, there = End(client), End(server)
        here.other, there.other = there, here
        calls.append((here, there))
    return calls


def _push(tasks: asyncio.TaskGroup, end: End) -> None:
    if end.sender is None or end.sender.done():
        end.sender = tasks.create_task(end.send_plan())


@COMMON
@given(client_limits=limits, server_limits=limits, plan=st.lists(steps, max_size=60))
def test_conversations(
    engines: tuple[str, str], client_limits: Limits, server_limits: Limits, plan: list[tuple[str, bool, int, int]]
) -> None:
    async def scene() -> None:
        pair = await join(*engines, client_limits=client_limits, server_limits=server_limits)
        calls = await _start(pair)
        async with asyncio.TaskGroup() as tasks:
            for number, (what, at_client, which, size) in enumerate(plan):
                here, there = calls[which] if at_client else calls[which][::-1]
                wire = pair.client_wire if at_client else pair.server_wire
                match what:
                    case "send" if not here.ended and not here.cut:
                        data = bytes([number % 256]) * size
                        here.sent += data
                        here.plan.append(data)
                        _push(tasks, here)
                    case "end" if not here.ended and not here.cut and at_client:
                        here.ended = True
                        here.plan.append(None)
                        _push(tasks, here)
                    case "reset":
                        here.stream.reset()
                        here.cut = there.cut = True
                    case "read":
                        here.read()
                        assert there.sent.startswith(here.received)
                    case "stall":
                        wire.stalled = True
                    case "resume":
                        wire.resume()
                    case _:
                        await settle(3)
            for wire in (pair.client_wire, pair.server_wire):
                wire.resume()
            await _finish(tasks, calls)
        await settle()
        assert pair.client.open_streams == pair.server.open_streams == 0
        assert not pair.client.closed
        assert not pair.server.closed
        assert await pair.client.ping() >= 0

    _run(scene)


async def _finish(tasks: asyncio.TaskGroup, calls: list[tuple[End, End]]) -> None:
    """End every call that goes on, requests first, and compare."""
    for client, server in calls:
        for end in (client, server):
            if not end.cut and not end.ended:
                assert end.other is not None
                while end is server and not end.read():  # a complete response would refuse the rest of the request
                    client.read()
                    await settle(3)
                end.ended = True
                end.plan.append(None)
                _push(tasks, end)
        while not (server.read() and client.read()):
            client.read()
            await settle(3)
        for end in (client, server):
            assert end.other is not None
            if client.cut:
                assert end.other.sent.startswith(end.received)
            else:
                assert end.received == end.other.sent
                assert end.stream.trailers == [("sent", str(len(end.received)).encode())]


@COMMON
@given(
    front_limits=limits,
    back_limits=limits,
    up=st.lists(st.binary(max_size=5000), max_size=8),
    down=st.lists(st.binary(max_size=5000), max_size=8),
    repeat=st.integers(1, 10),
    ending=st.sampled_from(ENDINGS),
)
def test_splices(
    engines: tuple[str, str],
    front_limits: Limits,
    back_limits: Limits,
    up: list[bytes],
    down: list[bytes],
    repeat: int,
    ending: str,
) -> None:
    async def scene() -> None:
        front = await join("httpunk", engines[0], client_limits=front_limits, server_limits=front_limits)
        back = await join(engines[1], "httpunk", client_limits=back_limits, server_limits=back_limits)
        client, ours = await front.open()
        theirs, node = await back.open()
        results: list[SpliceResult] = []
        ours.splice_to(theirs, results.append)
        theirs.splice_to(ours, results.append, first=lambda: ours.send_head(200, []))
        node.send_head(200, [])
        here, there = End(client), End(node)
        here.other, there.other = there, here
        here.plan.extend(up * repeat)
        there.plan.extend(down * repeat)
        async with asyncio.TaskGroup() as tasks:
            senders = [tasks.create_task(end.send_plan()) for end in (here, there)]
            while not all(sender.done() for sender in senders):
                here.read()
                there.read()
                await settle(3)
            match ending:
                case "client resets":
                    client.reset()
                case "server resets":
                    node.reset(ErrorCode.INTERNAL_ERROR)
                case _:
                    await client.send(b"", end_stream=True)
                    while not there.read():
                        here.read()
                        await settle(3)
                    if ending == "trailers":
                        node.send_trailers([("a", b"b")])
                    else:
                        await node.send(b"", end_stream=True)
            for _ in range(10_000):
                here.read()
                if len(results) == 2:
                    break
                await settle(3)
        assert len(results) == 2
        if ending in ("end", "trailers"):
            for result in results:
                if result.trailers is not None:
                    if not any(down):
                        ours.send_head(200, [])
                    ours.send_trailers(result.trailers)
            while not here.read():
                await settle(3)
            assert bytes(there.received) == b"".join(up * repeat)
            assert bytes(here.received) == b"".join(down * repeat)
        ours.reset()
        theirs.reset()
        await settle()
        assert front.server.open_streams == back.client.open_streams == 0

    _run(scene)


# --- noise ---

stream_ids = st.integers(0, 9)
frames = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda kind, flags, stream, payload: frame(kind, payload, flags=flags, stream=stream),
        st.integers(0, 12),
        st.sampled_from([0, ACK, END_STREAM, END_HEADERS, END_HEADERS | END_STREAM, 0xFF, 0x8, 0x20]),
        stream_ids,
        st.binary(max_size=64),
    ),
    st.builds(lambda stream, end: headers(stream, end_stream=end), stream_ids, st.booleans()),
    st.builds(
        lambda stream, end: headers(stream, [(b":status", b"200"), (b"a", b"b")], end_stream=end),
        stream_ids,
        st.booleans(),
    ),
    st.builds(lambda stream, data: frame(DATA, data, stream=stream), stream_ids, st.binary(max_size=2000)),
    st.builds(lambda stream: frame(DATA, b"", flags=END_STREAM, stream=stream), stream_ids),
    st.builds(window_update, stream_ids, st.integers(0, (1 << 31) - 1)),
    st.builds(reset, stream_ids, st.integers(0, 20)),
    st.builds(
        lambda name, value: settings_frame([(name, value)]),
        st.integers(0, 8),
        st.one_of(st.integers(0, 1 << 17), st.integers(0, (1 << 32) - 1)),
    ),
)


@COMMON
@given(noise=st.lists(frames, max_size=40), cut=st.integers(1, 50))
def test_noise_never_raises(engine_name: str, noise: list[bytes], cut: int) -> None:
    async def scene() -> None:
        server = raw_server(engine_name)
        client = raw_client(engine_name)
        greeting = raw_server(engine_name, greet=False)
        streams = [await client.connection.open_stream("POST", "http", "test", "/a", []) for _ in range(3)]
        data = b"".join(noise)
        for peer in (server, client, greeting):
            for start in range(0, len(data), cut):
                peer.feed(data[start : start + cut])
                for stream in peer.accepted:
                    if stream.error is None and not getattr(stream, "head_sent", True):
                        stream.send_head(200, [])
                        stream.send_trailers([("grpc-status", b"0")])
            await settle(3)
            assert peer.written() or peer.wire.closed
            peer.wire.lose()
        for stream in streams:
            assert stream.error is not None or stream.received_end

    _run(scene)


@COMMON
@given(data=st.data())
def test_a_conversation_with_flipped_bytes_never_raises(engine_name: str, data: st.DataObject) -> None:
    valid = bytearray(
        PREFACE
        + settings_frame([(4, 1000)])
        + frame(4, flags=ACK)
        + headers(1)
        + frame(DATA, b"\0\0\0\0\x05hello", stream=1, flags=END_STREAM)
        + window_update(0, 1000)
        + headers(3, end_stream=True)
        + frame(6, b"12345678")
        + reset(3)
    )
    for _ in range(data.draw(st.integers(1, 6))):
        valid[data.draw(st.integers(0, len(valid) - 1))] = data.draw(st.integers(0, 255))

    async def scene() -> None:
        peer = raw_server(engine_name, greet=False)
        peer.feed(bytes(valid))
        await settle(3)
        peer.wire.lose()
        for stream in peer.accepted:
            assert stream.error is not None or stream.received_end

    _run(scene)


def test_the_endings_are_all_tried() -> None:
    assert len(ENDINGS) == 4
    with pytest.raises(AssertionError):
        _run(_raising)


async def _raising() -> None:
    def fail() -> None:
        raise ValueError

    asyncio.get_running_loop().call_soon(fail)
    await settle(2)
