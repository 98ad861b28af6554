"""Metrics of calls on either side, with the names of the Go ecosystem that dashboards know.

Source: the Praefect reference on shared metrics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from praefect.observability.metrics import Collector, Counter, Histogram
from praefect.transport.grpc.client_call import ClientCall
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import OK, Status, StatusCode
from praefect.transport.methods import METHODS, Operation

_TYPED = ("grpc_type", "grpc_service", "grpc_method")
UNKNOWN = "unknown"


class CallMetrics:
    """An observer of calls, for ``Server``."""

    def __init__(self, *, kind_of: Callable[[str], str], buckets: Sequence[float]) -> None:
        """Make the metrics; without ``buckets`` there is no histogram."""
        self._kind_of = kind_of
        self._started = Counter("grpc_server_started_total", "Calls started.", _TYPED)
        self._handled = Counter("grpc_server_handled_total", "Calls ended, by code.", (*_TYPED, "grpc_code"))
        self._received = Counter("grpc_server_msg_received_total", "Messages received in ended calls.", _TYPED)
        self._sent = Counter("grpc_server_msg_sent_total", "Messages sent in ended calls.", _TYPED)
        self._seconds = (
            Histogram("grpc_server_handling_seconds", "Time until calls ended.", _TYPED, buckets=buckets)
            if buckets
            else None
        )
        self._requests = Counter(
            "gitaly_service_client_requests_total",
            "Calls ended, by client.",
            (
                "client_name",
                "grpc_service",
                "grpc_method",
                "call_site",
                "auth_version",
                "grpc_code",
                "deadline_type",
                "method_operation",
                "method_scope",
            ),
        )

    def collectors(self) -> list[Collector]:
        """Return what is to be registered."""
        metrics: list[Collector] = [self._started, self._handled, self._received, self._sent, self._requests]
        return [*metrics, self._seconds] if self._seconds is not None else metrics

    def create(self, kind: str, service: str, method: str) -> None:
        """Show a method from the start."""
        for counter in (self._started, self._received, self._sent):
            counter.labels(kind, service, method)
        for code in StatusCode:
            self._handled.labels(kind, service, method, code.label)

    def __call__(self, call: ServerCall) -> Callable[[], None]:
        """Count a call that begins; return what counts its end."""
        labels = (self._kind_of(call.method), call.service, call.name)
        self._started.labels(*labels).inc()
        loop = asyncio.get_running_loop()
        began = loop.time()

        def ended() -> None:
            code = (call.status or OK).code.label
            self._handled.labels(*labels, code).inc()
            _count_messages(self._received, self._sent, labels, call)
            if self._seconds is not None:
                self._seconds.labels(*labels).observe(loop.time() - began)
            self._requests.labels(*_client_labels(call, code)).inc()

        return ended


class ClientCallMetrics:
    """Counts calls that this process makes; what ``ChannelOptions`` takes as ``observe``."""

    def __init__(self, *, buckets: Sequence[float]) -> None:
        """Make the metrics; without ``buckets`` there is no histogram."""
        self._started = Counter("grpc_client_started_total", "Calls made.", _TYPED)
        self._handled = Counter("grpc_client_handled_total", "Calls made that ended, by code.", (*_TYPED, "grpc_code"))
        self._received = Counter("grpc_client_msg_received_total", "Messages received in ended calls.", _TYPED)
        self._sent = Counter("grpc_client_msg_sent_total", "Messages sent in ended calls.", _TYPED)
        self._seconds = (
            Histogram("grpc_client_handling_seconds", "Time until calls made ended.", _TYPED, buckets=buckets)
            if buckets
            else None
        )

    def collectors(self) -> list[Collector]:
        """Return what is to be registered."""
        metrics: list[Collector] = [self._started, self._handled, self._received, self._sent]
        return [*metrics, self._seconds] if self._seconds is not None else metrics

    def __call__(self, kind: str, call: ClientCall) -> Callable[[Status], None]:
        """Count a call that begins; return what counts its end."""
        service, _, name = call.method[1:].rpartition("/")
        labels = (kind, service, name)
        self._started.labels(*labels).inc()
        loop = asyncio.get_running_loop()
        began = loop.time()

        def ended(status: Status) -> None:
            self._handled.labels(*labels, status.code.label).inc()
            _count_messages(self._received, self._sent, labels, call)
            if self._seconds is not None:
                self._seconds.labels(*labels).observe(loop.time() - began)

        return ended


def _count_messages(
    received: Counter, sent: Counter, labels: tuple[str, str, str], call: ServerCall | ClientCall
) -> None:
    if call.received.count:
        received.labels(*labels).inc(call.received.count)
    if call.sent.count:
        sent.labels(*labels).inc(call.sent.count)


def _client_labels(call: ServerCall, code: str) -> tuple[str, ...]:
    caller = call.caller
    method = METHODS.get(call.method)
    known = method is not None and method.operation is not Operation.UNKNOWN
    return (
        caller.client_name or UNKNOWN,
        call.service,
        call.name,
        caller.call_site or UNKNOWN,
        caller.auth_version or UNKNOWN,
        code,
        "none" if call.deadline is None else caller.deadline_type or UNKNOWN,
        method.operation.value if known and method else UNKNOWN,
        method.scope.value if known and method else UNKNOWN,
    )
