"""Errors of PostgreSQL and its driver, translated. Nothing above this package sees a driver's exception."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from praefect.domain.errors import InternalError, UnavailableError

_AWAY_CLASSES: Final = ("08", "53", "57P", "28", "3D")
"""Connection lost, server out of resources, shutting down or starting, log-in refused, database missing."""

_READ_ONLY: Final = "25006"
"""The connection still leads to a server that has become a standby."""

_CONFLICTS: Final = ("40001", "40P01")
"""Serialization failure, deadlock."""


class DatastoreUnavailableError(UnavailableError):
    """PostgreSQL cannot be reached, or will not serve us now."""


class QueryError(InternalError):
    """PostgreSQL refused or failed a statement.

    Attributes:
        sqlstate: PostgreSQL's five characters for what happened; empty if it gave none.
        constraint: The violated constraint or unique index, None if it was not that.
    """

    def __init__(self, message: str, *, sqlstate: str = "", constraint: str | None = None) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.constraint = constraint


class ConflictError(QueryError):
    """PostgreSQL undid a statement to end a deadlock; it may succeed when repeated."""


@contextmanager
def translated() -> Iterator[None]:
    """Translate the driver's errors."""
    try:
        yield
    except psycopg.Error as exc:
        raise translate(exc) from exc


def translate(exc: psycopg.Error) -> DatastoreUnavailableError | QueryError:
    """Return the project's error for one of the driver's."""
    state = exc.sqlstate or ""
    text = describe(exc)
    if state.startswith(_AWAY_CLASSES) or state == _READ_ONLY:
        return DatastoreUnavailableError(text)
    if not state and isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError):
        return DatastoreUnavailableError(text)
    kind = ConflictError if state in _CONFLICTS else QueryError
    return kind(text, sqlstate=state, constraint=exc.diag.constraint_name)


def describe(exc: psycopg.Error) -> str:
    """Return an error on one line, as PostgreSQL's own tools and other Praefects word it."""
    diagnostics = exc.diag
    if diagnostics.message_primary is None:
        return " ".join(str(exc).split())
    return f"{diagnostics.severity}: {diagnostics.message_primary} (SQLSTATE {diagnostics.sqlstate})"
