"""``list-storages``: show the configured storages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import FORMAT, Command, Flag

if TYPE_CHECKING:
    from praefect.cli.command import Invocation

_HEADER = ("VIRTUAL_STORAGE", "NODE", "ADDRESS")


def run(invocation: Invocation) -> None:
    """Print a table of the storages of all virtual storages, or of one."""
    from praefect.cli.known import known_virtual_storages

    wanted = invocation.text("virtual-storage")
    config, output = invocation.load_config(), invocation.output
    virtual_storages = [virtual for virtual in config.virtual_storages if wanted in ("", virtual.name)]
    output.result["storages"] = [
        {"virtual_storage": virtual.name, "storage": node.storage, "address": node.address}
        for virtual in virtual_storages
        for node in virtual.nodes
    ]
    if not virtual_storages:
        output.say(f"No virtual storages named {wanted}.")
        output.hint(known_virtual_storages(config, wanted))
        return
    rows = [(virtual.name, node.storage, node.address) for virtual in virtual_storages for node in virtual.nodes]
    output.say(_table([_HEADER, *rows]), end="")


def _table(rows: list[tuple[str, str, str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f" {line} \n" for line in lines)


COMMAND = Command(
    name="list-storages",
    summary="list the storages of virtual storages",
    description="Shows which nodes serve each virtual storage, as the configuration file has it.\n\n"
    "Example: praefect -config praefect.config.toml list-storages -virtual-storage default",
    flags=(Flag(name="virtual-storage", text="show only this virtual storage"), FORMAT),
    run=run,
)
