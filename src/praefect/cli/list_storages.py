"""``list-storages``: show the configured storages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.cli.command import Command, Flag

if TYPE_CHECKING:
    from praefect.cli.command import Invocation

_HEADER = ("VIRTUAL_STORAGE", "NODE", "ADDRESS")


def run(invocation: Invocation) -> None:
    """Print a table of the storages of all virtual storages, or of one."""
    wanted = invocation.text("virtual-storage")
    virtual_storages = invocation.load_config().virtual_storages
    if wanted:
        virtual_storages = tuple(virtual for virtual in virtual_storages if virtual.name == wanted)
        if not virtual_storages:
            print(f"No virtual storages named {wanted}.")
            return
    rows = [(virtual.name, node.storage, node.address) for virtual in virtual_storages for node in virtual.nodes]
    print(_table([_HEADER, *rows]), end="")


def _table(rows: list[tuple[str, str, str]]) -> str:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f" {line} \n" for line in lines)


COMMAND = Command(
    name="list-storages",
    summary="list the storages of virtual storages",
    description="Shows which nodes serve each virtual storage, as the configuration file has it.\n\n"
    "Example: praefect -config praefect.config.toml list-storages -virtual-storage default",
    flags=(Flag(name="virtual-storage", text="show only this virtual storage"),),
    run=run,
)
