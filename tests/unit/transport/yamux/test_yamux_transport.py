"""Streams as transports, over a wire in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from praefect.transport.yamux import (
    CLIENT_SETTINGS,
    LISTENER_SETTINGS,
    SessionUnavailableError,
    Settings,
    StreamTransport,
    YamuxConnection,
)
from praefect.transport.yamux.frame import INITIAL_WINDOW, pack
from tests.support.memory_wire import MemoryTransport, attach, connect, settle

OPEN = Settings()
DATA, UPDATE, PING, AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8


class Recorder(asyncio.Protocol):
    """Notes everything a transport tells its protocol."""

    def __init__(self, *, keep_open: bool = True, paused: bool = False) -> None:
        self.transport: StreamTransport
        self.events: list[str] = []
        self.received = bytearray()
        self.lost: list[Exception | None] = []
        self._keep_open = keep_open
        self._paused = paused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, StreamTransport)
        self.transport = transport
        self.events.append("made")
        if self._paused:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        self.received += data

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self._keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.lost.append(exc)

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")


@dataclass
class Pair:
    """Two connections joined by a wire, and the protocols of the streams that were opened on each."""

    client: YamuxConnection
    server: YamuxConnection
    client_wire: MemoryTransport
    server_wire: MemoryTransport
    accepted: list[Recorder] = field(default_factory=list)  # by the server
    called_back: list[Recorder] = field(default_factory=list)  # by the client

    async def stream(self, *, paused: bool = False) -> tuple[StreamTransport, Recorder, Recorder]:
        """Open a stream from the client; returns its transport, its protocol and the server's protocol."""
        transport, mine = await self.client.open_stream(Recorder)
        await settle()
        theirs = self.accepted[-1]
        if paused:
            theirs.transport.pause_reading()
        return transport, mine, theirs


def make_pair(client: Settings = OPEN, server: Settings = OPEN, *, keep_open: bool = True) -> Pair:
    accepted: list[Recorder] = []
    called_back: list[Recorder] = []

    def note(protocols: list[Recorder]) -> Recorder:
        protocols.append(Recorder(keep_open=keep_open))
        return protocols[-1]

    one = YamuxConnection(client=True, settings=client, accept=lambda: note(called_back))
    other = YamuxConnection(client=False, settings=server, accept=lambda: note(accepted))
    return Pair(one, other, *connect(one, other), accepted, called_back)


def alone(settings: Settings = OPEN, **options: object) -> tuple[YamuxConnection, MemoryTransport, list[Recorder]]:
    """A listening connection whose peer is the test."""
    accepted: list[Recorder] = []

    def accept() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    connection = YamuxConnection(client=False, settings=settings, accept=accept, **options)  # type: ignore[arg-type]
    return connection, attach(connection), accepted


class TestBytes:
    async def test_bytes_arrive_in_both_directions(self) -> None:
        pair = make_pair()
        transport, mine, theirs = await pair.stream()
        transport.write(b"ping")
        theirs.transport.writelines([b"po", bytearray(b"n"), memoryview(b"g")])
        await settle()
        assert theirs.received == b"ping"
        assert mine.received == b"pong"

    async def test_bytes_written_may_be_changed_afterwards(self) -> None:
        pair = make_pair()
        transport, _, theirs = await pair.stream()
        data = bytearray(b"before")
        transport.write(data)
        transport.write(memoryview(data))
        data[:] = b"after!"
        await settle()
        assert theirs.received == b"beforebefore"

    async def test_preface_goes_before_the_session(self) -> None:
        connection = YamuxConnection(client=True, settings=OPEN, accept=Recorder, preface=b"backchannel")
        wire = attach(connection)
        transport, _ = connection.open_stream_nowait(Recorder)
        transport.write(b"PRI")
        await settle()
        assert wire.written == b"backchannel" + pack(UPDATE, SYN, 1, 0) + pack(DATA, 0, 1, 3) + b"PRI"

    async def test_what_is_written_in_one_turn_leaves_in_one_write(self) -> None:
        pair = make_pair()
        transport, _, _ = await pair.stream()
        pair.client_wire.stalled = True
        for _ in range(10):
            transport.write(b"x")
        await settle()
        assert [len(write) for write in pair.client_wire._buffer] == [12 + 10]

    async def test_info_is_that_of_the_connection_without_its_socket(self) -> None:
        pair = make_pair()
        transport, _, _ = await pair.stream()
        assert transport.get_extra_info("peername") == ("192.0.2.1", 4242)
        assert transport.get_extra_info("socket") is None
        assert transport.get_extra_info("nonsense", 7) == 7


