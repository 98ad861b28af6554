"""Tickers: an interval between passes, and passes by hand."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from praefect.runtime.ticker import IntervalTicker, ManualTicker, Ticker

NEVER = timedelta(days=1)
AT_ONCE = timedelta()


class Loop:
    """A control loop that counts its passes."""

    def __init__(self) -> None:
        self.passes = 0
        self.blocked: asyncio.Event | None = None

    async def run(self, ticker: Ticker) -> None:
        while True:
            await ticker.wait()
            if self.blocked is not None:
                await self.blocked.wait()
            self.passes += 1


async def test_interval_ticker_returns_when_the_interval_is_over() -> None:
    ticker = IntervalTicker(timedelta(milliseconds=20))
    fired: list[str] = []
    asyncio.get_running_loop().call_later(0.01, fired.append, "earlier timer")
    await ticker.wait()
    assert fired == ["earlier timer"]


async def test_interval_ticker_ticks_on_after_a_tick() -> None:
    ticker = IntervalTicker(AT_ONCE)
    for _ in range(3):
        await ticker.wait()


async def test_first_pass_is_due_at_once_only_if_asked_for() -> None:
    ticker = IntervalTicker(NEVER, immediately=True)
    await ticker.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ticker.wait()


async def test_wake_makes_a_waiting_loop_go_on() -> None:
    ticker = IntervalTicker(NEVER)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(ticker.wait(), name="wait")
        await asyncio.sleep(0)
        assert not waiting.done()
        ticker.wake()


async def test_wake_before_wait_is_remembered_once() -> None:
    ticker = IntervalTicker(NEVER)
    ticker.wake()
    ticker.wake()
    await ticker.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await ticker.wait()


async def test_cancelled_wait_is_cancelled() -> None:
    ticker = IntervalTicker(NEVER)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(ticker.wait(), name="wait")
        await asyncio.sleep(0)
        waiting.cancel()
    assert waiting.cancelled()


async def test_manual_tick_returns_after_the_pass() -> None:
    ticker, loop = ManualTicker(), Loop()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run(ticker), name="loop")
        await ticker.wait_idle()
        assert loop.passes == 0
        for passes in range(1, 4):
            await ticker.tick()
            assert loop.passes == passes
        running.cancel()


async def test_manual_tick_waits_for_a_slow_pass() -> None:
    ticker, loop = ManualTicker(), Loop()
    loop.blocked = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run(ticker), name="loop")
        tick = tasks.create_task(ticker.tick(), name="tick")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not tick.done()
        loop.blocked.set()
        await tick
        assert loop.passes == 1
        running.cancel()


async def test_ticks_made_in_advance_are_all_taken() -> None:
    ticker, loop = ManualTicker(), Loop()
    ticker.tick_nowait()
    ticker.tick_nowait()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(loop.run(ticker), name="loop")
        await ticker.wait_idle()
        assert loop.passes == 2
        running.cancel()


async def test_cancelled_loop_does_not_swallow_a_tick() -> None:
    ticker, loop = ManualTicker(), Loop()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(loop.run(ticker), name="first")
        await ticker.wait_idle()
        first.cancel()
        await asyncio.sleep(0)
        ticker.tick_nowait()
        second = tasks.create_task(loop.run(ticker), name="second")
        await ticker.wait_idle()
        assert loop.passes == 1
        second.cancel()
