"""The state of a yamux session, without I/O.

``feed`` takes received bytes and returns what happened; ``output`` returns the bytes to send. Both dialects in use are
understood (hashicorp's and libp2p's), and what is written is acceptable to both.

What is kept is bounded: received data is handed out at once and may not exceed the window granted, streams and
unanswered control frames are counted, and window updates are written once per stream, when ``output`` is asked. Data
waiting to be sent is bounded by whoever writes it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from praefect.transport.yamux.frame import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_SIZE,
    INITIAL_WINDOW,
    MAX_UINT32,
    NORMAL,
    PING,
    PROTOCOL_ERROR,
    RST,
    SYN,
    WINDOW_UPDATE,
    pack,
)
from praefect.transport.yamux.stream import (
    DataReceived,
    SessionFailed,
    Stream,
    StreamAcknowledged,
    StreamFinished,
    StreamOpened,
    StreamReset,
    WentAway,
)

if TYPE_CHECKING:
    from praefect.transport.yamux.settings import Settings
    from praefect.transport.yamux.stream import Event

MAX_BODY_BYTES = 65524
"""The body of the longest Data frame written: with it, streams take turns."""
MAX_REPLIES = 1024
"""How many answers to the peer's pings and opens may wait for the peer to read."""


class _ProtocolError(Exception):
    """The peer broke the protocol."""


