"""How much noise a peer may make: frames that cost work and carry nothing.

A bucket of tokens that refills with time. Honest peers stay far below: PINGs that follow data, SETTINGS once, resets of
calls that had some time to live are no noise.
"""

from __future__ import annotations

_BURST = 1000.0
_PER_SECOND = 100.0


class NoiseGuard:
    """Counts strikes against one peer."""

    __slots__ = ("_since", "_tokens")

    def __init__(self) -> None:
        self._tokens = _BURST
        self._since = 0.0

    def strike(self, now: float) -> bool:
        """Count one frame of noise; return whether it was one too many."""
        self._tokens = min(_BURST, self._tokens + (now - self._since) * _PER_SECOND) - 1
        self._since = now
        return self._tokens < 0


class PingGuard:
    """Enforces a minimum interval between a client's PINGs as gRPC servers do.

    More than two that come early are too many; each time this side sends headers or data the count begins anew.
    """

    __slots__ = ("_early", "_interval", "_last")

    def __init__(self, interval_seconds: float) -> None:
        self._interval = interval_seconds
        self._last = float("-inf")
        self._early = 0

    def strike(self, now: float, *, answered: bool) -> bool:
        """Count one PING; return whether it was one too many.

        Args:
            now: when it came.
            answered: whether headers or data were sent since the last one.
        """
        early = now - self._last < self._interval
        self._last = now
        if answered:
            self._early = 0
            return False
        if early:
            self._early += 1
        return self._early > 2
