"""Peers that break rules or try to exhaust us. Nothing may raise out of the driver, grow, or reach the application."""

from __future__ import annotations

import asyncio
import struct
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hpack import Encoder

from praefect.transport.http2 import ErrorCode, StreamClosedError
from tests.support.http2_pair import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    QUIET,
    REQUEST,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    PausableTransport,
    RawPeer,
    frame,
    go_away,
    header_block,
    headers,
    raw_client,
    raw_server,
    receive_all,
    reset,
    settings,
    settle,
    window_update,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from praefect.transport.http2 import Stream

OPEN = headers(1)
SMALL = replace(QUIET, max_header_list_size=16384)


def _goodbye(peer: RawPeer) -> ErrorCode:
    """Return the reason with which the connection was ended."""
    assert peer.wire.closed, "the connection goes on"
    assert peer.last.kind == GOAWAY
    return ErrorCode(peer.last.code)


# --- the beginning ---


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00", bytes(100), PREFACE[:-1] + b"X", PREFACE.lower()],
)
async def test_garbage_instead_of_the_preface(engine_name: str, garbage: bytes) -> None:
    peer = raw_server(engine_name, greet=False)
    for byte in garbage:
        peer.feed(bytes([byte]))
    assert _goodbye(peer) is ErrorCode.PROTOCOL_ERROR
    await settle()
    assert peer.connection.closed


async def test_garbage_instead_of_a_servers_settings(engine_name: str) -> None:
    peer = raw_client(engine_name, greet=False)
    peer.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    _goodbye(peer)


# --- single violations: the stream or the connection pays, and only they ---

VIOLATIONS: dict[str, bytes] = {
    "data on no stream": frame(DATA, b"x", stream=0),
    "data on an idle stream": frame(DATA, b"x", stream=5),
    "data after the end": headers(1, end_stream=True) + frame(DATA, b"x", stream=1),
    "data with padding beyond its end": OPEN + frame(DATA, b"\xffx", flags=PADDED, stream=1),
    "data with no room for its padding": OPEN + frame(DATA, b"", flags=PADDED, stream=1),
    "headers on no stream": headers(0),
    "headers on an even stream": headers(2),
    "headers on an old stream": headers(5) + headers(3),
    "headers after the end": headers(1, end_stream=True) + headers(1, end_stream=True),
    "trailers without the end": OPEN + headers(1, [(b"a", b"b")]),
    "headers with a broken block": frame(HEADERS, b"\xff\xff\xff\xff\xff\xff", flags=END_HEADERS, stream=1),
    "headers with an unknown index": frame(HEADERS, b"\xbf\x80", flags=END_HEADERS, stream=1),
    "headers with a huge table": frame(HEADERS, b"\x3f\xff\xff\x7f", flags=END_HEADERS, stream=1),
    "headers with half a string": frame(HEADERS, b"\x40\x7f\x00", flags=END_HEADERS, stream=1),
    "headers interrupted": frame(HEADERS, OPEN[9:], stream=1) + frame(PING, bytes(8)),
    "headers continued elsewhere": frame(HEADERS, b"", stream=1) + frame(CONTINUATION, b"", stream=3),
    "a continuation of nothing": frame(CONTINUATION, b"", flags=END_HEADERS, stream=1),
    "a promise from a client": OPEN + frame(PUSH_PROMISE, b"\0\0\0\x02" + OPEN[9:], flags=END_HEADERS, stream=1),
    "a reset of no stream": reset(0),
    "a reset of an idle stream": reset(7),
    "a reset of the wrong size": OPEN + frame(RST_STREAM, b"\0\0\0", stream=1),
    "settings on a stream": frame(SETTINGS, stream=1),
    "settings of the wrong size": frame(SETTINGS, bytes(5)),
    "settings acknowledged with content": frame(SETTINGS, bytes(6), flags=ACK),
    "settings with a bad push": settings([(2, 2)]),
    "settings with a huge window": settings([(4, 1 << 31)]),
    "settings with a tiny frame": settings([(5, 100)]),
    "settings with a huge frame": settings([(5, 1 << 24)]),
    "a ping on a stream": frame(PING, bytes(8), stream=1),
    "a ping of the wrong size": frame(PING, bytes(7)),
    "a goodbye on a stream": frame(GOAWAY, bytes(8), stream=1),
    "a goodbye of the wrong size": frame(GOAWAY, bytes(7)),
    "a window of the wrong size": frame(WINDOW_UPDATE, bytes(3)),
    "a window of nothing": window_update(0, 0),
    "a stream's window of nothing": OPEN + window_update(1, 0),
    "a window on an idle stream": window_update(9, 1),
    "a window beyond its limit": window_update(0, (1 << 31) - 1),
    "a stream's window beyond its limit": OPEN + window_update(1, (1 << 31) - 1),
    "windows beyond their limit by settings": settings([(4, (1 << 31) - 1)])
    + OPEN
    + window_update(1, 10)
    + settings([(4, (1 << 31) - 1)]),
    "a stream that depends on itself": frame(PRIORITY, b"\0\0\0\x01\x10", stream=1),
    "a frame that is too long": OPEN + frame(DATA, bytes(16385), stream=1),
}
# What one engine lets pass as harmless and the other does not; nothing of it reaches the application.
LENIENT = {
    "a goodbye on a stream",
    "a stream that depends on itself",
    "a window on an idle stream",
    "data with no room for its padding",
    "windows beyond their limit by settings",
    "headers on an old stream",
    "headers after the end",
}


