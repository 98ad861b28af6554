"""Our channel and our server, while connections come and go."""

from __future__ import annotations

import asyncio

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from praefect.transport.grpc.relay import RelayOutcome
from praefect.transport.grpc.server import Server
from praefect.transport.grpc.status import OK, StatusCode, StatusError
from tests.support.grpc_echo import BOTH, ECHO, UNARY, Echo, serve, until, value
from tests.support.grpc_proxy import Relaying, proxying


async def test_goodbyes_of_the_server_fail_no_call(engine_name: str) -> None:
    answered = 0

    async with Server() as server, serve(server, engine_name) as endpoint, endpoint.channel() as channel:
        server.add_service(ECHO, Echo())

        async def call(caller: int) -> None:
            nonlocal answered
            for index in range(100):
                data = b"%d/%d" % (caller, index)
                assert await channel.unary(UNARY, value(data), BytesValue) == value(data)
                answered += 1

        async def say_goodbye() -> None:
            for target in range(50, 1000, 100):
                await until(lambda target=target: answered >= target)  # type: ignore[misc]  # bound by default
                for connection in endpoint.connections:
                    connection.go_away()

        async with asyncio.TaskGroup() as tasks:
            for caller in range(10):
                tasks.create_task(call(caller), name=f"caller {caller}")
            tasks.create_task(say_goodbye(), name="goodbye")
        assert answered == 1000
        assert len(endpoint.connections) > 5
        await until(lambda: all(connection.closed for connection in endpoint.connections[:-1]))


async def test_goodbyes_of_an_upstream_fail_no_relayed_unary_call(engine_name: str) -> None:
    async with Server() as node, serve(node, engine_name) as upstream, upstream.channel() as channel:
        node.add_service(ECHO, Echo())
        handler = Relaying(channel)
        async with proxying(handler, engine_name) as endpoint, endpoint.channel() as client:

            async def call() -> None:
                for index in range(100):
                    assert await client.unary(UNARY, value(b"%d" % index), BytesValue) == value(b"%d" % index)

            async def say_goodbye() -> None:
                for target in range(50, 500, 50):
                    await until(lambda target=target: handler.outcomes.qsize() >= target)  # type: ignore[misc]
                    for connection in upstream.connections:
                        connection.go_away()

            async with asyncio.TaskGroup() as tasks:
                for caller in range(5):
                    tasks.create_task(call(), name=f"caller {caller}")
                tasks.create_task(say_goodbye(), name="goodbye")
        outcomes: list[RelayOutcome] = []
        while not handler.outcomes.empty():
            outcomes.append(handler.outcomes.get_nowait())
        assert [outcome.status for outcome in outcomes] == [OK] * 500


async def test_a_stream_in_progress_survives_the_goodbye(engine_name: str) -> None:
    async with Server() as server, serve(server, engine_name) as endpoint, endpoint.channel() as channel:
        server.add_service(ECHO, Echo())
        async with channel.bidi(BOTH, BytesValue) as call:
            await call.send(value(b"before"))
            assert await call.receive() == value(b"before")
            endpoint.connections[0].go_away()
            first = channel.connection
            assert first is not None
            await until(lambda: not first.accepts_streams)
            assert await channel.unary(UNARY, value(b"elsewhere"), BytesValue) == value(b"elsewhere")
            await call.send(value(b"after"))
            assert await call.receive() == value(b"after")
            await call.half_close()
            assert await call.receive() is None
        assert len(endpoint.connections) == 2


async def test_calls_that_were_forwarded_are_not_sent_twice(engine_name: str) -> None:
    """A connection that breaks in the middle of a call leaves it in doubt; only the caller may send it again."""
    seen = 0

    class Breaking(Echo):
        async def unary(self, request: BytesValue, call: object) -> BytesValue:
            nonlocal seen
            seen += 1
            endpoint.connections[-1].abort()
            await asyncio.Event().wait()
            return request

    async with Server() as server, serve(server, engine_name) as endpoint, endpoint.channel() as channel:
        server.add_service(ECHO, Breaking())
        with pytest.raises(StatusError) as caught:
            await channel.unary(UNARY, value(b"x"), BytesValue)
        assert caught.value.code is StatusCode.UNAVAILABLE
        assert seen == 1
