"""``reconfigure``: write a program's configuration file out of a gitlab.rb."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from praefect.cli.command import Command, CommandError, Flag, FlagKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from praefect.cli.command import Invocation
    from praefect.config.omnibus.changes import Change
    from praefect.config.omnibus.reconfigure import Report, Unknown

_FORMATS: Final = ("text", "json")
_INDENT: Final = "  "


def run(invocation: Invocation) -> None:
    """Write the file and tell what was done."""
    from praefect.config.omnibus.known_keys import Role
    from praefect.config.omnibus.reconfigure import Request, reconfigure

    role = _choose("role", invocation.text("role"), tuple(Role))
    chosen = _choose("format", invocation.text("format"), _FORMATS)
    storage = invocation.text("storage")
    if storage and role != Role.GITALY:
        raise CommandError("-storage goes with -role gitaly only")
    report = reconfigure(
        Request(
            gitlab_rb=invocation.text("gitlab-rb"),
            role=Role(role),
            output=invocation.text("output"),
            storage=storage,
        )
    )
    if chosen == "json":
        from praefect.cli.json_output import dump_json

        print(dump_json(as_json(report), indent=2))
    else:
        print("\n".join(as_text(report)))


def _choose(flag: str, value: str, choices: tuple[str, ...]) -> str:
    from praefect.config.quoting import quote

    if value not in choices:
        raise CommandError(f"{flag} {quote(value)} is none of {', '.join(choices)}")
    return value


def as_text(report: Report) -> Iterator[str]:
    """Lines for the operator."""
    yield f"{report.path}: {report.outcome}"
    yield from (f"{_INDENT}{_change(change)}" for change in report.changes)
    if report.notes:
        yield "Note:"
        yield from (f"{_INDENT}{note}" for note in report.notes)
    if report.unknown:
        yield "Not known, without effect:"
        yield from (f"{_INDENT}{_unknown(one)}" for one in report.unknown)
    if report.ignored:
        yield "Ignored on purpose:"
        yield from (f"{_INDENT}{reason}: {', '.join(settings)}" for reason, settings in report.ignored.items())


def _change(change: Change) -> str:
    if change.before is None:
        return f"+ {change.key} = {change.after}"
    if change.after is None:
        return f"- {change.key} = {change.before}"
    if change.before == change.after:  # a secret
        return f"~ {change.key} = {change.after}, another one"
    return f"~ {change.key} = {change.after}, before {change.before}"


def _unknown(one: Unknown) -> str:
    meant = f"; {one.suggestion} is known" if one.suggestion else ""
    return f"{one.place}: {one.setting}{meant}"


def as_json(report: Report) -> dict[str, object]:
    """The same for programs."""
    return {
        "path": report.path,
        "outcome": report.outcome.value,
        "changes": [dataclasses.asdict(change) for change in report.changes],
        "notes": list(report.notes),
        "unknown": [
            {"file": one.place.file, "line": one.place.line, "setting": one.setting, "suggestion": one.suggestion}
            for one in report.unknown
        ],
        "ignored": {reason: list(settings) for reason, settings in report.ignored.items()},
    }


COMMAND = Command(
    name="reconfigure",
    summary="write config.toml out of a gitlab.rb",
    description="Reads the settings of a gitlab.rb, without running it, and writes config.toml for one of the\n"
    "programs: praefect, gitaly (a storage node) or gitlab (the front door). The file is replaced as a\n"
    "whole, is readable by its owner alone, and stays untouched if nothing changes. Tells what changed, which\n"
    "settings are not known, and which are about other programs. A gitlab.rb that is more than settings is\n"
    "refused.\n\n"
    "Example: praefect reconfigure -gitlab-rb /etc/gitlab/gitlab.rb -role praefect -output /etc/praefect",
    flags=(
        Flag(name="gitlab-rb", kind=FlagKind.FILE, text="read this file", required=True),
        Flag(name="role", text="praefect, gitaly or gitlab", required=True),
        Flag(name="output", text="write config.toml into this directory", required=True),
        Flag(name="storage", text="with -role gitaly: the only storage of this node, where the file names several"),
        Flag(name="format", text="text or json", default="text"),
    ),
    run=run,
)
