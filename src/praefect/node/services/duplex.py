"""RPCs that read and write at once: the handler sends its answers itself, from several tasks if need be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from google.protobuf.message import Message

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from praefect.transport.grpc.server_call import ServerCall

MessageT = TypeVar("MessageT", bound=Message)


async def self_sending(work: Awaitable[None]) -> AsyncGenerator[Message, None]:
    """Give a handler that sends its answers itself the shape of a streaming RPC; nothing is yielded.

    A task group must not be suspended in a generator, and these handlers have one around all they do.
    """
    await work
    nothing: tuple[Message, ...] = ()
    for message in nothing:
        yield message


class Sender(Generic[MessageT]):
    """Sends the answers of one call, one at a time, so that tasks can share it."""

    def __init__(self, call: ServerCall) -> None:
        self._call = call
        self._turn = asyncio.Lock()

    async def send(self, message: MessageT) -> None:
        """Send one message and wait until the client takes more.

        Raises:
            StreamClosedError: the client went away.
        """
        # The lock orders writers of one stream; what is sent under it is one message, which must not be torn.
        async with self._turn:
            await self._call.send(message.SerializeToString())


async def rest_of(requests: AsyncIterator[MessageT], data: Callable[[MessageT], bytes]) -> AsyncGenerator[bytes, None]:
    """Yield the bytes in the remaining messages, without the empty ones."""
    async for request in requests:
        if chunk := data(request):
            yield chunk
