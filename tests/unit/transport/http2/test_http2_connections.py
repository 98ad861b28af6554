"""How connections begin, refuse, drain and end, each engine against each."""

from __future__ import annotations

import asyncio
import gc
import struct
import weakref
from dataclasses import replace

import pytest

from praefect.transport.http2 import ConnectionUnavailableError, ErrorCode, StreamClosedError, engine
from tests.support.http2_pair import (
    ACK,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    QUIET,
    RST_STREAM,
    SETTINGS,
    Pair,
    frame,
    go_away,
    headers,
    join,
    raw_client,
    raw_server,
    receive_all,
    settings,
    settle,
)

Engines = tuple[str, str]


async def test_a_client_is_ready_with_the_first_settings(engine_name: str) -> None:
    peer = raw_client(engine_name, greet=False)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(peer.connection.wait_ready())
        opening = tasks.create_task(peer.connection.open_stream("POST", "http", "test", "/a", []))
        await settle()
        assert [waiting.done(), opening.done(), peer.connection.accepts_streams] == [False] * 3
        peer.feed(settings())
    assert peer.connection.accepts_streams
    await settle()
    assert [item.stream for item in peer.written(HEADERS)] == [1]


async def test_a_connection_that_ends_before_it_is_ready(engine_name: str) -> None:
    peer = raw_client(engine_name, greet=False)
    peer.wire.lose()
    with pytest.raises(ConnectionUnavailableError) as raised:
        await peer.connection.wait_ready()
    assert raised.value.unprocessed
    with pytest.raises(ConnectionUnavailableError):
        await peer.connection.open_stream("POST", "http", "test", "/a", [])
    with pytest.raises(ConnectionUnavailableError):
        await peer.connection.ping()
    await peer.connection.wait_closed()
    assert peer.connection.closed


async def test_a_connection_closed_before_it_was_made(engine_name: str) -> None:
    connection = engine(engine_name).client(limits=QUIET, context=None)
    connection.close()
    peer = raw_server(engine_name)
    connection.connection_made(peer.wire)
    assert peer.wire.closed


async def test_a_ping_measures_the_round_trip(engines: Engines) -> None:
    pair = await join(*engines)
    assert await pair.client.ping() >= 0
    assert await pair.server.ping() >= 0
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(pair.client.ping())


async def test_answers_to_pings_nobody_sent_are_ignored(engine_name: str) -> None:
    peer = raw_server(engine_name)
    for payload in (b"SHUTDOWN", b"draining", bytes(8), b"whatever"):
        peer.feed(frame(PING, payload, flags=ACK))
    await settle()
    assert not peer.wire.closed
    assert peer.written(GOAWAY) == []


