"""Every SQL statement that is not a migration; a file per store, each statement under a line ``-- name: <name>``."""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Final, LiteralString

_NAME: Final = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)


def load_queries(module: str) -> Mapping[str, LiteralString]:
    """Return the statements of ``<module>.sql`` by name, without the comments before them.

    This is the one place where text becomes ``LiteralString``: the driver's types then refuse, for checkers that know
    that type, every statement that was put together at run time.
    """
    text = files(__name__).joinpath(f"{module}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    statements = {name: _without_heading(body) for name, body in zip(parts[::2], parts[1::2], strict=True)}
    return MappingProxyType(statements)


def query_modules() -> list[str]:
    """Return the names of all files of statements."""
    return sorted(file.name.removesuffix(".sql") for file in files(__name__).iterdir() if file.name.endswith(".sql"))


def _without_heading(body: str) -> str:
    lines = body.strip().splitlines()
    while lines and (not lines[0].strip() or lines[0].startswith("--")):
        lines.pop(0)
    return "\n".join(lines).rstrip(";\n")
