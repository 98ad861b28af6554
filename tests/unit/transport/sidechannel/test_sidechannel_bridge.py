"""Two sidechannels joined in a proxy, over wires in memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from praefect.domain.errors import PraefectError
from praefect.observability.log import capture
from praefect.transport.peer import Peer
from praefect.transport.sidechannel import (
    Bridge,
    ClientSidechannel,
    Sidechannel,
    SidechannelBridgeError,
    SidechannelBrokenError,
)
from praefect.transport.yamux.frame import INITIAL_WINDOW
from tests.support.memory_wire import settle
from tests.support.sidechannel_wire import SidechannelWire, join

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class Joined:
    """A client and a node with a proxy between them."""

    bridge: Bridge
    client: ClientSidechannel
    node: Sidechannel
    to_client: SidechannelWire  # the proxy is the server on it
    to_node: SidechannelWire  # the proxy is the client on it


@pytest.fixture
async def joined() -> AsyncIterator[Joined]:
    to_client, to_node = join(), join()
    waiter = to_client.registry.register()
    async with Bridge(to_node.registry, to_client.peer, waiter.id) as bridge:
        node = await to_node.peer.open_sidechannel(int(bridge.metadata[1]))
        yield Joined(bridge, await waiter.accept(), node, to_client, to_node)


async def read_all(end: ClientSidechannel | Sidechannel) -> bytes:
    data = b""
    while more := await end.read():
        data += more
    return data


async def test_bytes_are_carried_both_ways(joined: Joined) -> None:
    await joined.client.write(b"want")
    await joined.client.close_write()
    assert await read_all(joined.node) == b"want"
    await joined.node.write(b"PACK")
    await joined.node.close()
    assert await read_all(joined.client) == b"PACK"
    await joined.client.close()
    await joined.bridge.finish()
    await settle()
    for wire in (joined.to_client, joined.to_node):
        assert wire.client_session.open_streams == wire.server_session.open_streams == 0


async def test_finish_waits_until_everything_was_carried(joined: Joined) -> None:
    await joined.client.close_write()
    size = INITIAL_WINDOW + 200_000  # more than the client's window
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(joined.node.write(bytes(size)))
        finishing = tasks.create_task(joined.bridge.finish())
        await settle(200)
        closing = tasks.create_task(joined.node.close())
        await settle(200)
        done = [finishing.done()]
        assert len(await read_all(joined.client)) == size
        await settle()
        done.append(finishing.done())
        assert done == [False, True]
    assert closing.done()


async def test_what_is_held_for_a_slow_client_is_bounded(joined: Joined) -> None:
    written = 0

    async def pour() -> None:
        nonlocal written
        while True:
            await joined.node.write(bytes(65536))
            written += 65536

    async with asyncio.TaskGroup() as tasks:
        pouring = tasks.create_task(pour())
        await settle(2000)
        pouring.cancel()
    assert written < 2 * INITIAL_WINDOW + (1 << 20)


async def test_what_arrives_before_the_client_is_there_is_bounded_too() -> None:
    to_client, to_node = join(), join()
    waiter = to_client.registry.register()
    to_client.client_wire.stalled = True  # its confirmation does not arrive
    async with Bridge(to_node.registry, to_client.peer, waiter.id) as bridge:
        node = await to_node.peer.open_sidechannel(int(bridge.metadata[1]))
        async with asyncio.TaskGroup() as tasks:
            early = tasks.create_task(node.write(bytes(8 << 20)))
            await settle(500)
            to_client.client_wire.resume()
            client = await waiter.accept()
            client.endpoint.transport.pause_reading()
            await settle(2000)
            held = (8 << 20) - node.endpoint.transport.get_write_buffer_size()
            assert held < 3 * INITIAL_WINDOW + (1 << 19)
            client.endpoint.transport.resume_reading()
            received = 0
            while received < 8 << 20:
                received += len(await client.read())
            assert early.done() or not early.cancelled()


async def test_what_is_held_for_a_slow_node_is_bounded(joined: Joined) -> None:
    written = 0

    async def pour() -> None:
        nonlocal written
        while True:
            await joined.client.write(bytes(65000))
            written += 65000

    async with asyncio.TaskGroup() as tasks:
        pouring = tasks.create_task(pour())
        await settle(8000)
        pouring.cancel()
    assert written < 2 * (16 << 20) + (1 << 20)  # the windows of two listeners


async def test_end_of_the_node_ends_the_bridge_though_the_client_still_sends(joined: Joined) -> None:
    await joined.node.write(b"error: no")
    await joined.node.close()
    assert await read_all(joined.client) == b"error: no"
    await joined.client.close()
    await joined.bridge.finish()


async def test_client_that_closes_early_is_the_end_of_input_for_the_node(joined: Joined) -> None:
    await joined.client.write(b"wan")
    await joined.client.close()
    assert await joined.node.read() == b"wan"
    with pytest.raises(SidechannelBrokenError, match="unexpected EOF"):
        await joined.node.read()
    await joined.node.close()
    with pytest.raises(SidechannelBridgeError, match=r"^sidechannel: proxy callback: unexpected EOF$"):
        await joined.bridge.finish()


async def test_reset_by_the_client_is_a_reset_for_the_node(joined: Joined) -> None:
    with capture() as lines:
        joined.client.abort()
        with pytest.raises(SidechannelBrokenError, match="connection reset"):
            await joined.node.read()
        with pytest.raises(SidechannelBridgeError, match="connection reset"):
            await joined.bridge.finish()
    [line] = [line for line in lines if line["msg"] == "sidechannel proxying failed"]
    assert line["level"] == "error"
    assert "connection reset" in str(line["error"])


async def test_reset_by_the_node_is_a_reset_for_the_client(joined: Joined) -> None:
    joined.node.abort()
    with pytest.raises(SidechannelBrokenError, match="connection reset"):
        await joined.client.read()
    with pytest.raises(SidechannelBridgeError, match="connection reset"):
        await joined.bridge.finish()


async def test_loss_of_the_clients_connection_is_a_reset_for_the_node(joined: Joined) -> None:
    joined.to_client.client_wire.lose()
    with pytest.raises(SidechannelBrokenError, match="connection reset"):
        await joined.node.read()
    with pytest.raises(SidechannelBridgeError, match="session shutdown"):
        await joined.bridge.finish()


async def test_loss_of_the_nodes_connection_is_a_reset_for_the_client(joined: Joined) -> None:
    joined.to_node.server_wire.lose()
    with pytest.raises(SidechannelBrokenError, match="connection reset"):
        await joined.client.read()
    with pytest.raises(SidechannelBridgeError, match="session shutdown"):
        await joined.bridge.finish()


async def test_client_that_sends_no_packets_breaks_the_bridge(joined: Joined) -> None:
    joined.client.endpoint.transport.write(b"GET / HTTP/1.1")
    with pytest.raises(SidechannelBrokenError):
        await joined.node.read()
    with pytest.raises(SidechannelBridgeError, match="proxy callback: sidechannel: invalid header"):
        await joined.bridge.finish()


async def test_bridge_that_is_left_cuts_off_both_sides() -> None:
    to_client, to_node = join(), join()
    waiter = to_client.registry.register()
    async with Bridge(to_node.registry, to_client.peer, waiter.id) as bridge:
        node = await to_node.peer.open_sidechannel(int(bridge.metadata[1]))
        client = await waiter.accept()
    for end in (node, client):
        with pytest.raises(SidechannelBrokenError, match="connection reset"):
            await end.read()


async def test_bridge_that_is_left_while_the_client_is_asked_cuts_off_the_node() -> None:
    to_client, to_node = join(), join()
    waiter = to_client.registry.register()
    to_client.client_wire.stalled = True
    async with Bridge(to_node.registry, to_client.peer, waiter.id) as bridge:
        node = await to_node.peer.open_sidechannel(int(bridge.metadata[1]))
        await settle()
    with pytest.raises(SidechannelBrokenError, match="connection reset"):
        await node.read()
    assert to_client.server_session.open_streams == 0


async def test_bridge_that_was_never_used_is_given_up() -> None:
    to_client, to_node = join(), join()
    async with Bridge(to_node.registry, to_client.peer, 0) as bridge:
        await bridge.finish()
        assert bridge.error is None
        with pytest.raises(PraefectError, match="receive confirmation: EOF"):
            await to_node.peer.open_sidechannel(int(bridge.metadata[1]))


@pytest.mark.parametrize(
    ("peer_session", "text"),
    [
        (False, "fail to extract mux session: non-multiplexed connection"),
        (True, "receive confirmation: EOF"),  # nobody has registered the id
    ],
)
async def test_client_without_a_sidechannel_is_the_end_of_input_for_the_node(*, peer_session: bool, text: str) -> None:
    to_client, to_node = join(), join()
    peer = to_client.peer if peer_session else Peer(address="memory")
    async with Bridge(to_node.registry, peer, 7) as bridge:
        node = await to_node.peer.open_sidechannel(int(bridge.metadata[1]))
        with pytest.raises(SidechannelBrokenError, match="unexpected EOF"):
            await node.read()
        await node.close()
        with pytest.raises(SidechannelBridgeError) as caught:
            await bridge.finish()
        assert str(caught.value) == f"sidechannel: proxy callback: {text}"


async def test_error_of_the_block_is_raised_as_it_is() -> None:
    to_client, to_node = join(), join()
    with pytest.raises(ZeroDivisionError):
        async with Bridge(to_node.registry, to_client.peer, 0):
            raise ZeroDivisionError
