"""``sql-migrate``: apply the migrations that the database lacks."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind
from praefect.config.duration import Duration, format_duration

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.cli.output import Output
    from praefect.config.praefect import PraefectConfig
    from praefect.datastore.migrations import Migration, Migrator


def run(invocation: Invocation) -> None:
    """Apply them one by one, each with a line."""
    import asyncio

    asyncio.run(_migrate(invocation.load_config(), invocation))


async def _migrate(config: PraefectConfig, invocation: Invocation) -> None:
    from praefect.cli.database import open_migrator

    output = invocation.output
    async with open_migrator(config, prefix="sql open: ") as migrator:
        # unlike upstream, which calls a plan that could not be made a success
        plan = await migrator.plan_up(tolerates_unknown=invocation.switch("ignore-unknown"))
        output.result["migrations"] = []
        if not plan:
            output.say("praefect sql-migrate: all migrations are up")
            return
        output.say(f"praefect sql-migrate: migrations to apply: {len(plan)}\n")
        applied = 0
        output.summary = lambda: f"{applied} of {len(plan)} migrations are applied; sql-migrate goes on with the next"
        for number, migration in enumerate(plan, start=1):
            output.show(f"applying {migration.migration_id} ({number} of {len(plan)})")
            applied += await _apply(migrator, migration, output, verbose=invocation.switch("verbose"))
        output.say(f"\npraefect sql-migrate: OK (applied {applied} migrations)")


async def _apply(migrator: Migrator, migration: Migration, output: Output, *, verbose: bool) -> bool:
    from praefect.domain.errors import PraefectError

    output.say(f"=  {_now()} {migration.migration_id}: migrating")
    if verbose:
        output.say(f"\t[{' '.join(statements(migration.up))}]")
    start = time.monotonic_ns()
    try:
        is_applied = await migrator.apply(migration)
    except PraefectError as exc:
        suffix = f" handling {migration.migration_id}"
        raise CommandError(f"{_now()}: fail: {str(exc).removesuffix(suffix)}{suffix}") from exc
    elapsed = time.monotonic_ns() - start
    outcome, took = "applied" if is_applied else "skipped", format_duration(Duration.from_nanoseconds(elapsed))
    output.append(
        "migrations", {"migration": migration.migration_id, "outcome": outcome, "seconds": round(elapsed / 1e9, 6)}
    )
    output.say(f"== {_now()} {migration.migration_id}: {outcome} ({took})")
    return is_applied


def statements(script: str) -> list[str]:
    """Split a script into its statements, without the comments that stand before them."""
    code = "\n".join(line for line in script.split("\n") if not line.startswith("--"))
    found = [""]
    for number, part in enumerate(code.split("$$")):
        if number % 2:  # a function's body
            found[-1] += f"$${part}$$"
            continue
        first, *others = part.split(";")
        found[-1] += first
        found += others
    return [statement.strip() for statement in found if statement.strip()]


def _now() -> str:
    return f"{datetime.now().astimezone():%Y-%m-%dT%H:%M:%S}"


COMMAND = Command(
    name="sql-migrate",
    summary="apply outstanding database migrations",
    description="Brings the schema of the database up to this version. Each migration is applied in a transaction\n"
    "of its own, so that a failed run can be repeated.\n\n"
    "Example: praefect -config praefect.config.toml sql-migrate",
    flags=(
        Flag(
            name="ignore-unknown",
            kind=FlagKind.BOOL,
            text="go on if the database has migrations that this version does not know",
            default=True,
        ),
        Flag(name="verbose", kind=FlagKind.BOOL, text="show the statements of each migration"),
        FORMAT,
    ),
    run=run,
)
