"""What differs between two configurations, told without telling a secret."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from praefect.config.omnibus.convert import Values
from praefect.config.omnibus.toml_text import write_value
from praefect.config.schema import Key, keys

SECRET: Final = "(secret)"  # noqa: S105  # what is shown in its place
_NAMES: Final = ("name", "storage", "username", "rpc", "key")
"""Keys by which an element of a list of tables is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One key that differs.

    Attributes:
        key: its dotted path.
        before: how it was written, None if it was not there.
        after: how it is written now, None if it is not there any more.
    """

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A value as it is compared and as it is shown."""

    value: object
    shown: str


def compare(section: type[Any], before: bytes | None, after: Values) -> tuple[Change, ...]:
    """The keys that differ, in the order of the new configuration, then those that are gone.

    Args:
        section: describes both.
        before: the text of the old file, None if there was none; what is no TOML counts as empty.
        after: the new values.
    """
    old = dict(_entries(section, _parse(before), ""))
    new = dict(_entries(section, after, ""))
    return tuple(
        Change(key=key, before=_shown(old.get(key)), after=_shown(new.get(key)))
        for key in (*new, *(key for key in old if key not in new))
        if _differs(old.get(key), new.get(key))
    )


def _parse(text: bytes | None) -> Values:
    try:
        return tomllib.loads((text or b"").decode())
    except ValueError:
        return {}


def _differs(before: _Entry | None, after: _Entry | None) -> bool:
    return before is None or after is None or before.value != after.value


def _shown(entry: _Entry | None) -> str | None:
    return None if entry is None else entry.shown


def _entries(section: type[Any], values: Mapping[str, Any], above: str) -> Iterator[tuple[str, _Entry]]:
    known = {key.toml: key for key in keys(section)}
    for name, value in values.items():
        yield from _entry(known.get(name), value, f"{above}.{name}" if above else name)


def _entry(key: Key | None, value: Any, path: str) -> Iterator[tuple[str, _Entry]]:
    if key is None:
        yield path, _Entry(value, "(not a key of this file)")
    elif key.is_section and isinstance(value, dict):
        yield from _entries(key.type, value, path)
    elif isinstance(value, list) and value and all(isinstance(element, dict) for element in value):
        for number, element in enumerate(value):
            yield from _entries(key.element, element, f"{path}[{_name(element, number)}]")
    else:
        yield path, _Entry(value, SECRET if key.setting.secret else _write(value))


def _name(element: Mapping[str, Any], number: int) -> str:
    names = (element[name] for name in _NAMES if isinstance(element.get(name), str))
    return next(names, str(number))


def _write(value: Any) -> str:
    """A value as TOML; what the old file had in the place of a single value is only called that."""
    return write_value(value) if isinstance(value, str | int | float | list) else "(a table)"
