"""The grammar of the command line: Go-style flags with one dash or two, before, between and behind other words.

The rules are upstream's; no parser of the standard library or of click knows them (single-dash long flags, a global
flag behind the command, ``-flag false`` meaning true, octal integers, usage errors with exit code 1).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.cli.command import Command, Flag, FlagKind
from praefect.cli.numbers import ValueSyntaxError, parse_bool, parse_duration_value, parse_format, parse_int, parse_uint
from praefect.config.quoting import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

CONFIG = Flag(name="config", kind=FlagKind.FILE, text="read the configuration from this TOML file")
HELP = Flag(name="help", kind=FlagKind.BOOL, text="show help", aliases=("h",))
VERSION = Flag(name="version", kind=FlagKind.BOOL, text="print the version", aliases=("v",))
_HELP_NAMES = ("help", "h")

_READERS: Mapping[FlagKind, Callable[[str], str | bool | int | timedelta]] = {
    FlagKind.BOOL: parse_bool,
    FlagKind.STRING: str,
    FlagKind.FILE: str,
    FlagKind.INT: parse_int,
    FlagKind.UINT: parse_uint,
    FlagKind.DURATION: parse_duration_value,
    FlagKind.FORMAT: parse_format,
}


class UsageError(Exception):
    """The line cannot be parsed.

    Attributes:
        at_root: whether it went wrong before a command was named.
    """

    def __init__(self, message: str, *, at_root: bool) -> None:
        super().__init__(message)
        self.at_root = at_root


@dataclass(slots=True, kw_only=True)
class Level:
    """What one level of the line said: the program's, the command's, or its child's."""

    command: Command
    values: dict[str, str | bool | int | timedelta] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)

    @property
    def wants_help(self) -> bool:
        """Whether ``-h`` stood here."""
        return self.values.get(HELP.name) is True


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A parsed command line: its levels from the program downwards.

    Attributes:
        help_topics: the words behind a bare ``help`` at the last level, None without one.
    """

    levels: tuple[Level, ...]
    help_topics: tuple[str, ...] | None = None

    @property
    def command(self) -> Command:
        """The command that was named; the program itself if none was."""
        return self.levels[-1].command

    @property
    def config_path(self) -> str:
        """The file named last, empty if none was."""
        named = [level.values[CONFIG.name] for level in self.levels if CONFIG.name in level.values]
        return str(named[-1]) if named else ""

    @property
    def wants_version(self) -> bool:
        """Whether the version was asked for before a command was named; behind one that does nothing."""
        return self.levels[0].values.get(VERSION.name) is True


def parse(program: Command, words: list[str]) -> Line:
    """Parse a command line.

    Raises:
        UsageError: a flag is unknown, lacks its value, or has one that cannot be read.
    """
    levels: list[Level] = []
    command: Command | None = program
    topics: list[str] | None = None
    rest = words
    while command is not None:
        level = Level(command=command)
        levels.append(level)
        command, rest = _parse_level(level, rest, at_root=len(levels) == 1)
        if command is _HELP_COMMAND:
            help_level = Level(command=_HELP_COMMAND)
            _parse_level(help_level, rest, at_root=False)
            topics = help_level.arguments
            break
    return Line(levels=tuple(levels), help_topics=None if topics is None else tuple(topics))


_HELP_COMMAND = Command(name="help", summary="shows a list of commands or help for one command")


def _parse_level(level: Level, words: list[str], *, at_root: bool) -> tuple[Command | None, list[str]]:
    """Parse up to the word that names a child; return the child and what stands behind it."""
    waiting = list(words)
    flags_end = False
    while waiting:
        word = waiting.pop(0)
        if not flags_end and word == "--":
            flags_end = True
        elif flags_end or not _is_flag(word):
            child = None if level.arguments else _find_child(level.command, word)
            if child is not None:
                return child, waiting
            level.arguments.append(word)
        else:
            _parse_flag(level, word, waiting, at_root=at_root)
    return None, []


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word != "-"


def _find_child(command: Command, word: str) -> Command | None:
    if command.children and word in _HELP_NAMES:
        return _HELP_COMMAND
    return command.child(word)


def _parse_flag(level: Level, word: str, waiting: list[str], *, at_root: bool) -> None:
    body = word[2:] if word.startswith("--") else word[1:]
    name, equals, value = body.partition("=")
    flag = level.command.flag(name) or _find_global(name)
    if flag is None:
        if name[:1].isdigit():  # a negative number is an argument
            level.arguments.append(word)
            return
        raise UsageError(f"flag provided but not defined: -{name}", at_root=at_root)
    if equals and not value:
        raise UsageError(f"flag needs an argument: {word}", at_root=at_root)
    if not equals:
        if flag.kind is FlagKind.BOOL:
            value = "true"
        elif waiting:
            value = waiting.pop(0)
        else:
            raise UsageError(f"flag needs an argument: {word}", at_root=at_root)
    try:
        level.values[flag.name] = _READERS[flag.kind](value)
    except ValueSyntaxError as exc:
        raise UsageError(f"invalid value {quote(value)} for flag -{name}: {exc}", at_root=at_root) from exc


def _find_global(name: str) -> Flag | None:
    return next((flag for flag in (CONFIG, HELP, VERSION) if name in flag.names), None)
