"""The session against captured bytes and measured reactions of the Go implementation, and against hostile peers."""

import struct
from collections.abc import Iterable

import pytest

from praefect.transport.yamux.frame import INITIAL_WINDOW, pack
from praefect.transport.yamux.session import MAX_BODY_BYTES, MAX_REPLIES, Session
from praefect.transport.yamux.settings import CLIENT_SETTINGS, DIALLER_SETTINGS, LISTENER_SETTINGS, Settings
from praefect.transport.yamux.stream import (
    DataReceived,
    Event,
    SessionFailed,
    Stream,
    StreamAcknowledged,
    StreamFinished,
    StreamOpened,
    StreamReset,
    WentAway,
)

DATA, UPDATE, PING, AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
OPEN_1 = "00 01 0001 00000001 00000000"
ACK_1 = "00 01 0002 00000001 00fc0000"
GO_AWAY_PROTOCOL_ERROR = "00 03 0000 00000000 00000001"


def listener() -> Session:
    return Session(client=False, settings=LISTENER_SETTINGS)


def dialler(settings: Settings = CLIENT_SETTINGS) -> Session:
    return Session(client=True, settings=settings)


def feed(session: Session, text: str) -> list[Event]:
    return session.feed(bytes.fromhex(text))


def sent(session: Session) -> bytes:
    return b"".join(session.output(1 << 30)[0])


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


def only_stream(session: Session) -> Stream:
    (stream,) = session.streams.values()
    return stream


def opened_listener() -> tuple[Session, Stream]:
    session = listener()
    (event,) = feed(session, OPEN_1)
    assert isinstance(event, StreamOpened)
    assert sent(session) == hexed(ACK_1)
    return session, event.stream


def assert_failed(session: Session, events: Iterable[Event], message: str) -> None:
    *_, last = events
    assert last == SessionFailed(message)
    assert sent(session) == hexed(GO_AWAY_PROTOCOL_ERROR)
    assert session.feed(b"\0" * 100) == []


class TestCapturedSession:
    """Both sides of annex A.3 of the wire reference, byte for byte."""

    def test_dialler(self) -> None:
        session = dialler()
        first = session.open()
        session.write(first, b"PRI *")
        assert sent(session) == hexed(f"{OPEN_1} 00 00 0000 00000001 00000005 505249202a")
        events = feed(
            session,
            f"{ACK_1} 00 01 0001 00000002 00fc0000"
            "00 00 0000 00000002 0000000b 736964656368616e6e656c 00 00 0000 00000002 00000008 0000000000000007",
        )
        second = session.streams[2]
        assert events == [
            StreamAcknowledged(first),
            StreamOpened(second),
            DataReceived(second, b"sidechannel"),
            DataReceived(second, (7).to_bytes(8, "big")),
        ]
        assert sent(session) == hexed("00 01 0002 00000002 00000000")
        session.write(second, b"ok")
        assert sent(session) == hexed("00 00 0000 00000002 00000002 6f6b")
        session.write(second, b"0009")
        assert sent(session) == hexed("00 00 0000 00000002 00000004 30303039")
        session.write(second, b"Hello")
        session.write(second, b"0000")
        assert sent(session) == hexed("00 00 0000 00000002 00000009 48656c6c6f30303030")
        events = feed(session, "00 00 0000 00000002 00000009 303030390150 41434b 00 01 0004 00000002 00000000")
        assert events == [DataReceived(second, b"0009\x01PACK"), StreamFinished(second)]
        session.finish(second)
        assert sent(session) == hexed("00 01 0004 00000002 00000000")
        assert second.gone
        session.finish(first)
        assert sent(session) == hexed("00 01 0004 00000001 00000000")

    def test_listener(self) -> None:
        session, first = opened_listener()
        assert feed(session, "00 00 0000 00000001 00000005 505249202a") == [DataReceived(first, b"PRI *")]
        second = session.open()
        assert sent(session) == hexed("00 01 0001 00000002 00fc0000")
        session.write(second, b"sidechannel")
        assert sent(session) == hexed("00 00 0000 00000002 0000000b 736964656368616e6e656c")
        assert feed(session, "00 01 0002 00000002 00000000 00 00 0000 00000002 00000002 6f6b") == [
            StreamAcknowledged(second),
            DataReceived(second, b"ok"),
        ]
        session.write(second, b"0009\x01PACK")
        session.finish(second)
        assert sent(session) == hexed("00 00 0000 00000002 00000009 303030390150 41434b 00 01 0004 00000002 00000000")
        assert list(session.streams) == [1, 2]
        assert feed(session, "00 01 0004 00000002 00000000") == [StreamFinished(second)]
        assert list(session.streams) == [1]


