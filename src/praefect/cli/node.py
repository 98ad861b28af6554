"""``praefect-node``: serve the repositories of this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from praefect.domain.errors import PraefectError

CONFIG = click.argument("config", type=click.Path(dir_okay=False, path_type=Path))


def _print_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from praefect.app import node

        print(f"praefect-node, version {node.version()}")
        context.exit()


def _serve(config: Path) -> None:
    from praefect.app import node
    from praefect.config.node import load
    from praefect.observability import log

    loaded = load(str(config))
    log.configure(loaded.logging.format or "text", loaded.logging.level or "info", sys.stdout)
    node.run(loaded)


@click.group(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "-help", "--help"]}, no_args_is_help=True
)
@click.option("-config", "--config", "config", type=click.Path(dir_okay=False, path_type=Path), help="Serve this file.")
@click.option(
    "-version",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)
@click.pass_context
def node(context: click.Context, config: Path | None) -> None:
    """Store git repositories behind Praefect.

    Example: praefect-node serve /etc/gitaly/config.toml
    """
    if context.invoked_subcommand is None:
        if config is None:
            raise click.UsageError("give -config FILE or a command")
        _serve(config)


@node.command()
@CONFIG
def serve(config: Path) -> None:
    """Serve the storages that CONFIG names until stopped."""
    _serve(config)


@node.command()
@CONFIG
def check(config: Path) -> None:
    """Say whether the node could start with CONFIG and whether it can ask the front door.

    Exit code 1 if not.
    """
    import asyncio

    from praefect.app.node_check import run_checks
    from praefect.config.node import load

    results = asyncio.run(run_checks(load(str(config))))
    for result in results:
        print(f"{result.name} ... {result.problem or 'OK'}")
    if any(result.problem for result in results):
        sys.exit(1)


def main() -> None:
    """Run the program; every expected failure is one line and exit code 1."""
    try:
        node.main(prog_name="praefect-node")
    except PraefectError as exc:
        print(f"praefect-node: {exc}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