async def test_the_server_drains(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open()
    pair.server.go_away()
    pair.server.go_away()
    await settle()
    assert not pair.client.accepts_streams
    with pytest.raises(ConnectionUnavailableError) as raised:
        await pair.client.open_stream("POST", "http", "test", "/a", [])
    assert raised.value.unprocessed

    await client.send(b"still", end_stream=True)
    assert await receive_all(server) == b"still"
    assert not pair.server.closed
    server.send_head(200, [])
    await server.send(b"served", end_stream=True)
    assert await receive_all(client) == b"served"
    await pair.client.wait_closed()
    await pair.server.wait_closed()
    assert sorted(pair.lost) == ["client", "server"]


async def test_a_stream_on_its_way_is_served_while_the_server_drains(engine_name: str) -> None:
    peer = raw_server(engine_name)
    peer.connection.go_away()
    await settle()
    first = peer.written()
    assert [item.payload[:4] for item in first if item.kind == GOAWAY] == [struct.pack(">I", (1 << 31) - 1)]
    ping = next(item for item in first if item.kind == PING)
    peer.feed(headers(1))
    assert len(peer.accepted) == 1
    peer.feed(frame(PING, ping.payload, flags=ACK))
    await settle()
    assert [item.payload[:4] for item in peer.written(GOAWAY)][1:] == [struct.pack(">I", 1)]
    peer.feed(headers(3))
    assert len(peer.accepted) == 1
    peer.accepted[0].send_head(200, [], end_stream=True)
    await settle()
    assert peer.wire.closed


async def test_an_idle_server_closes_when_it_has_drained(engines: Engines) -> None:
    pair = await join(*engines)
    pair.server.go_away()
    await pair.client.wait_closed()
    await pair.server.wait_closed()


async def test_the_client_drains(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open(end_stream=True)
    pair.client.go_away()
    assert not pair.client.accepts_streams
    await settle()
    assert not pair.client.closed
    server.send_head(200, [], end_stream=True)
    await client.response()
    await pair.client.wait_closed()
    await pair.server.wait_closed()


async def test_streams_above_the_last_one_were_not_processed(engine_name: str) -> None:
    peer = raw_client(engine_name)
    low, high = [await peer.connection.open_stream("POST", "http", "test", "/a", []) for _ in range(2)]
    await settle()
    peer.feed(go_away(low.id, ErrorCode.NO_ERROR, b"bye"))
    assert high.error is not None
    assert high.error.unprocessed
    assert low.error is None
    assert peer.connection.open_streams == 1
    with pytest.raises(StreamClosedError, match="NO_ERROR"):
        await high.response()
    with pytest.raises(ConnectionUnavailableError, match="bye"):
        await peer.connection.open_stream("POST", "http", "test", "/a", [])
    peer.feed(headers(low.id, [(b":status", b"200")]))
    assert (await low.response()).status == 200
    assert not peer.wire.closed
    peer.feed(headers(low.id, [(b"grpc-status", b"0")], end_stream=True))
    await low.send(b"", end_stream=True)
    await settle()
    assert peer.wire.closed


async def test_a_go_away_with_a_reason_is_the_reason_of_what_it_cuts_off(engine_name: str) -> None:
    peer = raw_client(engine_name)
    stream = await peer.connection.open_stream("POST", "http", "test", "/a", [])
    await settle()
    peer.feed(go_away(stream.id, ErrorCode.ENHANCE_YOUR_CALM, b"too_many_pings"))
    peer.wire.lose()
    with pytest.raises(StreamClosedError, match="too_many_pings") as raised:
        await stream.response()
    assert (raised.value.code, raised.value.remote, raised.value.unprocessed) == (
        ErrorCode.ENHANCE_YOUR_CALM,
        True,
        False,
    )


async def test_two_go_aways(engine_name: str) -> None:
    peer = raw_client(engine_name)
    streams = [await peer.connection.open_stream("POST", "http", "test", "/a", []) for _ in range(3)]
    await settle()
    peer.feed(go_away((1 << 31) - 1))
    assert [stream.error for stream in streams] == [None] * 3
    peer.feed(go_away(3))
    assert [stream.error is None for stream in streams] == [True, True, False]


async def test_a_lost_connection_cuts_off_everything(engines: Engines) -> None:
    pair = await join(*engines)
    ends = [end for _ in range(3) for end in await pair.open()]
    closed: list[int] = []
    for end in ends:
        end.on_close(lambda: closed.append(1))
    pair.client_wire.lose(ConnectionResetError("reset"))
    await settle()
    assert len(closed) == 6
    for end in ends:
        assert end.error is not None
        assert (end.error.code, end.error.remote, end.error.unprocessed) == (None, True, False)
        with pytest.raises(StreamClosedError, match="connection"):
            await end.receive()
    assert pair.client.open_streams == pair.server.open_streams == 0
    assert sorted(pair.lost) == ["client", "server"]


async def test_what_arrived_before_the_connection_was_lost_can_be_received(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open(end_stream=True)
    other, other_server = await pair.open(end_stream=True)
    for end in (server, other_server):
        end.send_head(200, [])
        await end.send(b"part")
    server.send_trailers([("grpc-status", b"0")])
    await settle()
    pair.client_wire.lose()
    assert await client.receive() == b"part"
    assert await client.receive() == b""
    assert client.trailers == [("grpc-status", b"0")]
    assert await other.receive() == b"part"
    with pytest.raises(StreamClosedError):
        await other.receive()


async def test_a_request_that_never_left_was_not_processed(engine_name: str) -> None:
    peer = raw_client(engine_name)
    left = await peer.connection.open_stream("POST", "http", "test", "/a", [])
    await settle()
    peer.wire.stalled = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await left.send(bytes(1 << 18))
    await settle()
    kept = await peer.connection.open_stream("POST", "http", "test", "/a", [])
    peer.wire.lose()
    for stream, unprocessed in ((left, False), (kept, True)):
        with pytest.raises(StreamClosedError) as raised:
            await stream.response()
        assert raised.value.unprocessed is unprocessed


async def test_close_says_goodbye(engines: Engines) -> None:
    pair = await join(*engines)
    client, server = await pair.open()
    await server.connection.ping()
    pair.server.close("maintenance", code=ErrorCode.ENHANCE_YOUR_CALM)
    assert server.error is not None
    assert (server.error.remote, str(server.error)) == (False, "maintenance")
    with pytest.raises(StreamClosedError, match="ENHANCE_YOUR_CALM"):
        await client.response()
    await pair.client.wait_closed()
    await pair.server.wait_closed()
    pair.server.close()
    pair.server.abort()


async def test_abort_drops_the_transport(engines: Engines) -> None:
    pair = await join(*engines)
    client, _ = await pair.open()
    pair.client_wire.stalled = True
    pair.client.abort("enough")
    with pytest.raises(StreamClosedError, match="enough") as raised:
        await client.response()
    assert not raised.value.remote
    await pair.client.wait_closed()
    assert pair.client_wire.aborted


@pytest.mark.parametrize("ending", ["close", "lose", "abort"])
async def test_nothing_keeps_a_lost_connection_alive(engines: Engines, ending: str) -> None:
    async def scene() -> list[weakref.ref[object]]:
        pair = await join(*engines)
        ends = [end for _ in range(3) for end in await pair.open()]
        await ends[0].send(b"x")
        await settle()
        match ending:
            case "close":
                pair.client.close()
            case "lose":
                pair.client_wire.lose()
            case "abort":
                pair.client.abort()
        await pair.client.wait_closed()
        await pair.server.wait_closed()
        return [weakref.ref(thing) for thing in (*ends, pair.client, pair.server)]

    references = await scene()
    await settle()
    gc.collect()
    assert [reference() for reference in references if reference() is not None] == []


# --- the peer's limit of streams ---


async def _limited(engines: Engines, limit: int) -> Pair:
    return await join(*engines, server_limits=replace(QUIET, max_concurrent_streams=limit))


async def test_opening_waits_for_the_peers_limit_in_order(engines: Engines) -> None:
    pair = await _limited(engines, 2)
    first = [await pair.open(end_stream=True) for _ in range(2)]
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(pair.open(f"/{number}", end_stream=True)) for number in range(3)]
        await settle()
        assert not any(task.done() for task in waiting)
        assert pair.client.accepts_streams
        for done, (_, server) in enumerate(first, start=1):
            server.send_head(200, [], end_stream=True)
            await settle()
            assert [task.done() for task in waiting] == [number < done for number in range(3)]
        client, _ = waiting[0].result()
        client.reset()
        await settle()
        assert waiting[2].done()
    assert [task.result()[1].request.path for task in waiting] == ["/0", "/1", "/2"]


async def test_a_cancelled_wait_gives_its_turn_to_the_next(engines: Engines) -> None:
    pair = await _limited(engines, 1)
    _, server = await pair.open(end_stream=True)
    async with asyncio.TaskGroup() as tasks:
        gone = tasks.create_task(pair.client.open_stream("POST", "http", "test", "/gone", []))
        going = tasks.create_task(pair.client.open_stream("POST", "http", "test", "/going", []))
        next_one = tasks.create_task(pair.open("/next"))
        await settle()
        gone.cancel()
        await settle()
        server.send_head(200, [], end_stream=True)
        while pair.client.open_streams:  # noqa: ASYNC110 - in the very turn in which the slot is free
            await asyncio.sleep(0)
        going.cancel()
        await settle()
        assert next_one.done()
    assert next_one.result()[1].request.path == "/next"


async def test_waiters_learn_that_the_connection_takes_no_streams(engine_name: str) -> None:
    peer = raw_client(engine_name, greet=False)
    peer.feed(settings([(3, 0)]) + frame(SETTINGS, flags=ACK))

    async def refused() -> bool:
        with pytest.raises(ConnectionUnavailableError):
            await peer.connection.open_stream("POST", "http", "test", "/a", [])
        return True

    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(refused()) for _ in range(2)]
        await settle()
        assert not any(task.done() for task in waiting)
        peer.feed(go_away(0))
    assert all(task.result() for task in waiting)


async def test_a_raised_limit_lets_all_waiters_go(engine_name: str) -> None:
    peer = raw_client(engine_name, greet=False)
    peer.feed(settings([(3, 0)]) + frame(SETTINGS, flags=ACK))
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(peer.connection.open_stream("POST", "http", "test", "/a", [])) for _ in range(3)]
        await settle()
        peer.feed(settings([(3, 2)]))
        await settle()
        assert [task.done() for task in waiting] == [True, True, False]
        peer.feed(settings([(3, 10)]))


