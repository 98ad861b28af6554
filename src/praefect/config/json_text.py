"""JSON text in, plain values out, with Go's words for what is wrong with the text.

Source: messages of Go's ``encoding/json``, which operators of upstream know.
"""

import json
from typing import Any, Final

from praefect.domain.errors import InvalidArgumentError

_SPACE: Final = " \t\r\n"
_LITERALS: Final = ("true", "false", "null")
_END: Final = "unexpected end of JSON input"
_IN_STRING: Final = "Invalid control character"
_IN_ESCAPE: Final = "Invalid \\escape"
_PLACES: Final = {
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    _IN_ESCAPE: "in string escape code",
    "Invalid \\uXXXX escape": "in \\u hexadecimal character escape",
    "Extra data": "after top-level value",
}


class JsonSyntaxError(InvalidArgumentError):
    """The text is not one JSON document."""


def parse_json(text: str) -> Any:
    """Parse one JSON document.

    Raises:
        JsonSyntaxError: it is none.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as exc:
        raise JsonSyntaxError(_describe(exc, text)) from exc
    except RecursionError as exc:
        raise JsonSyntaxError("exceeded max depth") from exc


def _refuse_constant(name: str) -> None:
    # Python reads NaN and Infinity, JSON has neither
    first, rest = (name[1], "in numeric literal") if name[0] == "-" else (name[0], "looking for beginning of value")
    raise JsonSyntaxError(f"invalid character {_character(first)} {rest}")


def _describe(error: json.JSONDecodeError, text: str) -> str:
    if error.msg.startswith(_IN_STRING):
        return f"invalid character {_character(text[error.pos])} in string literal"
    at = error.pos + 1 if error.msg.startswith(_IN_ESCAPE) else error.pos
    while at < len(text) and text[at] in _SPACE:
        at += 1
    if at >= len(text) or error.msg.startswith("Unterminated string"):
        return _END
    if error.msg == "Expecting value":
        return _describe_value(text, at)
    if error.msg == "Expecting ',' delimiter":
        return f"invalid character {_character(text[at])} after {_container(text[:at])}"
    place = next((place for start, place in _PLACES.items() if error.msg.startswith(start)), "in JSON text")
    return f"invalid character {_character(text[at])} {place}"


def _describe_value(text: str, at: int) -> str:
    if text[at] == "-":
        rest = text[at + 1 : at + 2]
        return f"invalid character {_character(rest)} in numeric literal" if rest else _END
    for literal in _LITERALS:
        if literal[0] != text[at]:
            continue
        for expected, found in zip(literal, text[at:], strict=False):
            if expected != found:
                return f"invalid character {_character(found)} in literal {literal} (expecting {_character(expected)})"
        return _END
    return f"invalid character {_character(text[at])} looking for beginning of value"


def _container(before: str) -> str:
    """What stands open at the end of a text: an object or a list."""
    opened: list[str] = []
    in_string = escaped = False
    for character in before:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            opened.append(character)
        elif character in "]}":
            opened.pop()
    return "array element" if opened and opened[-1] == "[" else "object key:value pair"


def _character(character: str) -> str:
    if character == "'":
        return r"'\''"
    if character == '"':
        return "'\"'"
    return repr(character) if character.isprintable() or character in "\n\r\t" else f"'\\x{ord(character):02x}'"
