"""``secrets``: make the secrets that the parts of a cluster share."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from praefect.cli.command import Command, CommandError, Flag

if TYPE_CHECKING:
    from praefect.cli.command import Invocation

NAMES: Final = (
    "GITLAB_SHELL_SECRET_TOKEN",
    "PRAEFECT_EXTERNAL_TOKEN",
    "PRAEFECT_INTERNAL_TOKEN",
    "PRAEFECT_SQL_PASSWORD",
)
_BYTES: Final = 32
_FORMATS: Final = ("shell", "json")


def make_secrets() -> dict[str, str]:
    """Make them: 256 bits each, in digits that no shell, URL, Ruby or SQL takes for something else."""
    made = {name: secrets.token_hex(_BYTES) for name in NAMES}
    if len(set(made.values())) != len(NAMES):
        raise CommandError("this machine's source of random numbers repeats itself")
    return made


def run(invocation: Invocation) -> None:
    """Print new ones."""
    from praefect.config.quoting import quote

    chosen = invocation.text("format")
    if chosen not in _FORMATS:
        raise CommandError(f"format {quote(chosen)} is none of {', '.join(_FORMATS)}")
    made = make_secrets()
    if chosen == "json":
        from praefect.cli.json_output import dump_json

        print(dump_json(made, indent=2))
        return
    for name, value in made.items():
        print(f"{name}='{value}'")


COMMAND = Command(
    name="secrets",
    summary="make the four secrets that a cluster needs",
    description="Prints new random values each time and keeps none of them:\n"
    "GITLAB_SHELL_SECRET_TOKEN  nodes and front door, for the internal API\n"
    "PRAEFECT_EXTERNAL_TOKEN    clients and Praefect\n"
    "PRAEFECT_INTERNAL_TOKEN    Praefect and nodes; clients must not know it\n"
    "PRAEFECT_SQL_PASSWORD      Praefect and PostgreSQL\n\n"
    "Example: praefect secrets > secrets.sh",
    flags=(Flag(name="format", text="shell or json", default="shell"),),
    run=run,
)
