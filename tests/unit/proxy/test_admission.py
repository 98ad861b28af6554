"""How many writes of one repository are in flight, and who waits."""

from __future__ import annotations

import asyncio

import pytest

from praefect.domain.repository import RelativePath, VirtualStorage
from praefect.proto import errors_pb2
from praefect.proxy.admission import WriteAdmission, WriteRefusedError
from praefect.transport.grpc.status import StatusCode, first_detail

VS, A, B = VirtualStorage("default"), RelativePath("a.git"), RelativePath("b.git")


class Writers:
    """Writes that go on until they are told to end."""

    def __init__(self, admission: WriteAdmission, tasks: asyncio.TaskGroup) -> None:
        self.admission = admission
        self._tasks = tasks
        self.admitted: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    async def start(self, name: str, path: RelativePath = A) -> asyncio.Task[None]:
        self._ends[name] = asyncio.Event()
        task = self._tasks.create_task(self._write(name, path))
        await settle()
        return task

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settle()

    async def _write(self, name: str, path: RelativePath) -> None:
        async with self.admission.admitted(VS, path):
            self.admitted.append(name)
            await self._ends[name].wait()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_writes_beyond_the_limit_wait_in_order() -> None:
    async with asyncio.TaskGroup() as tasks:
        writers = Writers(WriteAdmission(limit=2), tasks)
        for name in ("1", "2", "3", "4"):
            await writers.start(name)
        assert writers.admitted == ["1", "2"]
        await writers.end("2")
        assert writers.admitted == ["1", "2", "3"]
        await writers.end("1")
        assert writers.admitted == ["1", "2", "3", "4"]
        await writers.end("3")
        await writers.end("4")
    assert len(writers.admission) == 0


async def test_repositories_do_not_wait_for_each_other() -> None:
    async with asyncio.TaskGroup() as tasks:
        writers = Writers(WriteAdmission(limit=1), tasks)
        await writers.start("a", A)
        await writers.start("b", B)
        assert writers.admitted == ["a", "b"]
        await writers.end("a")
        await writers.end("b")


async def test_queue_is_bounded() -> None:
    admission = WriteAdmission(limit=1, queue_length=1)
    async with asyncio.TaskGroup() as tasks:
        writers = Writers(admission, tasks)
        await writers.start("1")
        await writers.start("2")
        with pytest.raises(WriteRefusedError) as refused:
            async with admission.admitted(VS, A):
                pass
        await writers.end("1")
        await writers.end("2")
    assert refused.value.code is StatusCode.RESOURCE_EXHAUSTED
    detail = first_detail(refused.value.details, errors_pb2.LimitError)
    assert detail == errors_pb2.LimitError(error_message="maximum queue size reached")


async def test_waiting_has_an_end() -> None:
    admission = WriteAdmission(limit=1, wait_seconds=0)
    async with asyncio.TaskGroup() as tasks:
        writers = Writers(admission, tasks)
        await writers.start("1")
        with pytest.raises(WriteRefusedError, match="maximum time in concurrency queue reached"):
            async with admission.admitted(VS, A):
                pass
        await writers.end("1")
    assert len(admission) == 0


async def test_who_leaves_the_queue_is_skipped() -> None:
    async with asyncio.TaskGroup() as tasks:
        writers = Writers(WriteAdmission(limit=1), tasks)
        await writers.start("1")
        gone = await writers.start("2")
        await writers.start("3")
        gone.cancel()
        await settle()
        await writers.end("1")
        assert writers.admitted == ["1", "3"]
        await writers.end("3")
    assert len(writers.admission) == 0


async def test_place_given_to_somebody_who_left_goes_on() -> None:
    async with asyncio.TaskGroup() as tasks:
        writers = Writers(WriteAdmission(limit=1), tasks)
        await writers.start("1")
        gone = await writers.start("2")
        await writers.start("3")
        writers._ends["1"].set()
        while "2" not in writers.admitted and not gone.done():
            gone.cancel()
            await asyncio.sleep(0)
        await settle()
        assert writers.admitted == ["1", "3"]
        await writers.end("3")
    assert len(writers.admission) == 0