@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_a_violation(engine_name: str, violation: str) -> None:
    peer = raw_server(engine_name)
    peer.feed(VIOLATIONS[violation])
    await settle()
    resets = peer.written(RST_STREAM)
    if violation not in LENIENT:
        assert peer.wire.closed or resets
    if peer.wire.closed:
        assert peer.last.kind == GOAWAY
        assert peer.last.code != ErrorCode.INTERNAL_ERROR
        assert peer.last.code != ErrorCode.NO_ERROR or violation in LENIENT
        for stream in peer.accepted:
            assert stream.error is not None or stream.received_end
    else:
        peer.feed(headers(101))
        assert peer.accepted[-1].id == 101
    assert len(peer.accepted) <= 3


@pytest.mark.parametrize("violation", VIOLATIONS)
async def test_a_violation_in_single_bytes_is_the_same(engine_name: str, violation: str) -> None:
    whole, pieces = raw_server(engine_name), raw_server(engine_name)
    whole.feed(VIOLATIONS[violation])
    for byte in VIOLATIONS[violation]:
        pieces.feed(bytes([byte]))
    await settle()
    assert pieces.wire.closed == whole.wire.closed
    assert pieces.written(RST_STREAM) == whole.written(RST_STREAM)


MALFORMED: dict[str, list[tuple[bytes, bytes]]] = {
    "no path": [(b":method", b"POST"), (b":scheme", b"http")],
    "no method": [(b":path", b"/x"), (b":scheme", b"http")],
    "no scheme": [(b":path", b"/x"), (b":method", b"POST")],
    "an empty path": [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"")],
    "two paths": [*REQUEST, (b":path", b"/y")],
    "a status": [*REQUEST, (b":status", b"200")],
    "an unknown pseudo-header field": [*REQUEST, (b":strange", b"1")],
    "a pseudo-header field behind others": [*REQUEST[:-1], (b"a", b"b"), REQUEST[-1]],
    "an upper-case name": [*REQUEST, (b"Upper", b"1")],
    "a name with a blank": [*REQUEST, (b"a b", b"1")],
    "an empty name": [*REQUEST, (b"", b"1")],
    "a line feed in a value": [*REQUEST, (b"a", b"1\n2")],
    "a NUL in a value": [*REQUEST, (b"a", b"1\x002")],
    "a connection header": [*REQUEST, (b"connection", b"close")],
    "a transfer encoding": [*REQUEST, (b"transfer-encoding", b"chunked")],
    "a te other than trailers": [*REQUEST, (b"te", b"gzip")],
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_request_reaches_nobody(engine_name: str, what: str) -> None:
    """The stream is reset; httpunk ends the connection where a field does not decode.

    Source: RFC 9113 section 8.1.1, which allows both.
    """
    peer = raw_server(engine_name)
    peer.feed(headers(1, MALFORMED[what]))
    await settle()
    assert peer.accepted == []
    resets = [(item.stream, item.code) for item in peer.written(RST_STREAM)]
    if engine_name == "h2":
        assert not peer.wire.closed
    if not peer.wire.closed:
        assert resets == [(1, ErrorCode.PROTOCOL_ERROR)]
        peer.feed(headers(3))
        assert [stream.id for stream in peer.accepted] == [3]


