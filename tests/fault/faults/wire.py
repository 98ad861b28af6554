"""A TCP connection's way between two parts that can be cut, stalled or delayed, one way or both."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from praefect.app.layout import Endpoint

CHUNK_BYTES = 1 << 16
_RESET = struct.pack("ii", 1, 0)


class Way(StrEnum):
    """Which bytes a fault concerns."""

    THERE = "there"
    BACK = "back"
    BOTH = "both"


@dataclass(slots=True)
class _Direction:
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    delay_seconds: float = 0.0


class Wire:
    """Forwards connections to an endpoint; healthy until told otherwise.

    A stalled direction accepts connections and bytes, as far as buffers go, and delivers nothing. A cut wire resets
    what is open and refuses what is new.
    """

    def __init__(self, target: Endpoint, port: int = 0) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._port = port
        self._directions = {Way.THERE: _Direction(), Way.BACK: _Direction()}
        self._writers: set[asyncio.StreamWriter] = set()
        self._heal()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._heal()
        await self.cut()

    @property
    def endpoint(self) -> Endpoint:
        """Where connections are taken."""
        return Endpoint("127.0.0.1", self._port)

    async def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self._reset()
        if server is not None:
            await server.wait_closed()

    def stall(self, way: Way) -> None:
        """Deliver nothing any more."""
        for direction in self._of(way):
            direction.flowing.clear()

    def delay(self, way: Way, seconds: float) -> None:
        """Deliver everything later."""
        for direction in self._of(way):
            direction.delay_seconds = seconds

    async def heal(self, *, reset: bool = False) -> None:
        """Deliver everything again, what was stalled too unless connections are reset."""
        if reset:
            self._reset()
        self._heal()
        if self._server is None:
            await self._listen()

    def _heal(self) -> None:
        for direction in self._directions.values():
            direction.flowing.set()
            direction.delay_seconds = 0.0

    def _of(self, way: Way) -> list[_Direction]:
        return [direction for name, direction in self._directions.items() if way in {name, Way.BOTH}]

    def _reset(self) -> None:
        for writer in list(self._writers):
            with suppress(OSError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, near_reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        async with AsyncExitStack() as stack:
            self._adopt(near, stack)
            try:
                far_reader, far = await self._connect()
            except OSError:
                return
            self._adopt(far, stack)
            if self._server is None:  # cut while it was dialled
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(near_reader, (far, near), Way.THERE), name="wire there")
                group.create_task(self._pump(far_reader, (near, far), Way.BACK), name="wire back")

    def _adopt(self, writer: asyncio.StreamWriter, stack: AsyncExitStack) -> None:
        self._writers.add(writer)
        stack.callback(self._writers.discard, writer)
        stack.callback(writer.transport.abort)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._target.host, self._target.port
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _pump(
        self, reader: asyncio.StreamReader, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter], way: Way
    ) -> None:
        """Carry bytes to the first of the writers; a side's end is passed on, an error ends both."""
        to, back = writers
        direction = self._directions[way]
        try:
            while True:
                data = await reader.read(CHUNK_BYTES)
                if direction.delay_seconds:
                    await asyncio.sleep(direction.delay_seconds)
                await direction.flowing.wait()
                if not data:
                    to.write_eof()
                    return
                to.write(data)
                await to.drain()
        except OSError:
            to.transport.abort()
            back.transport.abort()
