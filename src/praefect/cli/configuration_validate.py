"""``configuration validate``: report everything that is wrong with a configuration file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from praefect.cli.command import Arguments, Command, CommandError, HelpfulError

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.config.faults import Fault

FOUND_PROBLEMS = 2


def run(invocation: Invocation) -> int | None:
    """Judge the file on standard input; print problems as JSON."""
    if invocation.arguments:
        raise HelpfulError("invalid argument(s)")
    from praefect.config.faults import ConfigError, DecodeError, Fault
    from praefect.config.praefect import parse_config

    try:
        reading = parse_config(sys.stdin.buffer.read())
    except ConfigError as exc:
        if not isinstance(exc, DecodeError) or exc.position is None:
            raise CommandError(f"processing input data: {exc}", end="") from exc
        place = f"line {exc.position.line} column {exc.position.column}"
        return _report([Fault((), f"{place}: {exc}")])
    from praefect.config.collected_rules import collected_faults

    return _report(list(collected_faults(reading.config)))


def _report(faults: list[Fault]) -> int | None:
    if not faults:
        return None
    from praefect.cli.json_output import dump_json

    errors = [{**({"key": list(fault.path)} if fault.path else {}), "message": fault.message} for fault in faults]
    print(dump_json({"errors": errors}, indent=2))
    return FOUND_PROBLEMS


COMMAND = Command(
    name="validate",
    summary="validate a configuration file",
    description="Reads TOML from standard input, prints everything that is wrong with it as JSON and exits with 2,\n"
    "or prints nothing and exits with 0.\n\n"
    "Example: praefect configuration validate < praefect.config.toml",
    arguments=Arguments.ACCEPTED,
    run=run,
)
