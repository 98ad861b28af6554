"""What can go wrong when git runs."""

from __future__ import annotations

import signal as signals

from praefect.domain.errors import InternalError, InvalidArgumentError, NotFoundError
from praefect.node.quoting import quote


class GitCommandError(InternalError):
    """Git ended with something other than success.

    Attributes:
        returncode: as of ``subprocess``: negative for a signal.
        stderr: what git wrote there, capped.
        status: ``exit status N`` or ``signal: name``.
    """

    def __init__(self, returncode: int, stderr: bytes = b"") -> None:
        self.returncode = returncode
        self.stderr = stderr
        self.status = describe_exit(returncode)
        super().__init__(f"{self.status}, stderr: {quote(stderr)}" if stderr else self.status)


class StdinClosedError(InternalError):
    """Git stopped reading its input; usually it has ended."""

    def __init__(self) -> None:
        super().__init__("broken pipe")


class ObjectNotFoundError(NotFoundError):
    """No such object, or a name that leads to none."""

    def __init__(self, message: str = "object not found") -> None:
        super().__init__(message)


class UnsafeArgumentError(InvalidArgumentError):
    """A value that git would take for an option, or that it cannot take at all."""


def describe_exit(returncode: int) -> str:
    """Return the words for how a process ended."""
    if returncode >= 0:
        return f"exit status {returncode}"
    try:
        return f"signal: {signals.strsignal(-returncode) or -returncode}".lower()
    except ValueError:
        return f"signal: {-returncode}"
