"""Observers of calls that tell others of them: error reports of failed ones, spans of all.

Source: the Praefect reference on Sentry and on tracing.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from praefect.domain.errors import PraefectError
from praefect.observability.error_reports import ErrorReport, ErrorReporter
from praefect.observability.log import current_request_fields
from praefect.observability.tracing import Tracing
from praefect.transport.grpc.client_call import ClientCall
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import OK, Status, StatusCode, StatusError, leading_error

_EXPECTED = frozenset(
    {
        StatusCode.OK,
        StatusCode.CANCELLED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.NOT_FOUND,
        StatusCode.FAILED_PRECONDITION,
    }
)
_SERVER_FAULTS = frozenset(
    {
        StatusCode.UNKNOWN,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.UNIMPLEMENTED,
        StatusCode.INTERNAL,
        StatusCode.UNAVAILABLE,
        StatusCode.DATA_LOSS,
    }
)
"""Source: OpenTelemetry's semantic conventions for gRPC, on the status of server spans."""

_UNTRACED = "grpc.health.v1.Health"
_CONTEXT = ("traceparent", "tracestate")


class FailureReports:
    """An observer of served calls that reports failures that were made here; what a node answered it reports itself.

    To be placed behind the access log, whose fields become tags.
    """

    def __init__(self, reporter: ErrorReporter) -> None:
        self._reporter = reporter

    def __call__(self, call: ServerCall) -> Callable[[], None]:
        """Take the time; return what reports the end of the call, if it is worth it."""
        began = time.perf_counter()

        def ended() -> None:
            status, failure = call.status or OK, call.failure
            if failure is None or status.code in _EXPECTED:
                return
            error = leading_error(failure)
            if not (isinstance(error, StatusError) and error.remote):
                self._report(call, status, error, int((time.perf_counter() - began) * 1000))

        return ended

    def _report(self, call: ServerCall, status: Status, error: BaseException, milliseconds: int) -> None:
        transaction = call.method.removeprefix("/").removeprefix("gitaly.").replace("/", "::", 1)
        crash = None if isinstance(error, PraefectError) else error
        tags = {
            name: str(value)
            for name, value in current_request_fields().items()
            if isinstance(value, str | int | float) and name != "component"
        }
        own = {"grpcMethod": call.method, "panic": "1"} if crash else {}
        self._reporter.report(
            ErrorReport(
                message=status.message,
                kind=type(error).__name__,
                transaction=transaction,
                fingerprint=("grpc", transaction, status.code.label),
                tags={
                    **tags,
                    **own,
                    "grpc.code": status.code.label,
                    "grpc.method": call.name,
                    "grpc.time_ms": str(milliseconds),
                    "system": "grpc",
                },
                crash=crash,
            )
        )


class CallSpans:
    """An observer of served calls, and one of calls made while serving, that make spans of them."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def served(self, call: ServerCall) -> Callable[[], None] | None:
        """Begin the span of a served call; return what ends it."""
        if call.service == _UNTRACED:
            return None
        carrier = {name: value for name in _CONTEXT if (value := call.metadata.first(name))}
        end = self._tracing.serve(call.service, call.name, carrier)

        def ended() -> None:
            code = (call.status or OK).code
            end(int(code), code in _SERVER_FAULTS)

        return ended

    def made(self, _kind: str, call: ClientCall) -> Callable[[Status], None]:
        """Begin the span of a call to another process, and tell that process of it; return what ends it."""
        service, _, name = call.method[1:].rpartition("/")
        begun = self._tracing.call(service, name)
        if begun is None:
            return _ignore
        carrier, end = begun
        for key, value in carrier.items():
            call.metadata.set(key, value)

        def ended(status: Status) -> None:
            end(int(status.code), not status.ok)

        return ended


def _ignore(_status: Status) -> None:
    return
