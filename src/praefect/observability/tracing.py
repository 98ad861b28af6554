"""Spans by OpenTelemetry, where its libraries are installed (the extra ``otel``) and the environment asks for them.

The variables are OpenTelemetry's own: ``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` switch
tracing on, and all others (``OTEL_TRACES_SAMPLER``, ``OTEL_RESOURCE_ATTRIBUTES``, …) have the meaning that its
specification gives them. Context travels as W3C ``traceparent``.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from praefect.observability.log import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from opentelemetry.trace import Span, Tracer

    Ended = Callable[[int, bool], None]

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

_log = get_logger()


class Tracing:
    """Makes spans of calls; made by ``open_tracing``."""

    def __init__(self, tracer: Tracer) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()

    def serve(self, service: str, name: str, carrier: Mapping[str, str]) -> Ended:
        """Begin the span of a call that this process serves, in the task that handles it.

        Args:
            service: the service's full name.
            name: the method's name.
            carrier: the caller's context, as it came.

        Returns:
            what ends the span, given the number of the status and whether it is the server's fault.
        """
        from opentelemetry import context, trace

        span = self._tracer.start_span(
            f"{service}/{name}",
            context=self._propagator.extract(carrier),
            kind=trace.SpanKind.SERVER,
            attributes=_attributes(service, name),
        )
        # The task ends with the call, and its context with it.
        context.attach(trace.set_span_in_context(span))
        return _ending(span)

    def call(self, service: str, name: str) -> tuple[Mapping[str, str], Ended] | None:
        """Begin the span of a call that this process makes on behalf of one it serves; ``None`` outside of such.

        Returns:
            the context for the other side, and what ends the span.
        """
        from opentelemetry import trace

        if not trace.get_current_span().get_span_context().is_valid:
            return None
        span = self._tracer.start_span(
            f"{service}/{name}", kind=trace.SpanKind.CLIENT, attributes=_attributes(service, name)
        )
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, context=trace.set_span_in_context(span))
        return carrier, _ending(span)


@asynccontextmanager
async def open_tracing(program: str, version: str, environment: Mapping[str, str]) -> AsyncIterator[Tracing | None]:
    """Export spans until left; ``None`` if the environment does not ask for it or it cannot be had."""
    is_wanted = any(environment.get(name) for name in ENDPOINTS)
    is_off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if not is_wanted or is_off or environment.get("OTEL_TRACES_EXPORTER") == "none":
        yield None
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        error = "the libraries of OpenTelemetry are not installed: pip install praefect[otel]"
        _log.warning("unable to initialize tracing", error=error)
        yield None
        return
    own = {"service.version": version}
    if not environment.get("OTEL_SERVICE_NAME"):
        own["service.name"] = program
    provider = TracerProvider(resource=Resource.create(own))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield Tracing(provider.get_tracer("praefect", version))
    finally:
        await asyncio.to_thread(provider.shutdown)


def _attributes(service: str, name: str) -> dict[str, str]:
    return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}


def _ending(span: Span) -> Ended:
    from opentelemetry.trace import Status, StatusCode

    def ended(code: int, is_fault: bool) -> None:
        span.set_attribute("rpc.grpc.status_code", code)
        if is_fault:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    return ended
