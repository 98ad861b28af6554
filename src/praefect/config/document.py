"""TOML text in, plain values out, with upstream's words for what is wrong with the text."""

import re
import tomllib
from dataclasses import dataclass
from typing import Any, Final

from praefect.config.faults import DecodeError, Position
from praefect.config.positions import Path, scan

_PLACE: Final = re.compile(
    r"^(?P<text>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$", re.DOTALL
)
_STARTS_OF_KEY: Final = ("Invalid statement", "Invalid initial character for a key part")
_TWICE: Final = (
    "Cannot overwrite a value",
    "Cannot declare ",
    "Cannot mutate immutable namespace",
    "Duplicate inline table key",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed text and, for messages, the text itself."""

    values: dict[str, Any]
    text: str

    def place(self, path: Path) -> Position | None:
        """Where the value of a key stands."""
        return scan(self.text).places.get(path)


def parse(data: bytes) -> Document:
    """Parse TOML.

    Raises:
        DecodeError: it is none.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        before = data[: exc.start]
        place = Position(line=before.count(b"\n") + 1, column=exc.start - (before.rfind(b"\n") + 1) + 1)
        raise DecodeError("toml: invalid utf8", place) from exc
    try:
        return Document(values=tomllib.loads(text), text=text)
    except tomllib.TOMLDecodeError as exc:
        raise _describe(str(exc), text.replace("\r\n", "\n")) from exc
    except ValueError as exc:
        raise DecodeError(f"toml: {exc}") from exc  # an integer with more digits than Python reads
    except RecursionError as exc:
        raise DecodeError("toml: nested too deeply") from exc


def _describe(message: str, text: str) -> DecodeError:
    match = _PLACE.match(message)
    words, place = (match["text"], _position(match, text)) if match else (message, None)
    if words.startswith(_TWICE):
        return DecodeError(f"toml: {scan(text).duplicate or _lower(words)}")
    if words in _STARTS_OF_KEY and place is not None:
        line = text.split("\n")[place.line - 1]
        if place.column <= len(line):
            return DecodeError(f"toml: invalid character at start of key: {line[place.column - 1]}", place)
    return DecodeError(f"toml: {_lower(words)}", place)


def _position(match: re.Match[str], text: str) -> Position:
    if match["line"]:
        return Position(line=int(match["line"]), column=int(match["column"]))
    lines = text.split("\n")
    return Position(line=len(lines), column=len(lines[-1]) + 1)


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]
