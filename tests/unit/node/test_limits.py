from __future__ import annotations

import asyncio

import pytest

from praefect.node.limits import ConcurrencyLimiter, Limit, LimitExceededError
from praefect.proto.errors_pb2 import LimitError
from praefect.transport.grpc.status import StatusCode


async def hold(limiter: ConcurrencyLimiter, key: str, entered: list[str], leave: asyncio.Event, name: str) -> None:
    async with limiter.slot(key):
        entered.append(name)
        await leave.wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_places_are_given_in_order() -> None:
    limiter = ConcurrencyLimiter(Limit(running=1))
    entered: list[str] = []
    leave = [asyncio.Event() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(hold(limiter, "a", entered, leave[number], str(number)))
            await settle()
        assert entered == ["0"]
        leave[0].set()
        await settle()
        assert entered == ["0", "1"]
        leave[1].set()
        leave[2].set()
    assert entered == ["0", "1", "2"]
    assert not limiter._lanes


async def test_keys_do_not_hinder_each_other() -> None:
    limiter = ConcurrencyLimiter(Limit(running=1))
    async with limiter.slot("a"), limiter.slot("b"):
        pass


async def test_full_queue_turns_away_with_a_detail() -> None:
    limiter = ConcurrencyLimiter(Limit(running=1, waiting=1))
    entered: list[str] = []
    leave = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(2):
            group.create_task(hold(limiter, "a", entered, leave, str(number)))
        await settle()
        with pytest.raises(LimitExceededError, match=r"^maximum queue size reached$") as error:
            async with limiter.slot("a"):
                pass
        leave.set()
    assert error.value.code is StatusCode.RESOURCE_EXHAUSTED
    detail = LimitError()
    assert error.value.details[0].Unpack(detail)
    assert detail.error_message == "maximum queue size reached"
    assert detail.HasField("retry_after")


async def test_wait_has_an_end() -> None:
    limiter = ConcurrencyLimiter(Limit(running=1, wait_seconds=1e-9))
    async with limiter.slot("a"):
        with pytest.raises(LimitExceededError, match=r"^maximum time in concurrency queue reached$"):
            async with limiter.slot("a"):
                pass
    async with limiter.slot("a"):
        pass


async def test_cancelled_waiter_leaves_no_place_behind() -> None:
    limiter = ConcurrencyLimiter(Limit(running=1))
    entered: list[str] = []
    leave = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold(limiter, "a", entered, leave, "0"))
        await settle()
        waiting = group.create_task(hold(limiter, "a", entered, leave, "1"))
        await settle()
        waiting.cancel()
        leave.set()
        await settle()
        async with limiter.slot("a"):
            entered.append("2")
    assert entered == ["0", "2"]


async def test_place_handed_to_a_cancelled_waiter_is_handed_on() -> None:
    limiter = ConcurrencyLimiter(Limit(running=1))
    entered: list[str] = []
    first, others = asyncio.Event(), asyncio.Event()
    others.set()
    async with asyncio.TaskGroup() as group:
        holding = group.create_task(hold(limiter, "a", entered, first, "0"))
        await settle()
        waiting = group.create_task(hold(limiter, "a", entered, others, "1"))
        group.create_task(hold(limiter, "a", entered, others, "2"))
        await settle()
        first.set()
        holding.add_done_callback(lambda _: waiting.cancel())  # in the same turn the place is handed to "1"
    assert entered in (["0", "2"], ["0", "1", "2"])
    assert not limiter._lanes
