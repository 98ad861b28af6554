"""Puts limits in front of the methods of a service: the repository is known once the first message is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from praefect.transport.grpc.service import snake_case

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from praefect.node.limits import ConcurrencyLimiter
    from praefect.transport.grpc.server_call import ServerCall

# The four shapes of handlers differ in what they take and give, which no type short of Any expresses at once.
_Handler = Callable[..., Any]


class LimitedService:
    """A service some of whose methods have limits; the others are the service's own."""

    def __init__(
        self, descriptor: ServiceDescriptor, implementation: object, limiters: Mapping[str, ConcurrencyLimiter]
    ) -> None:
        self._implementation = implementation
        self._limited: dict[str, _Handler] = {}
        for method in descriptor.methods:
            limiter = limiters.get(f"/{descriptor.full_name}/{method.name}")
            name = snake_case(method.name)
            handler = getattr(implementation, name, None)
            if limiter is not None and handler is not None:
                self._limited[name] = _limited(method, handler, limiter)

    def __getattr__(self, name: str) -> _Handler:
        limited = self._limited.get(name)
        if limited is not None:
            return limited
        handler: _Handler = getattr(self._implementation, name)
        return handler


def _limited(method: MethodDescriptor, handler: _Handler, limiter: ConcurrencyLimiter) -> _Handler:
    if method.server_streaming:

        async def stream(requests: Any, call: ServerCall) -> AsyncIterator[Any]:
            first, requests = await _peek(method, requests)
            async with limiter.slot(_key(first)), aclosing(handler(requests, call)) as responses:
                async for response in responses:
                    yield response

        return stream

    async def single(requests: Any, call: ServerCall) -> Any:
        first, requests = await _peek(method, requests)
        async with limiter.slot(_key(first)):
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


def _key(request: Any) -> str:
    repository = getattr(request, "repository", None)
    return getattr(repository, "relative_path", "")
