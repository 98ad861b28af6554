"""Packet lines: whole, in pieces, and what is none; what an upload-pack request says in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.node.pktline import (
    DELIMITER,
    FLUSH,
    MAX_PAYLOAD_BYTES,
    RESPONSE_END,
    Marker,
    NegotiationParser,
    PacketError,
    PacketScanner,
    encode,
)

OID = b"a" * 40


def test_encoding() -> None:
    assert encode(b"done\n") == b"0009done\n"
    assert encode(b"") == b"0004"
    assert encode(b"x" * MAX_PAYLOAD_BYTES).startswith(b"fff0x")
    with pytest.raises(PacketError):
        encode(b"x" * (MAX_PAYLOAD_BYTES + 1))


@given(st.lists(st.binary(max_size=300)), st.data())
def test_packets_survive_any_cut(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(encode(payload) for payload in payloads) + FLUSH
    cut = data.draw(st.integers(0, len(stream)))
    scanner = PacketScanner()
    found = [*scanner.feed(stream[:cut]), *scanner.feed(stream[cut:])]
    assert found == [*payloads, Marker.FLUSH]
    assert scanner.is_between_packets


def test_markers() -> None:
    found = list(PacketScanner().feed(FLUSH + DELIMITER + RESPONSE_END))
    assert found == [Marker.FLUSH, Marker.DELIMITER, Marker.RESPONSE_END]


@pytest.mark.parametrize("header", [b"0003", b"fff1", b"zzzz", b"-001", b" 12 ", b"+1_0"])
def test_what_is_no_length(header: bytes) -> None:
    with pytest.raises(PacketError):
        list(PacketScanner().feed(header))


def test_statistics_of_a_request() -> None:
    parser = NegotiationParser()
    request = b"".join(
        [
            encode(b"want " + OID + b" ofs-delta side-band-64k agent=git/2\n"),
            encode(b"want " + OID + b"\n"),
            encode(b"shallow " + OID + b"\n"),
            encode(b"deepen 3\n"),
            encode(b"filter blob:none\n"),
            FLUSH,
            encode(b"have " + OID + b"\n"),
            encode(b"done\n"),
        ]
    )
    for start in range(0, len(request), 7):
        parser.feed(request[start : start + 7])
    statistics = parser.statistics
    assert statistics.payload_bytes == len(request)
    assert statistics.packets == 8
    assert statistics.capabilities == ["ofs-delta", "side-band-64k", "agent=git/2"]
    assert (statistics.wants, statistics.haves, statistics.shallows) == (2, 1, 1)
    assert (statistics.deepen, statistics.filter) == ("3", "blob:none")


def test_statistics_of_garbage_count_bytes_only() -> None:
    parser = NegotiationParser()
    parser.feed(b"GET / HTTP/1.0")
    parser.feed(b"more")
    assert parser.statistics.payload_bytes == 18
    assert parser.statistics.packets == 0