async def test_a_client_that_ignores_the_limit_is_refused_the_stream(engine_name: str) -> None:
    peer = raw_server(engine_name, replace(QUIET, max_concurrent_streams=2))
    peer.feed(headers(1) + headers(3) + headers(5))
    await settle()
    assert len(peer.accepted) == 2
    assert [(item.stream, item.code) for item in peer.written(RST_STREAM)] == [(5, ErrorCode.REFUSED_STREAM)]
    assert not peer.wire.closed


async def test_settings_move_the_windows_of_open_streams(engine_name: str) -> None:
    peer = raw_client(engine_name, greet=False)
    peer.feed(settings([(4, 10)]) + frame(SETTINGS, flags=ACK))
    stream = await peer.connection.open_stream("POST", "http", "test", "/a", [])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stream.send(b"x" * 30))
        await settle()
        peer.feed(settings([(4, 5)]))
        await settle()
        assert sum(len(item.payload) for item in peer.written(0)) == 10
        peer.feed(settings([(4, 20)]))
        await settle()
        assert sum(len(item.payload) for item in peer.written(0)) == 20
        peer.feed(settings([(4, 100)]))
    assert sum(len(item.payload) for item in peer.written(0)) == 30


async def test_interim_responses_are_skipped(engine_name: str) -> None:
    peer = raw_client(engine_name)
    stream = await peer.connection.open_stream("POST", "http", "test", "/a", [], end_stream=True)
    peer.feed(headers(1, [(b":status", b"103"), (b"link", b"x")]))
    await settle()
    assert stream.head is None
    peer.feed(headers(1, [(b":status", b"204")], end_stream=True))
    assert (await stream.response()).status == 204


