"""A client, a proxy and a node on real sockets, with a call that uses a sidechannel from end to end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.wrappers_pb2 import BytesValue

from praefect.domain.errors import PraefectError
from praefect.transport.backchannel import BackchannelRegistry
from praefect.transport.dial import open_channel
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.relay import relay
from praefect.transport.grpc.server import Server
from praefect.transport.listen import ListenAddress, ListenOptions, listen
from praefect.transport.sidechannel import (
    SIDECHANNEL_KEY,
    Bridge,
    ClientSidechannel,
    Sidechannel,
    SidechannelBridges,
    SidechannelRegistry,
    parse_sidechannel_id,
)
from tests.support.grpc_echo import ECHO, UNARY, value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from praefect.transport.grpc.channel import Channel
    from praefect.transport.grpc.server_call import ServerCall
    from praefect.transport.http2 import Engine

    Work = Callable[[Sidechannel], Awaitable[None]]


class Node:
    """Answers calls after it has done its work on the call's sidechannel.

    Attributes:
        work: what to do with the sidechannel; ``None`` answers without opening one.
        failure: what it failed with.
    """

    def __init__(self) -> None:
        self.work: Work | None = None
        self.failure: PraefectError | None = None
        self.opened = asyncio.Event()
        self.calls = 0

    async def unary(self, request: BytesValue, call: ServerCall) -> BytesValue:
        self.calls += 1
        if self.work is None:
            return request
        try:
            sidechannel = await call.peer.open_sidechannel(
                parse_sidechannel_id(call.metadata.last(SIDECHANNEL_KEY) or "")
            )
            self.opened.set()
            try:
                await self.work(sidechannel)
            except BaseException:
                sidechannel.abort()
                raise
            await sidechannel.close()
        except PraefectError as exc:
            self.failure = exc
            raise
        return request


@dataclass
class Cluster:
    """What the tests act on."""

    node: Node
    proxy_address: str
    node_address: str
    node_server: Server
    to_node: Channel
    backchannels: BackchannelRegistry
    bridges: list[Bridge] = field(default_factory=list)


@asynccontextmanager
async def running(engine: Engine, *, directory: Path | None = None) -> AsyncIterator[Cluster]:
    """Run a node and a proxy before it, on TCP ports or on sockets in a directory."""
    node = Node()
    node_server = Server()
    node_server.add_service(ECHO, node)
    registry = SidechannelRegistry()
    backchannels = BackchannelRegistry()
    options = ListenOptions(engine=engine)
    node_at, proxy_at = (
        ListenAddress.parse(f"unix://{directory}/{name}" if directory is not None else "127.0.0.1:0")
        for name in ("node", "proxy")
    )
    cluster: Cluster

    async def proxy(call: ServerCall) -> None:
        first = await call.receive()
        assert first is not None
        async with SidechannelBridges(registry).bridge(call) as bridge:
            cluster.bridges.append(bridge)
            metadata = Metadata([*call.metadata, bridge.metadata])
            async with cluster.to_node.call(call.method, metadata=metadata, deadline=call.deadline) as upstream:
                await upstream.send(first)
                outcome = await relay(call, upstream, hold=bridge.settle)
            if outcome.status.ok:
                await bridge.finish()
        call.finish(outcome.status, outcome.trailers)

    async with (
        node_server,
        Server(fallback=proxy) as proxy_server,
        listen(node_at, node_server, backchannels=BackchannelRegistry(), options=options) as node_listener,
        open_channel(
            node_listener.address.dial_address, token=None, multiplex=True, sidechannels=registry, engine=engine
        ) as to_node,
        listen(proxy_at, proxy_server, backchannels=backchannels, options=options) as proxy_listener,
    ):
        cluster = Cluster(
            node,
            proxy_listener.address.dial_address,
            node_listener.address.dial_address,
            node_server,
            to_node,
            backchannels,
        )
        yield cluster


@asynccontextmanager
async def calling(
    address: str, engine: Engine, *, registry: SidechannelRegistry | None = None
) -> AsyncIterator[tuple[Channel, SidechannelRegistry]]:
    """Connect a client that can take sidechannels."""
    registry = registry if registry is not None else SidechannelRegistry()
    async with open_channel(address, token=None, multiplex=True, sidechannels=registry, engine=engine) as channel:
        yield channel, registry


async def call_with_sidechannel(
    channel: Channel, registry: SidechannelRegistry, work: Callable[[ClientSidechannel], Awaitable[None]]
) -> bytes:
    """Call, doing ``work`` with the sidechannel meanwhile, and return the answer; raises the first error of either."""

    async def use() -> None:
        await work(await waiter.accept())

    async with registry.register() as waiter:
        try:
            async with asyncio.TaskGroup() as tasks:
                using = tasks.create_task(use())
                try:
                    answer = await channel.unary(
                        UNARY, value(b"done"), BytesValue, metadata=[waiter.metadata], timeout=30
                    )
                except BaseException:
                    using.cancel()
                    raise
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group
    return answer.value