RESPONSES: dict[str, bytes] = {
    "no status": headers(1, [(b"a", b"b")]),
    "a status of letters": headers(1, [(b":status", b"abc")]),
    "two statuses": headers(1, [(b":status", b"200"), (b":status", b"200")]),
    "a request's field": headers(1, [(b":status", b"200"), (b":path", b"/")]),
    "data before the head": frame(DATA, b"x", stream=1),
    "trailers with a status": headers(1, [(b":status", b"200")]) + headers(1, [(b":status", b"200")], end_stream=True),
    "trailers without the end": headers(1, [(b":status", b"200")]) + headers(1, [(b"a", b"b")]),
    "a stream nobody opened": headers(3, [(b":status", b"200")]),
    "a stream of the server": headers(2, [(b":status", b"200")]),
    "a promise": frame(PUSH_PROMISE, b"\0\0\0\x02" + OPEN[9:], flags=END_HEADERS, stream=1),
    "more than the window": headers(1, [(b":status", b"200")]) + frame(DATA, bytes(16384), stream=1) * 33,
}


@pytest.mark.parametrize("what", RESPONSES)
async def test_a_hostile_server(engine_name: str, what: str) -> None:
    peer = raw_client(engine_name)
    stream = await peer.connection.open_stream("POST", "http", "test", "/a", [])
    await settle()
    peer.feed(RESPONSES[what])
    await settle()
    assert peer.wire.closed or peer.written(RST_STREAM)
    if peer.wire.closed or peer.written(RST_STREAM)[0].stream == 1:
        with pytest.raises(StreamClosedError):
            await receive_all(stream)


# --- sizes ---