class TestBackPressure:
    async def test_writer_is_paused_without_credit_and_resumed_with_it(self) -> None:
        pair = make_pair()
        transport, mine, theirs = await pair.stream(paused=True)
        transport.write(bytes(INITIAL_WINDOW + 100_000))
        await settle()
        assert mine.events == ["made", "pause"]
        assert transport.get_write_buffer_size() == 100_000
        theirs.transport.resume_reading()
        await settle()
        assert mine.events == ["made", "pause", "resume"]
        assert len(theirs.received) == INITIAL_WINDOW + 100_000

    async def test_reader_that_does_not_read_is_sent_no_more_than_its_window(self) -> None:
        pair = make_pair()
        transport, _, theirs = await pair.stream(paused=True)
        transport.write(bytes(4 * INITIAL_WINDOW))
        await settle()
        assert transport.get_write_buffer_size() == 3 * INITIAL_WINDOW
        assert theirs.received == b""

    async def test_slow_stream_does_not_hold_up_another(self) -> None:
        pair = make_pair()
        slow, _, _ = await pair.stream(paused=True)
        slow.write(bytes(2 * INITIAL_WINDOW))
        quick, _, reader = await pair.stream()
        quick.write(b"hello")
        await settle()
        assert reader.received == b"hello"

    async def test_stalled_connection_pauses_its_streams(self) -> None:
        pair = make_pair(server=LISTENER_SETTINGS)
        transport, mine, theirs = await pair.stream()
        pair.client_wire.stalled = True
        for _ in range(20):
            transport.write(bytes(65_536))
            await settle(2)
        assert mine.events == ["made", "pause"]
        assert pair.client_wire.get_write_buffer_size() < 600_000
        pair.client_wire.resume()
        await settle()
        assert mine.events == ["made", "pause", "resume"]
        assert len(theirs.received) == 20 * 65_536

    async def test_pausing_within_data_received_holds_the_rest(self) -> None:
        pair = make_pair()
        transport, _, theirs = await pair.stream()

        class One(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                self.transport.pause_reading()

        one = One()
        one.transport = theirs.transport
        theirs.transport.set_protocol(one)
        for _ in range(3):
            transport.write(b"ab")
            await settle()
        assert one.received == b"ab"
        one.transport.resume_reading()
        await settle()
        assert one.received == b"ababab"

    async def test_many_tiny_frames_are_held_at_their_size(self) -> None:
        connection, wire, accepted = alone(LISTENER_SETTINGS)
        connection.data_received(pack(UPDATE, SYN, 1, 0))
        accepted[0].transport.pause_reading()
        for _ in range(1000):
            connection.data_received((pack(DATA, 0, 1, 1) + b"x") * 100)
        held = accepted[0].transport._received
        assert len(held) <= 8
        accepted[0].transport.resume_reading()
        await settle()
        assert accepted[0].received == b"x" * 100_000
        assert not wire.closed

    async def test_limits_of_the_write_buffer_can_be_set(self) -> None:
        pair = make_pair()
        transport, mine, _ = await pair.stream(paused=True)
        transport.set_write_buffer_limits(high=10)
        assert transport.get_write_buffer_limits() == (2, 10)
        transport.write(bytes(INITIAL_WINDOW))
        transport.write(bytes(11))
        assert "pause" in mine.events
        with pytest.raises(ValueError, match="must be >="):
            transport.set_write_buffer_limits(high=1, low=2)


class TestEnds:
    async def test_half_close_lets_the_other_direction_go_on(self) -> None:
        pair = make_pair()
        transport, mine, theirs = await pair.stream()
        transport.write(b"question")
        transport.write_eof()
        await settle()
        assert theirs.events == ["made", "eof"]
        theirs.transport.write(b"answer")
        theirs.transport.close()
        await settle()
        assert mine.received == b"answer"
        assert mine.events == ["made", "eof"]
        assert theirs.lost == [None]
        transport.close()
        await settle()
        assert mine.lost == [None]
        assert pair.client.open_streams == pair.server.open_streams == 0

    async def test_writing_after_write_eof_is_a_fault(self) -> None:
        pair = make_pair()
        transport, _, _ = await pair.stream()
        transport.write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            transport.write(b"x")

    async def test_end_of_the_peer_closes_a_stream_whose_protocol_does_not_mind(self) -> None:
        pair = make_pair(keep_open=False)
        transport, mine, theirs = await pair.stream()
        transport.write_eof()
        await settle()
        assert theirs.events == ["made", "eof", "lost"]
        assert mine.events == ["made", "eof"]

    async def test_end_is_told_after_what_was_held(self) -> None:
        pair = make_pair()
        transport, _, theirs = await pair.stream(paused=True)
        transport.write(b"last words")
        transport.write_eof()
        await settle()
        assert theirs.events == ["made"]
        theirs.transport.resume_reading()
        await settle()
        assert theirs.received == b"last words"
        assert theirs.events == ["made", "eof"]

    async def test_close_sends_what_was_written_however_long_it_takes(self) -> None:
        pair = make_pair()
        transport, mine, theirs = await pair.stream(paused=True)
        transport.write(bytes(INITIAL_WINDOW + 5))
        transport.close()
        transport.write(b"dropped")
        await settle()
        assert mine.lost == []
        theirs.transport.resume_reading()
        await settle()
        assert len(theirs.received) == INITIAL_WINDOW + 5
        assert mine.lost == [None]

    async def test_closed_stream_drops_what_still_arrives_and_gives_no_credit(self) -> None:
        pair = make_pair()
        transport, mine, theirs = await pair.stream()
        transport.close()
        theirs.transport.write(bytes(INITIAL_WINDOW + 1))
        await settle()
        assert mine.received == b""
        assert theirs.transport.get_write_buffer_size() == 1

    async def test_abort_resets_the_stream_at_the_peer(self) -> None:
        pair = make_pair()
        transport, mine, theirs = await pair.stream()
        transport.write(b"never sent")
        transport.abort()
        transport.abort()
        await settle()
        assert mine.lost == [None]
        (error,) = theirs.lost
        assert isinstance(error, ConnectionResetError)
        assert str(error) == "connection reset"
        assert theirs.events == ["made", "lost"]
        assert theirs.received == b""

    async def test_closed_stream_whose_peer_does_not_end_is_reset_in_time(self) -> None:
        pair = make_pair(client=replace(OPEN, close_timeout_seconds=0.0))
        transport, _, theirs = await pair.stream()
        transport.close()
        await settle()
        assert theirs.events == ["made", "eof", "lost"]
        assert pair.client.open_streams == pair.server.open_streams == 0

    async def test_closed_stream_waits_for_the_peers_end(self) -> None:
        pair = make_pair()
        transport, mine, _ = await pair.stream()
        transport.close()
        await settle()
        assert mine.lost == [None]
        assert pair.client.open_streams == 1

    async def test_fault_in_a_protocol_ends_its_stream_only(self) -> None:
        pair = make_pair()
        faults: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))

        class Broken(Recorder):
            def data_received(self, data: bytes) -> None:
                raise ZeroDivisionError

        transport, _, theirs = await pair.stream()
        broken = Broken()
        theirs.transport.set_protocol(broken)
        other, _, reader = await pair.stream()
        transport.write(b"boom")
        other.write(b"fine")
        await settle()
        assert [type(fault["exception"]) for fault in faults] == [ZeroDivisionError]
        assert broken.events == ["lost"]
        assert reader.received == b"fine"


