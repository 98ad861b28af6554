"""Puts guards around the methods of a service; the repository is known to them once the first message is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any

from praefect.proto.shared_pb2 import Repository
from praefect.transport.grpc.service import snake_case

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from praefect.transport.grpc.server_call import ServerCall

Guard = Callable[[Repository], AbstractAsyncContextManager[None]]
"""Entered around a call, with the repository its first message names (perhaps an empty one)."""

# The four shapes of handlers differ in what they take and give, which no type short of Any expresses at once.
_Handler = Callable[..., Any]


class GuardedService:
    """A service some of whose methods have guards; the others are the service's own.

    Args:
        descriptor: of the service.
        implementation: one method per RPC.
        guards: by full name of the method, outermost first.
    """

    def __init__(
        self, descriptor: ServiceDescriptor, implementation: object, guards: Mapping[str, Sequence[Guard]]
    ) -> None:
        self._implementation = implementation
        self._guarded: dict[str, _Handler] = {}
        for method in descriptor.methods:
            around = guards.get(f"/{descriptor.full_name}/{method.name}")
            name = snake_case(method.name)
            handler = getattr(implementation, name, None)
            if around and handler is not None:
                self._guarded[name] = _guarded(method, handler, around)

    def __getattr__(self, name: str) -> _Handler:
        guarded = self._guarded.get(name)
        if guarded is not None:
            return guarded
        handler: _Handler = getattr(self._implementation, name)
        return handler


def _guarded(method: MethodDescriptor, handler: _Handler, guards: Sequence[Guard]) -> _Handler:
    if method.server_streaming:

        async def stream(requests: Any, call: ServerCall) -> AsyncIterator[Any]:
            first, requests = await _peek(method, requests)
            async with AsyncExitStack() as stack:
                for guard in guards:
                    await stack.enter_async_context(guard(_repository(first)))
                async with aclosing(handler(requests, call)) as responses:
                    async for response in responses:
                        yield response

        return stream

    async def single(requests: Any, call: ServerCall) -> Any:
        first, requests = await _peek(method, requests)
        async with AsyncExitStack() as stack:
            for guard in guards:
                await stack.enter_async_context(guard(_repository(first)))
            return await handler(requests, call)

    return single


async def _peek(method: MethodDescriptor, requests: Any) -> tuple[Any, Any]:
    if not method.client_streaming:
        return requests, requests
    first = await anext(requests, None)
    return first, _chain(first, requests)


async def _chain(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    if first is not None:
        yield first
        async for request in rest:
            yield request


def _repository(request: Any) -> Repository:
    """Return the repository of a first message, also where it stands in the message's header."""
    found = getattr(request, "repository", None)
    if found is None:
        found = getattr(getattr(request, "header", None), "repository", None)
    return found if isinstance(found, Repository) else Repository()
