"""A wire between two asyncio protocols without a socket: bytes arrive in later turns of the loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

HIGH_WATER = 64 * 1024


class MemoryTransport(asyncio.Transport):
    """One end of a wire; what is written goes to the other end's protocol.

    Attributes:
        written: every byte written, if ``record`` is set.
        stalled: whether the other end reads nothing, so that what is written stays in the buffer.
    """

    def __init__(self, *, record: bool = False) -> None:
        self._info: dict[str, object] = {"peername": ("192.0.2.1", 4242)}
        super().__init__(self._info)
        self.peer: MemoryTransport | None = None
        self.written = bytearray()
        self.stalled = False
        self.closed = False
        self.aborted = False
        self._record = record
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.Protocol = asyncio.Protocol()
        self._buffer: deque[bytes] = deque()
        self._buffered = 0
        self._paused = False
        self._lost = False
        self._high = HIGH_WATER

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def set_extra_info(self, name: str, value: object) -> None:
        self._info[name] = value

    def get_protocol(self) -> asyncio.Protocol:
        return self._protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = HIGH_WATER if high is None else high

    def get_write_buffer_size(self) -> int:
        return self._buffered

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written after close"
        if self._record:
            self.written += data
        self._buffer.append(bytes(data))
        self._buffered += len(data)
        self._loop.call_soon(self._move)
        if self._buffered > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._loop.call_soon(self._finish)

    def abort(self) -> None:
        self.closed = self.aborted = True
        self._buffer.clear()
        self._buffered = 0
        self._loop.call_soon(self._lose)

    def resume(self) -> None:
        """Read again."""
        self.stalled = False
        self._loop.call_soon(self._move)

    def lose(self, exc: Exception | None = None) -> None:
        """Break the wire at this end."""
        self.closed = True
        self._lose(exc)

    def _move(self) -> None:
        if self.stalled or self.peer is None:
            return
        while self._buffer:
            data = self._buffer.popleft()
            self._buffered -= len(data)
            if not self.peer.closed:
                self.peer.get_protocol().data_received(data)
        if self._paused and not self.closed:
            self._paused = False
            self._protocol.resume_writing()

    def _finish(self) -> None:
        if self._buffered and self.stalled:
            self._loop.call_later(0.001, self._finish)
            return
        self._move()
        self._lose()

    def _lose(self, exc: Exception | None = None) -> None:
        if self._lost:
            return
        self._lost = True
        self._protocol.connection_lost(exc)
        peer = self.peer
        if peer is not None and not peer.closed:
            peer.get_protocol().eof_received()
            peer.close()


def connect(
    one: asyncio.Protocol, other: asyncio.Protocol, *, record: bool = False
) -> tuple[MemoryTransport, MemoryTransport]:
    """Join two protocols by a wire."""
    ends = MemoryTransport(record=record), MemoryTransport(record=record)
    ends[0].peer, ends[1].peer = ends[1], ends[0]
    for end, protocol in zip(ends, (one, other), strict=True):
        end.set_protocol(protocol)
        protocol.connection_made(end)
    return ends


def attach(protocol: asyncio.Protocol, *, record: bool = True) -> MemoryTransport:
    """Give a protocol a wire whose other end is the test: it feeds the protocol and looks at ``written``."""
    end = MemoryTransport(record=record)
    end.set_protocol(protocol)
    protocol.connection_made(end)
    return end


async def settle(turns: int = 30) -> None:
    """Let everything that is due happen: so many turns of the loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
