"""Values of flags, read as Go reads them, with Go's words for what cannot be read.

Source: Go's ``strconv`` (``ParseInt`` and ``ParseUint`` with base 0, ``ParseBool``) and ``time.ParseDuration``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from praefect.config.duration import InvalidDurationError, parse_duration
from praefect.config.quoting import quote

if TYPE_CHECKING:
    from praefect.config.duration import Duration

_LITERAL = re.compile(
    r"0[xX](?P<hex>(?:_?[0-9a-fA-F])+)|0[bB](?P<bin>(?:_?[01])+)|0[oO]?(?P<oct>(?:_?[0-7])+)|(?P<dec>0|[1-9](?:_?[0-9])*)"
)
_BASES = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}
_BOOLS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}
_FORMATS = ("text", "json")


class ValueSyntaxError(ValueError):
    """The text is no value of that kind."""


def parse_int(text: str) -> int:
    """Read a signed 64-bit integer literal."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    value = _magnitude(digits, "ParseInt", text)
    if text.startswith("-"):
        value = -value
    if not -(2**63) <= value < 2**63:
        raise _fault("ParseInt", text, "value out of range")
    return value


def parse_uint(text: str) -> int:
    """Read an unsigned 64-bit integer literal; a sign is none of it."""
    value = _magnitude(text, "ParseUint", text)
    if value >= 2**64:
        raise _fault("ParseUint", text, "value out of range")
    return value


def parse_decimal(text: str) -> int:
    """Read a decimal integer as ``strconv.Atoi`` does."""
    if not re.fullmatch(r"[+-]?[0-9]+", text, re.ASCII):
        raise _fault("Atoi", text, "invalid syntax")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise _fault("Atoi", text, "value out of range")
    return value


def parse_bool(text: str) -> bool:
    """Read a bool."""
    if text not in _BOOLS:
        raise ValueSyntaxError("parse error")
    return _BOOLS[text]


def parse_format(text: str) -> str:
    """Read the name of an output format."""
    if text not in _FORMATS:
        raise ValueSyntaxError(f"must be {' or '.join(_FORMATS)}")
    return text


def parse_duration_value(text: str) -> Duration:
    """Read a duration."""
    try:
        return parse_duration(text)
    except InvalidDurationError as exc:
        raise ValueSyntaxError(str(exc)) from exc


def _magnitude(digits: str, function: str, text: str) -> int:
    match = _LITERAL.fullmatch(digits)
    if match is None or match.lastgroup is None:
        raise _fault(function, text, "invalid syntax")
    return int(match[match.lastgroup].replace("_", ""), _BASES[match.lastgroup])


def _fault(function: str, text: str, reason: str) -> ValueSyntaxError:
    return ValueSyntaxError(f"strconv.{function}: parsing {quote(text)}: {reason}")
