"""What a command is: its flags, its texts, what it does with positional arguments, and the values of one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, cast

from praefect.cli.output import Output
from praefect.domain.errors import PraefectError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import timedelta

    from praefect.config.praefect import PraefectConfig


class CommandError(PraefectError):
    """The command failed; the message is the line that the operator reads.

    Attributes:
        end: what stands behind the message.
        hints: lines behind it, about what the operator may have meant.
    """

    def __init__(self, message: str, *, end: str = "\n", hints: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.end = end
        self.hints = tuple(hints)


class HelpfulError(CommandError):
    """The command was called wrongly: its help is printed before the message."""


class FlagKind(Enum):
    """What a flag takes; the value is what help calls it."""

    BOOL = ""
    STRING = "string"
    FILE = "FILE"
    INT = "int"
    UINT = "uint"
    DURATION = "duration"
    FORMAT = "text|json"


class Arguments(Enum):
    """What becomes of positional arguments."""

    REFUSED = "refused, and help is printed"
    REFUSED_SILENTLY = "refused, without help"
    ACCEPTED = "the command looks at them itself"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One flag; ``default`` is a value of its kind, None standing for the kind's zero."""

    name: str
    kind: FlagKind = FlagKind.STRING
    text: str
    default: str | bool | int | timedelta | None = None
    aliases: tuple[str, ...] = ()
    required: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All spellings."""
        return (self.name, *self.aliases)


FORMAT = Flag(name="format", kind=FlagKind.FORMAT, text="print lines, or one JSON document at the end", default="text")
"""Every command has it whose output is not JSON anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command, or the whole program, of which the commands are children.

    Attributes:
        name: as typed.
        summary: one line; begins with a verb, lower case, no full stop.
        description: what help says beyond it, with one worked example.
        usage: lines that stand in help in the place of the ordinary usage line.
        run: does the work and returns the exit code, None for success.
    """

    name: str
    summary: str
    description: str = ""
    flags: tuple[Flag, ...] = ()
    children: tuple[Command, ...] = ()
    arguments: Arguments = Arguments.REFUSED
    usage: tuple[str, ...] = ()
    run: Callable[[Invocation], int | None] | None = None

    def child(self, name: str) -> Command | None:
        """The child of that name."""
        return next((command for command in self.children if command.name == name), None)

    def flag(self, name: str) -> Flag | None:
        """The flag with that spelling."""
        return next((flag for flag in self.flags if name in flag.names), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A command with the values of one call."""

    command: Command
    config_path: str
    values: Mapping[str, str | bool | int | timedelta] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    output: Output = field(default_factory=Output)

    def is_set(self, name: str) -> bool:
        """Whether the flag stood on the command line."""
        return name in self.values

    def text(self, name: str) -> str:
        """The value of a string flag."""
        return cast("str", self._value(name, ""))

    def switch(self, name: str) -> bool:
        """The value of a bool flag."""
        return cast("bool", self._value(name, default=False))

    def number(self, name: str) -> int:
        """The value of an int or uint flag."""
        return cast("int", self._value(name, 0))

    def duration(self, name: str) -> timedelta:
        """The value of a duration flag."""
        from datetime import timedelta

        return cast("timedelta", self._value(name, timedelta(0)))

    def _value(self, name: str, default: object) -> object:
        if name in self.values:
            return self.values[name]
        flag = self.command.flag(name)
        if flag is None:
            raise KeyError(name)
        return default if flag.default is None else flag.default

    def load_config(self) -> PraefectConfig:
        """Read Praefect's configuration file.

        Raises:
            ConfigError: it cannot be used.
        """
        from praefect.config.praefect import load

        return load(self.config_path)
