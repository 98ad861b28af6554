"""Durations as configuration files, flags and reports spell them: Go's syntax (``1h30m``, ``500ms``, ``-1ns``).

Source: the text forms of Go's ``time.Duration``.
"""

import re
from datetime import timedelta
from fractions import Fraction
from typing import Final

from praefect.config.quoting import quote

NANOSECONDS_PER_UNIT: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5
    "μs": 10**3,  # U+03BC
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_MOST_NANOSECONDS: Final = 2**63 - 1
_NUMBER = re.compile(r"[0-9]*(?:\.[0-9]*)?")
_UNIT = re.compile(r"[^.0-9]*")


class InvalidDurationError(ValueError):
    """The text is not a duration; the message is the one Go gives."""


class Duration(timedelta):
    """A time span that remembers its nanoseconds, which ``timedelta`` rounds away; otherwise a plain ``timedelta``."""

    nanoseconds: int

    @classmethod
    def from_nanoseconds(cls, nanoseconds: int) -> "Duration":
        """Make a duration; a span shorter than a microsecond keeps its sign and does not become zero."""
        microseconds = -(-nanoseconds // 1000) if nanoseconds > 0 else nanoseconds // 1000
        duration = cls(microseconds=microseconds)
        duration.nanoseconds = nanoseconds
        return duration


def parse_duration(text: str) -> Duration:
    """Read a duration in Go's syntax; a bare ``0`` needs no unit.

    Raises:
        InvalidDurationError: the text is none.
    """
    rest = text
    negative = rest.startswith("-")
    if rest[:1] in ("-", "+"):
        rest = rest[1:]
    if rest == "0":
        return Duration.from_nanoseconds(0)
    if not rest:
        raise InvalidDurationError(f"time: invalid duration {quote(text)}")
    total = Fraction(0)
    while rest:
        number = _leading(_NUMBER, rest)
        if number in ("", "."):
            raise InvalidDurationError(f"time: invalid duration {quote(text)}")
        rest = rest[len(number) :]
        unit = _leading(_UNIT, rest)
        if not unit:
            raise InvalidDurationError(f"time: missing unit in duration {quote(text)}")
        if unit not in NANOSECONDS_PER_UNIT:
            raise InvalidDurationError(f"time: unknown unit {quote(unit)} in duration {quote(text)}")
        rest = rest[len(unit) :]
        whole, _, part = number.partition(".")
        total += Fraction(f"{whole or 0}.{part or 0}") * NANOSECONDS_PER_UNIT[unit]
    nanoseconds = int(total)
    if nanoseconds > _MOST_NANOSECONDS + negative:
        raise InvalidDurationError(f"time: invalid duration {quote(text)}")
    return Duration.from_nanoseconds(-nanoseconds if negative else nanoseconds)


def _leading(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.match(text)
    return match.group() if match else ""


def format_duration(duration: timedelta) -> str:
    """Write a duration in Go's form: ``1m0s``, ``168h0m0s``, ``12.345678ms``, ``0s``."""
    nanoseconds = getattr(duration, "nanoseconds", None)
    if nanoseconds is None:
        nanoseconds = duration // timedelta(microseconds=1) * 1000
    sign = "-" if nanoseconds < 0 else ""
    nanoseconds = abs(nanoseconds)
    if nanoseconds == 0:
        return "0s"
    for unit in ("ns", "µs", "ms"):
        size = NANOSECONDS_PER_UNIT[unit]
        if nanoseconds < size * 1000:
            return f"{sign}{_decimal(nanoseconds, size)}{unit}"
    minutes, nanoseconds = divmod(nanoseconds, NANOSECONDS_PER_UNIT["m"])
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(nanoseconds, NANOSECONDS_PER_UNIT['s'])}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else f"{sign}{seconds}"


def _decimal(value: int, size: int) -> str:
    whole, part = divmod(value, size)
    digits = f"{part:0{len(str(size)) - 1}d}".rstrip("0") if size > 1 else ""
    return f"{whole}.{digits}" if digits else str(whole)
