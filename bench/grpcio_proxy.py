"""A plain proxy on grpcio's asyncio server, to measure against: no routing, no database, no rewriting.

Usage: python -m bench.grpcio_proxy LISTEN_PORT NODE_PORT
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio


class Relay(grpc.GenericRpcHandler):
    """Passes every method on as an opaque stream."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        method = handler_call_details.method

        async def relay(
            requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
        ) -> AsyncIterator[bytes]:
            multicallable: Any = self._channel.stream_stream(method)
            call = multicallable(requests, metadata=context.invocation_metadata())
            async for message in call:
                yield message

        return grpc.stream_stream_rpc_method_handler(relay)


async def main(listen_port: int, node_port: int) -> None:
    """Serve until killed."""
    options = [("grpc.max_receive_message_length", -1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{node_port}", options=options) as channel:
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((Relay(channel),))
        server.add_insecure_port(f"127.0.0.1:{listen_port}")
        await server.start()
        await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
