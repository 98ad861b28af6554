"""The id that follows a request through all programs that take part in it.

Source: the Praefect reference on correlation; ids are ULIDs (github.com/ulid/spec).
"""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]

METADATA_KEY = "x-gitlab-correlation-id"
"""Under which the id travels in gRPC metadata."""

correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")
"""The id of what is being handled; empty outside of any request."""


def new_correlation_id() -> str:
    """Return a fresh ULID: 26 characters, sorting by the millisecond of their creation."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "".join([_PAIRS[number >> shift & 0x3FF] for shift in range(120, -1, -10)])


@contextmanager
def correlation_scope(value: str) -> Iterator[str]:
    """Make ``value``, or a fresh id if it is empty, the correlation id within the block."""
    value = value or new_correlation_id()
    token = correlation_id.set(value)
    try:
        yield value
    finally:
        correlation_id.reset(token)
