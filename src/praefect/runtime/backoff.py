"""How long to wait before trying again.

Source: the connection backoff of gRPC (doc/connection-backoff.md), whose figures are the defaults.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class ExponentialBackoff:
    """Delays that grow by a factor up to a bound, each spread at random so that many waiters part.

    Args:
        initial: the first delay, in seconds.
        maximum: the bound of the delays before they are spread, in seconds.
        multiplier: by what each delay exceeds the one before.
        jitter: the part of a delay by which it is shortened or lengthened at most; no delay is above
            ``maximum * (1 + jitter)``.
        random_source: gives numbers from 0 up to but not including 1.
    """

    __slots__ = ("_delay", "_initial", "_jitter", "_maximum", "_multiplier", "_random")

    def __init__(
        self,
        *,
        initial: float = 1.0,
        maximum: float = 120.0,
        multiplier: float = 1.6,
        jitter: float = 0.2,
        random_source: Callable[[], float] = random.random,
    ) -> None:
        if not 0 < initial <= maximum:
            msg = f"delays from {initial} to {maximum} seconds: the first must be above 0 and not above the bound"
            raise ValueError(msg)
        if multiplier < 1 or not 0 <= jitter < 1:
            msg = f"multiplier {multiplier} must not be below 1, jitter {jitter} must be from 0 to below 1"
            raise ValueError(msg)
        self._initial = initial
        self._maximum = maximum
        self._multiplier = multiplier
        self._jitter = jitter
        self._random = random_source
        self._delay = initial

    def next_delay(self) -> float:
        """Return how many seconds to wait now; the next delay will be longer."""
        delay = self._delay
        self._delay = min(delay * self._multiplier, self._maximum)
        return delay * (1 + self._jitter * (2 * self._random() - 1))

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._delay = self._initial