class TestMeasuredReactions:
    """What section 4.8 of the wire reference measured of a listener that has stream 1."""

    def test_second_stream_is_met_with_silence_and_the_third_reset(self) -> None:
        session, _ = opened_listener()
        assert feed(session, "00 01 0001 00000003 00000000") == []
        assert sent(session) == b""
        assert feed(session, "00 01 0001 00000005 00000000") == []
        assert sent(session) == hexed("00 01 0008 00000005 00000000")
        assert feed(session, "00 00 0000 00000003 00000003 616263") == []

    def test_second_fin_ends_the_session(self) -> None:
        session, stream = opened_listener()
        assert feed(session, "00 01 0004 00000001 00000000") == [StreamFinished(stream)]
        assert_failed(session, feed(session, "00 01 0004 00000001 00000000"), "second FIN on stream 1")

    def test_fin_after_the_stream_is_gone_is_ignored(self) -> None:
        session, stream = opened_listener()
        session.finish(stream)
        sent(session)
        feed(session, "00 01 0004 00000001 00000000")
        assert feed(session, "00 01 0004 00000001 00000000") == []
        assert not session.failed

    def test_second_syn_ends_the_session(self) -> None:
        session, _ = opened_listener()
        assert_failed(session, feed(session, OPEN_1), "duplicate stream 1")

    def test_ping_is_answered(self) -> None:
        session, _ = opened_listener()
        feed(session, "00 02 0001 00000000 000000aa")
        assert sent(session) == hexed("00 02 0002 00000000 000000aa")

    def test_ping_is_answered_before_the_first_stream(self) -> None:
        session = listener()
        assert feed(session, "00 02 0001 00000000 00000000") == []
        assert sent(session) == hexed("00 02 0002 00000000 00000000")

    def test_answers_to_pings_are_ignored(self) -> None:
        session, _ = opened_listener()
        assert feed(session, "00 02 0002 00000000 000000aa 00 02 0000 00000000 00000000") == []
        assert sent(session) == b""

    def test_unknown_version_ends_the_session(self) -> None:
        session, _ = opened_listener()
        assert_failed(session, feed(session, "01 01 0001 00000003 00000000"), "invalid protocol version 1")

    def test_unknown_type_ends_the_session(self) -> None:
        session, _ = opened_listener()
        assert_failed(session, feed(session, "00 04 0000 00000001 00000000"), "invalid message type 4")

    def test_data_of_an_unknown_stream_is_dropped(self) -> None:
        session, stream = opened_listener()
        events = feed(session, "00 00 0000 00000009 00000003 616263 00 00 0000 00000001 00000001 64")
        assert events == [DataReceived(stream, b"d")]

    def test_data_beyond_the_window_ends_the_session(self) -> None:
        session, _ = opened_listener()
        events = feed(session, "00 00 0000 00000001 01000001")
        assert_failed(session, events, "receive window of stream 1 exceeded")

    def test_data_with_syn_opens_a_stream(self) -> None:
        session = listener()
        events = feed(session, "00 00 0001 00000001 00000002 6869")
        stream = only_stream(session)
        assert events == [StreamOpened(stream), DataReceived(stream, b"hi")]
        assert sent(session) == hexed(ACK_1)

    def test_go_away_keeps_existing_streams(self) -> None:
        session, stream = opened_listener()
        assert feed(session, "00 03 0000 00000000 00000000") == [WentAway()]
        assert session.peer_went_away
        assert feed(session, "00 00 0000 00000001 00000001 61 00 02 0001 00000000 00000007") == [
            DataReceived(stream, b"a")
        ]
        assert sent(session) == hexed("00 02 0002 00000000 00000007")

    @pytest.mark.parametrize(("code", "what"), [(1, "a protocol error"), (2, "an internal error")])
    def test_go_away_with_an_error_ends_the_session(self, code: int, what: str) -> None:
        session, _ = opened_listener()
        assert session.feed(pack(AWAY, 0, 0, code)) == [SessionFailed(f"remote end reported {what}")]
        assert session.failed

    def test_second_open_waits_for_the_acknowledgement_of_the_first(self) -> None:
        session, _ = opened_listener()
        can_open = [session.can_open]
        session.open()
        can_open.append(session.can_open)
        feed(session, "00 01 0002 00000002 00000000")
        can_open.append(session.can_open)
        assert can_open == [True, False, True]
        session.open()
        assert sent(session).endswith(hexed("00 01 0001 00000004 00fc0000"))

    def test_second_acknowledgement_frees_no_slot(self) -> None:
        session, _ = opened_listener()
        session.open()
        feed(session, "00 01 0002 00000002 00000000")
        session.open()
        feed(session, "00 01 0002 00000002 00000000")
        assert not session.can_open

    def test_reset_ends_the_stream_and_not_the_session(self) -> None:
        session, stream = opened_listener()
        assert feed(session, "00 01 0008 00000001 00000000") == [StreamReset(stream, 0)]
        assert not session.failed
        assert session.streams == {}

    def test_reset_of_an_unacknowledged_open_frees_its_slot(self) -> None:
        session, _ = opened_listener()
        stream = session.open()
        assert feed(session, "00 01 0008 00000002 00000000") == [StreamReset(stream, 0)]
        assert session.can_open


