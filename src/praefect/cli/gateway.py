"""``praefect-gateway``: serve the front door, or check what it depends on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from praefect.domain.errors import PraefectError

CONFIG = click.argument("config", type=click.Path(dir_okay=False, path_type=Path))


@click.group(context_settings={"help_option_names": ["-h", "-help", "--help"]})
def gateway() -> None:
    """Serve git clients in front of Gitaly storages.

    Example: praefect-gateway serve /etc/praefect/gateway.toml
    """


@gateway.command()
@CONFIG
def serve(config: Path) -> None:
    """Serve the front door until stopped."""
    from praefect.app import gateway as app
    from praefect.config import gateway as config_file
    from praefect.observability import log

    loaded = config_file.load(str(config))
    log.configure(format=loaded.config.logging.format, level=loaded.config.logging.level, stream=sys.stdout)
    for key in loaded.unknown:
        log.get_logger("gateway").warning("unknown configuration key", key=key)
    asyncio.run(app.serve(loaded.config, config.absolute().parent))


@gateway.command()
@CONFIG
def check(config: Path) -> None:
    """Ask every storage whether it can be reached, and say why not.

    Exit code 1 if one cannot.
    """
    from praefect.app import gateway as app
    from praefect.config import gateway as config_file

    states = asyncio.run(app.check(config_file.load(str(config)).config))
    for state in states:
        print(f"{state.name} ({state.address}) ... {state.problem or 'OK'}")
    if any(state.problem for state in states):
        sys.exit(1)


def main() -> None:
    """Run the program; every expected failure is one line and exit code 1."""
    try:
        gateway.main(prog_name="praefect-gateway")
    except PraefectError as exc:
        print(f"praefect-gateway: {exc}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
