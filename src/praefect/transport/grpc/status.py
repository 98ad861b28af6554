"""Statuses: the codes, the table from error families to codes, and how a status travels in trailers. No I/O.

Source: gRPC over HTTP/2, "Responses" and "HTTP2 Transport Mapping"; gRPC status codes; HTTP to gRPC status mapping.
"""

from __future__ import annotations

import base64
import enum
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from google.protobuf.any_pb2 import Any as ProtoAny
from google.protobuf.message import DecodeError, Message

from praefect.domain import errors
from praefect.proto import rpc_status_pb2
from praefect.transport.grpc.metadata import MalformedMetadataError, decode_binary
from praefect.transport.http2.interface import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from praefect.transport.grpc.metadata import Metadata
    from praefect.transport.http2.interface import HeaderList, StreamClosedError


class StatusCode(enum.IntEnum):
    """The canonical codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def label(self) -> str:
        """The name as Go prints it and as metric labels carry it, for example ``NotFound``."""
        return _LABELS[self]


_LABELS = {code: "".join(part.capitalize() for part in code.name.split("_")) for code in StatusCode}
_LABELS |= {StatusCode.OK: "OK", StatusCode.CANCELLED: "Canceled"}


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ended; ``details`` keeps the order of the wire, outermost first."""

    code: StatusCode
    message: str = ""
    details: tuple[ProtoAny, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the call succeeded."""
        return self.code is StatusCode.OK

    def error(self, *, remote: bool = False) -> StatusError:
        """Return the exception that carries this status."""
        return StatusError(self.code, self.message, self.details, remote=remote)


OK = Status(StatusCode.OK)


class StatusError(errors.PraefectError):
    """An error with a code of its own, and details for the client.

    Attributes:
        code: what the client gets.
        message: what the client reads.
        details: protobuf messages for the client, outermost first.
        remote: whether it came from another process over gRPC, and was not made here.
    """

    def __init__(
        self, code: StatusCode, message: str = "", details: Iterable[Message] = (), *, remote: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(pack_detail(detail) for detail in details)
        self.remote = remote

    @property
    def status(self) -> Status:
        """The status as a value."""
        return Status(self.code, self.message, self.details)

    @property
    def chain_text(self) -> str:
        """How the error reads behind a prefix: a status from another process in the long form of Go clients."""
        return f"rpc error: code = {self.code.label} desc = {self.message}" if self.remote else self.message


FAMILIES: dict[type[errors.PraefectError], StatusCode] = {
    errors.CancelledCallError: StatusCode.CANCELLED,
    errors.InvalidArgumentError: StatusCode.INVALID_ARGUMENT,
    errors.DeadlineExceededError: StatusCode.DEADLINE_EXCEEDED,
    errors.NotFoundError: StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: StatusCode.ALREADY_EXISTS,
    errors.PermissionDeniedError: StatusCode.PERMISSION_DENIED,
    errors.ResourceExhaustedError: StatusCode.RESOURCE_EXHAUSTED,
    errors.FailedPreconditionError: StatusCode.FAILED_PRECONDITION,
    errors.AbortedError: StatusCode.ABORTED,
    errors.UnimplementedError: StatusCode.UNIMPLEMENTED,
    errors.InternalError: StatusCode.INTERNAL,
    errors.UnavailableError: StatusCode.UNAVAILABLE,
    errors.UnauthenticatedError: StatusCode.UNAUTHENTICATED,
}
"""The one table from error families to codes; an error belongs to the first family among its base classes."""


def pack_detail(detail: Message) -> ProtoAny:
    """Wrap a message as a detail; one that is wrapped already is returned as it is."""
    if isinstance(detail, ProtoAny):
        return detail
    packed = ProtoAny()
    packed.Pack(detail)
    return packed


def code_of(error: BaseException) -> StatusCode:
    """Return the code that the table gives an error; whatever is not in it is INTERNAL."""
    if isinstance(error, StatusError):
        # An upstream UNKNOWN says nothing; it is answered as every other fault without a code.
        return StatusCode.INTERNAL if error.code is StatusCode.UNKNOWN else error.code
    for base in type(error).__mro__:
        code = FAMILIES.get(base)
        if code is not None:
            return code
    return StatusCode.INTERNAL


def leading_error(error: BaseException) -> BaseException:
    """Return the one error that speaks for a group: the first that was raised on purpose, else the first."""
    while isinstance(error, BaseExceptionGroup):
        chosen = error.subgroup(errors.PraefectError)
        error = (chosen or error).exceptions[0]
    return error


def status_of(error: BaseException) -> Status:
    """Return the status that a handler's error becomes.

    An error that nobody foresaw is answered as a crash, ``panic: …``, as upstream does. Of a group of errors the
    leading one counts.
    """
    error = leading_error(error)
    if isinstance(error, StatusError):
        return Status(code_of(error), error.message, error.details)
    if isinstance(error, errors.PraefectError):
        return Status(code_of(error), str(error))
    return Status(StatusCode.INTERNAL, f"panic: {str(error) or type(error).__name__}")


def wrap(prefix: str, error: BaseException) -> StatusError:
    """Put a prefix in front of an error and keep its code and details.

    Args:
        prefix: what was being done, without a colon.
        error: a status from another process appears in its long form, as Go's wrapping shows it.
    """
    if isinstance(error, StatusError):
        return StatusError(code_of(error), f"{prefix}: {error.chain_text}", error.details)
    return StatusError(code_of(error), f"{prefix}: {error}")


# --- percent-encoding of grpc-message ---

_UNSAFE = re.compile(rb"[^ -$&-~]")  # printable ASCII except the percent sign stands for itself
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def _unicode(message: str) -> str:
    """Replace lone surrogates (bytes of paths that are no UTF-8) by U+FFFD: protobuf and the wire take Unicode only."""
    return message if message.isascii() else message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def percent_encode(message: str) -> bytes:
    """Encode a status message for ``grpc-message``; what is not Unicode becomes U+FFFD."""
    raw = _unicode(message).encode()
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], raw)


def percent_decode(value: bytes) -> str:
    """Decode ``grpc-message``; escapes that are none stay as they are, as the specification demands."""
    raw = _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), value)
    return raw.decode("utf-8", "replace")


# --- trailers ---


def encode_trailers(status: Status, metadata: Metadata | None = None) -> HeaderList:
    """Return the trailers that end a call."""
    headers: HeaderList = [("grpc-status", b"%d" % status.code)]
    if status.message:
        headers.append(("grpc-message", percent_encode(status.message)))
    if status.details:
        packed = rpc_status_pb2.Status(code=int(status.code), message=_unicode(status.message), details=status.details)
        headers.append(("grpc-status-details-bin", encode_details(packed)))
    if metadata is not None:
        headers.extend(metadata.to_headers())
    return headers


def encode_details(status: rpc_status_pb2.Status) -> bytes:
    """Return the value of ``grpc-status-details-bin``, base64 without padding."""
    return base64.b64encode(status.SerializeToString()).rstrip(b"=")


def field(headers: HeaderList, name: str) -> bytes | None:
    """Return the first value of a header field."""
    for key, value in headers:
        if key == name:
            return value
    return None


def decode_trailers(headers: HeaderList) -> Status | None:
    """Return the status in the trailers, ``None`` if they have none."""
    code_value = field(headers, "grpc-status")
    if code_value is None:
        return None
    message = percent_decode(field(headers, "grpc-message") or b"")
    try:
        code = StatusCode(int(code_value))
    except ValueError:
        # Codes outside the table count as UNKNOWN. Source: gRPC status codes, last paragraph.
        code = StatusCode.UNKNOWN
    return Status(code, message, _decode_details(field(headers, "grpc-status-details-bin"), code))


def _decode_details(value: bytes | None, code: StatusCode) -> tuple[ProtoAny, ...]:
    if not value:
        return ()
    try:
        packed = rpc_status_pb2.Status.FromString(decode_binary(value))
    except (MalformedMetadataError, DecodeError):
        return ()
    # The specification lets an implementation drop details that contradict the plain trailers.
    return tuple(packed.details) if packed.code == code else ()


_HTTP_CODES = {
    400: StatusCode.INTERNAL,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.UNIMPLEMENTED,
    429: StatusCode.UNAVAILABLE,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.UNAVAILABLE,
}


def status_from_http(http_status: int, content_type: bytes | None) -> Status:
    """Return the status of an answer that is not gRPC."""
    code = _HTTP_CODES.get(http_status, StatusCode.UNKNOWN)
    try:
        phrase = HTTPStatus(http_status).phrase
    except ValueError:
        phrase = ""
    shown = (content_type or b"").decode("ascii", "replace")
    return Status(
        code,
        f"unexpected HTTP status code received from server: {http_status} ({phrase}); "
        f'transport: received unexpected content-type "{shown}"',
    )


_RESET_REASONS = {int(code): code for code in ErrorCode}
_RESET_CODES = {
    ErrorCode.REFUSED_STREAM: StatusCode.UNAVAILABLE,
    ErrorCode.CANCEL: StatusCode.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: StatusCode.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: StatusCode.PERMISSION_DENIED,
}


_CLOSED_BY_PEER = "connection closed by peer"
"""The driver's text for an end of file; clients know it as Go's ``EOF``."""


def status_from_stream_error(error: StreamClosedError, *, connection_lost: bool = False) -> Status:
    """Return the status of a call whose stream was cut off before the trailers.

    Args:
        error: why it was.
        connection_lost: whether the whole connection is gone; its code then says why the connection ended, and not the
            call.
    """
    code = _RESET_REASONS.get(error.code) if error.code is not None else None
    if error.unprocessed and code is not ErrorCode.REFUSED_STREAM:
        return Status(StatusCode.UNAVAILABLE, "the connection is draining")
    if error.code is None or connection_lost:
        text = str(error)
        reason = "EOF" if text in {"", _CLOSED_BY_PEER} else text
        return Status(StatusCode.UNAVAILABLE, f"error reading from server: {reason}")
    if code is None:
        return Status(StatusCode.UNKNOWN, f"stream terminated by RST_STREAM with error code: {error.code}")
    return Status(
        _RESET_CODES.get(code, StatusCode.INTERNAL),
        f"stream terminated by RST_STREAM with error code: {code.name}",
    )


def first_detail(details: Sequence[ProtoAny], message: type[Message]) -> Message | None:
    """Return the first detail of this type, unpacked."""
    for detail in details:
        if detail.TypeName() == message.DESCRIPTOR.full_name:
            return message.FromString(detail.value)
    return None
