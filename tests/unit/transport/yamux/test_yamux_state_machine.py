"""Two sessions talk over a wire that cuts everything anywhere; the bytes of each stream stay what they are."""

from collections import deque
from itertools import pairwise

from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from praefect.transport.yamux.frame import INITIAL_WINDOW
from praefect.transport.yamux.session import Session
from praefect.transport.yamux.settings import Settings
from praefect.transport.yamux.stream import (
    DataReceived,
    Event,
    SessionFailed,
    Stream,
    StreamAcknowledged,
    StreamFinished,
    StreamOpened,
    StreamReset,
)

SIDES = strategies.sampled_from([0, 1])
PICK = strategies.integers(min_value=0, max_value=1 << 16)


class Side:
    """One session and what its user knows of each stream."""

    def __init__(self, *, client: bool, window: int) -> None:
        self.window = window
        self.session = Session(client=client, settings=Settings(max_window_bytes=window, accept_backlog=4))
        self.wire = bytearray()
        self.streams: dict[int, Stream] = {}
        self.wrote: dict[int, bytearray] = {}
        self.finished: set[int] = set()  # by this side
        self.read: dict[int, bytearray] = {}
        self.unread: dict[int, int] = {}
        self.peer_finished: set[int] = set()
        self.reset: set[int] = set()  # by either side
        self.acknowledged: set[int] = set()

    def know(self, stream: Stream) -> None:
        assert stream.id not in self.streams
        self.streams[stream.id] = stream
        self.wrote[stream.id] = bytearray()
        self.read[stream.id] = bytearray()
        self.unread[stream.id] = 0

    def on_event(self, event: Event) -> None:
        assert not isinstance(event, SessionFailed), event
        match event:
            case StreamOpened(stream):
                self.know(stream)
            case StreamAcknowledged(stream):
                assert stream.id not in self.acknowledged
                self.acknowledged.add(stream.id)
            case DataReceived(stream, data):
                assert data
                assert stream.id not in self.peer_finished | self.reset
                self.read[stream.id] += data
                self.unread[stream.id] += len(data)
                assert self.unread[stream.id] <= self.window
            case StreamFinished(stream):
                assert stream.id not in self.peer_finished | self.reset
                self.peer_finished.add(stream.id)
            case StreamReset(stream, _):
                assert stream.id not in self.reset
                self.reset.add(stream.id)

    def live(self, pick: int) -> Stream | None:
        streams = [stream for stream in self.streams.values() if not stream.gone]
        return streams[pick % len(streams)] if streams else None


class TwoSessions(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.sides = (Side(client=True, window=INITIAL_WINDOW), Side(client=False, window=4 * INITIAL_WINDOW))
        self.next_byte = deque(range(256))

    @rule(side=SIDES)
    def open(self, side: int) -> None:
        mine = self.sides[side]
        if mine.session.can_open:
            mine.know(mine.session.open())

    @rule(side=SIDES, pick=PICK, size=strategies.sampled_from([1, 2, 100, 65_524, 65_525, 300_000]))
    def write(self, side: int, pick: int, size: int) -> None:
        mine = self.sides[side]
        stream = mine.live(pick)
        if stream is not None:
            data = bytes(self.next_byte) * (size // 256) + bytes(self.next_byte)[: size % 256]
            self.next_byte.rotate()
            mine.session.write(stream, data)
            if stream.id not in mine.finished:
                mine.wrote[stream.id] += data

    @rule(side=SIDES, pick=PICK)
    def finish(self, side: int, pick: int) -> None:
        mine = self.sides[side]
        stream = mine.live(pick)
        if stream is not None:
            mine.session.finish(stream)
            mine.finished.add(stream.id)

    @rule(side=SIDES, pick=PICK)
    def reset(self, side: int, pick: int) -> None:
        mine = self.sides[side]
        stream = mine.live(pick)
        if stream is not None:
            mine.session.reset(stream)
            mine.reset.add(stream.id)

    @rule(side=SIDES, pick=PICK, share=strategies.floats(min_value=0.1, max_value=1))
    def take(self, side: int, pick: int, share: float) -> None:
        mine = self.sides[side]
        unread = [stream for stream in mine.streams.values() if mine.unread[stream.id]]
        if unread:
            stream = unread[pick % len(unread)]
            size = max(1, int(mine.unread[stream.id] * share))
            mine.unread[stream.id] -= size
            mine.session.consumed(stream, size)

    @rule(side=SIDES, limit=strategies.integers(min_value=0, max_value=1 << 18))
    def send(self, side: int, limit: int) -> None:
        mine = self.sides[side]
        mine.wire += b"".join(mine.session.output(limit)[0])

    @rule(side=SIDES, cuts=strategies.lists(strategies.integers(min_value=0, max_value=1 << 18), max_size=5))
    def receive(self, side: int, cuts: list[int]) -> None:
        mine, peer = self.sides[side], self.sides[1 - side]
        size = len(peer.wire)
        edges = sorted({0, size, *(cut % (size + 1) for cut in cuts)})
        for start, end in pairwise(edges):
            for event in mine.session.feed(bytes(peer.wire[start:end])):
                mine.on_event(event)
        peer.wire.clear()

    @invariant()
    def what_is_read_is_what_was_written(self) -> None:
        for mine, peer in (self.sides, self.sides[::-1]):
            for stream_id, read in mine.read.items():
                assert peer.wrote.get(stream_id, bytearray()).startswith(read)

    def teardown(self) -> None:
        """Let everything arrive: streams that nobody reset are then complete."""
        for _ in range(100):
            for side in (0, 1):
                self.send(side, 1 << 30)
            for side in (0, 1):
                self.receive(side, [])
                mine = self.sides[side]
                for stream in mine.streams.values():
                    mine.session.finish(stream)
                    mine.session.consumed(stream, mine.unread[stream.id])
                    mine.unread[stream.id] = 0
        for mine, peer in (self.sides, self.sides[::-1]):
            assert mine.session.streams == {}
            assert mine.session.can_open
            for stream_id in mine.streams:
                if stream_id not in mine.reset | peer.reset:
                    assert bytes(mine.read[stream_id]) == bytes(peer.wrote[stream_id])
                    assert stream_id in mine.peer_finished


TwoSessions.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTwoSessions = TwoSessions.TestCase
