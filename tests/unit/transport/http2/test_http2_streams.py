"""What a stream does, seen from both ends, each engine against each."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable
from dataclasses import replace

import pytest

from praefect.transport.http2 import ErrorCode, Limits, StreamClosedError
from tests.support.http2_pair import QUIET, join, receive_all, settle

Engines = tuple[str, str]

NARROW = replace(QUIET, initial_window_size=1000, connection_window=65535)


async def test_a_call_passes_heads_messages_and_trailers(engines: Engines) -> None:
    pair = await join(*engines)
    sent = [("content-type", b"application/grpc"), ("x-bin", b"\x80\xff"), ("x-many", b"1"), ("x-many", b"2")]
    client, server = await pair.open("/a.B/C", sent)

    assert client.request.path == server.request.path == "/a.B/C"
    assert (server.request.method, server.request.scheme, server.request.authority) == ("POST", "http", "test")
    assert sorted(server.request.headers, key=lambda field: field[0]) == sorted(sent, key=lambda field: field[0])
    assert server.connection.context == "server"

    await client.send(b"question", end_stream=True)
    assert await receive_all(server) == b"question"
    assert server.received_end
    server.send_head(200, [("x-head", b"h")])
    await server.send(b"answer")
    server.send_trailers([("grpc-status", b"0")])

    head = await client.response()
    assert (head.status, head.headers, head.end_stream) == (200, [("x-head", b"h")], False)
    assert client.head == head
    assert await client.receive() == b"answer"
    assert await client.receive() == b""
    assert client.trailers == [("grpc-status", b"0")]
    assert client.received_end
    assert pair.client.open_streams == pair.server.open_streams == 0
    assert client.error is None
    assert server.error is None


async def test_a_response_of_a_head_alone(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open(end_stream=True)
    assert server.received_end
    server.send_head(200, [("grpc-status", b"5")], end_stream=True)
    head = await client.response()
    assert head.end_stream
    assert await client.receive() == b""
    assert client.trailers is None
    assert pair.client.open_streams == pair.server.open_streams == 0


async def test_the_server_may_answer_before_the_request_ends(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open()
    server.send_head(200, [])
    await server.send(b"first")
    assert await client.receive() == b"first"
    await client.send(b"more", end_stream=True)
    assert await receive_all(server) == b"more"
    await server.send(b"last", end_stream=True)
    assert await receive_all(client) == b"last"
    assert pair.client.open_streams == pair.server.open_streams == 0


async def test_a_complete_response_refuses_the_rest_of_the_request(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open()
    closed: list[str] = []
    client.on_close(lambda: closed.append("client"))
    server.on_close(lambda: closed.append("server"))
    await client.send(b"some")
    server.send_head(200, [])
    await server.send(b"enough")
    server.send_trailers([("grpc-status", b"0")])
    with pytest.raises(StreamClosedError) as raised:
        server.receive_nowait()
    assert not raised.value.remote
    assert pair.server.open_streams == 0

    assert await receive_all(client) == b"enough"
    assert client.trailers == [("grpc-status", b"0")]
    await settle()
    with pytest.raises(StreamClosedError):
        await client.send(b"more")
    assert client.receive_nowait() == b""
    assert pair.client.open_streams == 0
    assert closed == []


async def test_data_is_cut_to_the_windows_and_arrives_whole(engines: Engines) -> None:
    pair = await join(*engines, client_limits=NARROW, server_limits=NARROW)
    client, server = await pair.open()
    payload = bytes(range(256)) * 800
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.send(payload, end_stream=True))
        received = tasks.create_task(receive_all(server))
    assert received.result() == payload
    server.send_head(200, [])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.send(payload, end_stream=True))
        received = tasks.create_task(receive_all(client))
    assert received.result() == payload


async def test_many_streams_share_a_connection_window(engines: Engines) -> None:
    pair = await join(*engines, server_limits=replace(QUIET, initial_window_size=50_000, connection_window=65535))
    streams = [await pair.open() for _ in range(5)]
    payload = bytes(200_000)
    async with asyncio.TaskGroup() as tasks:
        for client, _ in streams:
            tasks.create_task(client.send(payload, end_stream=True))
        received = [tasks.create_task(receive_all(server)) for _, server in streams]
    assert [task.result() for task in received] == [payload] * 5


async def test_a_reader_that_stops_holds_the_sender_back(engines: Engines) -> None:
    pair = await join(*engines, server_limits=NARROW)
    client, server = await pair.open()
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(client.send(bytes(5000), end_stream=True))
        await settle()
        assert not sending.done()
        assert len(await server.receive()) == 1000
        await settle()
        assert not sending.done()
        assert len(await receive_all(server)) == 4000
    assert sending.done()


async def test_a_stopped_stream_does_not_stop_the_others(engines: Engines) -> None:
    pair = await join(*engines, client_limits=NARROW, server_limits=NARROW)
    stuck, _ = await pair.open()
    async with asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(stuck.send(bytes(5000)))
        client, server = await pair.open()
        tasks.create_task(client.send(bytes(5000), end_stream=True))
        assert len(await receive_all(server)) == 5000
        assert not sending.done()
        sending.cancel()


async def test_many_stopped_streams_do_not_stop_the_others(engines: Engines) -> None:
    """With the default limits hundreds of slow readers leave room in the connection's window."""
    pair = await join(*engines)
    for _ in range(30):
        client, server = await pair.open()
        server.send_head(200, [])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await server.send(bytes(1 << 20))
    client, server = await pair.open()
    await client.send(b"x" * 100_000, end_stream=True)
    assert len(await receive_all(server)) == 100_000
    server.send_head(200, [])
    async with asyncio.timeout(10):
        await server.send(b"y" * 100_000, end_stream=True)
        assert len(await receive_all(client)) == 100_000