class Session:
    """One side of a session.

    Args:
        client: whether this side dialled; decides who uses odd stream ids.
        settings: limits of the session.
    """

    def __init__(self, *, client: bool, settings: Settings) -> None:
        self.streams: dict[int, Stream] = {}
        self.peer_went_away = False
        self.failed = False
        self._settings = settings
        self._next_id = 1 if client else 2
        self._peer_parity = 0 if client else 1
        self._accepted = 0
        self._incoming = 0
        self._held = 0
        self._unacknowledged: set[int] = set()
        # Received
        self._partial = b""
        self._body_left = 0
        self._body_stream: Stream | None = None
        self._body_flags = 0
        self._events: list[Event] = []
        # To be sent
        self._control: list[bytes] = []
        self._credits: list[Stream] = []
        self._turns: deque[Stream] = deque()

    # --- received bytes ---

    def feed(self, data: bytes) -> list[Event]:
        """Take received bytes and return what they mean, in order; a ``SessionFailed`` is the last event ever."""
        events = self._events = []
        if self.failed:
            return events
        if self._partial:
            data = self._partial + data
            self._partial = b""
        try:
            self._parse(data)
        except _ProtocolError as exc:
            self.failed = True
            self._control.append(pack(GO_AWAY, 0, 0, PROTOCOL_ERROR))
            events.append(SessionFailed(str(exc)))
        return events

    def _parse(self, data: bytes) -> None:
        position = 0
        end = len(data)
        while True:
            if self._body_left:
                position = self._take_body(data, position, end)
                if self._body_left:
                    return
            if end - position < HEADER_SIZE:
                self._partial = data[position:]
                return
            version, frame_type, flags, stream_id, length = HEADER.unpack_from(data, position)
            position += HEADER_SIZE
            if version != 0:
                raise _ProtocolError(f"invalid protocol version {version}")
            self._on_frame(frame_type, flags, stream_id, length)
            if self.failed:
                return

    def _on_frame(self, frame_type: int, flags: int, stream_id: int, length: int) -> None:
        if frame_type == DATA:
            self._on_data(flags, stream_id, length)
        elif frame_type == WINDOW_UPDATE:
            self._on_window_update(flags, stream_id, length)
        elif frame_type == PING:
            self._on_ping(flags, length)
        elif frame_type == GO_AWAY:
            self._on_go_away(length)
        else:
            raise _ProtocolError(f"invalid message type {frame_type}")

    def _take_body(self, data: bytes, position: int, end: int) -> int:
        taken = min(self._body_left, end - position)
        stream = self._body_stream
        if taken and stream is not None and not stream.gone and not stream.discarding:
            self._events.append(DataReceived(stream, data[position : position + taken]))
        self._body_left -= taken
        if not self._body_left:
            self._body_stream = None
            if stream is not None and self._body_flags:
                self._end_flags(stream, self._body_flags, 0)
        return position + taken

    def _on_data(self, flags: int, stream_id: int, length: int) -> None:
        stream = self._begin_flags(flags, stream_id)
        if stream is not None:
            if length > stream.receive_window:
                raise _ProtocolError(f"receive window of stream {stream_id} exceeded")
            stream.receive_window -= length
            if stream.peer_finished:
                stream = None  # a writer overtaken by its own close; dropped as both Go libraries' users see it
        if length:
            self._body_left = length
            self._body_stream = stream
            self._body_flags = flags & (FIN | RST)
        elif stream is not None and flags:
            self._end_flags(stream, flags, 0)

    def _on_window_update(self, flags: int, stream_id: int, length: int) -> None:
        stream = self._begin_flags(flags, stream_id)
        if stream is None:
            return
        if length and not flags & RST:
            stream.send_window += length
            if stream.send_window > MAX_UINT32:
                raise _ProtocolError(f"send window of stream {stream_id} exceeds 32 bits")
            self._queue_turn(stream)
        if flags:
            self._end_flags(stream, flags, length)

    def _begin_flags(self, flags: int, stream_id: int) -> Stream | None:
        """Act on SYN and ACK; return the stream that the rest of the frame is about."""
        if flags & SYN:
            return self._on_syn(stream_id)
        stream = self.streams.get(stream_id)
        if stream is not None and flags & ACK and not stream.acknowledged:
            stream.acknowledged = True
            self._unacknowledged.discard(stream_id)
            self._events.append(StreamAcknowledged(stream))
        return stream

    def _on_syn(self, stream_id: int) -> Stream | None:
        if stream_id in self.streams:
            raise _ProtocolError(f"duplicate stream {stream_id}")
        if stream_id == 0 or stream_id & 1 != self._peer_parity:
            raise _ProtocolError(f"invalid stream id {stream_id}")
        settings = self._settings
        hold = settings.max_accepted is not None and self._accepted >= settings.max_accepted
        if self._incoming >= settings.max_incoming or (hold and self._held >= settings.accept_backlog):
            self._reply(pack(WINDOW_UPDATE, RST, stream_id, 0))
            return None
        self._incoming += 1
        if hold:
            self._held += 1
            stream = Stream(stream_id, initiated=False, receive_window=INITIAL_WINDOW)
            stream.held = stream.discarding = True
            self.streams[stream_id] = stream
            return stream
        self._accepted += 1
        stream = self.streams[stream_id] = Stream(stream_id, initiated=False, receive_window=settings.max_window_bytes)
        self._reply(pack(WINDOW_UPDATE, ACK, stream_id, settings.max_window_bytes - INITIAL_WINDOW))
        self._events.append(StreamOpened(stream))
        return stream

    def _end_flags(self, stream: Stream, flags: int, code: int) -> None:
        """Act on FIN and RST, which follow the frame's body."""
        if stream.gone:
            return
        if flags & RST:
            self._forget(stream)
            if not stream.held:
                self._events.append(StreamReset(stream, code))
        elif flags & FIN:
            if stream.peer_finished:
                raise _ProtocolError(f"second FIN on stream {stream.id}")
            stream.peer_finished = True
            if not stream.held:
                self._events.append(StreamFinished(stream))
            if stream.finish_sent:
                self._forget(stream)

    def _on_ping(self, flags: int, number: int) -> None:
        # Answers are not looked at: this side sends no pings, liveness is watched inside the first stream.
        if flags & SYN:
            self._reply(pack(PING, ACK, 0, number))

    def _on_go_away(self, code: int) -> None:
        if code == NORMAL:
            self.peer_went_away = True
            self._events.append(WentAway())
            return
        self.failed = True
        what = "a protocol error" if code == PROTOCOL_ERROR else "an internal error"
        self._events.append(SessionFailed(f"remote end reported {what}"))

    def _reply(self, frame: bytes) -> None:
        if len(self._control) >= MAX_REPLIES:
            raise _ProtocolError("too many frames to answer")
        self._control.append(frame)

    def _forget(self, stream: Stream) -> None:
        stream.gone = True
        stream.outgoing.clear()
        stream.outgoing_bytes = 0
        if self.streams.pop(stream.id, None) is None:
            return
        self._unacknowledged.discard(stream.id)
        if not stream.initiated:
            self._incoming -= 1
            if stream.held:
                self._held -= 1

    # --- what this side wants ---

    @property
    def can_open(self) -> bool:
        """Whether fewer opens than the backlog wait for their acknowledgement."""
        return len(self._unacknowledged) < self._settings.accept_backlog

    def open(self) -> Stream:
        """Open a stream; data may be written at once. The caller has looked at ``can_open`` and ``peer_went_away``."""
        window = self._settings.max_window_bytes
        stream = Stream(self._next_id, initiated=True, receive_window=window)
        self._next_id += 2
        self.streams[stream.id] = stream
        self._unacknowledged.add(stream.id)
        self._control.append(pack(WINDOW_UPDATE, SYN, stream.id, window - INITIAL_WINDOW))
        return stream

    def write(self, stream: Stream, data: bytes | memoryview) -> None:
        """Queue bytes of a stream; nothing happens if it is gone or finished."""
        if stream.gone or stream.finish_wanted or not data:
            return
        stream.outgoing.append(data)
        stream.outgoing_bytes += len(data)
        self._queue_turn(stream)

    def finish(self, stream: Stream) -> None:
        """Half-close a stream once what is queued was sent."""
        if not stream.finish_wanted and not stream.gone:
            stream.finish_wanted = True
            self._queue_turn(stream)

    def discard(self, stream: Stream) -> None:
        """Drop everything the peer still sends; it gets no more credit."""
        stream.discarding = True

    def reset(self, stream: Stream, *, silent: bool = False) -> None:
        """Destroy a stream, dropping what is queued; with ``silent`` the peer is not told."""
        if stream.gone:
            return
        self._forget(stream)
        if not silent:
            self._control.append(pack(WINDOW_UPDATE, RST, stream.id, 0))

    def consumed(self, stream: Stream, size: int) -> None:
        """Note that ``size`` received bytes were taken by their reader, and credit them to the peer in time."""
        stream.uncredited += size
        if (
            stream.uncredited * 2 >= self._settings.max_window_bytes
            and not stream.credit_queued
            and not stream.peer_finished
            and not stream.discarding
        ):
            stream.credit_queued = True
            self._credits.append(stream)

    # --- bytes to be sent ---

    def output(self, limit: int) -> tuple[list[bytes | memoryview], list[Stream]]:
        """Return what to send now, and the streams whose queue became shorter or whose end was written.

        Control frames come first and whole. Then streams with data take turns of one frame each, until ``limit`` bytes
        are reached; an empty list means that nothing can be sent.
        """
        frames: list[bytes | memoryview] = []
        if self._control:
            frames.extend(self._control)
            self._control.clear()
        if self.failed:
            return frames, []
        if self._credits:
            self._write_credits(frames)
        progressed: list[Stream] = []
        turns = self._turns
        size = 0
        while turns and size < limit:
            stream = turns.popleft()
            stream.in_turn = False
            if stream.gone:
                continue
            size += self._write_turn(stream, frames)
            progressed.append(stream)
            self._queue_turn(stream)
        return frames, progressed

    def _write_credits(self, frames: list[bytes | memoryview]) -> None:
        for stream in self._credits:
            stream.credit_queued = False
            if not stream.gone and not stream.peer_finished:
                frames.append(pack(WINDOW_UPDATE, 0, stream.id, stream.uncredited))
                stream.receive_window += stream.uncredited
                stream.uncredited = 0
        self._credits.clear()

    def _write_turn(self, stream: Stream, frames: list[bytes | memoryview]) -> int:
        size = min(stream.outgoing_bytes, stream.send_window, MAX_BODY_BYTES)
        if size:
            frames.append(pack(DATA, 0, stream.id, size))
            stream.send_window -= size
            stream.outgoing_bytes -= size
            left = size
            outgoing = stream.outgoing
            while left:
                piece = outgoing[0]
                if len(piece) <= left:
                    frames.append(outgoing.popleft())
                    left -= len(piece)
                else:
                    view = memoryview(piece)
                    frames.append(view[:left])
                    outgoing[0] = view[left:]
                    left = 0
        if stream.finish_wanted and not stream.outgoing_bytes:
            frames.append(pack(WINDOW_UPDATE, FIN, stream.id, 0))
            stream.finish_sent = True
            if stream.peer_finished:
                self._forget(stream)
        return size

    def _queue_turn(self, stream: Stream) -> None:
        if stream.in_turn or stream.gone or stream.finish_sent:
            return
        if (stream.outgoing_bytes and stream.send_window) or (stream.finish_wanted and not stream.outgoing_bytes):
            stream.in_turn = True
            self._turns.append(stream)
