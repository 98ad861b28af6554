"""Wires: what is cut, stalled and delayed does and does not arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from praefect.app.layout import Endpoint
from tests.fault.faults.wire import Way, Wire


@asynccontextmanager
async def _echo() -> AsyncIterator[Endpoint]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                writer.write(data)
        except OSError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])


@asynccontextmanager
async def _through() -> AsyncIterator[tuple[Wire, asyncio.StreamReader, asyncio.StreamWriter]]:
    async with _echo() as echo, Wire(echo) as wire:
        reader, writer = await asyncio.open_connection(wire.endpoint.host, wire.endpoint.port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        yield wire, reader, writer
        writer.transport.abort()


async def test_cut_resets_and_refuses_until_healed() -> None:
    async with _through() as (wire, reader, _):
        endpoint = wire.endpoint
        await wire.cut()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(endpoint.host, endpoint.port)

        await wire.heal()
        again, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(b"x")
        assert await again.readexactly(1) == b"x"
        writer.transport.abort()


@pytest.mark.parametrize("way", list(Way))
async def test_stalled_bytes_arrive_once_healed(way: Way) -> None:
    async with _through() as (wire, reader, writer):
        wire.stall(way)
        writer.write(b"later")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        await wire.heal()
        assert await reader.readexactly(5) == b"later"


async def test_healing_with_reset_drops_what_was_stalled() -> None:
    async with _through() as (wire, reader, writer):
        wire.stall(Way.BOTH)
        writer.write(b"never")
        await wire.heal(reset=True)
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


async def test_delay_holds_each_way() -> None:
    async with _through() as (wire, reader, writer):
        wire.delay(Way.BOTH, 0.05)
        began = time.monotonic()
        writer.write(b"x")
        await reader.readexactly(1)
        assert time.monotonic() - began >= 0.1
