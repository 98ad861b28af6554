"""One log line per finished call, and the fields that other lines written during the call carry.

Source: the Praefect reference on the access log.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from praefect.observability.log import Level, get_logger, request_fields
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
_CLIENT_FIELDS = ("remote_ip", "user_id", "username")
_TOKEN_VERSION = re.compile(r"bearer (v\d+)\.[^.]+\..+", re.IGNORECASE)

_log = get_logger()


def method_filter(allow: str, deny: str) -> Callable[[str], bool]:
    """Return which methods are logged: those that match ``allow``, else those that do not match ``deny``."""
    allowed, denied = (re.compile(pattern) if pattern else None for pattern in (allow, deny))

    def is_logged(method: str) -> bool:
        if allowed is not None:
            return allowed.search(method) is not None
        return denied is None or denied.search(method) is None

    return is_logged


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
        self._components = {
            unary: f"{program}.{'Unary' if unary else 'Stream'}ServerInterceptor" for unary in (True, False)
        }
        self._kind_of = kind_of
        self._is_logged = is_logged or method_filter("", DEFAULT_DENY)

    @asynccontextmanager
    async def __call__(self, call: ServerCall) -> AsyncIterator[None]:
        """Run a call and write its line."""
        kind = self._kind_of(call.method)
        fields: dict[str, object] = {
            "component": self._components[kind == "unary"],
            "correlation_id": call.correlation_id,
            "grpc.service": call.service,
            "grpc.method": call.name,
            "grpc.request.fullMethod": call.method,
            "grpc.meta.method_type": kind,
            "grpc.start_time": _local_time(time.time()),
            "span.kind": "server",
            "system": "grpc",
            **_caller_fields(call),
        }
        began = time.perf_counter()
        with request_fields(fields):
            yield
            if self._is_logged(call.method):
                _write(call, kind, (time.perf_counter() - began) * 1000)


def from_environment(program: str, kind_of: Callable[[str], str]) -> AccessLog:
    """Make an observer that logs the methods the environment says."""
    allow = os.environ.get(ALLOW_VARIABLE, "")
    return AccessLog(
        program=program,
        kind_of=kind_of,
        is_logged=method_filter(allow, os.environ.get(DENY_VARIABLE, DEFAULT_DENY)),
    )


def _write(call: ServerCall, kind: str, milliseconds: float) -> None:
    status = call.status or OK
    level = Level.INFO if status.code in _INFO else Level.ERROR if status.code in _ERROR else Level.WARNING
    if not _log.is_enabled(level):
        return
    fields: dict[str, object] = {
        "grpc.code": status.code.label,
        "grpc.time_ms": round(milliseconds, 3),
        "grpc.request.payload_bytes": call.received_bytes,
        "grpc.response.payload_bytes": call.sent_bytes,
    }
    if not status.ok:
        fields["error"] = status.message
    shape = "unary" if kind == "unary" else "streaming"
    _log.log(level, f"finished {shape} call with code {status.code.label}", **fields)


def _caller_fields(call: ServerCall) -> dict[str, object]:
    metadata = call.metadata
    fields: dict[str, object] = {}
    for key in _CLIENT_FIELDS:
        if value := metadata.single(key):
            fields[key] = value
    client = metadata.single("x-gitlab-client-name") or metadata.single("client_name")
    if client:
        fields["grpc.meta.client_name"] = client
    if site := metadata.single("call_site"):
        fields["grpc.meta.call_site"] = site
    if match := _TOKEN_VERSION.fullmatch(metadata.first("authorization") or ""):
        fields["grpc.meta.auth_version"] = match[1]
    if call.deadline is None:
        fields["grpc.meta.deadline_type"] = "none"
    elif deadline_type := metadata.single("deadline_type"):
        fields["grpc.meta.deadline_type"] = deadline_type
    if call.deadline is not None:
        remaining = call.deadline - asyncio.get_running_loop().time()
        fields["grpc.request.deadline"] = _local_time(time.time() + remaining)
    method = METHODS.get(call.method)
    if method is not None and method.operation is not Operation.UNKNOWN:
        fields["grpc.meta.method_operation"] = method.operation.value
        fields["grpc.meta.method_scope"] = method.scope.value
    return fields


def _local_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(timespec="milliseconds")  # noqa: DTZ006 - local, as upstream