async def test_the_end_may_come_in_an_empty_frame(engine_name: str) -> None:
    peer = raw_server(engine_name)
    peer.feed(headers(1) + frame(0, b"body", stream=1) + frame(0, flags=END_STREAM, stream=1))
    (stream,) = peer.accepted
    assert await receive_all(stream) == b"body"


async def test_padding_is_given_back(engine_name: str) -> None:
    peer = raw_server(engine_name, replace(QUIET, initial_window_size=65535, connection_window=65535))
    padded = frame(0, bytes([255]) + b"x" + bytes(255), flags=8, stream=1)
    peer.feed(headers(1))
    for _ in range(600):  # more than both windows in padding
        peer.feed(padded)
        peer.accepted[0].receive_nowait()
    await settle()
    assert not peer.wire.closed
    assert peer.accepted[0].error is None


async def test_header_blocks_in_pieces(engine_name: str) -> None:
    peer = raw_server(engine_name)
    whole = headers(1)
    block = whole[9:]
    pieces = [frame(HEADERS, block[:5], stream=1)] + [
        frame(9, block[index : index + 1], stream=1, flags=END_HEADERS if index == len(block) - 1 else 0)
        for index in range(5, len(block))
    ]
    for piece in pieces:
        for byte in piece:
            peer.feed(bytes([byte]))
    assert peer.accepted[0].request.path == "/svc/Method"
