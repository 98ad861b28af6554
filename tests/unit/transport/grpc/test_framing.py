import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.transport.grpc.framing import (
    FramingError,
    MessageCounter,
    MessageDecoder,
    MessageTooLargeError,
    decompress,
    frame,
    frame_compressed,
)


def take_all(decoder: MessageDecoder) -> list[bytes]:
    messages = []
    while (message := decoder.next()) is not None:
        messages.append(message)
    return messages


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*(piece for piece in pieces if piece), data] if data else [piece for piece in pieces if piece]


@given(
    st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=8),
    st.lists(st.integers(min_value=1, max_value=40), max_size=60),
)
def test_messages_survive_any_cutting_of_the_bytes(messages: list[tuple[bytes, bool]], sizes: list[int]) -> None:
    wire = b"".join(frame_compressed(body) if compressed else frame(body) for body, compressed in messages)
    decoder = MessageDecoder(gzip=True)
    received: list[bytes] = []
    for piece in cut(wire, sizes):
        decoder.feed(piece)
        received += take_all(decoder)
    decoder.finish()
    assert received == [body for body, _ in messages]


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=200))
def test_bytes_behind_the_first_message_can_be_taken_raw(first: bytes, rest: bytes) -> None:
    decoder = MessageDecoder()
    decoder.feed(frame(first)[:3])
    assert decoder.next() is None
    decoder.feed(frame(first)[3:] + rest)
    assert decoder.next() == first
    assert decoder.take_rest() == rest
    assert decoder.take_rest() == b""
    decoder.finish()


def test_what_is_taken_is_not_kept_even_if_every_read_ends_within_a_message() -> None:
    decoder = MessageDecoder()
    wire = frame(b"x" * 95)
    decoder.feed(wire[:50])
    for _ in range(1000):
        decoder.feed(wire[50:] + wire[:50])
        assert decoder.next() == b"x" * 95
        assert decoder.next() is None
        assert len(decoder._buffer) <= 150
    assert decoder.take_rest() == wire[:50]


@given(st.binary(max_size=64))
def test_garbage_gives_messages_or_a_framing_error_or_a_size_error(data: bytes) -> None:
    decoder = MessageDecoder(limit=32, gzip=True)
    decoder.feed(data)
    try:
        messages = take_all(decoder)
    except (FramingError, MessageTooLargeError):
        return
    assert all(len(message) <= 32 for message in messages)


def test_the_announced_size_counts_before_the_bytes_arrive() -> None:
    decoder = MessageDecoder()
    decoder.feed(b"\x00\x00\x50\x00\x00")
    with pytest.raises(MessageTooLargeError) as caught:
        decoder.next()
    assert str(caught.value) == "grpc: received message larger than max (5242880 vs. 4194304)"


def test_a_message_of_exactly_the_limit_passes() -> None:
    decoder = MessageDecoder(limit=10)
    decoder.feed(frame(b"0123456789"))
    assert decoder.next() == b"0123456789"


def test_the_limit_holds_for_the_decompressed_size_too() -> None:
    bomb = gzip.compress(b"\0" * (64 << 20))
    assert len(bomb) < 1 << 20
    decoder = MessageDecoder(limit=1 << 20, gzip=True)
    decoder.feed(b"\x01" + len(bomb).to_bytes(4, "big") + bomb)
    tracemalloc.start()
    try:
        with pytest.raises(MessageTooLargeError, match="after decompression larger than max 1048576"):
            decoder.next()
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_decompressing_exactly_the_limit_passes() -> None:
    assert decompress(gzip.compress(b"a" * 100), 100) == b"a" * 100


@pytest.mark.parametrize("body", [b"", b"no gzip at all", gzip.compress(b"cut off", mtime=0)[:-9]])
def test_broken_gzip_is_a_framing_error(body: bytes) -> None:
    with pytest.raises(FramingError, match="failed to decompress"):
        decompress(body, 100)


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"\x01\0\0\0\x00", "grpc: compressed flag set with identity or empty encoding"),
        (b"\x02\0\0\0\x00", "grpc: received unexpected payload format 2"),
    ],
)
def test_flags_without_meaning_are_refused(wire: bytes, text: str) -> None:
    decoder = MessageDecoder()
    decoder.feed(wire)
    with pytest.raises(FramingError) as caught:
        decoder.next()
    assert str(caught.value) == text


def test_an_end_within_a_message_is_an_error() -> None:
    decoder = MessageDecoder()
    decoder.feed(frame(b"abc")[:-1])
    assert decoder.next() is None
    with pytest.raises(FramingError, match="unexpected EOF"):
        decoder.finish()


@given(messages=st.lists(st.binary(max_size=300), max_size=12), data=st.data())
def test_messages_that_pass_by_are_counted_however_they_are_cut(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame(message) for message in messages)
    counter = MessageCounter()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        counter.feed(stream[:size])
        stream = stream[size:]
    assert counter.count == len(messages)


def test_message_counts_once_its_prefix_has_passed() -> None:
    counter = MessageCounter()
    counter.feed(frame(b"abc")[:4])
    assert counter.count == 0
    counter.feed(frame(b"abc")[4:5])
    counter.feed(b"")
    assert counter.count == 1
