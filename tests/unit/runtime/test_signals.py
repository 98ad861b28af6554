"""The first signal asks for a stop, the second forces it; grace is bounded."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta

import pytest

from praefect.runtime.signals import InterruptedStartError, ShutdownError, Stop, stop_on_signals

LONG = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("number", "name"),
    [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupt"), (signal.SIGHUP, "hangup")],
)
async def test_first_signal_requests_the_stop(number: signal.Signals, name: str) -> None:
    with stop_on_signals() as stop:
        signal.raise_signal(number)
        await stop.wait()
    assert stop.requested
    assert stop.signal_name == name
    assert not stop.forced


async def test_hangup_can_mean_something_else() -> None:
    with stop_on_signals(hangup_stops=False) as stop:
        signal.raise_signal(signal.SIGHUP)
        await stop.hangup.wait()
        assert not stop.requested


async def test_default_actions_are_back_afterwards() -> None:
    with stop_on_signals():
        pass
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


async def test_second_signal_ends_the_grace_period_and_names_the_first() -> None:
    async def serve() -> None:
        with stop_on_signals() as stop:
            signal.raise_signal(signal.SIGTERM)
            await stop.wait()
            async with stop.grace(LONG):
                signal.raise_signal(signal.SIGINT)
                await asyncio.Event().wait()

    with pytest.raises(ShutdownError, match=r'^received signal "terminated": wait: force shutdown$'):
        await serve()


async def test_second_signal_before_the_grace_period_leaves_none() -> None:
    stop = Stop()
    stop.receive(signal.SIGINT)
    stop.receive(signal.SIGINT)
    with pytest.raises(ShutdownError, match=r'^received signal "interrupt": wait: force shutdown$'):
        async with stop.grace(LONG):
            await asyncio.Event().wait()


@pytest.mark.parametrize("period", [timedelta(milliseconds=5), timedelta(), timedelta(seconds=-1)])
async def test_grace_period_expires(period: timedelta) -> None:
    stop = Stop()
    stop.receive(signal.SIGTERM)
    with pytest.raises(ShutdownError, match=r'^received signal "terminated": wait: grace period expired$'):
        async with stop.grace(period):
            await asyncio.Event().wait()


async def test_stop_without_signal_names_none() -> None:
    stop = Stop()
    stop.request()
    await stop.wait()
    with pytest.raises(ShutdownError, match=r"^wait: grace period expired$"):
        async with stop.grace(timedelta()):
            await asyncio.Event().wait()


async def test_what_ends_in_time_is_not_disturbed() -> None:
    stop = Stop()
    stop.receive(signal.SIGTERM)
    async with stop.grace(LONG):
        await asyncio.sleep(0)
    stop.receive(signal.SIGTERM)
    await asyncio.sleep(0)


async def test_foreign_timeout_within_the_grace_period_is_passed_on() -> None:
    stop = Stop()
    with pytest.raises(TimeoutError):
        async with stop.grace(LONG):
            raise TimeoutError


async def test_signal_while_the_expired_block_unwinds_changes_nothing() -> None:
    stop = Stop()
    stop.receive(signal.SIGTERM)

    async def serve() -> None:
        async with stop.grace(timedelta()):
            try:
                await asyncio.Event().wait()
            finally:
                stop.receive(signal.SIGTERM)

    with pytest.raises(ShutdownError):
        await serve()


async def _start(stop: Stop, *, killed: bool = False) -> None:
    async with stop.interrupting():
        if killed:
            os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()


async def test_a_start_is_given_up_when_a_stop_is_asked_for() -> None:
    with stop_on_signals() as stop:
        with pytest.raises(InterruptedStartError):
            await _start(stop, killed=True)
        assert stop.signal_name == "interrupt"


async def test_a_stop_asked_for_before_the_start_lets_nothing_begin() -> None:
    with stop_on_signals() as stop:
        stop.request()
        with pytest.raises(InterruptedStartError):
            await _start(stop)


async def test_a_stop_after_the_start_disturbs_nothing() -> None:
    with stop_on_signals() as stop:
        async with stop.interrupting():
            pass
        stop.request()
        await asyncio.sleep(0)
        assert stop.requested


async def test_foreign_timeout_of_a_start_is_passed_on() -> None:
    with stop_on_signals() as stop, pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await _start(stop)
