"""From an object with one method per RPC to raw handlers: parsing, serialising and the four kinds of calls."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message

from praefect.domain.errors import InternalError, UnimplementedError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

    from praefect.transport.grpc.server_call import ServerCall

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class UnreadableMessageError(InternalError):
    """The bytes of a message are not of its type."""


def snake_case(name: str) -> str:
    """Return the Python name of an RPC: ``PostUploadPackWithSidechannel`` is ``post_upload_pack_with_sidechannel``."""
    return _WORD_START.sub("_", name).lower()


def parse_message(data: bytes, message_class: type[Message]) -> Message:
    """Parse a received message.

    Raises:
        UnreadableMessageError: the bytes are not of this type.
    """
    try:
        return message_class.FromString(data)
    except DecodeError as exc:
        text = "grpc: failed to unmarshal the received message: proto: cannot parse invalid wire-format data"
        raise UnreadableMessageError(text) from exc


def service_handlers(
    descriptor: ServiceDescriptor, implementation: object
) -> dict[str, Callable[[ServerCall], Awaitable[None]]]:
    """Return a raw handler per full method name; a method the object lacks answers UNIMPLEMENTED."""
    return {
        f"/{descriptor.full_name}/{method.name}": _handler(
            method, getattr(implementation, snake_case(method.name), None)
        )
        for method in descriptor.methods
    }


def _handler(method: MethodDescriptor, function: Callable[..., Any] | None) -> Callable[[ServerCall], Awaitable[None]]:
    if function is None:
        return _unimplemented(method.name)
    request_class = message_factory.GetMessageClass(method.input_type)
    build = {
        (False, False): _unary,
        (False, True): _server_stream,
        (True, False): _client_stream,
        (True, True): _bidi,
    }[method.client_streaming, method.server_streaming]
    return build(function, request_class)


def _unimplemented(name: str) -> Callable[[ServerCall], Awaitable[None]]:
    async def handle(call: ServerCall) -> None:  # noqa: ARG001 - the shape of a handler
        raise UnimplementedError(f"method {name} not implemented")

    return handle


async def _only_request(call: ServerCall, request_class: type[Message]) -> Message:
    data = await call.receive()
    if data is None:
        raise InternalError("cardinality violation: received no request message from non-client-streaming RPC")
    return parse_message(data, request_class)


async def _requests(call: ServerCall, request_class: type[Message]) -> AsyncIterator[Message]:
    while (data := await call.receive()) is not None:
        yield parse_message(data, request_class)


async def _send_all(call: ServerCall, responses: AsyncGenerator[Message, None]) -> None:
    async with aclosing(responses):
        async for response in responses:
            await call.send(response.SerializeToString())


def _unary(function: Callable[..., Any], request_class: type[Message]) -> Callable[[ServerCall], Awaitable[None]]:
    async def handle(call: ServerCall) -> None:
        response: Message = await function(await _only_request(call, request_class), call)
        await call.send(response.SerializeToString())

    return handle


def _server_stream(
    function: Callable[..., Any], request_class: type[Message]
) -> Callable[[ServerCall], Awaitable[None]]:
    async def handle(call: ServerCall) -> None:
        await _send_all(call, function(await _only_request(call, request_class), call))

    return handle


def _client_stream(
    function: Callable[..., Any], request_class: type[Message]
) -> Callable[[ServerCall], Awaitable[None]]:
    async def handle(call: ServerCall) -> None:
        response: Message = await function(_requests(call, request_class), call)
        await call.send(response.SerializeToString())

    return handle


def _bidi(function: Callable[..., Any], request_class: type[Message]) -> Callable[[ServerCall], Awaitable[None]]:
    async def handle(call: ServerCall) -> None:
        await _send_all(call, function(_requests(call, request_class), call))

    return handle
