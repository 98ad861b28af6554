"""How values look in log lines and metrics: as a Go program prints them, because readers compare by text.

Source: the Praefect reference on the log format; https://pkg.go.dev/fmt and https://pkg.go.dev/strconv on numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any

_ESCAPES = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    '"': r"\"",
    "\\": r"\\",
}
_WORDS = {None: "<nil>", True: "true", False: "false"}


def plain(value: object) -> object:
    """Reduce a value to what JSON knows: text, numbers, truth, nothing, lists and string-keyed mappings.

    An error becomes its text, a duration Go's notation, a record the mapping of its fields, anything else its ``str``.
    """
    if type(value) in {str, int}:  # nearly all are
        return value
    for kind, reduce in _PLAIN:
        if isinstance(value, kind):
            return reduce(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return str(value)


def format_value(value: object) -> str:
    """Write a value that went through ``plain`` as ``%v`` does."""
    match value:
        case str() | int() if not isinstance(value, bool):
            return str(value)
        case Mapping():
            return "map[" + " ".join(f"{key}:{format_value(value[key])}" for key in sorted(value)) + "]"
        case list():
            return "[" + " ".join(map(format_value, value)) + "]"
        case float():
            return format_float(value)
        case None | bool():
            return _WORDS[value]
    return str(value)


def format_float(value: float) -> str:
    """Write a number with the fewest digits that name it: ``1``, ``0.005``, ``1.048576e+06``, ``+Inf``."""
    if -1e6 < value < 1e6 and value == int(value):
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    number = Decimal(repr(value)).normalize()
    if -4 <= number.adjusted() <= 5:
        return format(number, "f")
    mantissa, _, exponent = format(number, "e").partition("e")
    return f"{mantissa}e{int(exponent):+03d}"


def format_duration(value: timedelta) -> str:
    """Write a duration as Go does: ``168h0m0s``, ``1m30s``, ``1.5s``, ``10ms``, ``0s``."""
    microseconds = value // timedelta(microseconds=1)
    sign, microseconds = ("-", -microseconds) if microseconds < 0 else ("", microseconds)
    if microseconds == 0:
        return "0s"
    if microseconds < 1_000:
        return f"{sign}{microseconds}µs"
    if microseconds < 1_000_000:
        return f"{sign}{_fraction(microseconds, 1_000)}ms"
    minutes, rest = divmod(microseconds, 60_000_000)
    seconds = f"{_fraction(rest, 1_000_000)}s"
    if minutes == 0:
        return sign + seconds
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}h{minutes}m{seconds}" if hours else f"{sign}{minutes}m{seconds}"


def _fraction(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    return f"{whole}.{rest:0{len(str(unit)) - 1}d}".rstrip("0").rstrip(".") if rest else str(whole)


def format_time(seconds: float) -> str:
    """Write seconds since the epoch as ``2026-02-24T03:04:05.123Z``."""
    milliseconds = int(seconds * 1000)
    return f"{_whole_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=1)
def _whole_second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def quote(text: str) -> str:
    """Put text in double quotes, escaping what does not print."""
    return '"' + "".join([_escape(character) for character in text]) + '"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_PLAIN: tuple[tuple[type | tuple[type, ...], Callable[[Any], object]], ...] = (
    (Enum, lambda value: plain(value.value)),
    (str, str),
    ((bool, int, float, type(None)), lambda value: value),
    (bytes, lambda value: value.decode(errors="replace")),
    (timedelta, format_duration),
    (datetime, lambda value: value.isoformat().replace("+00:00", "Z")),
    (Mapping, lambda value: {str(plain(key)): plain(entry) for key, entry in value.items()}),
    ((list, tuple), lambda value: [plain(entry) for entry in value]),
    ((set, frozenset), lambda value: sorted((plain(entry) for entry in value), key=str)),
)
