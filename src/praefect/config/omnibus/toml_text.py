"""Values as the text of a TOML file, in the order of the section that describes them."""

import re
from collections.abc import Iterator
from typing import Any, Final

from praefect.config.omnibus.convert import Values
from praefect.config.schema import Key, keys

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}


def write_toml(section: type[Any], values: Values) -> str:
    """Write values of a section, single ones before tables.

    Args:
        section: a dataclass with settings.
        values: by the names of TOML; each is one that the section describes.
    """
    return "\n".join(_table(section, values, ())).lstrip("\n") + "\n"


def _table(section: type[Any], values: Values, path: tuple[str, ...]) -> Iterator[str]:
    present = [key for key in keys(section) if key.toml in values]
    tables = [key for key in present if _holds_tables(key)]
    for key in present:
        if key not in tables:
            yield f"{write_key(key.toml)} = {write_value(values[key.toml])}"
    for key in tables:
        inner = (*path, key.toml)
        name = ".".join(write_key(part) for part in inner)
        if key.is_section:
            if values[key.toml]:
                yield from ("", f"[{name}]")
                yield from _table(key.type, values[key.toml], inner)
            continue
        for element in values[key.toml]:
            yield from ("", f"[[{name}]]")
            yield from _table(key.element, element, inner)


def _holds_tables(key: Key) -> bool:
    return key.is_section or key.element not in (None, str, float)


def write_key(name: str) -> str:
    """Write the name of a key."""
    return name if _BARE.fullmatch(name) else _quote(name)


def write_value(value: Any) -> str:
    """Write a value that is no table."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _quote(value)
        case list():
            return f"[{', '.join(write_value(item) for item in value)}]"
        case _:
            return repr(value)


def _quote(text: str) -> str:
    return '"' + "".join(_escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x20 or code == 0x7F else character
