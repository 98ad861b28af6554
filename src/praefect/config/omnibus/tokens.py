"""The words of a gitlab.rb."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from praefect.config.omnibus.faults import Place


class Kind(Enum):
    """What a token is; the value is its name in messages."""

    NAME = "name"
    CONSTANT = "constant"
    STRING = "string"
    LABEL = "hash key"
    SYMBOL = "symbol"
    NUMBER = "number"
    WORDS = "list of words"
    MARK = "mark"
    NEWLINE = "end of line"
    END = "end of file"


@dataclass(frozen=True, slots=True)
class Interpolation:
    """What stands between ``#{`` and ``}``."""

    tokens: tuple[Token, ...] = field(repr=False)


Part = str | Interpolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One word.

    Attributes:
        text: the spelling of a name, constant or mark.
        parts: what a string, a quoted label or a quoted symbol is made of, in order.
        number: the value of a number.
        words: the items of a list of words.
    """

    kind: Kind
    place: Place
    text: str = ""
    parts: tuple[Part, ...] = field(default=(), repr=False)
    number: int | float = field(default=0, repr=False)
    words: tuple[str, ...] = field(default=(), repr=False)

    def is_mark(self, *marks: str) -> bool:
        """Whether it is one of these marks."""
        return self.kind is Kind.MARK and self.text in marks

    def is_name(self, *names: str) -> bool:
        """Whether it is one of these names."""
        return self.kind is Kind.NAME and self.text in names
