"""Waiting for a condition that another process brings about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

POLL_SECONDS = 0.05


async def eventually(condition: Callable[[], Awaitable[object]], *, within_seconds: float = 30.0) -> None:
    """Return once ``condition`` gives something true; fail with what it gave last otherwise."""
    last: object = None
    try:
        async with asyncio.timeout(within_seconds):
            while not (last := await condition()):  # noqa: ASYNC110 - nobody in this process could set an event
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {within_seconds} s; last: {last!r}") from None
