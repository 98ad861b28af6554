"""Log lines as upstream's programs write them: JSON, text, and text for a terminal.

Source: the Praefect reference on the log format.
"""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING

from praefect.observability.values import format_time, format_value, plain, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Fields = Mapping[str, object]
    Renderer = Callable[[float, str, str, Fields], str]

_RESERVED = ("time", "level", "msg")
_HTML = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"})
_MARKUP = "<>&\u2028\u2029"
_UNQUOTED = re.compile(r"[A-Za-z0-9\-._/@^+]*").fullmatch
_COLOURS = {"debug": 37, "trace": 37, "warning": 33, "error": 31, "fatal": 31, "panic": 31}
_BLUE = 36

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=plain).encode


def render_json(seconds: float, level: str, message: str, fields: Fields) -> str:
    """Write a line as one JSON object with sorted keys."""
    line = _renamed(fields)
    line["time"] = format_time(seconds)
    line["level"] = level
    line["msg"] = message
    try:
        text = _encode(line)
    except (TypeError, ValueError):  # keys that do not sort, cycles
        text = _encode({key: format_value(plain(value)) for key, value in line.items()})
    return text.translate(_HTML) if any([mark in text for mark in _MARKUP]) else text  # noqa: C419 - a list is faster


def render_text(seconds: float, level: str, message: str, fields: Fields) -> str:
    """Write a line as pairs: time, level and message first, then the fields, sorted."""
    line = _renamed(fields)
    pairs = [f"time={quote(format_time(seconds))} level={level} msg={_quoted(message)}"]
    pairs += [f"{key}={_quoted(_text(line[key]))}" for key in sorted(line)]
    return " ".join(pairs)


def terminal_renderer(start: float | None = None) -> Renderer:
    """Return a renderer for people: colours, and seconds since ``start`` instead of the time."""
    begin = time.time() if start is None else start

    def render(seconds: float, level: str, message: str, fields: Fields) -> str:
        colour = f"\x1b[{_COLOURS.get(level, _BLUE)}m"
        line = _renamed(fields)
        pairs = [f"{colour}{key}\x1b[0m={_quoted(_text(line[key]))}" for key in sorted(line)]
        return f"{colour}{level.upper()[:4]}\x1b[0m[{int(seconds - begin):04d}] {message:<44} {' '.join(pairs)}"

    return render


def _renamed(fields: Fields) -> dict[str, object]:
    line = dict(fields)
    for key in _RESERVED:
        if key in line:
            line[f"fields.{key}"] = line.pop(key)
    return line


def _text(value: object) -> str:
    return value if type(value) is str else format_value(plain(value))


def _quoted(text: str) -> str:
    return text if _UNQUOTED(text) else quote(text)
