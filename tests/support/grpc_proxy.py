"""A minimal proxy on the relay and the fan-out, and a byte forwarder that can fall silent."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from praefect.transport.grpc.fanout import DEFAULT_OPTIONS, FanOutOptions, FanOutOutcome, Leg, fan_out
from praefect.transport.grpc.relay import RelayOutcome, relay
from praefect.transport.grpc.server import Server
from tests.support.grpc_echo import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from praefect.transport.grpc.channel import Channel
    from praefect.transport.grpc.server_call import ServerCall
    from praefect.transport.http2.interface import Limits
    from tests.support.grpc_echo import Endpoint


class Relaying:
    """Relays every call to one channel and keeps the outcomes."""

    def __init__(self, channel: Channel, hold: Callable[[], Awaitable[None]] | None = None) -> None:
        self.channel = channel
        self._hold = hold
        self.outcomes: asyncio.Queue[RelayOutcome] = asyncio.Queue()

    async def __call__(self, call: ServerCall) -> None:
        first = await call.receive()
        upstream = self.channel.call(call.method, metadata=call.metadata, deadline=call.deadline)
        async with upstream:
            if first is not None:
                await upstream.send(first)
            outcome = await relay(call, upstream, hold=self._hold)
        self.outcomes.put_nowait(outcome)
        call.finish(outcome.status, outcome.trailers)


class FanningOut:
    """Sends every call to several channels."""

    def __init__(self, channels: Sequence[Channel], options: FanOutOptions = DEFAULT_OPTIONS) -> None:
        self._channels = channels
        self._options = options
        self.outcomes: asyncio.Queue[FanOutOutcome] = asyncio.Queue()

    async def __call__(self, call: ServerCall) -> None:
        first = await call.receive()
        assert first is not None
        async with AsyncExitStack() as stack:
            legs = [
                Leg(
                    call=await stack.enter_async_context(
                        channel.call(call.method, metadata=call.metadata, deadline=call.deadline)
                    ),
                    first=first,
                )
                for channel in self._channels
            ]
            outcome = await fan_out(call, legs[0], legs[1:], self._options)
        self.outcomes.put_nowait(outcome)
        call.finish(outcome.primary.status, outcome.primary.trailers)


@asynccontextmanager
async def proxying(
    handler: Callable[[ServerCall], Awaitable[None]], engine_name: str, *, limits: Limits | None = None
) -> AsyncIterator[Endpoint]:
    async with Server(fallback=handler) as server, serve(server, engine_name, limits=limits) as endpoint:
        yield endpoint


class Forwarder:
    """Passes bytes on to a port until it is silenced; then the connection stays open and nothing moves."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self._audible = asyncio.Event()
        self._audible.set()

    def silence(self) -> None:
        self._audible.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Forwarder]:
        async with asyncio.TaskGroup() as tasks:
            connections: list[asyncio.Task[None]] = []

            async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                remote_reader, remote_writer = await asyncio.open_connection("127.0.0.1", self.target)
                for source, sink in ((reader, remote_writer), (remote_reader, writer)):
                    connections.append(tasks.create_task(self._pump(source, sink), name="forward"))

            listener = await asyncio.start_server(accept, "127.0.0.1", 0)
            self.port = listener.sockets[0].getsockname()[1]
            try:
                yield self
            finally:
                listener.close()
                for task in connections:
                    task.cancel()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                await self._audible.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            pass
        finally:
            sink.close()
