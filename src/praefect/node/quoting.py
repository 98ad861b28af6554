"""Quoting of bytes in messages, as the protocol's clients know it from upstream (Go's ``%q``)."""

from __future__ import annotations

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}


def quote(value: bytes | str) -> str:
    """Return ``value`` in double quotes, control characters and invalid UTF-8 escaped."""
    text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
    return f'"{"".join(_escape(char) for char in text)}"'


def _escape(char: str) -> str:
    escape = _ESCAPES.get(char)
    if escape is not None:
        return escape
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if char.isprintable():
        return char
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
