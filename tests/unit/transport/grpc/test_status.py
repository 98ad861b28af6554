import base64

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from praefect.domain import errors
from praefect.proto import errors_pb2
from praefect.transport.grpc.metadata import Metadata
from praefect.transport.grpc.status import (
    FAMILIES,
    Status,
    StatusCode,
    StatusError,
    code_of,
    decode_trailers,
    encode_trailers,
    first_detail,
    percent_decode,
    percent_encode,
    status_from_http,
    status_from_stream_error,
    status_of,
    wrap,
)
from praefect.transport.http2.interface import ConnectionUnavailableError, ErrorCode, StreamClosedError

LIMIT_ERROR_DETAILS = (
    b"CAgSGm1heGltdW0gcXVldWUgc2l6ZSByZWFjaGVkGkcKJXR5cGUuZ29vZ2xlYXBpcy5jb20vZ2l0YWx5LkxpbWl0RXJyb3ISHgoabWF4aW11"
    b"bSBxdWV1ZSBzaXplIHJlYWNoZWQSAA"
)


class LostRepositoryError(errors.NotFoundError):
    pass


# --- errors to statuses ---


def test_every_family_has_a_code_of_its_own() -> None:
    families = {cls for cls in vars(errors).values() if isinstance(cls, type) and cls.__base__ is errors.PraefectError}
    assert set(FAMILIES) == families
    assert len(set(FAMILIES.values())) == len(FAMILIES)


def test_a_specific_error_has_the_code_of_its_family() -> None:
    assert status_of(LostRepositoryError("repository not found")) == Status(
        StatusCode.NOT_FOUND, "repository not found"
    )


def test_an_error_without_family_is_internal() -> None:
    assert status_of(errors.PraefectError("odd")) == Status(StatusCode.INTERNAL, "odd")


def test_an_upstream_unknown_becomes_internal() -> None:
    assert status_of(StatusError(StatusCode.UNKNOWN, "what", remote=True)) == Status(StatusCode.INTERNAL, "what")


@pytest.mark.parametrize(
    ("error", "message"), [(KeyError("x"), "panic: 'x'"), (AssertionError(), "panic: AssertionError")]
)
def test_an_unforeseen_error_is_answered_as_a_panic(error: Exception, message: str) -> None:
    assert status_of(error) == Status(StatusCode.INTERNAL, message)


def test_of_a_group_the_error_raised_on_purpose_counts() -> None:
    group = ExceptionGroup("g", [KeyError("x"), ExceptionGroup("h", [LostRepositoryError("gone")])])
    assert status_of(group) == Status(StatusCode.NOT_FOUND, "gone")
    assert status_of(ExceptionGroup("g", [KeyError("x")])).message == "panic: 'x'"


def test_a_prefix_keeps_code_and_details_and_shows_a_remote_status_in_long_form() -> None:
    detail = errors_pb2.LimitError(error_message="m")
    remote = StatusError(StatusCode.NOT_FOUND, "no such", [detail], remote=True)
    wrapped = wrap("get object pool", remote)
    assert wrapped.status.message == "get object pool: rpc error: code = NotFound desc = no such"
    assert code_of(wrapped) is StatusCode.NOT_FOUND
    assert wrapped.details == remote.details
    assert wrap("a", wrap("b", LostRepositoryError("c"))).message == "a: b: c"


def test_codes_are_printed_as_go_does() -> None:
    assert [code.label for code in (StatusCode.OK, StatusCode.CANCELLED, StatusCode.DEADLINE_EXCEEDED)] == [
        "OK",
        "Canceled",
        "DeadlineExceeded",
    ]


# --- percent-encoding ---


@pytest.mark.parametrize(
    ("message", "encoded"),
    [
        ("plain text, with: punctuation!", b"plain text, with: punctuation!"),
        ("100%", b"100%25"),
        ("a\nb\t", b"a%0Ab%09"),
        ("Grüße", b"Gr%C3%BC%C3%9Fe"),
        ("~", b"~"),
        ("\x7f", b"%7F"),
        ("bytes \udcff", b"bytes %EF%BF%BD"),
    ],
)
def test_percent_encoding_of_known_texts(message: str, encoded: bytes) -> None:
    assert percent_encode(message) == encoded


@given(st.text())
def test_messages_survive_percent_encoding(message: str) -> None:
    encoded = percent_encode(message)
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert percent_decode(encoded) == message


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_to_some_text(value: bytes) -> None:
    percent_decode(value).encode()


@pytest.mark.parametrize("value", [b"50% off", b"%", b"%4", b"%zz"])
def test_what_is_no_escape_stays_as_it_is(value: bytes) -> None:
    assert percent_decode(value) == value.decode()


# --- trailers ---


def test_details_golden_vector() -> None:
    detail = errors_pb2.LimitError(error_message="maximum queue size reached", retry_after=Duration())
    status = StatusError(StatusCode.RESOURCE_EXHAUSTED, "maximum queue size reached", [detail]).status
    trailers = encode_trailers(status)
    assert trailers == [
        ("grpc-status", b"8"),
        ("grpc-message", b"maximum queue size reached"),
        ("grpc-status-details-bin", LIMIT_ERROR_DETAILS),
    ]
    decoded = decode_trailers(trailers)
    assert decoded == status
    assert decoded is not None
    assert first_detail(decoded.details, errors_pb2.LimitError) == detail
    assert first_detail(decoded.details, errors_pb2.PathError) is None


