"""``demo``: start a whole cluster in one terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import Command, Flag, FlagKind

if TYPE_CHECKING:
    from praefect.cli.command import Invocation


def run(invocation: Invocation) -> int:
    """Start it, or play the story."""
    from pathlib import Path

    from praefect.app import demo

    directory = Path(invocation.text("data-dir"))
    return demo.main(demo.DemoOptions(directory=directory, scenario=invocation.switch("scenario")))


COMMAND = Command(
    name="demo",
    summary="start a cluster of all parts in this terminal",
    description="Starts PostgreSQL, three nodes, praefect and a front door on free ports of this machine, prints a\n"
    "git clone line and the address of the status page, and stops all of it on Ctrl-C.\n\n"
    "Example: praefect demo -data-dir /tmp/cluster",
    flags=(
        Flag(name="data-dir", text="keep repositories, records and logs in this directory", default="data/demo"),
        Flag(
            name="scenario", kind=FlagKind.BOOL, text="play the failover story on a fresh cluster and check each step"
        ),
    ),
    run=run,
)
