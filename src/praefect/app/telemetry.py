"""What a program tells others of its calls beyond metrics and logs, where it is asked to: reports and spans."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from praefect.observability.error_reports import open_reporter
from praefect.observability.tracing import open_tracing
from praefect.transport.grpc.call_telemetry import CallSpans, FailureReports
from praefect.transport.grpc.client_call import ClientCall
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import Status

Served = Callable[[ServerCall], Callable[[], None] | None]
Made = Callable[[str, ClientCall], Callable[[Status], None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Observers of calls; none where nothing is switched on, so that it costs nothing.

    Attributes:
        served: of calls that are served; to be placed behind the access log.
        made: of calls to other processes.
    """

    served: tuple[Served, ...] = ()
    made: tuple[Made, ...] = ()


@asynccontextmanager
async def open_telemetry(program: str, version: str, *, dsn: str, environment: str) -> AsyncIterator[Telemetry]:
    """Have reports and spans sent until left, as the configuration and the environment variables say.

    Args:
        program: the name that spans bear.
        version: of the program.
        dsn: where errors are reported, if anywhere.
        environment: what reports call the installation.
    """
    async with (
        open_reporter(dsn, environment, f"v{version}") as reporter,
        open_tracing(program, version, os.environ) as tracing,
    ):
        served: list[Served] = []
        made: list[Made] = []
        if tracing is not None:
            spans = CallSpans(tracing)
            served.append(spans.served)
            made.append(spans.made)
        if reporter is not None:
            served.append(FailureReports(reporter))
        yield Telemetry(served=tuple(served), made=tuple(made))


def observed_by(*observers: Made) -> Made:
    """Return one observer of calls made that tells several; the first is outermost."""
    if len(observers) == 1:
        return observers[0]

    def observe(kind: str, call: ClientCall) -> Callable[[Status], None]:
        ends = [observer(kind, call) for observer in observers]

        def ended(status: Status) -> None:
            for end in reversed(ends):
                end(status)

        return ended

    return observe
