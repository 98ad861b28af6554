"""Which calls are sent again by themselves, and how often. No I/O.

Source: gRPC A6, client retries; the figures are those that all clients of a cluster use.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.runtime.backoff import ExponentialBackoff
from praefect.transport.grpc.status import StatusCode

if TYPE_CHECKING:
    from collections.abc import Callable

PREVIOUS_ATTEMPTS = "grpc-previous-rpc-attempts"


def _never(method: str) -> bool:  # noqa: ARG001 - the shape of the predicate
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a call that failed before its response began is sent again. Times in seconds.

    Attributes:
        applies: whether the policy covers a method, by full name; only methods without side effects belong here.
        max_attempts: how often a call is sent at most, the first time included.
        codes: the statuses that may heal.
    """

    applies: Callable[[str], bool] = _never
    max_attempts: int = 4
    initial_backoff_seconds: float = 0.4
    max_backoff_seconds: float = 1.4
    backoff_multiplier: float = 2.0
    codes: frozenset[StatusCode] = field(default=frozenset({StatusCode.UNAVAILABLE}))

    def attempts(self, method: str) -> int:
        """Return how often a call of this method is sent at most."""
        return self.max_attempts if self.applies(method) else 1

    def backoff(self) -> ExponentialBackoff:
        """Return the delays between the attempts of one call."""
        return ExponentialBackoff(
            initial=self.initial_backoff_seconds,
            maximum=self.max_backoff_seconds,
            multiplier=self.backoff_multiplier,
        )


NO_RETRY = RetryPolicy()
