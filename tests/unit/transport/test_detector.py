"""What speaks on a connection is told by its first eleven bytes, however they arrive."""

import asyncio
from itertools import pairwise

from hypothesis import given, strategies

from praefect.transport.detector import BACKCHANNEL_MAGIC, Detector
from tests.support.memory_wire import MemoryTransport, settle

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Seen(asyncio.Protocol):
    def __init__(self, *, keep_open: bool = False) -> None:
        self.received = bytearray()
        self.events: list[str] = []
        self._keep_open = keep_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self._keep_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")


class Bench:
    """A detector on a transport, and the two protocols it chooses from."""

    def __init__(self, *, seconds: float = 120.0) -> None:
        self.known, self.other = Seen(), Seen()
        self.transport = MemoryTransport(record=True)
        detector = Detector(
            BACKCHANNEL_MAGIC,
            lambda _transport: self.known,
            lambda _transport: self.other,
            deadline=asyncio.get_running_loop().time() + seconds,
        )
        self.transport.set_protocol(detector)
        detector.connection_made(self.transport)

    def receive(self, data: bytes) -> None:
        self.transport.get_protocol().data_received(data)


class TestDetector:
    async def test_known_magic_is_taken_off(self) -> None:
        bench = Bench()
        bench.receive(BACKCHANNEL_MAGIC + b"\0\1\0\1")
        bench.receive(b"more")
        assert bench.known.received == b"\0\1\0\1more"
        assert bench.known.events == ["made"]
        assert bench.other.events == []

    async def test_other_bytes_are_handed_on_whole(self) -> None:
        bench = Bench()
        bench.receive(PREFACE[:11])
        bench.receive(PREFACE[11:])
        assert bench.other.received == PREFACE
        assert bench.known.events == []

    async def test_exactly_eleven_bytes_decide(self) -> None:
        bench = Bench()
        bench.receive(b"backchanne")
        assert bench.known.events == bench.other.events == []
        bench.receive(b"l")
        assert bench.known.events == ["made"]
        assert bench.known.received == b""

    async def test_nothing_is_written(self) -> None:
        bench = Bench()
        bench.receive(b"backchan")
        await settle()
        assert bench.transport.written == b""

    async def test_end_before_there_was_enough_is_handed_on_with_what_came(self) -> None:
        bench = Bench()
        bench.receive(b"back")
        keep_open = bench.transport.get_protocol().eof_received()
        assert not keep_open
        assert bench.other.received == b"back"
        assert bench.other.events == ["made", "eof"]

    async def test_silent_connection_is_dropped_at_its_deadline(self) -> None:
        bench = Bench(seconds=0.0)
        bench.receive(b"b")
        await settle()
        assert bench.transport.aborted

    async def test_decided_connection_is_not_dropped(self) -> None:
        bench = Bench(seconds=0.0)
        bench.receive(PREFACE)
        await settle()
        assert not bench.transport.aborted

    async def test_lost_connection_is_forgotten(self) -> None:
        bench = Bench(seconds=0.0)
        bench.transport.lose()
        await settle()
        assert not bench.transport.aborted
        assert bench.other.events == []


@given(
    data=strategies.one_of(
        strategies.binary(max_size=30), strategies.binary(max_size=30).map(BACKCHANNEL_MAGIC.__add__)
    ),
    cuts=strategies.sets(strategies.integers(min_value=1, max_value=40)),
)
def test_every_split_means_the_same(data: bytes, cuts: set[int]) -> None:
    async def main() -> None:
        bench = Bench()
        edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
        for start, end in pairwise(edges):
            bench.receive(data[start:end])
        bench.transport.get_protocol().eof_received()
        if data.startswith(BACKCHANNEL_MAGIC):
            assert bench.known.received == data[11:]
            assert bench.other.events == []
        else:
            assert bench.other.received == data
            assert bench.known.events == []

    asyncio.run(main())
