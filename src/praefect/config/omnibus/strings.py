"""What stands between quotes: escapes, interpolation, lists of words, the indentation of heredocs.

Source: the Ruby documentation on literals.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from praefect.config.omnibus.cursor import Cursor
from praefect.config.omnibus.faults import GitlabRbError, Place
from praefect.config.omnibus.tokens import Interpolation, Part, Token

ReadInterpolation = Callable[[Cursor], tuple[Token, ...]]

PAIRS: Final = {"(": ")", "[": "]", "{": "}", "<": ">"}
_SHORT_ESCAPES: Final = {
    "n": "\n",
    "t": "\t",
    "s": " ",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "f": "\f",
    "v": "\v",
    "\n": "",
}
_OCTAL: Final = re.compile(r"[0-7]{1,3}")
_HEX: Final = re.compile(r"x([0-9a-fA-F]{1,2})")
_CODE_POINTS: Final = re.compile(r"u(?:([0-9a-fA-F]{4})|\{[ \t]*([0-9a-fA-F]{1,6}(?:[ \t]+[0-9a-fA-F]{1,6})*)[ \t]*\})")
_TAB_WIDTH: Final = 8


@dataclass(frozen=True, slots=True)
class Quotes:
    """The characters around a string; ``opening`` nests if it differs, no ``closing`` means up to the end."""

    opening: str
    closing: str
    place: Place

    @classmethod
    def of(cls, opening: str, place: Place) -> "Quotes":
        """The pair that begins with a character."""
        return cls(opening, PAIRS.get(opening, opening), place)


class _Builder:
    """Collects a string; escapes may give single bytes, so that text is only made at the end."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._bytes = bytearray()
        self._parts: list[Part] = []

    def add(self, text: str) -> None:
        self._bytes += text.encode()

    def add_byte(self, value: int) -> None:
        self._bytes.append(value)

    def add_interpolation(self, tokens: tuple[Token, ...]) -> None:
        self._flush()
        self._parts.append(Interpolation(tokens))

    def parts(self) -> tuple[Part, ...]:
        self._flush()
        return tuple(self._parts)

    def _flush(self) -> None:
        try:
            text = self._bytes.decode()
        except UnicodeDecodeError as exc:
            raise GitlabRbError(self._place, "string is not UTF-8") from exc
        self._bytes.clear()
        if text:
            self._parts.append(text)


def read_interpolated(cursor: Cursor, quotes: Quotes, read_interpolation: ReadInterpolation) -> tuple[Part, ...]:
    """Read the inside of a string with escapes and interpolation, and its closing quote."""
    builder = _Builder(quotes.place)
    depth = 0
    while True:
        if _ends(cursor, quotes):
            return builder.parts()
        if cursor.peek(2) == "#{":
            cursor.take(2)
            builder.add_interpolation(read_interpolation(cursor))
            continue
        if cursor.peek() == "#" and cursor.peek(ahead=1) in ("@", "$"):
            cursor.refuse("interpolation of a variable")
        character = cursor.take()
        if character == "\\":
            _read_escape(cursor, builder)
        elif character == quotes.closing and depth == 0:
            return builder.parts()
        else:
            depth += _nesting(character, quotes)
            builder.add(character)


def read_plain(cursor: Cursor, quotes: Quotes) -> str:
    """Read the inside of a string without interpolation, and its closing quote."""
    return "".join(_plain_characters(cursor, quotes, keep_escapes=False))


def read_words(cursor: Cursor, quotes: Quotes) -> tuple[str, ...]:
    """Read the inside of a list of words, and its closing quote."""
    words: list[str] = []
    word = ""
    for character in _plain_characters(cursor, quotes, keep_escapes=True):
        if len(character) == 1 and character.isspace():
            if word:
                words.append(word)
            word = ""
        else:
            word += character[-1] if len(character) == 2 and character[-1].isspace() else character
    return (*words, word) if word else tuple(words)


def _plain_characters(cursor: Cursor, quotes: Quotes, *, keep_escapes: bool) -> list[str]:
    """The characters of the inside; with ``keep_escapes`` an escaped white space keeps its backslash."""
    characters: list[str] = []
    depth = 0
    while not _ends(cursor, quotes):
        character = cursor.take()
        following = cursor.peek()
        if character == "\\" and following in ("\\", quotes.opening, quotes.closing):
            characters.append(cursor.take())
        elif character == "\\" and keep_escapes and following.isspace():
            characters.append(f"\\{cursor.take()}")
        elif character == quotes.closing and depth == 0:
            break
        else:
            depth += _nesting(character, quotes)
            characters.append(character)
    return characters


def _ends(cursor: Cursor, quotes: Quotes) -> bool:
    if cursor.at_end and quotes.closing:
        cursor.fail("string does not end", quotes.place)
    return cursor.at_end


def _nesting(character: str, quotes: Quotes) -> int:
    if quotes.opening == quotes.closing:
        return 0
    return (character == quotes.opening) - (character == quotes.closing)


def _read_escape(cursor: Cursor, builder: _Builder) -> None:
    if cursor.at_end:
        cursor.fail("string ends in a backslash")
    octal = cursor.match(_OCTAL)
    if octal is not None:
        builder.add_byte(int(octal[0], 8) & 0xFF)
        return
    byte = cursor.match(_HEX)
    if byte is not None:
        builder.add_byte(int(byte[1], 16))
        return
    points = cursor.match(_CODE_POINTS)
    if points is not None:
        for point in (points[1] or points[2]).split():
            builder.add(_character(cursor, int(point, 16)))
        return
    character = cursor.peek()
    if character in ("u", "x"):
        cursor.fail(f"escape \\{character} without its digits")
    if character in ("c", "C", "M"):
        cursor.refuse("escape of a control or meta character")
    cursor.take()
    builder.add(_SHORT_ESCAPES.get(character, character))


def _character(cursor: Cursor, code: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        cursor.fail("escape \\u of a number that is no character")
    return chr(code)


def remove_indentation(text: str) -> str:
    """Take from each line the indentation of the least indented one; lines of white space alone do not count."""
    lines = text.split("\n")
    least = min((_width(line) for line in lines if line.strip(" \t")), default=0)
    return "\n".join(_cut(line, least) for line in lines)


def _width(line: str) -> int:
    width = 0
    for character in line:
        if character == "\t":
            width = (width // _TAB_WIDTH + 1) * _TAB_WIDTH
        elif character == " ":
            width += 1
        else:
            break
    return width


def _cut(line: str, width: int) -> str:
    done = 0
    for index, character in enumerate(line):
        following = (done // _TAB_WIDTH + 1) * _TAB_WIDTH if character == "\t" else done + 1
        if character not in " \t" or following > width:
            return line[index:]
        done = following
    return ""
