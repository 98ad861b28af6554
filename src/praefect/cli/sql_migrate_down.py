"""``sql-migrate-down``: take the newest migrations back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Arguments, Command, CommandError, Flag, FlagKind, HelpfulError
from praefect.cli.numbers import ValueSyntaxError, parse_decimal

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.config.praefect import PraefectConfig


def run(invocation: Invocation) -> None:
    """Show what would be taken back, or take it back."""
    import asyncio

    if not invocation.arguments:
        raise HelpfulError("sql-migrate-down requires a single positional argument")
    if len(invocation.arguments) > 1:
        raise HelpfulError("sql-migrate-down accepts only single positional argument")
    config = invocation.load_config()
    asyncio.run(_roll_back(config, _count(invocation.arguments[0]), invocation))


def _count(text: str) -> int:
    try:
        count = parse_decimal(text)
    except ValueSyntaxError as exc:
        raise CommandError(str(exc)) from exc
    if count < 1:
        raise CommandError("number of migrations to roll back must be 1 or more")
    return count


async def _roll_back(config: PraefectConfig, count: int, invocation: Invocation) -> None:
    from praefect.cli.database import open_migrator

    output, reverted = invocation.output, 0
    async with open_migrator(config, prefix="sql open: ") as migrator:
        plan = await migrator.plan_down(count)
        output.result |= {"migrations": [migration.migration_id for migration in plan], "reverted": 0}
        if not invocation.switch("f"):
            listed = "".join(f"- {migration.migration_id}\n" for migration in plan)
            output.say(f"DRY RUN -- would roll back:\n\n{listed}\nTo apply these migrations run with -f")
            return
        output.summary = lambda: f"{reverted} of {len(plan)} migrations are rolled back"
        for migration in plan:
            output.show(f"rolling back {migration.migration_id}")
            await migrator.revert(migration)
            reverted += 1
            output.result["reverted"] = reverted
    output.say(f'OK (applied {len(plan)} "down" migrations)')


COMMAND = Command(
    name="sql-migrate-down",
    summary="revert database migrations",
    description="Takes the newest migrations back, as many as the argument says. Without -f it only lists them.\n\n"
    "Example: praefect -config praefect.config.toml sql-migrate-down -f 1",
    flags=(Flag(name="f", kind=FlagKind.BOOL, text="take them back"), FORMAT),
    arguments=Arguments.ACCEPTED,
    run=run,
)
