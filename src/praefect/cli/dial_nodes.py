"""``dial-nodes``: check that all nodes can be reached and serve their storages."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, CommandError, Flag, FlagKind

if TYPE_CHECKING:
    from praefect.cli.command import Invocation

DEFAULT_LIMIT = timedelta(seconds=10)


def run(invocation: Invocation) -> None:
    """Probe them at once and print what is found."""
    import asyncio

    from praefect.cli.node_probe import probe_nodes, unhealthy_addresses

    limit = invocation.duration("timeout") or DEFAULT_LIMIT
    config = invocation.load_config()
    output = invocation.output
    probes = asyncio.run(probe_nodes(config, seconds=limit.total_seconds(), say=output.say, show=output.show))
    output.result["nodes"] = [probe.document() for probe in probes]
    if unhealthy := unhealthy_addresses(probes):
        raise CommandError(f"the following nodes are not healthy: {', '.join(unhealthy)}")


COMMAND = Command(
    name="dial-nodes",
    summary="check connections to the nodes",
    description="Calls every node: whether it answers, accepts our token, and serves the storages that the\n"
    "configuration file expects of it.\n\n"
    "Example: praefect -config praefect.config.toml dial-nodes -timeout 5s",
    flags=(Flag(name="timeout", kind=FlagKind.DURATION, text="give up after this time; 0 means 10s"), FORMAT),
    run=run,
)