async def test_a_full_transport_holds_senders_back(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open()
    pair.client_wire.stalled = True
    async with asyncio.TaskGroup() as tasks:

        async def send() -> None:
            for _ in range(16):
                await client.send(bytes(1 << 15))
            client.send_trailers([("last", b"1")])

        sending = tasks.create_task(send())
        await settle(100)
        assert not sending.done()
        assert pair.client_wire.get_write_buffer_size() < 256 << 10
        pair.client_wire.resume()
        assert len(await receive_all(server)) == 16 << 15
    assert server.trailers == [("last", b"1")]


async def test_a_full_transport_postpones_credit(engines: Engines) -> None:
    pair = await join(*engines, client_limits=NARROW)
    client, server = await pair.open()
    filler, _ = await pair.open()
    server.send_head(200, [])
    pair.client_wire.stalled = True
    async with asyncio.TaskGroup() as tasks:
        filling = tasks.create_task(filler.send(bytes(1 << 18)))
        await settle()
        sending = tasks.create_task(server.send(bytes(3000), end_stream=True))
        assert len(await client.receive()) == 1000
        await settle()
        assert client.receive_nowait() is None
        assert not sending.done()
        pair.client_wire.resume()
        assert len(await receive_all(client)) == 2000
    assert filling.done()


async def test_trailers_wait_for_data_that_waits(engines: Engines) -> None:
    pair = await join(*engines, client_limits=NARROW)
    client, server = await pair.open(end_stream=True)
    server.send_head(200, [])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.send(bytes(2500)))
        await settle()
        server.send_trailers([("grpc-status", b"0")])
        server.reset(ErrorCode.NO_ERROR)
        await settle()
        assert not client.received_end
        assert len(await receive_all(client)) == 2500
    assert client.trailers == [("grpc-status", b"0")]
    assert pair.server.open_streams == 0


async def test_an_empty_send_waits_for_what_was_sent_before(engines: Engines) -> None:
    pair = await join(*engines, server_limits=NARROW)
    client, server = await pair.open()
    await client.send(b"")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.send(bytes(1500)))
        await settle()
        flushing = tasks.create_task(client.send(b""))
        await settle()
        assert not flushing.done()
        assert len(await server.receive()) == 1000
        assert len(await server.receive()) == 500
    assert server.receive_nowait() is None


async def test_a_cancelled_send_still_sends_all_it_was_given(engines: Engines) -> None:
    pair = await join(*engines, server_limits=NARROW)
    client, server = await pair.open()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await client.send(b"a" * 1500)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.send(b"b" * 1500, end_stream=True))
        assert await receive_all(server) == b"a" * 1500 + b"b" * 1500


