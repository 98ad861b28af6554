"""Passing the rest of a call on to another one as bytes.

The first request message has been read and sent on by the proxy; everything behind it is joined inside the HTTP/2
driver, both ways, and never looked at. How the upstream call ended is handed back and not yet told to the client, so
that a proxy can record it first.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.status import OK, Status, StatusError, field
from praefect.transport.http2.interface import SpliceEnd, SpliceResult, StreamClosedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from praefect.transport.grpc.client_call import ClientCall
    from praefect.transport.grpc.server_call import Interruption, ServerCall

    Hold = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationOutcome:
    """How the call to one destination ended.

    Attributes:
        status: the destination's own, or what the failure of its stream or of the client stands for.
        trailers: the destination's trailing metadata.
        error: why the destination's stream broke, if it did; evidence about the connection, not about the request.
    """

    status: Status
    trailers: Metadata
    error: StreamClosedError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOutcome(DestinationOutcome):
    """How a relayed call ended; the client has not been told.

    Attributes:
        response_started: whether a byte of the response reached the client's stream.
        interruption: why the client's side ended the call, if it did: it went away or its time was up.
        client_error: how the client's stream broke, where that is known.
    """

    response_started: bool
    interruption: Interruption | None = None
    client_error: StreamClosedError | None = None


async def relay(call: ServerCall, upstream: ClientCall, *, hold: Hold | None = None) -> RelayOutcome:
    """Pass the rest of ``call`` on to ``upstream`` and its response back; return when the upstream call ended.

    The response's head is sent to the client right before the first byte of its first message, and dropped if there is
    none. If the client goes away or its deadline passes, the upstream call is cancelled and that is the outcome, not an
    exception; the cancellation of the task for any other reason is passed on.

    Args:
        call: its first message was received; more may follow.
        upstream: an entered call, its first message was sent.
        hold: awaited once a response has begun, before any of it is passed on.
    """
    try:
        return await _relay(call, upstream, hold)
    except asyncio.CancelledError:
        return interrupted(call, upstream)


def interrupted(call: ServerCall, upstream: ClientCall) -> RelayOutcome:
    """Turn the cancellation of the running task into the outcome of a call whose client ended it.

    Raises:
        CancelledError: the client had no part in it. Called while such an exception is handled.
    """
    interruption = call.interruption
    task = asyncio.current_task()
    if interruption is None or task is None:
        raise  # noqa: PLE0704 - called from an except clause
    task.uncancel()
    upstream.cancel()
    return RelayOutcome(
        status=interruption.value,
        trailers=Metadata(),
        response_started=call.head_sent,
        interruption=interruption,
        client_error=call.stream.error,
    )


async def _relay(call: ServerCall, upstream: ClientCall, hold: Hold | None) -> RelayOutcome:
    rest = b"" if call.compressed else call.take_rest()
    if rest or call.compressed:
        async with asyncio.TaskGroup() as tasks:
            sending = _send_messages(call, upstream) if call.compressed else _send_rest(call, upstream, rest)
            request = tasks.create_task(sending, name="relay request")
            outcome = await relay_response(call, upstream, hold)
            request.cancel()
        return outcome
    if call.stream.received_end:
        await upstream.half_close()
    else:
        upstream.spliced()
        _splice_request(call, upstream)
    return await relay_response(call, upstream, hold)


async def _send_rest(call: ServerCall, upstream: ClientCall, rest: bytes) -> None:
    """Send what was read ahead, then splice."""
    call.received.feed(rest)
    last = call.stream.received_end
    if await upstream.send_framed(rest, last=last) and not last:
        upstream.spliced()
        _splice_request(call, upstream)


async def _send_messages(call: ServerCall, upstream: ClientCall) -> None:
    """Send what the client compressed plain, message by message."""
    try:
        async for message in call.messages():
            await upstream.send(message)
        await upstream.half_close()
    except StreamClosedError:
        # The client is gone, which interrupts the call.
        return


async def relay_response(call: ServerCall, upstream: ClientCall, hold: Hold | None = None) -> RelayOutcome:
    """Pass the response of ``upstream`` on to the client of ``call``, all but its status."""
    try:
        head = await upstream.response()
    except StatusError as exc:
        return _outcome(call, upstream, exc.status)
    if hold is not None:
        await hold()
    if head.end_stream:
        return _outcome(call, upstream, upstream.finish(head.headers))
    call.initial_metadata.extend(Metadata.from_headers(head.headers))
    if field(head.headers, "grpc-encoding") not in (None, b"identity"):
        return await _relay_messages(call, upstream)
    spliced: asyncio.Future[SpliceResult] = asyncio.get_running_loop().create_future()

    def done(result: SpliceResult) -> None:
        if not spliced.done():
            spliced.set_result(result)

    call.mark_spliced()
    call.sent = upstream.received  # from now on the same messages
    upstream.stream.splice_to(call.stream, done, first=call.send_initial_metadata, passed=call.sent.feed)
    return _conclude(call, upstream, await spliced)


async def _relay_messages(call: ServerCall, upstream: ClientCall) -> RelayOutcome:
    """Pass a compressed response on message by message, plain."""
    try:
        async for message in upstream.messages():
            await call.send(message)
    except StatusError as exc:
        return _outcome(call, upstream, exc.status)
    except StreamClosedError as exc:
        return _outcome(call, upstream, upstream.cancel(), client_error=exc)
    return _outcome(call, upstream, OK)


def _conclude(call: ServerCall, upstream: ClientCall, result: SpliceResult) -> RelayOutcome:
    call.sent_bytes += result.spliced_bytes
    match result.end:
        case SpliceEnd.TRAILERS | SpliceEnd.END_STREAM:
            return _outcome(call, upstream, upstream.finish(result.trailers))
        case SpliceEnd.SOURCE_FAILED:
            return _outcome(call, upstream, upstream.fail(result.error or StreamClosedError("EOF")))
        case SpliceEnd.SINK_FAILED:
            return _outcome(call, upstream, upstream.cancel(), client_error=result.error)


def _outcome(
    call: ServerCall,
    upstream: ClientCall,
    status: Status,
    *,
    client_error: StreamClosedError | None = None,
) -> RelayOutcome:
    return RelayOutcome(
        status=status,
        trailers=upstream.trailing_metadata,
        error=upstream.error,
        response_started=call.head_sent,
        interruption=call.interruption,
        client_error=client_error,
    )


def _splice_request(call: ServerCall, upstream: ClientCall) -> None:
    upstream.sent = call.received  # from now on the same messages
    call.stream.splice_to(upstream.stream, partial(_count_request, call), passed=call.received.feed)


def _count_request(call: ServerCall, result: SpliceResult) -> None:
    """Note the size of a spliced request; the upstream's answer or an interruption says how it ended."""
    call.received_bytes += result.spliced_bytes
