"""A place in a text that moves forward, with its line."""

import re
from typing import NoReturn

from praefect.config.omnibus.faults import GitlabRbError, Place, UnsupportedConstructError


class Cursor:
    """Reads a text from left to right."""

    def __init__(self, text: str, file: str, line: int = 1) -> None:
        """Start before the first character.

        Args:
            text: what is read; its lines end with a line feed.
            file: its name in messages.
            line: number of its first line.
        """
        self.text = text
        self.file = file
        self.line = line
        self.position = 0

    @property
    def place(self) -> Place:
        """Where the next character stands."""
        return Place(self.file, self.line)

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.position >= len(self.text)

    @property
    def at_line_start(self) -> bool:
        """Whether the next character is the first of its line."""
        return self.position == 0 or self.text[self.position - 1] == "\n"

    def peek(self, length: int = 1, *, ahead: int = 0) -> str:
        """Return the next characters without taking them; fewer at the end."""
        start = self.position + ahead
        return self.text[start : start + length]

    def take(self, length: int = 1) -> str:
        """Take the next characters; fewer at the end."""
        taken = self.peek(length)
        self.position += len(taken)
        self.line += taken.count("\n")
        return taken

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Take what a pattern matches here."""
        found = pattern.match(self.text, self.position)
        if found is not None:
            self.take(found.end() - found.start())
        return found

    def take_line(self) -> str:
        """Take the rest of the line with its end."""
        end = self.text.find("\n", self.position)
        return self.take((len(self.text) if end < 0 else end + 1) - self.position)

    def fail(self, fault: str, place: Place | None = None) -> NoReturn:
        """Say what is wrong here.

        Raises:
            GitlabRbError: always.
        """
        raise GitlabRbError(place or self.place, fault)

    def refuse(self, construct: str, place: Place | None = None) -> NoReturn:
        """Say which construct is not supported.

        Raises:
            UnsupportedConstructError: always.
        """
        raise UnsupportedConstructError(place or self.place, construct)
