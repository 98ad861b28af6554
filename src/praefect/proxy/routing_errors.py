"""Why a call goes nowhere, in upstream's words.

One deviation on purpose: what fails only because nodes are down ends in UNAVAILABLE, not INTERNAL (docs/decisions).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from praefect.domain.errors import (
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PraefectError,
    UnavailableError,
)
from praefect.domain.repository import RepositoryNotFoundError

T = TypeVar("T")


class UnknownVirtualStorageError(InvalidArgumentError):
    """The call names a virtual storage that is not configured."""

    def __init__(self) -> None:
        super().__init__("virtual storage does not exist")


class NoHealthyNodesError(UnavailableError):
    """No node of the virtual storage answers this process's health checks."""

    def __init__(self) -> None:
        super().__init__("no healthy nodes")


class NoSuitableNodeError(UnavailableError):
    """Nodes are healthy, but none of those is up to date."""

    def __init__(self) -> None:
        super().__init__("no suitable node to serve the request")


class PrimaryUnhealthyError(UnavailableError):
    """The repository's primary does not answer this process's health checks.

    Args:
        advice: what an operator must do, where primaries do not move by themselves.
    """

    def __init__(self, advice: str = "") -> None:
        super().__init__(_advised("primary gitaly is not healthy", advice))


class PrimaryNotAssignedError(InternalError):
    """Only replicas that the repository is not assigned to are up to date."""

    def __init__(self) -> None:
        super().__init__("primary node is not assigned")


class RepositoryReadOnlyError(FailedPreconditionError):
    """The primary the election returned is not at the newest generation.

    Args:
        advice: what an operator must do, where primaries do not move by themselves.
    """

    def __init__(self, advice: str = "") -> None:
        super().__init__(_advised("repository is in read-only mode", advice))


class TooFewCopiesError(UnavailableError):
    """Fewer up-to-date replicas can take part in a write than are asked for; it was not forwarded."""

    def __init__(self, copies: int, wanted: int) -> None:
        super().__init__(f"only {copies} of at least {wanted} up-to-date replicas can take part")
        self.copies = copies
        self.wanted = wanted


class AdditionalRepositoryNotFoundError(NotFoundError):
    """The second repository a call names has no record."""

    def __init__(self) -> None:
        super().__init__("additional repository not found")


def _advised(text: str, advice: str) -> str:
    return f"{text}: {advice}" if advice else text


@contextmanager
def prefixed(text: str, *, bare: type[PraefectError] | tuple[type[PraefectError], ...] = ()) -> Iterator[None]:
    """Put ``text`` in front of the message of an error that passes, unless it is of a class in ``bare``."""
    try:
        yield
    except PraefectError as exc:
        if not isinstance(exc, bare):
            exc.args = (f"{text}{exc}", *exc.args[1:])
        raise


async def routed(prefix: str, choose: Callable[[], Awaitable[T]], *bare: type[PraefectError]) -> T:
    """Run a routing decision; its errors get ``prefix``, except those whose text clients match whole."""
    with prefixed(prefix, bare=(RepositoryNotFoundError, *bare)):
        return await choose()
