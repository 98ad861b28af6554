"""Plain values onto sections, by upstream's rules.

Keys match exactly first, then in any case of letters. What no section knows is collected, not refused.
TOML replaces lists; JSON, which comes from a config command, merges them by position.
"""

import dataclasses
import datetime as dt
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar, cast

from praefect.config.document import Document
from praefect.config.duration import InvalidDurationError, parse_duration
from praefect.config.faults import ConfigError, DecodeError
from praefect.config.positions import Path
from praefect.config.quoting import quote
from praefect.config.schema import Key, keys

S = TypeVar("S")

_GO_TYPES: Final[Mapping[Any, str]] = {
    str: "string",
    bool: "bool",
    float: "float64",
    timedelta: "duration.Duration",
}

_TOML_KINDS: Final[Mapping[type[Any], str]] = {
    bool: "boolean",
    int: "integer",
    float: "float",
    str: "string",
    list: "array",
    dict: "table",
    dt.date: "local date",
    dt.time: "local time",
}
_JSON_KINDS: Final[Mapping[type[Any], str]] = {
    type(None): "null",
    bool: "bool",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}


class JsonTypeError(ConfigError):
    """The output of a config command has a value of the wrong kind."""


class Decoder:
    """Puts the values of one TOML document onto sections."""

    merges_lists: ClassVar[bool] = False

    def __init__(self, document: Document) -> None:
        """Decode ``document``; nothing happens yet."""
        self._document = document
        self.unknown: list[Path] = []

    def decode(self, default: S) -> S:
        """Return ``default`` with the values of the document.

        Raises:
            DecodeError: a value is of the wrong kind or out of range.
        """
        return self.section(default, self._document.values, ())

    def section(self, base: S, values: Mapping[str, Any], path: Path) -> S:
        """Put the values of one table onto a section."""
        changes: dict[str, Any] = {}
        for name, value in values.items():
            key = self.find(type(base), name)
            if key is None:
                self.unknown.append((*path, name))
                continue
            current = changes.get(key.field, getattr(base, key.field))
            changes[key.field] = self.value(key, value, current, (*path, name))
        return cast("S", dataclasses.replace(cast("Any", base), **changes))

    def find(self, section: type[Any], name: str) -> Key | None:
        """Find the key of that name."""
        known = keys(section)
        exact = (key for key in known if self.name_of(key) == name)
        loose = (key for key in known if self.name_of(key).lower() == name.lower())
        return next(exact, None) or next(loose, None)

    def name_of(self, key: Key) -> str:
        """How this format spells a key."""
        return key.toml

    def value(self, key: Key, value: Any, current: Any, path: Path) -> Any:
        """Convert one value; ``current`` is what it replaces or is merged into."""
        if key.is_section:
            if not isinstance(value, dict):
                raise self.mismatch(value, key, path)
            return self.section(current, value, path)
        if key.element is not None:
            return self.elements(key, value, current if self.merges_lists else (), path)
        return self.scalar(key, key.type, value, path)

    def elements(self, key: Key, value: Any, current: tuple[Any, ...], path: Path) -> tuple[Any, ...]:
        """Convert a list."""
        if isinstance(value, dict):
            raise self.fault("cannot store a table in a slice", path)
        if not isinstance(value, list):
            raise self.mismatch(value, key, path)
        return tuple(self.element(key, item, number, current, path) for number, item in enumerate(value))

    def element(self, key: Key, value: Any, number: int, current: tuple[Any, ...], path: Path) -> Any:
        """Convert one element of a list."""
        path = (*path, number)
        if not dataclasses.is_dataclass(key.element):
            return self.scalar(key, key.element, value, path)
        if not isinstance(value, dict):
            raise self.mismatch(value, key, path)
        return self.section(self.base_of_element(key, number, current), value, path)

    def base_of_element(self, key: Key, number: int, current: tuple[Any, ...]) -> Any:
        """What an element starts from: its predecessor at that place, else the section's defaults."""
        return current[number] if number < len(current) else key.element()

    def scalar(self, key: Key, kind: Any, value: Any, path: Path) -> Any:
        """Convert a value that is neither table nor list."""
        if kind is timedelta:
            return self.duration(key, value, path)
        if kind is int:
            return self.integer(key, value, path)
        if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        if isinstance(value, str) and issubclass(kind, StrEnum):
            return self.choice(key, kind, value, path)
        if type(value) is not kind:
            raise self.mismatch(value, key, path)
        return value

    def integer(self, key: Key, value: Any, path: Path) -> int:
        """Convert an integer."""
        limits = key.setting.integer
        if isinstance(value, float):
            raise self.fault(f"float cannot be assigned to {limits.go_name}", path)
        if type(value) is not int:
            raise self.mismatch(value, key, path)
        if not limits.least <= value <= limits.most:
            raise DecodeError(f"toml: negative number {value} does not fit in an {limits.go_name}")
        return value

    def duration(self, key: Key, value: Any, path: Path) -> timedelta:
        """Convert a duration; of the bare numbers only zero is one."""
        if isinstance(value, bool):
            value = "true" if value else "false"
        if not isinstance(value, str | int | float):
            raise self.mismatch(value, key, path)
        try:
            return parse_duration(str(value))
        except InvalidDurationError as exc:
            raise self.fault(str(exc), path) from exc

    def choice(self, key: Key, kind: type[StrEnum], value: str, path: Path) -> StrEnum:
        """Convert a value out of a closed set."""
        try:
            return kind(value)
        except ValueError as exc:
            raise self.fault(f"unsupported {key.setting.noun}: {quote(value)}", path) from exc

    def mismatch(self, value: Any, key: Key, path: Path) -> ConfigError:
        """A value of the wrong kind."""
        return self.fault(
            f"cannot decode TOML {_toml_kind(value)} into struct field {key.field} of type {_go_type(key)}", path
        )

    def fault(self, text: str, path: Path) -> ConfigError:
        """What is wrong with the value of a key."""
        return DecodeError(f"toml: {text}", self._document.place(path))