class TestSession:
    async def test_loss_of_the_connection_reaches_every_stream_once(self) -> None:
        pair = make_pair()
        streams = [await pair.stream() for _ in range(3)]
        error = OSError("cable cut")
        pair.client_wire.lose(error)
        await settle()
        for _, mine, theirs in streams:
            assert mine.lost == [error]
            assert mine.events == ["made", "lost"]
            assert theirs.events == ["made", "lost"]
            assert isinstance(theirs.lost[0], ConnectionResetError)
        with pytest.raises(SessionUnavailableError, match="session shutdown"):
            await pair.client.open_stream(Recorder)

    async def test_close_cuts_the_streams_and_tells_who_waits(self) -> None:
        lost: list[bool] = []
        connection, wire, _ = alone(on_lost=lambda: lost.append(True))
        _, mine = await connection.open_stream(Recorder)
        connection.close()
        connection.close()
        await connection.wait_closed()
        assert wire.closed
        assert lost == [True]
        assert isinstance(mine.lost[0], ConnectionAbortedError)
        assert connection.failure is None

    async def test_end_of_the_first_stream_ends_the_session_if_asked(self) -> None:
        connection, wire, accepted = alone(ends_with_first=True)
        connection.data_received(pack(UPDATE, SYN, 1, 0) + pack(UPDATE, SYN, 3, 0))
        accepted[1].transport.close()
        await settle()
        closed = [wire.closed]
        accepted[0].transport.write(b"goodbye")
        accepted[0].transport.close()
        await settle()
        closed.append(wire.closed)
        assert closed == [False, True]
        assert bytes(wire.written).endswith(pack(DATA, 0, 1, 7) + b"goodbye" + pack(UPDATE, FIN, 1, 0))

    async def test_protocol_error_ends_session_and_streams(self) -> None:
        connection, wire, accepted = alone()
        connection.data_received(pack(UPDATE, SYN, 1, 0))
        connection.data_received(b"\x07" * 24)
        await settle()
        assert wire.closed
        assert bytes(wire.written).endswith(pack(AWAY, 0, 0, 1))
        assert str(accepted[0].lost[0]) == "invalid protocol version 7"
        assert str(connection.failure) == "invalid protocol version 7"

    async def test_open_waits_for_a_slot_of_the_backlog(self) -> None:
        connection, wire, _ = alone(LISTENER_SETTINGS)
        await connection.open_stream(Recorder)
        opened: list[int] = []

        async def open_another() -> None:
            transport, _ = await connection.open_stream(Recorder)
            opened.append(transport.stream_id)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(open_another())
            gives_up = tasks.create_task(open_another())
            tasks.create_task(open_another())
            await settle()
            assert opened == []
            connection.data_received(pack(UPDATE, ACK, 2, 0))
            await settle()
            assert opened == [4]
            gives_up.cancel()
            await settle()
            connection.data_received(pack(UPDATE, RST, 4, 0))
        assert opened == [4, 6]
        assert not wire.closed

    async def test_waiting_opens_are_refused_when_the_session_ends(self) -> None:
        connection, _, _ = alone(LISTENER_SETTINGS)
        await connection.open_stream(Recorder)
        asyncio.get_running_loop().call_soon(connection.close)
        with pytest.raises(SessionUnavailableError, match="session shutdown"):
            await connection.open_stream(Recorder)

    async def test_waiting_opens_are_refused_when_the_peer_goes_away(self) -> None:
        connection, _, _ = alone(LISTENER_SETTINGS)
        await connection.open_stream(Recorder)
        asyncio.get_running_loop().call_soon(connection.data_received, pack(AWAY, 0, 0, 0))
        with pytest.raises(SessionUnavailableError, match="not accepting connections"):
            await connection.open_stream(Recorder)
        with pytest.raises(SessionUnavailableError, match="not accepting connections"):
            connection.open_stream_nowait(Recorder)

    async def test_slot_passed_to_a_cancelled_waiter_goes_to_the_next(self) -> None:
        connection, _, _ = alone(LISTENER_SETTINGS)
        await connection.open_stream(Recorder)
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(connection.open_stream(Recorder))
            second = tasks.create_task(connection.open_stream(Recorder))
            await settle()
            connection.data_received(pack(UPDATE, ACK, 2, 0))
            first.cancel()  # after its turn came, before it could use it
        transport, _ = second.result()
        assert transport.stream_id == 4

    async def test_open_that_is_not_acknowledged_in_time_ends_the_session(self) -> None:
        connection, wire, _ = alone(replace(OPEN, open_timeout_seconds=0.0))
        _, mine = await connection.open_stream(Recorder)
        await connection.wait_closed()
        await settle()
        assert str(mine.lost[0]) == "stream open timeout"
        assert wire.closed

    async def test_acknowledged_or_closed_open_does_not_time_out(self) -> None:
        connection, wire, _ = alone(replace(OPEN, open_timeout_seconds=0.0))
        acknowledged, _ = await connection.open_stream(Recorder)
        closed, _ = await connection.open_stream(Recorder)
        connection.data_received(pack(UPDATE, ACK, acknowledged.stream_id, 0))
        closed.close()
        connection.flush()
        await settle()
        assert not wire.closed
        assert acknowledged.acknowledged
        assert not closed.acknowledged

    async def test_stream_closed_but_not_yet_ended_does_not_time_out_once_acknowledged(self) -> None:
        connection, wire, _ = alone(replace(OPEN, open_timeout_seconds=0.0))
        transport, _ = await connection.open_stream(Recorder)
        transport.write(bytes(INITIAL_WINDOW + 1))
        transport.close()
        connection.data_received(pack(UPDATE, ACK, transport.stream_id, 0))
        await settle()
        assert transport.get_write_buffer_size() == 1
        assert not wire.closed

    async def test_connection_that_takes_nothing_is_given_up(self) -> None:
        pair = make_pair(client=replace(CLIENT_SETTINGS, write_timeout_seconds=0.001), server=LISTENER_SETTINGS)
        transport, mine, _ = await pair.stream()
        pair.client_wire.stalled = True
        transport.write(bytes(1 << 20))
        await pair.client.wait_closed()
        await settle()
        assert pair.client_wire.aborted
        assert str(mine.lost[0]) == "connection write timeout"

    async def test_slow_connection_is_not_given_up(self) -> None:
        connection, wire, _ = alone(replace(OPEN, write_timeout_seconds=0.0))
        sizes = iter(range(100, 50, -1))
        enough = asyncio.Event()

        def one_byte_less() -> int:
            size = next(sizes)
            if size == 60:
                enough.set()
            return size

        wire.get_write_buffer_size = one_byte_less  # type: ignore[method-assign]
        connection.pause_writing()
        await enough.wait()
        assert not wire.aborted
        connection.resume_writing()

    async def test_answers_wait_while_the_connection_is_stalled_and_are_bounded(self) -> None:
        connection, wire, _ = alone()
        connection.pause_writing()
        for number in range(1000):
            connection.data_received(pack(PING, SYN, 0, number))
        assert wire.written == b""
        connection.resume_writing()
        assert len(wire.written) == 12 * 1000
        connection.pause_writing()
        for number in range(2000):
            connection.data_received(pack(PING, SYN, 0, number))
        await settle()
        assert wire.closed
        assert str(connection.failure) == "too many frames to answer"
        assert len(wire.written) < 12 * 2100
