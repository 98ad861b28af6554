"""``check``: find out whether this host is fit to run Praefect."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind
from praefect.cli.output import Output
from praefect.domain.errors import PraefectError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from praefect.cli.command import Invocation
    from praefect.config.praefect import PraefectConfig

LIMIT_SECONDS = 5.0
_NAMED = 3
"""How many missing migrations are named."""


class Severity(Enum):
    """What a failed check means."""

    FATAL = "fatal"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check; ``run`` raises with the reason if it fails.

    Attributes:
        is_own: upstream has no such check; nothing is printed of it unless it fails.
    """

    name: str
    description: str
    severity: Severity
    run: Callable[[PraefectConfig, Output], Awaitable[None]]
    is_own: bool = False


class CheckFailedError(PraefectError):
    """A check failed; the message says why.

    Attributes:
        hints: what to do about it.
    """

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.hints = hints


def run(invocation: Invocation) -> None:
    """Run all checks, one after the other."""
    import asyncio

    asyncio.run(_run_checks(invocation.load_config(), invocation.output, quiet=invocation.switch("q")))


async def _run_checks(config: PraefectConfig, output: Output, *, quiet: bool) -> None:
    failed: list[Severity] = []
    hints: list[str] = []
    for number, check in enumerate(CHECKS, start=1):
        error = await _run_check(check, config, output, hints, quiet=quiet)
        output.show(f"{number} of {len(CHECKS)} checks")
        found = {"name": check.name, "severity": check.severity.value, "passed": error is None}
        output.append("checks", found if error is None else {**found, "error": error})
        if error is not None:
            failed.append(check.severity)
    output.say("")
    if not failed:
        output.say("All checks passed.")
    elif Severity.FATAL not in failed:
        output.say(f"{len(failed)} check(s) failed, but none are fatal.")
    else:
        output.say(f"{len(failed)} check(s) failed, at least one was fatal.")
        raise CommandError("checks failed", hints=hints)


async def _run_check(
    check: Check, config: PraefectConfig, output: Output, hints: list[str], *, quiet: bool
) -> str | None:
    """Run one check within its limit; return why it failed, None if it did not, and note what helps."""
    import asyncio

    if not check.is_own:
        _announce(check, output, quiet=quiet)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await check.run(config, Output(is_silent=True) if quiet else output)
    except (PraefectError, TimeoutError) as exc:
        if check.is_own:
            _announce(check, output, quiet=quiet)
        error = str(exc) or "context deadline exceeded"
        hints += exc.hints if isinstance(exc, CheckFailedError) else ()
        output.say(f"Failed ({check.severity.value}) error: {error}")
        return error
    if not check.is_own:
        output.say("Passed")
    return None


def _announce(check: Check, output: Output, *, quiet: bool) -> None:
    if quiet:
        output.say(f"Checking {check.name}...", end="")
    else:
        output.say(f"Checking {check.name} - {check.description} [{check.severity.value}]")


async def _migrations(config: PraefectConfig, _output: Output) -> None:
    from praefect.cli.database import newer_database, open_migrator, open_records
    from praefect.datastore.migrations import UnknownMigrationError

    try:
        async with open_records(config, prefix="") as datastore:
            missing = await datastore.checks.count_missing_migrations()
    except UnknownMigrationError as exc:
        raise CheckFailedError(str(exc), newer_database(exc)) from exc
    if missing:
        async with open_migrator(config, prefix="") as migrator:
            names = [migration.migration_id for migration in await migrator.plan_up()]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        hint = f"praefect sql-migrate applies {', '.join(names[:_NAMED])}{more}"
        raise CheckFailedError(f"{missing} migrations have not been run", hint)


async def _connectivity(config: PraefectConfig, output: Output) -> None:
    from praefect.cli.node_probe import probe_nodes, unhealthy_addresses

    # a little less than the check's own limit, so that each node says what it lacks
    probes = await probe_nodes(config, seconds=LIMIT_SECONDS * 0.9, say=output.say, show=output.show)
    if unhealthy := unhealthy_addresses(probes):
        raise CheckFailedError(f"the following nodes are not healthy: {', '.join(unhealthy)}")


