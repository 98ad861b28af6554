"""Help: the layouts of the program, of a command and of a command with children."""

from __future__ import annotations

from datetime import timedelta

from praefect.cli.command import Command, Flag, FlagKind
from praefect.cli.grammar import CONFIG, HELP, VERSION
from praefect.config.duration import format_duration
from praefect.config.quoting import quote

_INDENT = "   "
_HELP_ENTRY = ("help, h", "Shows a list of commands or help for one command")


def program_help(program: Command, version: str) -> str:
    """The help of the whole program."""
    return _join(
        ("NAME", [f"{program.name} - {program.summary}"]),
        ("USAGE", [f"{program.name} [global options] [command [command options]]"]),
        ("VERSION", [f"Praefect, version {version}"]),
        ("COMMANDS", _children(program)),
        ("GLOBAL OPTIONS", _options((CONFIG, HELP, VERSION))),
    )


def command_help(path: tuple[Command, ...], *, after_command: bool) -> str:
    """The help of one command.

    Args:
        path: from the program to the command.
        after_command: whether ``-h`` stood behind the command, which makes the help longer.
    """
    command = path[-1]
    name = " ".join(part.name for part in path)
    usage = list(command.usage) or [name]
    if command.children:
        usage = [f"{name} [command [command options]] "]
    elif after_command and not command.usage:
        usage = [f"{name} [command [command options]]"]
    blocks = [("NAME", [f"{name} - {command.summary}"]), ("USAGE", usage)]
    if command.description:
        blocks.append(("DESCRIPTION", command.description.split("\n")))
    if command.children:
        blocks.append(("COMMANDS", _children(command)))
    blocks.append(("OPTIONS", _options((*command.flags, HELP))))
    if after_command and not command.children:
        blocks.append(("GLOBAL OPTIONS", _options((CONFIG,))))
    return _join(*blocks)


def _join(*blocks: tuple[str, list[str]]) -> str:
    return "\n".join(
        f"{heading}:\n" + "".join(f"{_INDENT}{line}\n" if line else "\n" for line in lines) for heading, lines in blocks
    )


def _children(command: Command) -> list[str]:
    return _columns([*((child.name, child.summary) for child in command.children), _HELP_ENTRY])


def _options(flags: tuple[Flag, ...]) -> list[str]:
    return _columns([(_spelling(flag), _text(flag)) for flag in flags])


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(left) for left, _ in rows)
    return [f"{left:{width}}  {right}".rstrip() for left, right in rows]


def _spelling(flag: Flag) -> str:
    names = ", ".join(f"{'-' if len(name) == 1 else '--'}{name}" for name in flag.names)
    return f"{names} {flag.kind.value}".rstrip()


def _text(flag: Flag) -> str:
    if flag in (CONFIG, HELP, VERSION):
        return flag.text
    default = _default(flag)
    return f"{flag.text} (default: {default})" if default else flag.text


def _default(flag: Flag) -> str:
    value = flag.default
    match flag.kind:
        case FlagKind.BOOL:
            return "true" if value else "false"
        case FlagKind.INT | FlagKind.UINT:
            return str(value or 0)
        case FlagKind.DURATION:
            return format_duration(value if isinstance(value, timedelta) else timedelta(0))
        case FlagKind.STRING | FlagKind.FILE | FlagKind.FORMAT:
            return quote(str(value)) if value else ""
