"""One log line per finished call, and the fields that other lines written during the call carry.

Source: the Praefect reference on the access log.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from praefect.observability.log import Level, get_logger, start_request
from praefect.transport.grpc.server_call import ServerCall
from praefect.transport.grpc.status import OK, StatusCode
from praefect.transport.methods import METHODS, Operation

ALLOW_VARIABLE: Final = "GITALY_LOG_REQUEST_METHOD_ALLOW_PATTERN"
DENY_VARIABLE: Final = "GITALY_LOG_REQUEST_METHOD_DENY_PATTERN"
DEFAULT_DENY: Final = "^/grpc.health.v1.Health/Check$"

_INFO = frozenset(
    {
        StatusCode.OK,
        StatusCode.CANCELLED,
        StatusCode.INVALID_ARGUMENT,
        StatusCode.NOT_FOUND,
        StatusCode.ALREADY_EXISTS,
        StatusCode.UNAUTHENTICATED,
    }
)
_ERROR = frozenset({StatusCode.UNKNOWN, StatusCode.UNIMPLEMENTED, StatusCode.INTERNAL, StatusCode.DATA_LOSS})

_log = get_logger()


def method_filter(allow: str, deny: str) -> Callable[[str], bool]:
    """Return which methods are logged: those that match ``allow``, else those that do not match ``deny``."""
    allowed, denied = (re.compile(pattern) if pattern else None for pattern in (allow, deny))

    def is_logged(method: str) -> bool:
        if allowed is not None:
            return allowed.search(method) is not None
        return denied is None or denied.search(method) is None

    return is_logged


@dataclass(frozen=True, slots=True)
class _Method:
    """What the lines of all calls of a method have in common."""

    shape: str
    is_logged: bool
    fields: dict[str, object]


class AccessLog:
    """An observer of calls, for ``Server``."""

    def __init__(
        self,
        *,
        program: str,
        kind_of: Callable[[str], str],
        is_logged: Callable[[str], bool] | None = None,
    ) -> None:
        """Make an observer.

        Args:
            program: in front of the component's name, ``praefect`` or ``gitaly``.
            kind_of: the type of a method as it is served here (``unary``, ``bidi_stream``, …).
            is_logged: whether a method's calls get a line.
        """
        self._program = program
        self._kind_of = kind_of
        self._methods: dict[str, _Method] = {}
        self._is_logged = is_logged or method_filter("", DEFAULT_DENY)

    def __call__(self, call: ServerCall) -> Callable[[], None]:
        """Name the call in lines to come; return what writes its own."""
        method = self._methods.get(call.method)
        if method is None:
            method = self._describe(call)
        fields = method.fields.copy()
        fields["correlation_id"] = call.correlation_id
        fields["grpc.start_time"] = _local_time(time.time())
        _add_caller(fields, call)
        start_request(fields)
        began = time.perf_counter()

        def ended() -> None:
            if method.is_logged:
                _write(call, method.shape, (time.perf_counter() - began) * 1000)

        return ended

    def _describe(self, call: ServerCall) -> _Method:
        kind = self._kind_of(call.method)
        is_unary = kind == "unary"
        fields: dict[str, object] = {
            "component": f"{self._program}.{'Unary' if is_unary else 'Stream'}ServerInterceptor",
            "grpc.service": call.service,
            "grpc.method": call.name,
            "grpc.request.fullMethod": call.method,
            "grpc.meta.method_type": kind,
            "span.kind": "server",
            "system": "grpc",
        }
        known = METHODS.get(call.method)
        if known is not None and known.operation is not Operation.UNKNOWN:
            fields["grpc.meta.method_operation"] = known.operation.value
            fields["grpc.meta.method_scope"] = known.scope.value
        method = _Method("unary" if is_unary else "streaming", self._is_logged(call.method), fields)
        if known is not None:  # clients choose the names of others, so those are not kept
            self._methods[call.method] = method
        return method


def from_environment(program: str, kind_of: Callable[[str], str]) -> AccessLog:
    """Make an observer that logs the methods the environment says."""
    allow = os.environ.get(ALLOW_VARIABLE, "")
    return AccessLog(
        program=program,
        kind_of=kind_of,
        is_logged=method_filter(allow, os.environ.get(DENY_VARIABLE, DEFAULT_DENY)),
    )


def _write(call: ServerCall, shape: str, milliseconds: float) -> None:
    status = call.status or OK
    level = Level.INFO if status.code in _INFO else Level.ERROR if status.code in _ERROR else Level.WARNING
    if not _log.is_enabled(level):
        return
    label = status.code.label
    fields: dict[str, object] = {
        "grpc.code": label,
        "grpc.time_ms": round(milliseconds, 3),
        "grpc.request.payload_bytes": call.received_bytes,
        "grpc.response.payload_bytes": call.sent_bytes,
    }
    if not status.ok:
        fields["error"] = status.message
    _log.log(level, f"finished {shape} call with code {label}", **fields)


def _add_caller(fields: dict[str, object], call: ServerCall) -> None:
    caller = call.caller
    if caller.remote_ip:
        fields["remote_ip"] = caller.remote_ip
    if caller.user_id:
        fields["user_id"] = caller.user_id
    if caller.username:
        fields["username"] = caller.username
    if caller.client_name:
        fields["grpc.meta.client_name"] = caller.client_name
    if caller.call_site:
        fields["grpc.meta.call_site"] = caller.call_site
    if caller.auth_version:
        fields["grpc.meta.auth_version"] = caller.auth_version
    if call.deadline is None:
        fields["grpc.meta.deadline_type"] = "none"
        return
    if caller.deadline_type:
        fields["grpc.meta.deadline_type"] = caller.deadline_type
    remaining = call.deadline - asyncio.get_running_loop().time()
    fields["grpc.request.deadline"] = _local_time(time.time() + remaining)


def _local_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(timespec="milliseconds")  # noqa: DTZ006 - local, as upstream
