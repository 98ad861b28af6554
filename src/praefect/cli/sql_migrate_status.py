"""``sql-migrate-status``: show which migrations the database has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command
from praefect.cli.times import format_zoned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praefect.cli.command import Invocation
    from praefect.config.praefect import PraefectConfig
    from praefect.datastore.migrations import MigrationStatus

_HEADER = ("MIGRATION", "APPLIED")
_DATE_AND_TIME = 2  # words of a moment that stand on the first line of its cell


def run(invocation: Invocation) -> None:
    """Print a table."""
    import asyncio

    statuses = asyncio.run(_status(invocation.load_config()))
    invocation.output.result["migrations"] = [
        {
            "migration": status.migration_id,
            "known": status.is_known,
            "applied_at": status.applied_at.isoformat() if status.applied_at is not None else None,
        }
        for status in statuses
    ]
    invocation.output.say(render(statuses), end="")


async def _status(config: PraefectConfig) -> Sequence[MigrationStatus]:
    from praefect.cli.database import open_migrator

    async with open_migrator(config, prefix="sql open: ") as migrator:
        return await migrator.status()


def render(statuses: Sequence[MigrationStatus]) -> str:
    """Write the table."""
    rows = [(status.migration_id, _applied(status)) for status in statuses]
    left = max(len(_HEADER[0]), *(len(name) for name, _ in rows)) + 2
    right = max(len(_HEADER[1]), *(len(line) for _, lines in rows for line in lines)) + 2
    body = [
        f"│ {name if number == 0 else '':{left - 2}} │ {line:{right - 2}} │"
        for name, lines in rows
        for number, line in enumerate(lines)
    ]
    header = f"│{_centre(_HEADER[0], left)}│{_centre(_HEADER[1], right)}│"
    frame = [f"{first}{'─' * left}{middle}{'─' * right}{last}" for first, middle, last in ("┌┬┐", "├┼┤", "└┴┘")]
    return "\n".join([frame[0], header, frame[1], *body, frame[2]]) + "\n"


def _centre(text: str, width: int) -> str:
    before = (width - len(text)) // 2
    return f"{' ' * before}{text}".ljust(width)


def _applied(status: MigrationStatus) -> list[str]:
    """The lines of a cell."""
    if not status.is_known:
        return ["unknown migration"]
    if not status.is_applied or status.applied_at is None:
        return ["no"]
    words = format_zoned(status.applied_at).split(" ")
    return [" ".join(words[:_DATE_AND_TIME]), " ".join(words[_DATE_AND_TIME:])]


COMMAND = Command(
    name="sql-migrate-status",
    summary="show applied database migrations",
    description="Lists the migrations that this version or the database knows, and when each was applied.\n\n"
    "Example: praefect -config praefect.config.toml sql-migrate-status",
    flags=(FORMAT,),
    run=run,
)
