"""The clocks of a connection, on a loop whose time is virtual."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from praefect.transport.http2 import ConnectionUnavailableError, ErrorCode, Limits, StreamClosedError
from tests.support.http2_pair import (
    ACK,
    DATA,
    GOAWAY,
    PING,
    PREFACE,
    QUIET,
    Pair,
    RawPeer,
    frame,
    headers,
    join,
    parse,
    raw_client,
    raw_server,
)
from tests.support.virtual_time import run_virtual, stand_still

WATCHED = Limits(keepalive_idle_seconds=20, keepalive_timeout_seconds=20)


def _closed(peer: RawPeer) -> bool:
    return peer.connection.closed


def _pings(peer: RawPeer) -> int:
    return len([item for item in peer.written(PING) if not item.flags & ACK])


def test_a_silent_peer_is_asked_and_given_up(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_client(engine_name, WATCHED)
        stream = await peer.connection.open_stream("POST", "http", "test", "/a", [])
        await asyncio.sleep(19.9)
        assert _pings(peer) == 0
        await asyncio.sleep(0.2)
        assert [item.payload for item in peer.written(PING)] == [bytes(8)]
        await asyncio.sleep(19.8)
        assert not _closed(peer)
        await asyncio.sleep(0.2)
        assert _closed(peer)
        assert peer.wire.aborted
        with pytest.raises(StreamClosedError, match="keepalive timeout") as raised:
            await stream.response()
        assert (raised.value.code, raised.value.remote) == (None, True)

    run_virtual(scene())


def test_any_byte_is_a_sign_of_life(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_client(engine_name, WATCHED)
        for _ in range(10):
            await asyncio.sleep(15)
            peer.feed(frame(8, b"\0\0\0\x01"))
        assert _pings(peer) == 0
        await asyncio.sleep(21)
        assert _pings(peer) == 1
        await asyncio.sleep(15)
        peer.feed(frame(8, b"\0\0\0\x01"))
        await asyncio.sleep(15)
        assert not _closed(peer)

    run_virtual(scene())


def test_two_engines_keep_each_other_alive(engines: tuple[str, str]) -> None:
    async def scene() -> None:
        pair = await join(*engines, client_limits=WATCHED, server_limits=replace(WATCHED, min_ping_interval_seconds=10))
        began = pair.client.last_heard()
        await asyncio.sleep(600)
        assert not pair.client.closed
        assert pair.client.last_heard() > began + 500
        await pair.open()

    run_virtual(scene())


def test_without_keepalive_nobody_is_asked(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_client(engine_name, QUIET)
        await asyncio.sleep(100_000)
        assert _pings(peer) == 0
        assert not _closed(peer)

    run_virtual(scene())


@pytest.mark.parametrize("greeting", [b"", PREFACE[:10], PREFACE])
def test_a_peer_without_settings_is_given_up(engine_name: str, greeting: bytes) -> None:
    async def scene() -> None:
        peer = raw_server(engine_name, Limits(handshake_timeout_seconds=5), greet=False)
        peer.feed(greeting)
        await asyncio.sleep(4.9)
        assert not _closed(peer)
        await asyncio.sleep(0.2)
        assert _closed(peer)
        assert peer.last.kind == GOAWAY
        assert peer.last.code == ErrorCode.SETTINGS_TIMEOUT

    run_virtual(scene())


def test_a_server_that_never_answers_is_unavailable(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_client(engine_name, Limits(handshake_timeout_seconds=5), greet=False)
        with pytest.raises(ConnectionUnavailableError, match="SETTINGS") as raised:
            await peer.connection.wait_ready()
        assert raised.value.unprocessed

    run_virtual(scene())


def test_a_peer_that_does_not_read_cannot_keep_a_closed_connection(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_server(engine_name)
        peer.feed(headers(1))
        peer.wire.stalled = True
        peer.connection.close()
        await asyncio.sleep(4.9)
        assert not _closed(peer)
        await asyncio.sleep(0.2)
        assert _closed(peer)

    run_virtual(scene())


# --- the server's opinion on PINGs ---

STRICT = replace(QUIET, min_ping_interval_seconds=10)
ASK = frame(PING, b"12345678")


def test_more_than_two_early_pings_are_too_many(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_server(engine_name, STRICT)
        for _ in range(3):
            peer.feed(ASK)
            await asyncio.sleep(1)
        assert not peer.wire.closed
        assert len([item for item in peer.written(PING) if item.flags & ACK]) == 3
        peer.feed(ASK)
        await asyncio.sleep(0)
        assert (peer.last.kind, peer.last.code, peer.last.debug) == (
            GOAWAY,
            ErrorCode.ENHANCE_YOUR_CALM,
            b"too_many_pings",
        )
        assert peer.wire.closed

    run_virtual(scene())


def test_pings_in_time_are_never_too_many(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_server(engine_name, STRICT)
        for _ in range(20):
            peer.feed(ASK)
            await asyncio.sleep(10)
        assert not peer.wire.closed

    run_virtual(scene())


@pytest.mark.parametrize("answer", ["head", "data", "trailers"])
def test_sending_anything_forgives_early_pings(engine_name: str, answer: str) -> None:
    async def scene() -> None:
        peer = raw_server(engine_name, STRICT)
        for number in range(30):
            peer.feed(headers(2 * number + 1, end_stream=True))
            stream = peer.accepted.pop()
            if answer != "head":
                stream.send_head(200, [])
            peer.feed(ASK)
            await asyncio.sleep(0.1)
            match answer:
                case "head":
                    stream.send_head(200, [], end_stream=True)
                case "data":
                    await stream.send(b"x")
                case _:
                    stream.send_trailers([("a", b"b")])
            peer.feed(ASK)
            await asyncio.sleep(0.1)
        assert not peer.wire.closed

    run_virtual(scene())


def test_without_an_interval_pings_are_only_bounded(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_server(engine_name)
        for _ in range(50):
            peer.feed(ASK)
        await asyncio.sleep(0)
        assert not peer.wire.closed

    run_virtual(scene())


# --- a peer that is asked soon ---

CLOSE = Limits(keepalive_idle_seconds=1.25, keepalive_timeout_seconds=2.0, keepalive_interval_seconds=10.0)


def _asked(wire_bytes: bytes | bytearray) -> int:
    return len([item for item in parse(wire_bytes) if item.kind == PING and not item.flags & ACK])


async def _call(pair: Pair) -> None:
    stream, served = await pair.open(end_stream=True)
    served.send_head(200, [], end_stream=True)
    await stream.response()


def test_a_silent_peer_is_given_up_soon(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_client(engine_name, CLOSE)
        streams = [await peer.connection.open_stream("POST", "http", "test", "/a", []) for _ in range(3)]
        await asyncio.sleep(3.2)
        assert not _closed(peer)
        await asyncio.sleep(0.1)
        assert _closed(peer)
        for stream in streams:
            with pytest.raises(StreamClosedError, match="keepalive timeout"):
                await stream.response()

    run_virtual(scene())


def test_a_quiet_peer_is_not_asked_too_often(engines: tuple[str, str]) -> None:
    async def scene() -> None:
        strict = replace(QUIET, min_ping_interval_seconds=10)
        pair = await join(*engines, client_limits=CLOSE, server_limits=strict)
        stream, served = await pair.open()
        await asyncio.sleep(600)
        assert _asked(pair.client_wire.written) in range(50, 62)
        served.send_head(200, [], end_stream=True)
        await stream.response()
        assert not pair.client.closed

    run_virtual(scene())


def test_a_peer_that_answers_calls_is_asked_in_every_pause_and_does_not_mind(engines: tuple[str, str]) -> None:
    async def scene() -> None:
        strict = replace(QUIET, min_ping_interval_seconds=10)
        pair = await join(*engines, client_limits=CLOSE, server_limits=strict)
        for _ in range(100):
            await asyncio.sleep(2)
            await _call(pair)
        assert _asked(pair.client_wire.written) > 60
        assert not pair.client.closed

    run_virtual(scene())


def test_a_peer_is_given_up_soon_although_it_has_just_been_asked(engine_name: str) -> None:
    """The last PING was answered, then a call was, then the peer stopped."""

    async def scene() -> None:
        peer = raw_client(engine_name, CLOSE)
        stream = await peer.connection.open_stream("POST", "http", "test", "/a", [])
        await asyncio.sleep(1.5)
        peer.feed(frame(PING, bytes(8), flags=ACK))
        await asyncio.sleep(0.5)
        peer.feed(headers(stream.id, [(b":status", b"200")]))
        await asyncio.sleep(3.2)
        assert not _closed(peer)
        await asyncio.sleep(0.1)
        assert _closed(peer)

    run_virtual(scene())


def test_a_peer_is_given_up_soon_although_it_has_answered_a_moment_ago(engine_name: str) -> None:
    """Nothing came since that would lift the wait between two PINGs."""

    async def scene() -> None:
        peer = raw_client(engine_name, CLOSE)
        await peer.connection.open_stream("POST", "http", "test", "/a", [])
        await asyncio.sleep(1.5)
        assert _pings(peer) == 1
        peer.feed(frame(PING, bytes(8), flags=ACK))
        await asyncio.sleep(3.2)
        assert _pings(peer) == 2
        assert not _closed(peer)
        await asyncio.sleep(0.1)
        assert _closed(peer)

    run_virtual(scene())


def test_only_one_question_is_asked_before_its_time(engines: tuple[str, str]) -> None:
    """A server that counts does not mind, however long it has nothing else to say."""

    async def scene() -> None:
        strict = replace(QUIET, min_ping_interval_seconds=10)
        pair = await join(*engines, client_limits=CLOSE, server_limits=strict)
        for _ in range(5):
            asked = _asked(pair.client_wire.written)
            await asyncio.sleep(60)
            assert _asked(pair.client_wire.written) - asked in range(6, 9)
            await _call(pair)
        assert not pair.client.closed

    run_virtual(scene())


def test_a_peer_that_sends_data_is_not_asked(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_client(engine_name, CLOSE)
        stream = await peer.connection.open_stream("POST", "http", "test", "/a", [])
        peer.feed(headers(stream.id, [(b":status", b"200")]))
        for _ in range(100):
            await asyncio.sleep(1)
            peer.feed(frame(DATA, b"x", stream=stream.id))
            assert await stream.receive() == b"x"
        assert _pings(peer) == 0

    run_virtual(scene())


def test_bytes_beside_the_connection_are_a_sign_of_life(engine_name: str) -> None:
    """A session that carries the connection among others is full of what another stream sends."""

    async def scene() -> None:
        peer = raw_client(engine_name, CLOSE)
        loop = asyncio.get_running_loop()
        for _ in range(20):
            peer.wire.set_extra_info("last_received", loop.time())
            await asyncio.sleep(1)
        assert _pings(peer) == 0
        await asyncio.sleep(0.5)
        assert _pings(peer) == 1
        peer.wire.set_extra_info("last_received", loop.time())
        await asyncio.sleep(2.5)
        assert not _closed(peer)

    run_virtual(scene())


def test_a_process_that_stood_still_asks_again(engine_name: str) -> None:
    async def scene() -> None:
        peer = raw_client(engine_name, CLOSE)
        await asyncio.sleep(2)
        assert _pings(peer) == 1
        stand_still(60)
        await asyncio.sleep(0.1)
        assert _pings(peer) == 2
        peer.feed(frame(PING, bytes(8), flags=ACK))
        await asyncio.sleep(3)
        assert not _closed(peer)

    run_virtual(scene())
