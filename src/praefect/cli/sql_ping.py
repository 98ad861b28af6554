"""``sql-ping``: check that the database can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError

if TYPE_CHECKING:
    from praefect.cli.command import Invocation
    from praefect.config.praefect import PraefectConfig

VERSION_SECONDS = 5.0


def run(invocation: Invocation) -> None:
    """Connect and look at the server's version."""
    import asyncio

    asyncio.run(_ping(invocation.load_config()))
    invocation.output.say("praefect sql-ping: OK")


async def _ping(config: PraefectConfig) -> None:
    import asyncio

    from praefect.cli.database import open_records
    from praefect.datastore.checks import ServerTooOldError
    from praefect.domain.errors import PraefectError

    async with open_records(config, prefix="sql open: ") as datastore:
        try:
            async with asyncio.timeout(VERSION_SECONDS):
                await datastore.checks.check_server_version()
        except ServerTooOldError as exc:
            raise CommandError(f"praefect sql-ping: fail: {exc}") from exc
        except (PraefectError, TimeoutError) as exc:
            reason = str(exc) or "context deadline exceeded"
            raise CommandError(f"praefect sql-ping: fail: get postgres server version: {reason}") from exc


COMMAND = Command(
    name="sql-ping",
    summary="check that the database can be reached",
    description="Connects to PostgreSQL with the settings of the configuration file and checks its version.\n\n"
    "Example: praefect -config praefect.config.toml sql-ping",
    flags=(FORMAT,),
    run=run,
)
