"""The clocks of a connection: the handshake's, and the one that asks a silent peer whether it is still there.

One timer at a time per connection; arriving bytes only move a time stamp. A peer that has stopped is found by whoever
asks soon, but gRPC servers end connections whose PINGs come often: the third one in a row that comes too soon is one
too many, and each time they send HEADERS or DATA they begin to count anew. So two PINGs keep the interval unless such
frames came after the answer to the first; one is spared from that, for a peer that stops right after it has answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.transport.http2.interface import ErrorCode

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from praefect.transport.http2.interface import Limits
    from praefect.transport.http2.outbound import Outbound

PAYLOAD = bytes(8)
_LATE_SECONDS = 1.0


class Keepalive:
    """Watches one connection from ``start`` to ``stop``."""

    __slots__ = ("_asked_at", "_connection", "_idle", "_limits", "_spared", "_timer")

    def __init__(self, connection: Outbound, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._idle = limits.keepalive_idle_seconds
        self._asked_at = float("-inf")
        self._spared = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin with the handshake."""
        self._after(self._limits.handshake_timeout_seconds, self._no_handshake)

    def ready(self) -> None:
        """The handshake is over."""
        self.stop()
        if self._idle is not None:
            self._after(self._idle, self._check)

    def stop(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._timer = self._connection.loop.call_later(seconds, action)

    def _no_handshake(self) -> None:
        self._connection.give_up("the peer sent no SETTINGS in time", ErrorCode.SETTINGS_TIMEOUT)

    def _check(self) -> None:
        connection = self._connection
        assert self._idle is not None  # noqa: S101 - the timer is not set otherwise
        now = connection.loop.time()
        rest = connection.last_heard() + self._idle - now
        if rest <= 0:
            rest = self._wait_between(now, self._idle)
        if rest > 0:
            self._after(rest, self._check)
        else:
            self._ask(now)

    def _wait_between(self, now: float, idle: float) -> float:
        """Return for how long the peer must not be asked again."""
        rest = self._asked_at + self._limits.keepalive_interval_seconds - now
        if self._connection.carried:
            self._spared = False
            return 0.0
        if not self._spared and rest > 0:
            self._spared = True
            return 0.0
        # What lifts the wait may arrive at any time.
        return min(rest, idle)

    def _ask(self, now: float) -> None:
        self._asked_at = now
        self._connection.send_ping(PAYLOAD)
        self._expect_answer_by(now)

    def _expect_answer_by(self, now: float) -> None:
        """Look again after as long as a peer that has answered may be silent, or at the end of its time."""
        rest = self._asked_at + self._limits.keepalive_timeout_seconds - now
        self._after(rest if self._idle is None else min(rest, self._idle), self._expect_answer)

    def _expect_answer(self) -> None:
        connection = self._connection
        now = connection.loop.time()
        late = now - self._asked_at - self._limits.keepalive_timeout_seconds
        if connection.last_heard() >= self._asked_at:
            self._check()
        elif late < 0:
            self._expect_answer_by(now)
        elif late > _LATE_SECONDS:
            self._ask(now)  # it was this process that stood still
        else:
            connection.give_up("keepalive timeout", ErrorCode.NO_ERROR)
