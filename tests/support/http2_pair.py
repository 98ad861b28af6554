"""HTTP/2 connections joined without sockets, and frames made by hand."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from hpack import Encoder

from praefect.transport.http2 import Limits, engine
from tests.support.memory_wire import MemoryTransport, attach, settle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praefect.transport.http2 import Connection, ConnectionProtocol, HeaderList, Stream

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 0x1, 0x1, 0x4, 0x8

QUIET = Limits(keepalive_idle_seconds=None)
REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"test"), (b":path", b"/svc/Method")]


class PausableTransport(MemoryTransport):
    """A wire whose end can stop listening."""

    def __init__(self, *, record: bool = False) -> None:
        super().__init__(record=record)
        self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@dataclass(slots=True)
class Pair:
    """A client and a server that are connected; streams that arrive wait in ``accepted``."""

    client: ConnectionProtocol
    server: ConnectionProtocol
    client_wire: PausableTransport
    server_wire: PausableTransport
    accepted: asyncio.Queue[Stream]
    lost: list[str] = field(default_factory=list)

    async def open(
        self, path: str = "/svc/Method", headers: HeaderList | None = None, *, end_stream: bool = False
    ) -> tuple[Stream, Stream]:
        """Open a stream and return both of its ends, the client's first."""
        stream = await self.client.open_stream("POST", "http", "test", path, headers or [], end_stream=end_stream)
        return stream, await self.accepted.get()


def as_protocol(connection: ConnectionProtocol) -> asyncio.Protocol:
    return cast("asyncio.Protocol", connection)


async def join(
    client_engine: str, server_engine: str, *, client_limits: Limits = QUIET, server_limits: Limits = QUIET
) -> Pair:
    """Connect two engines and wait until the client is ready."""
    accepted: asyncio.Queue[Stream] = asyncio.Queue()
    lost: list[str] = []
    client = engine(client_engine).client(limits=client_limits, context="client", on_lost=lambda: lost.append("client"))
    server = engine(server_engine).server(
        accepted.put_nowait, limits=server_limits, context="server", on_lost=lambda: lost.append("server")
    )
    wires = PausableTransport(record=True), PausableTransport(record=True)
    wires[0].peer, wires[1].peer = wires[1], wires[0]
    for wire, connection in zip(wires, (client, server), strict=True):
        wire.set_protocol(as_protocol(connection))
        connection.connection_made(wire)
    await client.wait_ready()
    await settle()
    return Pair(client, server, *wires, accepted, lost)


async def receive_all(stream: Stream) -> bytes:
    """Read to the end."""
    chunks = []
    while data := await stream.receive():
        chunks.append(data)
    return b"".join(chunks)


# --- frames by hand ---


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def settings(values: Sequence[tuple[int, int]] = ()) -> bytes:
    return frame(SETTINGS, b"".join(struct.pack(">HI", name, value) for name, value in values))


def headers(
    stream: int,
    fields: Sequence[tuple[bytes, bytes]] = REQUEST,
    *,
    end_stream: bool = False,
    encoder: Encoder | None = None,
) -> bytes:
    block = (encoder or Encoder()).encode(fields, huffman=False)
    return header_block(stream, block, end_stream=end_stream)


def header_block(stream: int, block: bytes, *, end_stream: bool = False) -> bytes:
    """Cut a block into HEADERS and CONTINUATION frames."""
    pieces = [block[start : start + 16384] for start in range(0, len(block), 16384)] or [b""]
    out = bytearray()
    for index, piece in enumerate(pieces):
        flags = (END_HEADERS if index == len(pieces) - 1 else 0) | (END_STREAM if end_stream and index == 0 else 0)
        out += frame(HEADERS if index == 0 else CONTINUATION, piece, flags=flags, stream=stream)
    return bytes(out)


def reset(stream: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, struct.pack(">I", code), stream=stream)


def window_update(stream: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, struct.pack(">I", increment), stream=stream)


def go_away(last: int, code: int = 0, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, struct.pack(">II", last, code) + debug)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it was written."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> int:
        """The reason in a RST_STREAM or GOAWAY."""
        return int(struct.unpack(">I", self.payload[4:8] if self.kind == GOAWAY else self.payload)[0])

    @property
    def debug(self) -> bytes:
        """The debug data of a GOAWAY."""
        return self.payload[8:]


def parse(data: bytes | bytearray) -> list[Frame]:
    """Cut written bytes into frames."""
    frames = []
    data = bytes(data).removeprefix(PREFACE)
    while data:
        length = int.from_bytes(data[:3], "big")
        assert len(data) >= 9 + length, "half a frame was written"
        frames.append(Frame(data[3], data[4], int.from_bytes(data[5:9], "big") & 0x7FFFFFFF, data[9 : 9 + length]))
        data = data[9 + length :]
    return frames


@dataclass(slots=True)
class RawPeer:
    """One connection whose other end is the test."""

    connection: ConnectionProtocol
    wire: MemoryTransport
    accepted: list[Stream]

    def feed(self, data: bytes) -> None:
        """Let bytes arrive."""
        if not self.wire.closed:
            self.connection.data_received(data)

    def written(self, kind: int | None = None) -> list[Frame]:
        """Return the frames written so far."""
        return [item for item in parse(self.wire.written) if kind is None or item.kind == kind]

    @property
    def last(self) -> Frame:
        return parse(self.wire.written)[-1]


def raw_server(engine_name: str, limits: Limits = QUIET, *, greet: bool = True) -> RawPeer:
    """Make a server connection; with ``greet`` preface and SETTINGS have arrived."""
    accepted: list[Stream] = []
    connection = engine(engine_name).server(accepted.append, limits=limits, context=None)
    peer = RawPeer(connection, _attach(connection), accepted)
    if greet:
        peer.feed(PREFACE + settings() + frame(SETTINGS, flags=ACK))
    return peer


def raw_client(engine_name: str, limits: Limits = QUIET, *, greet: bool = True) -> RawPeer:
    """Make a client connection; with ``greet`` the server's SETTINGS have arrived."""
    connection = engine(engine_name).client(limits=limits, context=None)
    peer = RawPeer(connection, _attach(connection), [])
    if greet:
        peer.feed(settings() + frame(SETTINGS, flags=ACK))
    return peer


def _attach(connection: Connection) -> MemoryTransport:
    wire = PausableTransport(record=True)
    wire.peer = PausableTransport()
    wire.set_protocol(as_protocol(cast("ConnectionProtocol", connection)))
    as_protocol(cast("ConnectionProtocol", connection)).connection_made(wire)
    return wire


__all__ = ["attach", "settle"]
