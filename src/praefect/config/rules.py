"""What both validators of Praefect's file share: the generic messages, and how numbers are written in them."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from praefect.config.duration import format_duration
from praefect.config.faults import Fault
from praefect.config.quoting import quote

NOT_SET: Final = "not set"
BLANK: Final = "blank or empty"
ZERO: Final = timedelta(0)


def at_least(path: tuple[str, ...], value: Any, least: Any) -> list[Fault]:
    """A fault if a number or duration is below a bound."""
    if value >= least:
        return []
    return [Fault(path, f"not in range: {_write(value)} is not greater than or equal to {_write(least)}")]


def not_blank(path: tuple[str, ...], value: str) -> list[Fault]:
    """A fault if a text holds nothing but white space."""
    return [] if value.strip() else [Fault(path, BLANK)]


def is_file(path: tuple[str, ...], name: str) -> list[Fault]:
    """A fault if there is no such file."""
    place = Path(name)
    if not name or not place.exists():
        return [Fault(path, f"doesn't exist: {quote(name)}")]
    return [] if place.is_file() else [Fault(path, f"not a file: {quote(name)}")]


def is_directory(path: tuple[str, ...], name: str) -> list[Fault]:
    """A fault if there is no such directory."""
    place = Path(name)
    if not name or not place.exists():
        return [Fault(path, f"doesn't exist: {quote(name)}")]
    return [] if place.is_dir() else [Fault(path, f"not a dir: {quote(name)}")]


def below(prefix: tuple[str, ...], faults: list[Fault]) -> list[Fault]:
    """The same faults, seen from further up."""
    return [Fault((*prefix, *fault.path), fault.message) for fault in faults]


def write_float(value: float) -> str:
    """Write a number as upstream does: no fraction where there is none."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)


def _write(value: Any) -> str:
    return format_duration(value) if isinstance(value, timedelta) else str(value)
