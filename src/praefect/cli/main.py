"""``praefect``: the proxy and its operators' commands.

Decides what a command line runs, in upstream's order of checks and with its exit codes. Commands import what they need
when they run, so that help and version are quick.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from praefect.cli.command import FORMAT, Arguments, Command, CommandError, HelpfulError, Invocation
from praefect.cli.commands import PROGRAM
from praefect.cli.grammar import Line, UsageError, parse
from praefect.cli.output import Output
from praefect.cli.version import version
from praefect.domain.errors import PraefectError

SUCCESS = 0
FAILURE = 1
NO_CONFIG = 2
NO_TOPIC = 3


def main() -> None:
    """Run the program."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except (BrokenPipeError, ExceptionGroup) as exc:
        if isinstance(exc, ExceptionGroup) and exc.split(BrokenPipeError)[1] is not None:
            raise
        code = _end_without_reader()
    sys.exit(code)


def _end_without_reader() -> int:
    """Whoever read the output has seen enough: nothing is left to be said to anybody."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILURE


def run(words: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        line = parse(PROGRAM, words)
    except UsageError as exc:
        if exc.at_root:
            _print_program_help()
        return _complain(f"Incorrect Usage: {exc}\n\n{exc}")
    code = _answer_questions(line)
    if code is not None:
        return code
    if line.command.children and line.command is not PROGRAM:
        return _choose_child(line)
    return _run_command(line)


def _answer_questions(line: Line) -> int | None:
    """Print help or version if that is what the line asks for."""
    if line.help_topics is not None:
        return _print_topic(line)
    if any(level.wants_help for level in line.levels):
        return _print_help(line)
    if line.wants_version:
        print(f"Praefect, version {version()}")
        return SUCCESS
    return None


def _print_topic(line: Line) -> int:
    path = tuple(level.command for level in line.levels)[: len(line.levels)]
    if not line.help_topics:
        _print_help_of(path, after_command=False)
        return SUCCESS
    topic = line.help_topics[0]
    child = path[-1].child(topic)
    if child is None:
        return _complain(f"No help topic for '{topic}'", NO_TOPIC)
    _print_help_of((*path, child), after_command=False)
    return SUCCESS


def _print_help(line: Line) -> int:
    last = line.levels[-1]
    if last.arguments:
        return _complain(f"No help topic for '{last.arguments[0]}'")
    _print_help_of(tuple(level.command for level in line.levels), after_command=last.wants_help)
    return SUCCESS


def _choose_child(line: Line) -> int:
    last = line.levels[-1]
    if last.arguments:
        return _complain(f"No help topic for '{last.arguments[0]}'", NO_TOPIC)
    _print_help_of(tuple(level.command for level in line.levels), after_command=False)
    return SUCCESS


def _run_command(line: Line) -> int:
    path = tuple(level.command for level in line.levels)
    serve = _serve_command()
    at_root = line.command is PROGRAM
    command = serve if at_root else line.command
    last = line.levels[-1]
    if last.arguments and command.arguments is not Arguments.ACCEPTED:
        if command.arguments is Arguments.REFUSED:
            _print_help_of(path, after_command=False)
        return _complain(f"{line.command.name} doesn't accept positional arguments")
    if command is serve and not line.config_path:
        return _complain_of_no_config(at_root=at_root)
    missing = [flag.name for flag in command.flags if flag.required and flag.name not in last.values]
    if missing:
        _print_help_of(path, after_command=False)
        return _complain(f'Required flag{"s" if len(missing) > 1 else ""} "{", ".join(missing)}" not set')
    output = Output(command.name, is_json=FORMAT in command.flags and last.values.get(FORMAT.name) == "json")
    if command is not serve:
        signal.signal(signal.SIGINT, lambda _signal, _frame: output.interrupt())
    invocation = Invocation(
        command=command,
        config_path=line.config_path,
        values=last.values,
        arguments=tuple(last.arguments),
        output=output,
    )
    return _run_invocation(invocation, path)


def _run_invocation(invocation: Invocation, path: tuple[Command, ...]) -> int:
    assert invocation.command.run is not None  # noqa: S101 - the table is tested for it
    try:
        code = invocation.command.run(invocation) or SUCCESS
    except HelpfulError as exc:
        _print_help_of(path, after_command=False)
        return _complain(str(exc))
    except PraefectError as exc:
        hints = exc.hints if isinstance(exc, CommandError) else ()
        invocation.output.finish(str(exc), hints)
        code = _complain(str(exc), end=exc.end if isinstance(exc, CommandError) else "\n")
        for hint in hints:
            _complain(hint)
        return code
    invocation.output.finish()
    return code


def _serve_command() -> Command:
    command = PROGRAM.child("serve")
    assert command is not None  # noqa: S101 - the table is tested for it
    return command


def _complain_of_no_config(*, at_root: bool) -> int:
    from datetime import datetime

    if at_root:
        _print_help_of((PROGRAM, _serve_command()), after_command=False)
    return _complain(f'{datetime.now().astimezone():%Y/%m/%d %H:%M:%S} Required flag "config" not set', NO_CONFIG)


def _print_program_help() -> None:
    from praefect.cli.help_text import program_help

    print(program_help(PROGRAM, version()), end="")


def _print_help_of(path: tuple[Command, ...], *, after_command: bool) -> None:
    from praefect.cli.help_text import command_help

    if len(path) == 1:
        _print_program_help()
    else:
        print(command_help(path, after_command=after_command), end="")


def _complain(text: str, code: int = FAILURE, *, end: str = "\n") -> int:
    sys.stdout.flush()
    print(text, file=sys.stderr, end=end, flush=True)
    return code


if __name__ == "__main__":
    main()
