"""Side-band packets: numbered, and never longer than a packet may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from praefect.node.pktline import PacketScanner
from praefect.node.sideband import MAX_DATA_BYTES, Band, BandWriter, packets


class _Sink:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    async def write(self, data: bytes) -> None:
        self.written.append(data)


def test_example() -> None:
    assert list(packets(Band.STDOUT, b"PACK")) == [b"0009\x01PACK"]
    assert list(packets(Band.STDERR, b"")) == []


@given(st.integers(0, 3 * MAX_DATA_BYTES))
def test_bands_come_back_together(size: int) -> None:
    data = bytes(size)
    found = list(PacketScanner().feed(b"".join(packets(Band.STDERR, data))))
    assert b"".join(packet[1:] for packet in found if isinstance(packet, bytes)) == data
    assert all(isinstance(packet, bytes) and packet[0] == 2 for packet in found)


async def test_a_write_holds_whole_packets() -> None:
    sink = _Sink()
    writer = BandWriter(sink, Band.STDOUT)
    await writer.write(b"")
    await writer.write(bytes(MAX_DATA_BYTES + 1))
    assert len(sink.written) == 1
    assert len(list(PacketScanner().feed(sink.written[0]))) == 2