class TestLibp2pDialect:
    def test_reset_carries_a_code_that_is_no_credit(self) -> None:
        session, stream = opened_listener()
        assert feed(session, "00 01 0008 00000001 00000005") == [StreamReset(stream, 5)]

    def test_ping_may_come_first_and_acknowledgement_without_credit(self) -> None:
        session = dialler()
        stream = session.open()
        assert feed(session, "00 02 0001 00000000 00000000 00 01 0002 00000001 00000000") == [
            StreamAcknowledged(stream)
        ]
        assert sent(session) == hexed(f"{OPEN_1} 00 02 0002 00000000 00000000")
        assert stream.send_window == INITIAL_WINDOW

    @pytest.mark.parametrize("stream_id", ["00000002", "00000000"])
    def test_stream_id_of_the_wrong_side_ends_the_session(self, stream_id: str) -> None:
        session, _ = opened_listener()
        events = feed(session, f"00 01 0001 {stream_id} 00000000")
        assert_failed(session, events, f"invalid stream id {int(stream_id, 16)}")

    def test_stream_id_zero_from_a_listener_ends_the_session(self) -> None:
        session = dialler()
        session.open()
        sent(session)
        assert_failed(session, feed(session, "00 01 0001 00000000 00000000"), "invalid stream id 0")


