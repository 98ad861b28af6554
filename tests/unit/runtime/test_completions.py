"""Completions run to their end, whatever becomes of who asked."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from praefect.runtime.completions import Completions

LONG = timedelta(minutes=1)
SHORT = timedelta(milliseconds=5)

_variable: ContextVar[str] = ContextVar("_variable", default="")


class Work:
    """Work that waits until it is let go, and says how far it came."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.done = False
        self.error = error

    async def __call__(self) -> str:
        self.begun.set()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        self.done = True
        return "result"


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_run_returns_the_result() -> None:
    work = Work()
    work.go_on.set()
    async with Completions() as completions:
        assert await completions.run(work, name="work", timeout=LONG) == "result"
        assert len(completions) == 0


async def test_run_raises_the_error() -> None:
    failures: list[str] = []
    work = Work(ValueError("no"))
    work.go_on.set()
    async with Completions(lambda name, _: failures.append(name)) as completions:
        with pytest.raises(ValueError, match="no"):
            await completions.run(work, name="work", timeout=LONG)
    assert failures == []


async def test_cancelled_caller_goes_at_once_and_the_work_goes_on() -> None:
    work = Work()
    async with Completions() as completions, asyncio.TaskGroup() as tasks:
        caller = tasks.create_task(completions.run(work, name="work", timeout=LONG), name="caller")
        await work.begun.wait()
        caller.cancel()
        await _settle()
        assert caller.cancelled()
        assert len(completions) == 1
        work.go_on.set()
        await _settle()
        assert work.done


async def test_failing_task_group_does_not_cancel_the_work() -> None:
    work = Work()

    async def fail() -> None:
        await work.begun.wait()
        msg = "elsewhere"
        raise RuntimeError(msg)

    async with Completions() as completions:
        with pytest.RaisesGroup(RuntimeError):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(completions.run(work, name="work", timeout=LONG), name="caller")
                tasks.create_task(fail(), name="fail")
        assert not work.done
        work.go_on.set()
    assert work.done


async def test_leaving_waits_for_the_work() -> None:
    work = Work()
    completions = Completions()
    async with asyncio.TaskGroup() as tasks:

        async def own() -> None:
            async with completions:
                completions.start(work, name="work", timeout=LONG)

        owner = tasks.create_task(own(), name="owner")
        await work.begun.wait()
        await _settle()
        assert not owner.done()
        work.go_on.set()
        await owner
    assert work.done


async def test_cancelled_leaving_still_waits_and_then_passes_the_cancellation_on() -> None:
    work = Work()
    async with asyncio.TaskGroup() as tasks:

        async def own() -> None:
            async with Completions() as completions:
                completions.start(work, name="work", timeout=LONG)

        owner = tasks.create_task(own(), name="owner")
        await work.begun.wait()
        for _ in range(2):
            owner.cancel()
            await _settle()
            assert not owner.done()
        work.go_on.set()
        await asyncio.wait([owner])
    assert work.done
    assert owner.cancelled()


async def test_error_in_the_block_is_passed_on_after_the_work() -> None:
    work = Work()

    async def fail() -> None:
        async with Completions() as completions:
            completions.start(work, name="work", timeout=LONG)
            asyncio.get_running_loop().call_later(0.005, work.go_on.set)
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert work.done


async def test_work_started_by_work_while_leaving_is_waited_for() -> None:
    inner = Work()
    inner.go_on.set()
    async with Completions() as completions:

        async def outer() -> None:
            await asyncio.sleep(0)
            completions.start(inner, name="inner", timeout=LONG)

        completions.start(outer, name="outer", timeout=LONG)
    assert inner.done


async def test_work_is_bounded_by_its_own_timeout() -> None:
    work = Work()
    async with Completions() as completions:
        with pytest.raises(TimeoutError):
            await completions.run(work, name="work", timeout=SHORT)
    assert not work.done


async def test_callers_deadline_does_not_bound_the_work() -> None:
    work = Work()
    async with Completions() as completions:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await completions.run(work, name="work", timeout=LONG)
        work.go_on.set()
    assert work.done


async def test_unattended_failure_is_reported_by_name() -> None:
    failures: list[tuple[str, BaseException]] = []
    error = ValueError("no")
    work = Work(error)
    work.go_on.set()
    async with Completions(lambda name, exc: failures.append((name, exc))) as completions:
        completions.start(work, name="the work", timeout=LONG)
    assert failures == [("the work", error)]


async def test_failure_after_the_caller_went_is_reported() -> None:
    failures: list[str] = []
    work = Work(ValueError("no"))
    async with (
        Completions(lambda name, _: failures.append(name)) as completions,
        asyncio.TaskGroup() as tasks,
    ):
        caller = tasks.create_task(completions.run(work, name="work", timeout=LONG), name="caller")
        await work.begun.wait()
        caller.cancel()
        await _settle()
        work.go_on.set()
    assert failures == ["work"]


async def test_without_a_listener_the_loops_handler_is_told() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    work = Work(ValueError("no"))
    work.go_on.set()
    async with Completions() as completions:
        completions.start(work, name="work", timeout=LONG)
    assert [context["message"] for context in told] == ["completion 'work' failed"]


async def test_context_variables_are_the_callers() -> None:
    async def read() -> str:
        return _variable.get()

    async with Completions() as completions:
        _variable.set("mine")
        assert await completions.run(read, name="read", timeout=LONG) == "mine"


async def test_nothing_starts_outside_the_lifetime() -> None:
    completions = Completions()
    with pytest.raises(RuntimeError, match="'early' started outside"):
        completions.start(Work(), name="early", timeout=LONG)
    async with completions:
        pass
    with pytest.raises(RuntimeError, match="'late' started outside"):
        await completions.run(Work(), name="late", timeout=LONG)