async def test_a_frame_is_refused_by_its_head(engine_name: str) -> None:
    peer = raw_server(engine_name)
    peer.feed(struct.pack(">I", 1 << 24 - 1)[1:] + b"\x00\x00\x00\x00\x00\x01")
    peer.feed(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01")
    assert _goodbye(peer) is ErrorCode.FRAME_SIZE_ERROR


async def test_headers_beyond_the_limit_are_refused(engine_name: str) -> None:
    peer = raw_server(engine_name, SMALL)
    peer.feed(headers(1, [*REQUEST, (b"a", b"x" * 17_000)]))
    assert peer.accepted == []
    await settle()
    assert [item.stream for item in peer.written(RST_STREAM)] == [1]
    peer.feed(headers(3, [*REQUEST, (b"a", b"x" * 12_000)]))
    assert [stream.id for stream in peer.accepted] == [3]
    await settle()
    peer.feed(headers(3, [(b"a", b"x" * 17_000)], end_stream=True))
    await settle()
    assert peer.accepted[0].error is not None


@pytest.mark.parametrize("size", [40_000, 100_000, 1_000_000])
async def test_headers_far_beyond_the_limit_are_never_seen_in_part(engine_name: str, size: int) -> None:
    peer = raw_server(engine_name, SMALL)
    fields = [*REQUEST, *[(b"x-%d" % number, b"y" * 1000) for number in range(size // 1000)], (b"last", b"1")]
    peer.feed(headers(1, fields))
    assert peer.accepted == []


async def test_a_small_block_that_unpacks_to_a_huge_one(engine_name: str) -> None:
    peer = raw_server(engine_name, SMALL)
    encoder = Encoder()
    peer.feed(headers(1, [*REQUEST, (b"bomb", b"x" * 4000)], encoder=encoder))
    assert len(peer.accepted) == 1
    index = encoder.encode([(b"bomb", b"x" * 4000)], huffman=False)
    assert len(index) == 1
    tracemalloc.start()
    try:
        for number in range(20):
            peer.feed(header_block(2 * number + 3, encoder.encode(REQUEST, huffman=False) + index * 16_000))
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert len(peer.accepted) == 1


async def test_data_beyond_the_window_of_a_stream(engine_name: str) -> None:
    peer = raw_server(engine_name, replace(QUIET, initial_window_size=1000))
    peer.feed(OPEN + frame(DATA, bytes(1000), stream=1))
    assert len(await peer.accepted[0].receive()) == 1000
    peer.feed(frame(DATA, bytes(1001), stream=1))
    await settle()
    if not peer.wire.closed:
        assert [item.code for item in peer.written(RST_STREAM)] == [ErrorCode.FLOW_CONTROL_ERROR]
    else:
        assert _goodbye(peer) is ErrorCode.FLOW_CONTROL_ERROR


async def test_data_beyond_the_window_of_the_connection(engine_name: str) -> None:
    peer = raw_server(engine_name, replace(QUIET, initial_window_size=65535, connection_window=65535))
    peer.feed(headers(1) + headers(3))
    for _ in range(2):
        peer.feed(frame(DATA, bytes(16384), stream=1) + frame(DATA, bytes(16384), stream=3))
    assert _goodbye(peer) is ErrorCode.FLOW_CONTROL_ERROR


async def test_tiny_frames_cost_no_more_than_their_window(engine_name: str) -> None:
    peer = raw_server(engine_name)
    peer.feed(OPEN)
    tiny = frame(DATA, b"x", stream=1) * 1000
    tracemalloc.start()
    try:
        for _ in range(10):
            peer.feed(tiny)
        assert tracemalloc.get_traced_memory()[0] < 1 << 18
    finally:
        tracemalloc.stop()
    assert not peer.wire.closed
    assert len(await peer.accepted[0].receive()) == 10_000


# --- floods ---


def _rapid_resets() -> Iterator[bytes]:
    for number in range(1, 20_001, 2):
        yield headers(number) + reset(number)


def _continuations() -> Iterator[bytes]:
    yield frame(HEADERS, OPEN[9:], stream=1)
    for _ in range(20_000):
        yield frame(CONTINUATION, b"", stream=1)


def _full_continuations() -> Iterator[bytes]:
    yield frame(HEADERS, OPEN[9:], stream=1)
    field = b"\x00\x01a\x7f\xe1\x7e" + bytes(16_352)
    for _ in range(2000):
        yield frame(CONTINUATION, field, stream=1)


def _malformed_requests() -> Iterator[bytes]:
    for number in range(1, 20_001, 2):
        yield headers(number, MALFORMED["no path"])


def _resets_by_violation() -> Iterator[bytes]:
    for number in range(1, 20_001, 2):
        yield headers(number) + window_update(number, 0)


def _empty_data() -> Iterator[bytes]:
    yield OPEN
    for _ in range(20_000):
        yield frame(DATA, stream=1)


def _padding() -> Iterator[bytes]:
    yield OPEN
    for _ in range(20_000):
        yield frame(DATA, b"\x03\0\0\0", flags=PADDED, stream=1)


FLOODS = {
    "rapid resets": _rapid_resets,
    "continuations": _continuations,
    "full continuations": _full_continuations,
    "malformed requests": _malformed_requests,
    "resets by violation": _resets_by_violation,
    "pings": lambda: iter([frame(PING, bytes(8))] * 20_000),
    "settings": lambda: iter([settings([(4, 65535)])] * 20_000),
    "empty data": _empty_data,
    "padding": _padding,
}


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_ends_the_connection(engine_name: str, flood: str) -> None:
    peer = raw_server(engine_name)
    sent = 0
    for piece in FLOODS[flood]():
        peer.feed(piece)
        sent += 1
        if peer.wire.closed:
            break
        if sent % 50 == 0:
            await settle(2)
    assert _goodbye(peer) in (ErrorCode.ENHANCE_YOUR_CALM, ErrorCode.PROTOCOL_ERROR, ErrorCode.COMPRESSION_ERROR)
    assert sent <= 3000
    assert peer.connection.open_streams == 0
    assert len(peer.accepted) <= sent


async def test_a_flood_in_one_read(engine_name: str) -> None:
    peer = raw_server(engine_name)
    peer.feed(b"".join(_rapid_resets()))
    assert _goodbye(peer) is ErrorCode.ENHANCE_YOUR_CALM
    assert len(peer.accepted) <= 1100
    assert peer.connection.open_streams == 0


async def test_windows_in_crumbs_are_only_work(engine_name: str) -> None:
    peer = raw_server(engine_name)
    peer.feed(OPEN + settings([(4, 0)]))
    stream = peer.accepted[0]
    stream.send_head(200, [])
    crumbs = window_update(1, 1)
    with pytest.raises(TimeoutError):
        async with _no_time():
            await stream.send(bytes(5000))
    for _ in range(2000):
        peer.feed(crumbs)
    await settle()
    assert sum(len(item.payload) for item in peer.written(DATA)) == 2000
    assert not peer.wire.closed


async def test_calls_that_are_cancelled_in_time_are_no_flood(engine_name: str) -> None:
    peer = raw_server(engine_name)
    peer.feed(b"".join(headers(number) for number in range(1, 1001, 2)))
    peer.feed(b"".join(reset(number) for number in range(1, 1001, 2)))
    await settle()
    assert not peer.wire.closed
    assert peer.connection.open_streams == 0


# --- peers that do not read ---


@pytest.mark.parametrize("question", ["ping", "request", "both"])
async def test_a_peer_that_never_reads_is_no_longer_read(engine_name: str, question: str) -> None:
    peer = raw_server(engine_name)
    wire = peer.wire
    assert isinstance(wire, PausableTransport)
    wire.stalled = True
    peer.feed(OPEN + window_update(1, 1 << 20) + window_update(0, 1 << 20))
    stream = peer.accepted.pop()
    stream.send_head(200, [])
    with pytest.raises(TimeoutError):
        async with _no_time():
            await stream.send(bytes(1 << 20))
    await settle()
    number = 3
    while wire.reading and not wire.closed:
        assert number < 10_000, "the peer is read for ever"
        if question != "ping":
            peer.feed(headers(number, end_stream=True))
            peer.accepted.pop().send_head(200, [], end_stream=True)
        if question != "request":
            peer.feed(frame(PING, bytes(8)))
        number += 2
        await settle(2)
    assert wire.get_write_buffer_size() < 512 << 10
    if not wire.closed:
        wire.resume()
        await settle()
        assert wire.reading


async def test_a_stalled_reader_bounds_what_is_sent(engine_name: str) -> None:
    """Windows that never close do not make us buffer for a peer that does not read."""
    peer = raw_server(engine_name)
    peer.feed(settings([(4, (1 << 31) - 1)]) + window_update(0, (1 << 31) - 1 - 65535))
    peer.feed(b"".join(headers(number) for number in range(1, 101, 2)))
    peer.wire.stalled = True
    for stream in peer.accepted:
        stream.send_head(200, [])
        with pytest.raises(TimeoutError):
            async with _no_time():
                await _send_for_ever(stream)
    assert peer.wire.get_write_buffer_size() < 512 << 10
    peer.feed(go_away(0))
    assert not peer.wire.closed


async def _send_for_ever(stream: Stream) -> None:
    while True:
        await stream.send(bytes(1 << 17))


def _no_time() -> asyncio.Timeout:
    return asyncio.timeout(0)
