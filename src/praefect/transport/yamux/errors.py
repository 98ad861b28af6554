"""Why streams cannot be opened and how they end, in the words of the Go implementation."""

from __future__ import annotations

from praefect.domain.errors import UnavailableError


class SessionUnavailableError(UnavailableError):
    """The session takes no new streams: it is over, or the peer said so."""


SHUTDOWN = "session shutdown"
WENT_AWAY = "remote end is not accepting connections"
CONNECTION_RESET = "connection reset"
OPEN_TIMEOUT = "stream open timeout"
WRITE_TIMEOUT = "connection write timeout"