class JsonDecoder(Decoder):
    """Puts the output of a config command onto sections."""

    merges_lists: ClassVar[bool] = True

    def __init__(self) -> None:
        """Make a decoder without a document."""
        super().__init__(Document(values={}, text=""))

    def merge(self, base: S, value: Any) -> S:
        """Return ``base`` with the values of the JSON document merged into it.

        Raises:
            ConfigError: a value is of the wrong kind.
        """
        if value is None:
            return base
        if not isinstance(value, dict):
            raise JsonTypeError(f"json: cannot unmarshal {_json_kind(value)} into Go value of type config.Config")
        return self.section(base, value, ())

    def name_of(self, key: Key) -> str:
        """How JSON spells a key."""
        return key.json

    def value(self, key: Key, value: Any, current: Any, path: Path) -> Any:
        """Convert one value; null resets lists and nothing else."""
        if value is None:
            return () if key.element is not None else current
        return super().value(key, value, current, path)

    def elements(self, key: Key, value: Any, current: tuple[Any, ...], path: Path) -> tuple[Any, ...]:
        """Merge a list by position; it gets the length of the new one."""
        if not isinstance(value, list):
            raise self.mismatch(value, key, path)
        return tuple(self.element(key, item, number, current, path) for number, item in enumerate(value))

    def element(self, key: Key, value: Any, number: int, current: tuple[Any, ...], path: Path) -> Any:
        """Convert one element of a list; null leaves it as it is."""
        if value is None:
            return self.base_of_element(key, number, current)
        return super().element(key, value, number, current, path)

    def integer(self, key: Key, value: Any, path: Path) -> int:
        """Convert an integer."""
        limits = key.setting.integer
        if type(value) is not int or not limits.least <= value <= limits.most:
            raise self.mismatch(value, key, path)
        return value

    def duration(self, key: Key, value: Any, path: Path) -> timedelta:
        """Convert a duration, which must be a string here."""
        if not isinstance(value, str):
            raise self.mismatch(value, key, path)
        return super().duration(key, value, path)

    def mismatch(self, value: Any, key: Key, path: Path) -> ConfigError:
        """A value of the wrong kind."""
        kind = f"number {value}" if type(value) is int else _json_kind(value)
        field = ".".join(str(name) for name in path if isinstance(name, str))
        return JsonTypeError(
            f"json: cannot unmarshal {kind} into Go struct field Config.{field} of type {_go_type(key)}"
        )

    def fault(self, text: str, _path: Path) -> ConfigError:
        """What is wrong with the value of a key; JSON has no places."""
        return JsonTypeError(text)


def _toml_kind(value: Any) -> str:
    if isinstance(value, dt.datetime):
        return "datetime" if value.tzinfo else "local datetime"
    return _TOML_KINDS[type(value)]


def _json_kind(value: Any) -> str:
    return _JSON_KINDS[type(value)]


def _go_type(key: Key) -> str:
    kind = key.type if key.element is None else key.element
    if kind is int:
        name = key.setting.integer.go_name
    elif dataclasses.is_dataclass(kind):
        name = f"config.{cast('type[Any]', kind).__name__.removesuffix('Config')}"
    else:
        name = _GO_TYPES.get(kind, "string")
    return name if key.element is None else f"[]{name}"
