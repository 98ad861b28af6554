"""Settings onto the keys of a section, by the section's own description of its keys.

Values come out as TOML has them. ``nil`` is as if the setting were not there. Where the templates of the Linux package
wrote text into a file (``'5432'``, ``'true'``, ``'[0.1, 1]'``), the text is taken for what it says.
"""

import json
import re
from collections.abc import Container, Iterator, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, NoReturn

from praefect.config.duration import InvalidDurationError, parse_duration
from praefect.config.omnibus.faults import GitlabRbError, Place
from praefect.config.omnibus.settings import Branch, Leaf, Path, node_of, spell
from praefect.config.omnibus.surroundings import Plain, Surroundings
from praefect.config.omnibus.syntax import Sequence, Table
from praefect.config.schema import Key, keys

Values = dict[str, Any]

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_BOOLEANS: Final[Mapping[object, bool]] = {"true": True, "false": False}


class Converter:
    """Takes settings out of the tree and makes values of them.

    Attributes:
        unknown: keys in arrays of hashes that no section knows; those of hashes stay in the tree.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        """Resolve expressions by ``surroundings``."""
        self._surroundings = surroundings
        self.unknown: list[tuple[Path, Place]] = []

    def section(self, section: type[Any], branch: Branch, path: Path, *, only: Container[str] | None = None) -> Values:
        """Take from a hash what a section knows.

        Args:
            section: a dataclass with settings.
            branch: the hash; what the section does not know stays in it.
            path: where the hash stands, for messages.
            only: the keys to take, by default all.

        Raises:
            GitlabRbError: a value is of the wrong kind.
        """
        values: Values = {}
        for key in keys(section):
            node = branch.children.get(key.toml)
            if node is None or (only is not None and key.toml not in only):
                continue
            value = self.value(key, node, (*path, key.toml))
            if value is not None:
                values[key.toml] = value
            if not (isinstance(node, Branch) and node.children):
                branch.children.pop(key.toml)
        return values

    def value(self, key: Key, node: Leaf | Branch, path: Path) -> Any:
        """Make the value of one key; None for nil.

        Raises:
            GitlabRbError: it is of the wrong kind.
        """
        if key.is_section:
            if isinstance(node, Leaf):
                return self._no_table(node, path)
            return self.section(key.type, node, path)
        if key.element is not None:
            return self._list(key, node, path)
        return self._scalar(key, self.plain(node, path), node.place, path)

    def plain(self, node: Leaf | Branch, path: Path) -> Plain:
        """The value of a setting that is neither array nor hash.

        Raises:
            GitlabRbError: it is one, or it cannot be known.
        """
        if isinstance(node, Branch) or isinstance(node.expression, Sequence | Table):
            _wrong(node.place, path, "a single value is expected")
        return self._surroundings.plain(node.expression)

    def text(self, node: Leaf | Branch | None, path: Path) -> str:
        """The value of a setting that is a text; empty if it is not there.

        Raises:
            GitlabRbError: it is no text.
        """
        value = None if node is None else self.plain(node, path)
        if value is None:
            return ""
        if not isinstance(value, str) and node is not None:
            _wrong(node.place, path, "a text is expected")
        return str(value)

    def _no_table(self, leaf: Leaf, path: Path) -> None:
        if isinstance(leaf.expression, Sequence) or self._surroundings.plain(leaf.expression) is not None:
            _wrong(leaf.place, path, "a hash is expected")

    def _list(self, key: Key, node: Leaf | Branch, path: Path) -> list[Any] | None:
        if isinstance(node, Leaf) and isinstance(node.expression, Sequence):
            return list(self._elements(key, node.expression, path))
        value = None if isinstance(node, Branch) else self._surroundings.plain(node.expression)
        if key.element is float and isinstance(value, str):
            return _written_numbers(value, node.place, path)
        if value is not None or isinstance(node, Branch):
            _wrong(node.place, path, "an array is expected")
        return None

    def _elements(self, key: Key, sequence: Sequence, path: Path) -> Iterator[Any]:
        for number, expression in enumerate(sequence.items):
            place = (*path, f"[{number}]")
            node = node_of(expression)
            if key.element in (str, float) or isinstance(node, Leaf):
                yield self._scalar_element(key, node, place)
                continue
            yield self.section(key.element, node, place)
            self.unknown += node.leaves(place)

    def _scalar_element(self, key: Key, node: Leaf | Branch, path: Path) -> Any:
        value = self.plain(node, path)
        kinds = {float: (int, float), str: (str,)}.get(key.element, ())
        if type(value) not in kinds:
            expected = {float: "a number", str: "a text"}.get(key.element, "a hash")
            _wrong(node.place, path, f"{expected} is expected")
        return value

    def _scalar(self, key: Key, value: Plain, place: Place, path: Path) -> Any:
        if value is None:
            return None
        if key.type is bool:
            return _boolean(value, place, path)
        if key.type is int:
            return _integer(key, value, place, path)
        if key.type is timedelta:
            return _duration(value, place, path)
        if isinstance(value, bool | float):
            _wrong(place, path, "a text is expected")
        if issubclass(key.type, StrEnum) and value not in tuple(key.type):
            _wrong(place, path, f"one of {', '.join(key.type)} is expected")
        return str(value)


def set_value(values: Values, target: tuple[str, ...], value: Any) -> None:
    """Set a value below nested tables."""
    *tables, name = target
    for table in tables:
        values = values.setdefault(table, {})
    values[name] = value


def get_value(values: Values, target: tuple[str, ...]) -> Any:
    """The value below nested tables, None if there is none."""
    *tables, name = target
    for table in tables:
        values = values.get(table, {})
    return values.get(name)


def merge(values: Values, over: Values) -> None:
    """Put values over others, table by table."""
    for name, value in over.items():
        if isinstance(value, dict) and isinstance(values.get(name), dict):
            merge(values[name], value)
        else:
            values[name] = value


def key_at(section: type[Any], target: tuple[str, ...]) -> Key:
    """Find a key by its path in TOML.

    Raises:
        KeyError: there is none.
    """
    found = {key.toml: key for key in keys(section)}[target[0]]
    return found if len(target) == 1 else key_at(found.type, target[1:])


def _wrong(place: Place, path: Path, fault: str) -> NoReturn:
    raise GitlabRbError(place, f"{spell(path)}: {fault}")


def _boolean(value: Plain, place: Place, path: Path) -> bool:
    value = _BOOLEANS.get(value, value)
    if not isinstance(value, bool):
        _wrong(place, path, "true or false is expected")
    return value


def _integer(key: Key, value: Plain, place: Place, path: Path) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    limits = key.setting.integer
    if not isinstance(value, int) or isinstance(value, bool):
        _wrong(place, path, "a whole number is expected")
    if not limits.least <= value <= limits.most:
        _wrong(place, path, f"a number from {limits.least} to {limits.most} is expected")
    return value


def _duration(value: Plain, place: Place, path: Path) -> str:
    if value == 0 and not isinstance(value, bool):
        return "0s"
    if not isinstance(value, str):
        _wrong(place, path, "a time with its unit is expected, for instance '30s'")
    try:
        parse_duration(value)
    except InvalidDurationError:
        _wrong(place, path, "a time with its unit is expected, for instance '30s'")
    return value


def _written_numbers(text: str, place: Place, path: Path) -> list[Any]:
    """An array of numbers that stands in a string."""
    try:
        numbers = json.loads(text)
    except ValueError:
        numbers = None
    if not isinstance(numbers, list) or not all(type(number) in (int, float) for number in numbers):
        _wrong(place, path, "an array of numbers is expected")
    return numbers
