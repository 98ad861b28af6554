"""Where the keys and values of a TOML text stand; the parser of the standard library does not say.

The scanner believes that the text is well formed, at least up to the place that is asked for: it runs after the
parser, or to name the key that the parser found twice.
"""

import tomllib
from dataclasses import dataclass, field
from typing import Final

from praefect.config.faults import Position

Path = tuple[str | int, ...]

_BLANK: Final = " \t"
_SPACE: Final = " \t\r\n"
_END_OF_SCALAR: Final = ",]}#\n"
_TRIPLE_QUOTES: Final = ('"""', "'''")


class MalformedError(Exception):
    """The text is not what the scanner expects."""


@dataclass(slots=True)
class Positions:
    """What one pass over a text finds."""

    places: dict[Path, Position] = field(default_factory=dict)
    duplicate: str | None = None
    """What the first key or table that stands twice is called in a message."""


def scan(text: str) -> Positions:
    """Find the place of every key's value, of every list element and of every table's name."""
    scanner = _Scanner(text)
    try:
        scanner.document()
    except (MalformedError, IndexError):
        return scanner.found
    return scanner.found


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._tables: set[Path] = set()
        self._values: set[Path] = set()
        self._lengths: dict[Path, int] = {}  # of lists of tables
        self.found = Positions()

    def document(self) -> None:
        table: Path = ()
        while self._skip(_SPACE):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._assignment(table)

    def _skip(self, characters: str) -> bool:
        """Pass over blanks and comments; False at the end of the text."""
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif self._text[self._at] in characters:
                self._at += 1
            else:
                return True
        return False

    def _expect(self, characters: str) -> None:
        if not self._text.startswith(characters, self._at):
            raise MalformedError(characters)
        self._at += len(characters)

    def _header(self) -> Path:
        of_list = self._text.startswith("[[", self._at)
        self._at += 2 if of_list else 1
        self._skip(_BLANK)
        start = self._at
        names = self._key()
        self._expect("]]" if of_list else "]")
        path = self._resolve(names[:-1])
        if of_list:
            return self._element((*path, names[-1]), start)
        path = (*path, names[-1])
        if path in self._lengths:
            path = (*path, self._lengths[path] - 1)
        self._note(path, start)
        if path in self._tables:
            self._duplicate(f"table {names[-1]} already exists")
        elif path in self._values:
            self._duplicate(f"key {names[-1]} is already defined")
        self._tables.add(path)
        return path

    def _element(self, path: Path, start: int) -> Path:
        if path in self._values or path in self._tables:
            self._duplicate(f"key {path[-1]} is already defined")
        number = self._lengths.get(path, 0)
        self._lengths[path] = number + 1
        if number == 0:
            self._note(path, start)
        path = (*path, number)
        self._note(path, start)
        return path

    def _resolve(self, names: tuple[str, ...]) -> Path:
        path: Path = ()
        for name in names:
            path = (*path, name)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        return path

    def _assignment(self, table: Path) -> None:
        names = self._key()
        self._expect("=")
        path: Path = (*table, *names)
        if path in self._values or path in self._tables or path in self._lengths:
            self._duplicate(f"key {names[-1]} is already defined")
        self._values.add(path)
        self._skip(_BLANK)
        self._value(path)

    def _key(self) -> tuple[str, ...]:
        """Read a key, dotted or not, and the blanks behind it."""
        names: list[str] = []
        while True:
            start = self._at
            if self._text[start] in "\"'":
                self._string()
            else:
                while self._text[self._at] not in f"{_BLANK}.=]\n":
                    self._at += 1
            names.append(_unquote(self._text[start : self._at]))
            self._skip(_BLANK)
            if self._text[self._at] != ".":
                return tuple(names)
            self._at += 1
            self._skip(_BLANK)

    def _value(self, path: Path) -> None:
        self._note(path, self._at)
        first = self._text[self._at]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._list(path)
        elif first == "{":
            self._inline_table(path)
        else:
            while self._at < len(self._text) and self._text[self._at] not in _END_OF_SCALAR:
                self._at += 1

    def _list(self, path: Path) -> None:
        self._at += 1
        number = 0
        while self._skip(_SPACE) and self._text[self._at] != "]":
            self._value((*path, number))
            number += 1
            self._skip(_SPACE)
            if self._text[self._at] == ",":
                self._at += 1
        self._expect("]")

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._skip(_BLANK) and self._text[self._at] != "}":
            self._assignment(path)
            self._skip(_BLANK)
            if self._text[self._at] == ",":
                self._at += 1
        self._expect("}")

    def _string(self) -> None:
        quotes = self._text[self._at : self._at + 3]
        if quotes not in _TRIPLE_QUOTES:
            quotes = quotes[0]
        self._at += len(quotes)
        while not self._text.startswith(quotes, self._at):
            if self._at >= len(self._text):
                raise MalformedError(quotes)
            self._at += 2 if quotes[0] == '"' and self._text[self._at] == "\\" else 1
        self._at += len(quotes)
        if len(quotes) == 3:  # up to two quotes may stand before the closing ones
            while self._text.startswith(quotes[0], self._at):
                self._at += 1

    def _note(self, path: Path, at: int) -> None:
        line = self._text.count("\n", 0, at) + 1
        self.found.places.setdefault(path, Position(line=line, column=at - (self._text.rfind("\n", 0, at) + 1) + 1))

    def _duplicate(self, text: str) -> None:
        if self.found.duplicate is None:
            self.found.duplicate = text


def _unquote(name: str) -> str:
    if name[:1] not in ('"', "'"):
        return name
    return next(iter(tomllib.loads(f"{name} = 0")))
