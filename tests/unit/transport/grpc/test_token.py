import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from praefect.domain.errors import PermissionDeniedError, UnauthenticatedError
from praefect.transport.grpc.token import EmptySecretError, TokenResult, check_token, make_token

SECRET = b"correct horse"
NOW = 1767225600


def signed(message: str, secret: bytes = SECRET, version: str = "v2", scheme: str = "Bearer ") -> str:
    signature = hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()
    return f"{scheme}{version}.{signature}.{message}"


@pytest.mark.parametrize(
    ("secret", "value"),
    [
        (
            b"correct horse",
            "Bearer v2.17a376995a9324c061bebbb51face30783ae2324d184deb8b80ffcbc76e8c2f0.1767225600",
        ),
        (b"", "Bearer v2.28328b2246f17469c62c00d42f6e7eeb925587f347b4fe2e6470290c1c8a8409.1767225600"),
    ],
)
def test_golden_vectors(secret: bytes, value: str) -> None:
    assert make_token(secret, NOW + 0.75) == value


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic v2.00.1",
        "v2.00.1",
        "Bearer v2",
        "Bearer v2.00",
        "Bearer v2.0g.1",
        "Bearer v2.000.1",
        "Bearer v2.ü.1",
        signed(str(NOW), scheme="Bearer"),
    ],
)
def test_without_a_usable_token_the_caller_is_unauthenticated(header: str | None) -> None:
    verdict = check_token(header, SECRET, NOW)
    assert verdict.result is TokenResult.MISSING
    with pytest.raises(UnauthenticatedError) as caught:
        verdict.raise_if_refused()
    assert str(caught.value) == "authentication required"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (signed(str(NOW), version="v1"), "permission denied: invalid token version"),
        (signed(str(NOW), version=""), "permission denied: invalid token version"),
        (signed(str(NOW), scheme="Bearer  "), "permission denied: invalid token version"),
        (signed(str(NOW), secret=b"wrong"), "permission denied: wrong hmac signature"),
        (signed("abc", secret=b"wrong"), "permission denied: wrong hmac signature"),
        ("Bearer v2..1767225600", "permission denied: wrong hmac signature"),
        (
            signed("abc"),
            'permission denied: cannot parse timestamp: strconv.ParseInt: parsing "abc": invalid syntax',
        ),
        (signed(""), 'permission denied: cannot parse timestamp: strconv.ParseInt: parsing "": invalid syntax'),
        (signed("1_0"), 'permission denied: cannot parse timestamp: strconv.ParseInt: parsing "1_0": invalid syntax'),
        (signed("1.5"), 'permission denied: cannot parse timestamp: strconv.ParseInt: parsing "1.5": invalid syntax'),
        (signed("٣"), 'permission denied: cannot parse timestamp: strconv.ParseInt: parsing "٣": invalid syntax'),
        (
            signed("9223372036854775808"),
            (
                'permission denied: cannot parse timestamp: strconv.ParseInt: parsing "9223372036854775808": '
                "value out of range"
            ),
        ),
        (
            signed("1" * 5000),
            f'permission denied: cannot parse timestamp: strconv.ParseInt: parsing "{"1" * 5000}": value out of range',
        ),
        (signed("9223372036854775807"), "permission denied: token's validity window is in future"),
        (signed("-9223372036854775808"), "permission denied: token has expired"),
        (signed(str(NOW - 31)), "permission denied: token has expired"),
        (signed(str(NOW + 31)), "permission denied: token's validity window is in future"),
    ],
)
def test_refusals_in_order(header: str, message: str) -> None:
    verdict = check_token(header, SECRET, NOW)
    assert not verdict.ok
    with pytest.raises(PermissionDeniedError) as caught:
        verdict.raise_if_refused()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "header",
    [
        signed(str(NOW)),
        signed(str(NOW), scheme="bEaReR "),
        signed(str(NOW - 30)),
        signed(str(NOW + 30)),
        signed(f"+{NOW}"),
        signed("0" * 5000 + str(NOW)),
        signed(str(NOW)).replace("a", "A"),
    ],
)
def test_accepted(header: str) -> None:
    verdict = check_token(header, SECRET, NOW)
    assert verdict.ok
    verdict.raise_if_refused()


@given(st.binary(min_size=1, max_size=64), st.integers(min_value=0, max_value=1 << 40), st.integers(-30, 30))
def test_a_token_is_accepted_by_whoever_knows_the_secret_within_its_time(secret: bytes, made: int, skew: int) -> None:
    assert check_token(make_token(secret, made), secret, made + skew).ok
    assert not check_token(make_token(secret, made), secret + b"!", made + skew).ok
    assert not check_token(make_token(secret, made), secret, made + (31 if skew >= 0 else -31)).ok


@given(st.text(max_size=80))
def test_any_header_gets_a_verdict(header: str) -> None:
    assert not check_token(header, SECRET, NOW).ok


def test_an_empty_secret_verifies_nothing() -> None:
    with pytest.raises(EmptySecretError, match="secret must not be empty"):
        check_token(make_token(b"", NOW), b"", NOW)
