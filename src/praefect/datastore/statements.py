"""The SQL of ``queries/*.sql``, by name.

A file holds statements that each begin with a line ``-- name: <name>``; the comment lines that follow say what the
statement does and which locks it takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, LiteralString, cast

_NAME: Final = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Query:
    """One named statement; only the loader makes them, so that no text built at run time gets to the server."""

    name: str
    text: LiteralString


class Statements(Mapping[str, Query]):
    """The statements of one file."""

    def __init__(self, module: str, queries: Mapping[str, Query]) -> None:
        self._module = module
        self._queries = dict(queries)

    def __getitem__(self, name: str) -> Query:
        return self._queries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._queries)

    def __len__(self) -> int:
        return len(self._queries)


@cache
def load_statements(module: str) -> Statements:
    """Return the statements of ``queries/<module>.sql``.

    Raises:
        ValueError: the file has text before its first name, or a name twice.
    """
    text = files("praefect.datastore").joinpath("queries", f"{module}.sql").read_text(encoding="utf-8")
    before, *parts = _NAME.split(text)
    if before.strip():
        raise ValueError(f"queries/{module}.sql: text before the first name")
    queries: dict[str, Query] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"queries/{module}.sql: {name} stands there twice")
        # The text comes from a file of this package and from nowhere else: the one cast that makes it trusted.
        statement = cast("LiteralString", body.strip().removesuffix(";"))
        queries[name] = Query(f"{module}.{name}", statement)
    return Statements(module, queries)