# --- cut off ---


async def test_the_client_resets(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open()
    closed: list[str] = []
    server.on_close(lambda: closed.append("server"))
    client.on_close(lambda: closed.append("client"))
    await client.send(b"before")
    await settle()
    client.reset()
    assert closed == ["client"]
    await settle()
    assert closed == ["client", "server"]
    assert server.receive_nowait() == b"before"
    with pytest.raises(StreamClosedError) as raised:
        await server.receive()
    assert (raised.value.code, raised.value.remote, raised.value.unprocessed) == (ErrorCode.CANCEL, True, False)
    assert server.error is not None
    assert server.error.code == ErrorCode.CANCEL
    with pytest.raises(StreamClosedError):
        await server.send(b"late")
    server.send_head(200, [])
    server.send_trailers([])
    with pytest.raises(StreamClosedError) as raised:
        await client.response()
    assert (raised.value.code, raised.value.remote) == (ErrorCode.CANCEL, False)
    with pytest.raises(StreamClosedError):
        client.receive_nowait()
    assert pair.client.open_streams == pair.server.open_streams == 0


@pytest.mark.parametrize("half_closed", [False, True])
async def test_the_server_resets(engines: Engines, *, half_closed: bool) -> None:
    pair = await join(*engines)
    client, server = await pair.open(end_stream=half_closed)
    closed: list[str] = []
    client.on_close(lambda: closed.append("client"))
    server.send_head(200, [])
    await server.send(b"part")
    server.reset(ErrorCode.INTERNAL_ERROR)
    await client.response()
    assert await client.receive() == b"part"
    with pytest.raises(StreamClosedError) as raised:
        await client.receive()
    assert (raised.value.code, raised.value.unprocessed) == (ErrorCode.INTERNAL_ERROR, False)
    assert closed == ["client"]
    assert pair.client.open_streams == pair.server.open_streams == 0


async def test_a_refused_stream_was_not_processed(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open()
    server.reset(ErrorCode.REFUSED_STREAM)
    with pytest.raises(StreamClosedError) as raised:
        await client.response()
    assert raised.value.unprocessed


async def test_both_reset_at_once(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open()
    client.reset()
    server.reset()
    await settle()
    assert client.error is not None
    assert server.error is not None
    assert not client.error.remote
    assert not server.error.remote
    assert pair.client.open_streams == pair.server.open_streams == 0
    other, served = await pair.open(end_stream=True)
    served.send_head(200, [], end_stream=True)
    assert (await other.response()).status == 200


async def test_waiters_wake_when_the_stream_is_cut_off(engines: Engines) -> None:
    pair = await join(*engines, client_limits=NARROW, server_limits=NARROW)
    client, server = await pair.open()
    async with asyncio.TaskGroup() as tasks:
        waiters = [
            tasks.create_task(_error_of(waiting))
            for waiting in (client.response(), client.send(bytes(5000)), client.receive())
        ]
        await settle()
        server.reset()
    assert all(isinstance(task.result(), StreamClosedError) for task in waiters)


async def _error_of(waiting: Awaitable[object]) -> BaseException | None:
    try:
        await waiting
    except StreamClosedError as exc:
        return exc
    return None


async def test_on_close_of_a_stream_that_is_cut_off_already_comes_soon(engines: Engines) -> None:
    pair = await join(*engines)
    client, _ = await pair.open()
    client.reset()
    called: list[int] = []
    client.on_close(lambda: called.append(1))
    assert not called
    await asyncio.sleep(0)
    assert called == [1]


async def test_a_stream_that_ended_well_cannot_be_reset(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open(end_stream=True)
    server.send_head(200, [], end_stream=True)
    await client.response()
    called: list[int] = []
    for stream in (client, server):
        stream.on_close(lambda: called.append(1))
        stream.reset()
    await settle()
    assert client.error is None
    assert server.error is None
    assert called == []


async def test_unread_data_of_streams_that_are_gone_does_not_close_the_connection_window(engines: Engines) -> None:
    limits = replace(QUIET, initial_window_size=30_000, connection_window=65535)
    pair = await join(*engines, client_limits=limits, server_limits=limits)
    for round_number in range(12):
        client, server = await pair.open()
        await client.send(bytes(20_000))
        server.send_head(200, [])
        await server.send(bytes(20_000))
        await settle()
        match round_number % 4:
            case 0:
                client.reset()
            case 1:
                server.reset()
            case 2:
                server.send_trailers([("a", b"b")])
            case 3:
                client.send_trailers([("a", b"b")])
                server.send_trailers([("a", b"b")])
        await settle()
    client, server = await pair.open()
    server.send_head(200, [])
    async with asyncio.timeout(5):
        await client.send(bytes(30_000))
        await server.send(bytes(30_000))


async def test_ended_streams_are_forgotten(engines: Engines) -> None:
    pair = await join(*engines)
    references = []
    for number in range(8):
        client, server = await pair.open()
        references += [weakref.ref(client), weakref.ref(server)]
        await client.send(b"x", end_stream=number % 2 == 0)
        await settle()
        if number in (3, 4):
            client.reset()
        elif number in (5, 6):
            server.reset()
        else:
            server.send_head(200, [])
            await server.send(b"y")
            server.send_trailers([])
            assert await receive_all(client) == b"y"
        await settle()
    del client, server
    # The libraries let go of a closed stream at the next one.
    last = await pair.open()
    gc.collect()
    assert [reference() for reference in references if reference() is not None] == []
    assert pair.client.open_streams == pair.server.open_streams == 1
    del last


# --- misuse and malformed fields ---

BAD_FIELDS = [
    ("bad name", b"x"),
    ("x", b"a\nb"),
    ("x", b"a\x00b"),
    ("connection", b"close"),
    ("te", b"gzip"),
    (":x", b""),
]


@pytest.mark.parametrize("field", BAD_FIELDS, ids=str)
async def test_fields_that_may_not_be_sent_are_the_callers_fault(engine_name: str, field: tuple[str, bytes]) -> None:
    pair = await join(engine_name, engine_name)
    with pytest.raises(ValueError, match=r"."):
        await pair.client.open_stream("POST", "http", "test", "/a", [field])
    assert pair.client.open_streams == 0
    client, server = await pair.open()
    with pytest.raises(ValueError, match=r"."):
        server.send_head(200, [field])
    server.send_head(200, [])
    with pytest.raises(ValueError, match=r"."):
        server.send_trailers([field])
    server.send_trailers([("grpc-status", b"0")])
    assert await receive_all(client) == b""
    assert client.trailers == [("grpc-status", b"0")]


async def test_names_are_sent_in_lower_case(engines: Engines) -> None:
    pair = await join(*engines)
    _, server = await pair.open(headers=[("X-Upper", b"Value")])
    assert server.request.headers == [("x-upper", b"Value")]


async def test_nothing_can_be_sent_after_the_end(engine_name: str) -> None:
    pair = await join(engine_name, engine_name)
    client, _ = await pair.open(end_stream=True)
    with pytest.raises(RuntimeError):
        await client.send(b"x")


async def test_a_response_begins_with_one_head(engine_name: str) -> None:
    pair = await join(engine_name, engine_name)
    client, server = await pair.open()
    with pytest.raises(RuntimeError):
        await server.send(b"x")
    with pytest.raises(RuntimeError):
        server.send_trailers([])
    server.send_head(200, [])
    with pytest.raises(RuntimeError):
        server.send_head(200, [])
    with pytest.raises(RuntimeError):
        client.send_head(200, [])
    await server.send(b"x", end_stream=True)
    assert await receive_all(client) == b"x"


async def test_two_readers_are_refused(engine_name: str) -> None:
    pair = await join(engine_name, engine_name)
    client, server = await pair.open()
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(server.receive())
        await settle()
        with pytest.raises(RuntimeError):
            await server.receive()
        await client.send(b"x")
    assert reading.result() == b"x"


async def test_tiny_frames_are_gathered(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open()
    for number in range(3000):
        await client.send(bytes([number % 256]))
    await client.send(b"z" * 20_000, end_stream=True)
    await settle()
    assert await receive_all(server) == bytes(number % 256 for number in range(3000)) + b"z" * 20_000


def test_limits_have_room_for_hundreds_of_slow_streams() -> None:
    limits = Limits()
    assert limits.connection_window >= 200 * limits.initial_window_size
