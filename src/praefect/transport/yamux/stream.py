"""What a session knows of one stream, and what it reports of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from praefect.transport.yamux.frame import INITIAL_WINDOW


class Stream:
    """One stream of a session; changed by the session only."""

    __slots__ = (
        "acknowledged",
        "credit_queued",
        "discarding",
        "finish_sent",
        "finish_wanted",
        "gone",
        "held",
        "id",
        "in_turn",
        "initiated",
        "outgoing",
        "outgoing_bytes",
        "owner",
        "peer_finished",
        "receive_window",
        "send_window",
        "uncredited",
    )

    def __init__(self, stream_id: int, *, initiated: bool, receive_window: int) -> None:
        self.id = stream_id
        self.initiated = initiated  # by this side
        self.acknowledged = not initiated
        self.receive_window = receive_window  # what the peer may still send
        self.send_window = INITIAL_WINDOW
        self.uncredited = 0  # handed on and not yet credited
        self.outgoing: deque[bytes | memoryview] = deque()
        self.outgoing_bytes = 0
        self.finish_wanted = False
        self.finish_sent = False
        self.peer_finished = False
        self.discarding = False
        self.held = False  # refused without a word
        self.gone = False
        self.owner: object | None = None
        self.credit_queued = False
        self.in_turn = False

    def __repr__(self) -> str:
        return f"Stream({self.id}, gone={self.gone}, outgoing_bytes={self.outgoing_bytes})"


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream; it is acknowledged."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class StreamAcknowledged:
    """The peer took a stream that this side opened."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of a stream; the window they took stays taken until ``Session.consumed``."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The peer sends no more on the stream."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class StreamReset:
    """The peer destroyed the stream, with an error code in libp2p's dialect."""

    stream: Stream
    code: int


@dataclass(frozen=True, slots=True)
class WentAway:
    """The peer takes no new streams; existing ones go on."""


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """The session is over: the peer broke the protocol or said that it fails; nothing more is read."""

    message: str


Event = StreamOpened | StreamAcknowledged | DataReceived | StreamFinished | StreamReset | WentAway | SessionFailed