class TestWindows:
    def test_sender_stops_at_the_window_and_goes_on_with_credit(self) -> None:
        session, stream = opened_listener()
        session.write(stream, bytes(INITIAL_WINDOW + 10))
        frames = sent(session)
        assert len(frames) - 12 * -(-INITIAL_WINDOW // MAX_BODY_BYTES) == INITIAL_WINDOW
        assert stream.outgoing_bytes == 10
        assert sent(session) == b""
        feed(session, "00 01 0000 00000001 00000004")
        assert sent(session) == pack(DATA, 0, 1, 4) + bytes(4)
        feed(session, "00 01 0000 00000001 00000100")
        assert sent(session) == pack(DATA, 0, 1, 6) + bytes(6)
        assert stream.send_window == 0x100 - 6

    def test_fin_waits_for_the_data_before_it(self) -> None:
        session, stream = opened_listener()
        session.write(stream, bytes(INITIAL_WINDOW + 1))
        session.finish(stream)
        session.write(stream, b"too late")
        sent(session)
        assert not stream.finish_sent
        feed(session, "00 01 0000 00000001 00001000")
        assert sent(session) == pack(DATA, 0, 1, 1) + b"\0" + pack(UPDATE, FIN, 1, 0)
        session.finish(stream)
        assert sent(session) == b""

    def test_credit_of_half_the_window_is_returned_when_taken(self) -> None:
        session = dialler()
        stream = session.open()
        sent(session)
        session.feed(pack(DATA, 0, 1, INITIAL_WINDOW) + bytes(INITIAL_WINDOW))
        session.consumed(stream, INITIAL_WINDOW // 2 - 1)
        assert sent(session) == b""
        session.consumed(stream, 2)
        assert sent(session) == pack(UPDATE, 0, 1, INITIAL_WINDOW // 2 + 1)
        assert stream.receive_window == INITIAL_WINDOW // 2 + 1

    def test_no_credit_once_the_peer_has_finished_or_we_discard(self) -> None:
        session = dialler()
        finished, discarded = session.open(), session.open()
        sent(session)
        for stream in (finished, discarded):
            session.feed(pack(DATA, 0, stream.id, 200_000) + bytes(200_000))
        session.feed(pack(UPDATE, FIN, finished.id, 0))
        session.discard(discarded)
        session.consumed(finished, 200_000)
        session.consumed(discarded, 200_000)
        assert sent(session) == b""
        assert session.feed(pack(DATA, 0, discarded.id, 3) + b"abc") == []

    def test_credit_beyond_32_bits_ends_the_session(self) -> None:
        session, _ = opened_listener()
        events = feed(session, "00 01 0000 00000001 ffffffff")
        assert_failed(session, events, "send window of stream 1 exceeds 32 bits")

    def test_settings_below_the_protocols_window_are_refused(self) -> None:
        with pytest.raises(ValueError, match="max stream window size"):
            Settings(max_window_bytes=INITIAL_WINDOW - 1)
        with pytest.raises(ValueError, match="accept backlog"):
            Settings(accept_backlog=0)

    def test_streams_take_turns(self) -> None:
        session = dialler(DIALLER_SETTINGS)
        streams = [session.open() for _ in range(3)]
        sent(session)
        for stream in streams[:2]:
            session.write(stream, bytes(INITIAL_WINDOW))
        session.write(streams[2], b"small")
        headers = [frame for frame in session.output(1 << 30)[0] if len(frame) == 12]
        order = [struct.unpack(">BBHII", header)[3] for header in headers]
        assert order[:4] == [1, 3, 5, 1]
        assert session.output(1 << 30) == ([], [])

    def test_output_stops_at_the_limit_after_a_whole_frame(self) -> None:
        session, stream = opened_listener()
        session.write(stream, bytes(200_000))
        frames, progressed = session.output(1)
        assert sum(map(len, frames)) == 12 + MAX_BODY_BYTES
        assert progressed == [stream]

    def test_small_writes_share_a_frame(self) -> None:
        session, stream = opened_listener()
        for piece in (b"a", b"", b"bc", memoryview(b"def")):
            session.write(stream, piece)
        assert sent(session) == pack(DATA, 0, 1, 6) + b"abcdef"


class TestHostility:
    def test_data_may_come_in_any_pieces(self) -> None:
        session = listener()
        wire = hexed(OPEN_1) + pack(DATA, FIN, 1, 5) + b"hello"
        events = [event for byte in wire for event in session.feed(bytes([byte]))]
        stream = only_stream(session)
        assert events[0] == StreamOpened(stream)
        assert b"".join(event.data for event in events if isinstance(event, DataReceived)) == b"hello"
        assert events[-1] == StreamFinished(stream)

    def test_flood_of_pings_without_reading_ends_the_session(self) -> None:
        session, _ = opened_listener()
        for number in range(MAX_REPLIES):
            assert session.feed(pack(PING, SYN, 0, number)) == []
        events = session.feed(pack(PING, SYN, 0, 0))
        assert events == [SessionFailed("too many frames to answer")]
        assert len(sent(session)) == 12 * (MAX_REPLIES + 1)

    def test_flood_of_refused_opens_without_reading_ends_the_session(self) -> None:
        session, _ = opened_listener()
        wire = b"".join(pack(UPDATE, SYN, stream_id, 0) for stream_id in range(3, 10_003, 2))
        assert session.feed(wire)[-1] == SessionFailed("too many frames to answer")
        assert len(session.streams) == 2

    def test_opening_and_resetting_without_reading_ends_the_session(self) -> None:
        session = dialler()
        wire = b"".join(
            pack(UPDATE, SYN, stream_id, 0) + pack(UPDATE, RST, stream_id, 0) for stream_id in range(2, 10_002, 2)
        )
        assert session.feed(wire)[-1] == SessionFailed("too many frames to answer")

    def test_streams_beyond_the_limit_are_reset(self) -> None:
        session = dialler(Settings(max_incoming=2))
        session.open()
        for stream_id in (2, 4):
            session.feed(pack(UPDATE, SYN, stream_id, 0))
        sent(session)
        assert session.feed(pack(DATA, SYN, 6, 3) + b"abc") == []
        assert sent(session) == pack(UPDATE, RST, 6, 0)
        session.feed(pack(UPDATE, RST, 4, 0))
        (event,) = session.feed(pack(UPDATE, SYN, 8, 0))
        assert isinstance(event, StreamOpened)

    def test_held_stream_respects_the_window(self) -> None:
        session, _ = opened_listener()
        session.feed(pack(UPDATE, SYN, 3, 0) + pack(DATA, 0, 3, INITIAL_WINDOW) + bytes(INITIAL_WINDOW))
        assert not session.failed
        assert session.feed(pack(DATA, 0, 3, 1))[-1] == SessionFailed("receive window of stream 3 exceeded")

    def test_reset_of_a_held_stream_is_silent_and_makes_room(self) -> None:
        session, _ = opened_listener()
        assert session.feed(pack(UPDATE, SYN, 3, 0) + pack(UPDATE, RST, 3, 0)) == []
        session.feed(pack(UPDATE, SYN, 5, 0))
        assert sent(session) == b""

    def test_data_after_fin_is_dropped_within_the_window(self) -> None:
        session, stream = opened_listener()
        assert session.feed(pack(UPDATE, FIN, 1, 0) + pack(DATA, 0, 1, 3) + b"abc") == [StreamFinished(stream)]
        assert not session.failed

    def test_data_with_reset_resets_after_the_body(self) -> None:
        session, stream = opened_listener()
        assert session.feed(pack(DATA, RST, 1, 3) + b"abc")[-1] == StreamReset(stream, 0)

    def test_stream_reset_by_us_while_its_body_arrives_stays_silent(self) -> None:
        session, stream = opened_listener()
        session.feed(pack(DATA, FIN, 1, 6) + b"abc")
        session.reset(stream)
        assert session.feed(b"def") == []
        assert sent(session) == pack(UPDATE, RST, 1, 0)
        session.reset(stream)
        session.finish(stream)
        session.write(stream, b"x")
        assert sent(session) == b""
