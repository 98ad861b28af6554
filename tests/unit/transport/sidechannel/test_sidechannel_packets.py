"""The packets of section 5.4 of the wire reference."""

import pytest
from hypothesis import given, strategies

from praefect.transport.sidechannel import PacketDecoder, PacketError, encode


def encoded(data: bytes) -> bytes:
    return b"".join(encode(data))


def test_captured_example() -> None:
    assert encoded(b"Hello") + b"0000" == b"0009Hello0000"


def test_largest_packet_has_a_header_of_fff0() -> None:
    wire = encoded(bytes(65516 + 1))
    assert wire[:4] == b"fff0"
    assert wire[65520:] == b"0005\0"


def test_no_data_is_no_packet() -> None:
    assert encoded(b"") == b""


@given(
    sizes=strategies.lists(strategies.sampled_from([0, 1, 4, 300, 65515, 65516, 65517, 140_000]), max_size=6),
    cut=strategies.one_of(
        strategies.integers(min_value=1, max_value=9), strategies.integers(min_value=10, max_value=100_000)
    ),
)
def test_what_was_encoded_is_decoded(sizes: list[int], cut: int) -> None:
    pieces = [bytes([index % 256]) * size for index, size in enumerate(sizes)]
    wire = b"".join(map(encoded, pieces)) + b"0000"
    decoder = PacketDecoder()
    decoded: list[bytes] = []
    for start in range(0, len(wire), max(cut, len(wire) // 2000)):
        assert not decoder.finished
        decoded += decoder.feed(wire[start : start + max(cut, len(wire) // 2000)])
    assert b"".join(decoded) == b"".join(pieces)
    assert decoder.finished


@given(data=strategies.binary(max_size=60))
def test_garbage_is_decoded_or_refused(data: bytes) -> None:
    decoder = PacketDecoder()
    try:
        decoded = b"".join(decoder.feed(data))
    except PacketError:
        return
    assert len(decoded) <= len(data)


def test_uppercase_digits_and_empty_packets_are_tolerated() -> None:
    decoder = PacketDecoder()
    assert decoder.feed(b"0004000Ahello!") == [b"hello!"]


def test_what_follows_the_end_is_dropped() -> None:
    decoder = PacketDecoder()
    assert decoder.feed(b"00000005x") == []
    assert decoder.feed(b"garbage") == []
    assert decoder.finished


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b"0001", "sidechannel: invalid header 1"),
        (b"0002", "sidechannel: invalid header 2"),
        (b"0003", "sidechannel: invalid header 3"),
        (b"fff1", "sidechannel: invalid header 65521"),
        (b"ffff", "sidechannel: invalid header 65535"),
        (b"zzzz", 'sidechannel: invalid header "zzzz"'),
        (b"+123", 'sidechannel: invalid header "+123"'),
        (b" 1 2", 'sidechannel: invalid header " 1 2"'),
        (b"0x1f", 'sidechannel: invalid header "0x1f"'),
        (b"\x00\xff\n1", 'sidechannel: invalid header "\\x00\\xff\\n1"'),
    ],
)
def test_wrong_header_is_refused(wire: bytes, message: str) -> None:
    with pytest.raises(PacketError) as caught:
        PacketDecoder().feed(wire)
    assert str(caught.value) == message
