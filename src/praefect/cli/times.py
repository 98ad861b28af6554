"""Times as upstream's commands print them."""

from __future__ import annotations

from datetime import UTC, datetime


def format_utc(seconds: int, nanoseconds: int) -> str:
    """Write a moment in the form ``2026-02-24 03:04:05.123456 +0000 UTC``."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}{_fraction(nanoseconds)} +0000 UTC"


def format_zoned(moment: datetime) -> str:
    """Write a moment with its own offset; the zone's name only if this process lives by the same offset."""
    local = moment.astimezone()
    offset = moment.strftime("%z")
    zone = local.tzname() if local.utcoffset() == moment.utcoffset() else offset
    return f"{moment:%Y-%m-%d %H:%M:%S}{_fraction(moment.microsecond * 1000)} {offset} {zone}"


def _fraction(nanoseconds: int) -> str:
    return f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
