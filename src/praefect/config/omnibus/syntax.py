"""What a gitlab.rb says, as a tree. Reprs name no values: any of them may be a secret."""

from __future__ import annotations

from dataclasses import dataclass, field

from praefect.config.omnibus.faults import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """A string, symbol, number, boolean or nil that stands there as it is."""

    place: Place
    value: str | int | float | bool | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A string with parts that are only known when it is read."""

    place: Place
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentVariable:
    """``ENV['NAME']``, or with ``required`` ``ENV.fetch('NAME')``, which may have a default."""

    place: Place
    name: str
    required: bool = False
    default: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """``File.read('PATH')``."""

    place: Place
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stripped:
    """``.strip``, or without ``both_ends`` ``.chomp``, behind a string."""

    place: Place
    subject: Expression
    both_ends: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """An array."""

    place: Place
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A key of a hash, where it stands, and its value."""

    name: str
    place: Place
    value: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A hash, in the order of the file; symbols and strings are the same as keys."""

    place: Place
    pairs: tuple[Pair, ...]


Expression = Scalar | Joined | EnvironmentVariable | FileContent | Stripped | Sequence | Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """``root['a']['b'] = value``."""

    place: Place
    root: str
    path: tuple[str, ...]
    value: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """``name(value)`` or ``name value``."""

    place: Place
    name: str
    value: Expression


Statement = Assignment | Call
