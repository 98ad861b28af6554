"""Authentication tokens, version 2: ``Bearer v2.<hex HMAC-SHA256 of the time>.<Unix seconds>``. No I/O.

``check`` is the whole decision table of the receiving side; its verdicts name what a metric and a log line need.
"""

from __future__ import annotations

import binascii
import enum
import functools
import hmac
import json
import re
from dataclasses import dataclass

from praefect.domain.errors import InvalidArgumentError, PermissionDeniedError, UnauthenticatedError

HEADER = "authorization"
VALIDITY_SECONDS = 30

_INT64_MAX = (1 << 63) - 1
_DECIMAL = re.compile(r"[+-]?[0-9]+", re.ASCII)


class EmptySecretError(InvalidArgumentError):
    """A verifier was built without a secret."""


class TokenResult(enum.StrEnum):
    """What came of looking at a token."""

    OK = "ok"
    MISSING = "authentication required"
    WRONG_VERSION = "invalid token version"
    WRONG_SIGNATURE = "wrong hmac signature"
    MALFORMED_TIMESTAMP = "cannot parse timestamp"
    EXPIRED = "token has expired"
    IN_FUTURE = "token's validity window is in future"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVerdict:
    """The result with its details; ``version`` is what the token says, empty if there is none."""

    result: TokenResult
    version: str = ""
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether the caller may go on."""
        return self.result is TokenResult.OK

    @property
    def message(self) -> str:
        """What the client reads."""
        match self.result:
            case TokenResult.OK:
                return ""
            case TokenResult.MISSING:
                return self.result.value
            case _:
                return f"permission denied: {self.result.value}{self.detail}"

    def raise_if_refused(self) -> None:
        """Turn a refusal into the error the client gets.

        Raises:
            UnauthenticatedError: there is no usable token.
            PermissionDeniedError: there is one, and it is not accepted.
        """
        match self.result:
            case TokenResult.OK:
                return
            case TokenResult.MISSING:
                raise UnauthenticatedError(self.message)
            case _:
                raise PermissionDeniedError(self.message)


_MISSING = TokenVerdict(result=TokenResult.MISSING)


@functools.lru_cache(maxsize=64)
def _sign(secret: bytes, message: bytes) -> bytes:
    """Return the signature of a text; all tokens of a second have the same."""
    return hmac.digest(secret, message, "sha256")


def make_token(secret: bytes, now: float) -> str:
    """Return the ``authorization`` value for a call made at ``now`` (Unix seconds)."""
    timestamp = str(int(now))
    signature = _sign(secret, timestamp.encode()).hex()
    return f"Bearer v2.{signature}.{timestamp}"


def _split(header: str | None) -> tuple[str, bytes, str] | None:
    """Return version, signature and signed text, ``None`` if the header has another form."""
    scheme, space, credentials = (header or "").partition(" ")
    version, dot, rest = credentials.partition(".")
    signature_hex, second_dot, message = rest.partition(".")
    if not (space and dot and second_dot) or scheme.lower() != "bearer":
        return None
    try:
        signature = binascii.unhexlify(signature_hex.encode("utf-8", "surrogateescape"))
    except binascii.Error:
        return None
    return version, signature, message


def _parse_int64(text: str) -> int | str:
    """Return the number, or the text with which Go's parser refuses it."""
    # json.dumps quotes as Go does for everything a header can carry short of control characters.
    quoted = json.dumps(text.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), ensure_ascii=False)
    if not _DECIMAL.fullmatch(text):
        return f"strconv.ParseInt: parsing {quoted}: invalid syntax"
    # Python refuses absurdly long digit strings; they are out of range anyway.
    digits = text.lstrip("+-").lstrip("0") or "0"
    number = int(f"{text[0] if text[0] in '+-' else ''}{digits}") if len(digits) <= 19 else None
    if number is None or not -_INT64_MAX - 1 <= number <= _INT64_MAX:
        return f"strconv.ParseInt: parsing {quoted}: value out of range"
    return number


def check_token(header: str | None, secret: bytes, now: float) -> TokenVerdict:
    """Judge the first ``authorization`` value of a call.

    Source: the order of the checks is upstream's: form, version, signature, number, age; both bounds are inclusive.

    Raises:
        EmptySecretError: there is no secret to check against; whoever needs none must not ask.
    """
    if not secret:
        raise EmptySecretError("secret must not be empty")
    parts = _split(header)
    if parts is None:
        return _MISSING
    version, signature, message = parts
    if version != "v2":
        return TokenVerdict(result=TokenResult.WRONG_VERSION, version=version)
    signed = message.encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(_sign(secret, signed), signature):
        return TokenVerdict(result=TokenResult.WRONG_SIGNATURE, version=version)
    timestamp = _parse_int64(message)
    if isinstance(timestamp, str):
        return TokenVerdict(result=TokenResult.MALFORMED_TIMESTAMP, version=version, detail=f": {timestamp}")
    return TokenVerdict(result=_judge_age(timestamp, now), version=version)


def _judge_age(timestamp: int, now: float) -> TokenResult:
    if timestamp < now - VALIDITY_SECONDS:
        return TokenResult.EXPIRED
    if timestamp > now + VALIDITY_SECONDS:
        return TokenResult.IN_FUTURE
    return TokenResult.OK
