"""One request for several destinations: the primary answers the client, the secondaries answer nobody.

Everything behind the first message goes as bytes to a bounded queue per destination, so that the slowest one sets the
pace. A destination whose call is over has its queue emptied and discarded; it stops nobody.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.transport.grpc.framing import frame
from praefect.transport.grpc.relay import DestinationOutcome, RelayOutcome, interrupted, relay_response
from praefect.transport.http2.interface import StreamClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from praefect.transport.grpc.client_call import ClientCall
    from praefect.transport.grpc.relay import Hold
    from praefect.transport.grpc.server_call import ServerCall

QUEUE_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One destination: its entered call, and the first message of the request as this destination gets it."""

    call: ClientCall
    first: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOutOptions:
    """How a fan-out treats its destinations.

    Attributes:
        hold: awaited once the primary's response has begun, before any of it is passed on.
        on_secondary_end: told the index of a secondary and its outcome as soon as it has ended.
        primary_failure_cancels: whether the secondaries are cancelled when the primary fails.
    """

    hold: Hold | None = None
    on_secondary_end: Callable[[int, DestinationOutcome], None] | None = None
    primary_failure_cancels: bool = True


DEFAULT_OPTIONS = FanOutOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOutOutcome:
    """How the calls ended, the secondaries in the order given; the client has not been told."""

    primary: RelayOutcome
    secondaries: tuple[DestinationOutcome, ...]


async def fan_out(
    call: ServerCall, primary: Leg, secondaries: Sequence[Leg], options: FanOutOptions = DEFAULT_OPTIONS
) -> FanOutOutcome:
    """Send the request to all destinations and the primary's response to the client; return when all calls ended.

    If the primary fails, or the client goes away, all other calls are cancelled. The client going away is an outcome,
    not an exception, as for ``relay``.
    """
    work = _FanOut(call, primary, secondaries, options)
    try:
        return await work.run()
    except asyncio.CancelledError:
        outcome = interrupted(call, primary.call)
        return work.interrupted(outcome)


class _FanOut:
    """The tasks of one fan-out and what they share."""

    def __init__(self, call: ServerCall, primary: Leg, secondaries: Sequence[Leg], options: FanOutOptions) -> None:
        self._call = call
        self._legs = (primary, *secondaries)
        self._options = options
        self._queues = [asyncio.Queue[bytes | None](QUEUE_LENGTH) for _ in self._legs]
        self._outcomes: list[DestinationOutcome | None] = [None] * len(secondaries)

    async def run(self) -> FanOutOutcome:
        async with asyncio.TaskGroup() as tasks:
            request = self._send_request(tasks)
            drains = [
                tasks.create_task(self._drain(index, leg.call), name=f"fan-out drain {index}")
                for index, leg in enumerate(self._legs[1:])
            ]
            primary = await relay_response(self._call, self._legs[0].call, self._options.hold)
            if not primary.status.ok and self._options.primary_failure_cancels:
                self._cancel_secondaries()
            if drains:
                await asyncio.wait(drains)
            for task in request:
                task.cancel()
        return FanOutOutcome(primary=primary, secondaries=self._collect())

    def _send_request(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        rest = b"" if self._call.compressed else self._call.take_rest()
        if self._call.stream.received_end and not self._call.compressed and not rest:
            return [
                tasks.create_task(self._write_only(leg), name=f"fan-out write {index}")
                for index, leg in enumerate(self._legs)
            ]
        return [
            tasks.create_task(self._read(rest), name="fan-out read"),
            *(
                tasks.create_task(self._write(leg, queue), name=f"fan-out write {index}")
                for index, (leg, queue) in enumerate(zip(self._legs, self._queues, strict=True))
            ),
        ]

    def interrupted(self, primary: RelayOutcome) -> FanOutOutcome:
        """Cancel what runs and put the outcomes together."""
        self._cancel_secondaries()
        return FanOutOutcome(primary=primary, secondaries=self._collect())

    def _cancel_secondaries(self) -> None:
        for leg in self._legs[1:]:
            leg.call.cancel()

    def _collect(self) -> tuple[DestinationOutcome, ...]:
        return tuple(
            outcome or _outcome_of(leg.call) for outcome, leg in zip(self._outcomes, self._legs[1:], strict=True)
        )

    async def _read(self, rest: bytes) -> None:
        """Queue the rest of the request for every destination."""
        call = self._call
        try:
            if call.compressed:
                async for message in call.messages():
                    await self._put(frame(message))
            else:
                if rest:
                    call.received.feed(rest)
                    await self._put(rest)
                while data := await call.stream.receive():
                    call.received.feed(data)
                    call.received_bytes += len(data)
                    await self._put(data)
        except StreamClosedError:
            # The client is gone, which interrupts the call.
            return
        await self._put(None)

    async def _put(self, data: bytes | None) -> None:
        for queue in self._queues:
            await queue.put(data)

    async def _write(self, leg: Leg, queue: asyncio.Queue[bytes | None]) -> None:
        """Send what is queued; once the call is over, go on emptying the queue."""
        alive = await leg.call.send(leg.first)
        while (data := await queue.get()) is not None:
            if alive:
                alive = await leg.call.send_framed(data)
        if alive:
            await leg.call.half_close()

    async def _write_only(self, leg: Leg) -> None:
        await leg.call.send(leg.first, last=True)

    async def _drain(self, index: int, call: ClientCall) -> None:
        await call.drain()
        outcome = self._outcomes[index] = _outcome_of(call)
        if self._options.on_secondary_end is not None:
            self._options.on_secondary_end(index, outcome)


def _outcome_of(call: ClientCall) -> DestinationOutcome:
    return DestinationOutcome(status=call.cancel(), trailers=call.trailing_metadata, error=call.error)
