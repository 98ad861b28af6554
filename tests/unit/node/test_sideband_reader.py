from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.domain.errors import InternalError
from praefect.node.quoting import quote
from praefect.node.sideband import Band, packets
from praefect.node.sideband_reader import BandReader


@given(
    parts=st.lists(st.tuples(st.sampled_from(Band), st.binary(min_size=1, max_size=300)), max_size=8),
    size=st.integers(1, 64),
)
def test_bands_come_apart_however_they_are_cut(parts: list[tuple[Band, bytes]], size: int) -> None:
    stream = b"".join(piece for band, data in parts for piece in packets(band, data))
    reader = BandReader()
    found = {Band.STDOUT: b"", Band.STDERR: b""}
    for start in range(0, len(stream), size):
        for band, piece in reader.feed(stream[start : start + size]):
            found[Band(band)] += piece
    assert reader.is_between_packets
    for band in Band:
        assert found[band] == b"".join(data for each, data in parts if each is band)


@pytest.mark.parametrize("data", [b"0000\x01", b"zzzz\x01", b"0006\x03a", b"0004\x01"])
def test_other_packets_are_refused(data: bytes) -> None:
    with pytest.raises(InternalError):
        list(BandReader().feed(data))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"fatal: x\n", '"fatal: x\\n"'),
        (b'a"b\\', '"a\\"b\\\\"'),
        (b"\xff\x01", '"\\xff\\x01"'),
        ("ä", '"ä"'),
        ("\u200b", '"\\u200b"'),
    ],
)
def test_quoting(value: bytes | str, expected: str) -> None:
    assert quote(value) == expected