statuses = st.builds(
    Status,
    st.sampled_from(StatusCode),
    st.text(max_size=30),
    st.lists(st.builds(Any, type_url=st.text(max_size=8), value=st.binary(max_size=20)), max_size=3).map(tuple),
)


@given(statuses)
def test_statuses_survive_the_trailers(status: Status) -> None:
    trailers = encode_trailers(status, Metadata([("x-gitaly-cost", "2")]))
    assert decode_trailers(trailers) == status
    assert list(Metadata.from_headers(trailers)) == [("x-gitaly-cost", "2")]


def test_trailers_without_a_status_have_none() -> None:
    assert decode_trailers([("x", b"y")]) is None


@pytest.mark.parametrize("value", [b"17", b"-1", b"abc", b""])
def test_codes_outside_the_table_are_unknown(value: bytes) -> None:
    assert decode_trailers([("grpc-status", value)]) == Status(StatusCode.UNKNOWN)


@pytest.mark.parametrize("details", [b"**", base64.b64encode(b"\xff\xff"), LIMIT_ERROR_DETAILS])
def test_details_that_are_broken_or_contradict_the_code_are_dropped(details: bytes) -> None:
    trailers = [("grpc-status", b"5"), ("grpc-message", b"m"), ("grpc-status-details-bin", details)]
    assert decode_trailers(trailers) == Status(StatusCode.NOT_FOUND, "m")


def test_a_message_that_is_no_unicode_can_carry_details() -> None:
    status = StatusError(StatusCode.INTERNAL, "path \udcff", [errors_pb2.LimitError()]).status
    decoded = decode_trailers(encode_trailers(status))
    assert decoded is not None
    assert decoded.message == "path �"


# --- answers that are not gRPC, streams that broke ---


@pytest.mark.parametrize(
    ("http_status", "code"),
    [
        (400, StatusCode.INTERNAL),
        (401, StatusCode.UNAUTHENTICATED),
        (403, StatusCode.PERMISSION_DENIED),
        (404, StatusCode.UNIMPLEMENTED),
        (429, StatusCode.UNAVAILABLE),
        (502, StatusCode.UNAVAILABLE),
        (503, StatusCode.UNAVAILABLE),
        (504, StatusCode.UNAVAILABLE),
        (500, StatusCode.UNKNOWN),
        (200, StatusCode.UNKNOWN),
        (999, StatusCode.UNKNOWN),
    ],
)
def test_http_statuses(http_status: int, code: StatusCode) -> None:
    status = status_from_http(http_status, b"text/html")
    assert status.code is code
    assert str(http_status) in status.message
    assert '"text/html"' in status.message


@pytest.mark.parametrize(
    ("error_code", "code"),
    [
        (ErrorCode.NO_ERROR, StatusCode.INTERNAL),
        (ErrorCode.PROTOCOL_ERROR, StatusCode.INTERNAL),
        (ErrorCode.INTERNAL_ERROR, StatusCode.INTERNAL),
        (ErrorCode.FLOW_CONTROL_ERROR, StatusCode.INTERNAL),
        (ErrorCode.REFUSED_STREAM, StatusCode.UNAVAILABLE),
        (ErrorCode.CANCEL, StatusCode.CANCELLED),
        (ErrorCode.ENHANCE_YOUR_CALM, StatusCode.RESOURCE_EXHAUSTED),
        (ErrorCode.INADEQUATE_SECURITY, StatusCode.PERMISSION_DENIED),
        (99, StatusCode.UNKNOWN),
    ],
)
def test_reset_codes(error_code: int, code: StatusCode) -> None:
    status = status_from_stream_error(StreamClosedError("reset", code=error_code))
    assert status.code is code
    assert status.message.startswith("stream terminated by RST_STREAM with error code: ")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (StreamClosedError(""), "error reading from server: EOF"),
        (StreamClosedError("connection closed by peer"), "error reading from server: EOF"),
        (StreamClosedError("connection lost: reset"), "error reading from server: connection lost: reset"),
        (StreamClosedError("GOAWAY", code=0, unprocessed=True), "the connection is draining"),
        (ConnectionUnavailableError("closing", unprocessed=True), "the connection is draining"),
        (
            StreamClosedError("refused", code=ErrorCode.REFUSED_STREAM, unprocessed=True),
            "stream terminated by RST_STREAM with error code: REFUSED_STREAM",
        ),
    ],
)
def test_a_broken_or_leaving_connection_is_unavailable(error: StreamClosedError, message: str) -> None:
    assert status_from_stream_error(error) == Status(StatusCode.UNAVAILABLE, message)


def test_the_code_of_a_lost_connection_is_not_the_calls() -> None:
    error = StreamClosedError("connection closed by peer: GOAWAY ENHANCE_YOUR_CALM", code=ErrorCode.ENHANCE_YOUR_CALM)
    assert status_from_stream_error(error, connection_lost=True) == Status(
        StatusCode.UNAVAILABLE, "error reading from server: connection closed by peer: GOAWAY ENHANCE_YOUR_CALM"
    )
