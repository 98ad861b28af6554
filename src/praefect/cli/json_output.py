"""JSON as upstream's commands print it."""

from __future__ import annotations

import json

_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def dump_json(value: object, *, indent: int | None = None) -> str:
    """Write a value; characters that are dangerous in HTML are escaped, others are kept."""
    separators = (",", ":") if indent is None else None
    return json.dumps(value, ensure_ascii=False, indent=indent, separators=separators).translate(_ESCAPES)