async def _read_write(config: PraefectConfig, output: Output) -> None:
    from praefect.cli.database import open_records
    from praefect.datastore.checks import ReadWriteCheckError

    read, written = "successfully read from database", "successfully wrote to database"
    async with open_records(config, prefix="error opening database connection: ") as datastore:
        try:
            await datastore.checks.check_read_write()
        except ReadWriteCheckError as exc:
            if not str(exc).startswith(("error starting", "error reading")):
                output.say(read)
            raise
    output.say(read)
    output.say(written)


async def _availability(config: PraefectConfig, output: Output) -> None:
    from praefect.cli.database import open_records
    from praefect.config.quoting import quote
    from praefect.datastore import QueryError

    async with open_records(config, prefix="error opening database connection: ") as datastore:
        try:
            counts = await datastore.repositories.count_unavailable()
        except QueryError as exc:
            raise CheckFailedError(f"query: {exc}") from exc
    unavailable = {name: count for name, count in counts.items() if count}
    for name, count in sorted(unavailable.items()):
        noun = "repository that is" if count == 1 else "repositories that are"
        output.say(f"virtual-storage {quote(name)} has {count} {noun} unavailable.")
    if unavailable:
        raise CheckFailedError("repositories unavailable")
    output.say("All repositories are available.")


async def _own_schema(config: PraefectConfig, _output: Output) -> None:
    from praefect.cli.database import open_records
    from praefect.datastore import DatastoreUnavailableError

    try:
        async with open_records(config, prefix="") as datastore:
            await datastore.own_schema.check()
    except (CommandError, DatastoreUnavailableError):
        return  # other checks tell of a database that is away


async def _standbys(config: PraefectConfig, _output: Output) -> None:
    from praefect.cli.database import open_records
    from praefect.datastore import DatastoreUnavailableError

    try:
        async with open_records(config, prefix="") as datastore:
            await datastore.checks.check_standbys()
    except (CommandError, DatastoreUnavailableError):
        return  # other checks tell of a database that is away


async def _different_tokens(config: PraefectConfig, _output: Output) -> None:
    from praefect.cli.token_checks import check_tokens_differ

    check_tokens_differ(config)


async def _closed_nodes(config: PraefectConfig, _output: Output) -> None:
    from praefect.cli.token_checks import check_nodes_refuse_clients

    await check_nodes_refuse_clients(config, seconds=LIMIT_SECONDS * 0.9)


CHECKS = (
    Check(
        name="praefect migrations",
        description="confirms that all database migrations have been run",
        severity=Severity.FATAL,
        run=_migrations,
    ),
    Check(
        name="gitaly node connectivity & disk access",
        description="confirms that all nodes can be reached and can read and write their storages",
        severity=Severity.FATAL,
        run=_connectivity,
    ),
    Check(
        name="database read/write",
        description="confirms that the database can be read and written",
        severity=Severity.FATAL,
        run=_read_write,
    ),
    Check(
        name="unavailable repositories",
        description="confirms that every repository can be served",
        severity=Severity.WARNING,
        run=_availability,
    ),
    Check(
        name="different tokens",
        description="confirms that clients and nodes have different secrets",
        severity=Severity.WARNING,
        run=_different_tokens,
        is_own=True,
    ),
    Check(
        name="nodes closed to clients",
        description="confirms that no node accepts the secret of clients",
        severity=Severity.WARNING,
        run=_closed_nodes,
        is_own=True,
    ),
    Check(
        name="interrupted writes",
        description="confirms that writes can be remembered until their outcome is recorded",
        severity=Severity.WARNING,
        run=_own_schema,
        is_own=True,
    ),
    Check(
        name="synchronous standby",
        description="confirms that a switch-over of PostgreSQL would lose nothing that was recorded",
        severity=Severity.WARNING,
        run=_standbys,
        is_own=True,
    ),
)

COMMAND = Command(
    name="check",
    summary="run checks of the cluster",
    description="Checks migrations, nodes, the database and the repositories; every check is run, whatever failed\n"
    "before. Exits with 1 if a fatal one failed. Clients' secrets that open nodes are warned of.\n\n"
    "Example: praefect -config praefect.config.toml check",
    flags=(Flag(name="q", kind=FlagKind.BOOL, text="print one line per check"), FORMAT),
    run=run,
)
