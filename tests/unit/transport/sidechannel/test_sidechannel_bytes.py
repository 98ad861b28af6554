"""What the two ends of a sidechannel say to each other once it is open."""

from __future__ import annotations

import asyncio

import pytest

from praefect.transport.sidechannel import PacketError, SidechannelBrokenError
from praefect.transport.yamux.frame import INITIAL_WINDOW
from tests.support.memory_wire import settle
from tests.support.sidechannel_wire import join

BIG = bytes(range(256)) * 4096  # 1 MiB: more than any buffer on the way


async def test_request_and_response() -> None:
    wire = join()
    _, client, server = await wire.open()
    await client.write(b"want")
    await client.write(b"")
    await client.write(b"done")
    await client.close_write()
    await client.close_write()
    request = b""
    while data := await server.read():
        request += data
    assert request == b"wantdone"
    assert await server.read() == b""
    await server.write(b"PACK")
    await server.close()
    assert await client.read() == b"PACK"
    assert await client.read() == b""
    await client.close()
    await settle()
    assert wire.client_session.open_streams == wire.server_session.open_streams == 0


async def test_writing_after_the_end_of_the_request_is_a_fault() -> None:
    wire = join()
    _, client, _ = await wire.open()
    await client.close_write()
    with pytest.raises(RuntimeError, match="the request was ended"):
        await client.write(b"x")


async def test_much_travels_both_ways_at_once() -> None:
    wire = join()
    _, client, server = await wire.open()
    received: dict[str, bytes] = {}
    heard = asyncio.Event()

    async def ask() -> None:
        for start in range(0, len(BIG), 100_000):
            await client.write(BIG[start : start + 100_000])
        await client.close_write()

    async def answer() -> None:
        for start in range(0, len(BIG), 100_000):
            await server.write(BIG[start : start + 100_000])
        await heard.wait()
        await server.close()

    async def listen(name: str) -> None:
        read = client.read if name == "client" else server.read
        pieces = []
        while data := await read():
            pieces.append(data)
        received[name] = b"".join(pieces)
        if name == "server":
            heard.set()

    async with asyncio.TaskGroup() as tasks:
        for work in (ask(), answer(), listen("client"), listen("server")):
            tasks.create_task(work)
    assert received == {"client": BIG, "server": BIG}


async def test_writer_waits_for_a_slow_reader_and_holds_little() -> None:
    wire = join()
    _, client, server = await wire.open()
    written = 0

    async def write() -> None:
        nonlocal written
        for _ in range(64):
            await server.write(bytes(65536))
            written += 65536
        await server.close()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(write())
        await settle(200)
        assert written <= INITIAL_WINDOW + 128 * 1024 + 3 * 65536
        total = 0
        while data := await client.read():
            total += len(data)
    assert total == 64 * 65536


async def test_several_writers_do_not_tear_each_others_writes() -> None:
    wire = join()
    _, client, server = await wire.open()
    lines = {bytes([letter]) * 70_000 for letter in b"abcd"}

    async with asyncio.TaskGroup() as tasks:
        for line in lines:
            tasks.create_task(server.write(line))
        received = b""
        while len(received) < 4 * 70_000:
            received += await client.read()
    assert {received[start : start + 70_000] for start in range(0, len(received), 70_000)} == lines


async def test_client_that_closes_without_ending_its_request() -> None:
    wire = join()
    _, client, server = await wire.open()
    await client.write(b"half")
    await client.close()
    assert await server.read() == b"half"
    with pytest.raises(SidechannelBrokenError, match="unexpected EOF"):
        await server.read()


async def test_client_that_ends_in_the_middle_of_a_packet() -> None:
    wire = join()
    _, client, server = await wire.open()
    client.endpoint.transport.write(b"0009Hel")
    await client.close()
    assert await server.read() == b"Hel"
    with pytest.raises(SidechannelBrokenError, match="unexpected EOF"):
        await server.read()


async def test_client_that_speaks_no_packets() -> None:
    wire = join()
    _, client, server = await wire.open()
    client.endpoint.transport.write(b"GET / HTTP/1.1")
    with pytest.raises(PacketError, match='invalid header "GET "'):
        await server.read()


async def test_abort_is_a_reset_for_the_other_side() -> None:
    wire = join()
    _, client, server = await wire.open()
    server.abort()
    with pytest.raises(SidechannelBrokenError, match="connection reset"):
        await client.read()
    with pytest.raises(SidechannelBrokenError, match="connection reset"):
        await client.write(b"x")
    with pytest.raises(SidechannelBrokenError, match="stream closed"):
        await server.write(b"x")


async def test_loss_of_the_connection_is_no_end_of_the_response() -> None:
    wire = join()
    _, client, server = await wire.open()
    await server.write(b"half a pack")
    assert await client.read() == b"half a pack"
    wire.server_wire.lose()
    with pytest.raises(SidechannelBrokenError):
        await client.read()
    with pytest.raises(SidechannelBrokenError):
        await server.read()


async def test_client_drops_what_a_finished_server_will_not_read() -> None:
    wire = join(server=None)
    _, client, server = await wire.open()
    blocked = bytes(20 << 20)  # beyond the listener's window of 16 MiB
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(client.write(blocked))
        await settle()
        await server.write(b"error: go away")
        await server.close()
        assert await client.read() == b"error: go away"
        assert await client.read() == b""
    await client.write(b"nobody listens")
    await client.close()
    await settle()
    assert wire.client_session.open_streams == wire.server_session.open_streams == 0


async def test_cancelled_close_aborts() -> None:
    wire = join()
    _, client, server = await wire.open()
    await server.write(b"")
    server.endpoint.transport.write(bytes(4 * INITIAL_WINDOW))
    async with asyncio.TaskGroup() as tasks:
        closing = tasks.create_task(server.close())
        await settle()
        assert not closing.done()
        closing.cancel()
    await settle()
    with pytest.raises(SidechannelBrokenError, match="connection reset"):
        await client.read()


async def test_context_closes_or_aborts() -> None:
    wire = join()
    _, client, server = await wire.open()
    async with client:
        await client.close_write()
        await server.close()
    _, client, server = await wire.open()
    with pytest.raises(ZeroDivisionError):
        async with client:
            raise ZeroDivisionError
    with pytest.raises(SidechannelBrokenError, match="connection reset"):
        await server.read()
