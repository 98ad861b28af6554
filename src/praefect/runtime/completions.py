"""Work that must not be half done: it runs to its end whatever became of whoever asked for it.

This is the one place besides task groups where tasks are made. A child of a task group is cancelled when another child
fails; a completion is not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import timedelta
    from types import TracebackType

_T = TypeVar("_T")


class Completions:
    """Owns the tasks of all completions; leaving it waits for them.

    Each completion has its own deadline, so leaving takes at most as long as the longest one. Cancelling the leaving
    does not cut it short; the cancellation is passed on afterwards.

    Args:
        on_failure: told the name and the error of a completion that failed when nobody was waiting for it; without it
            the event loop's exception handler is told.
    """

    def __init__(self, on_failure: Callable[[str, BaseException], None] | None = None) -> None:
        self._on_failure = on_failure
        self._tasks: dict[asyncio.Task[Any], bool] = {}  # whether somebody waits for the result
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        cancelled: asyncio.CancelledError | None = None
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
                await asyncio.sleep(0)  # let the callbacks take the finished ones out
            except asyncio.CancelledError as error:
                cancelled = error
        self._open = False
        if cancelled is not None:
            raise cancelled

    def __len__(self) -> int:
        """Return how many completions are running."""
        return len(self._tasks)

    async def run(self, function: Callable[[], Coroutine[Any, Any, _T]], *, name: str, timeout: timedelta) -> _T:
        """Run ``function`` to its end and return its result.

        If the caller is cancelled, this raises ``CancelledError`` at once and the work goes on.

        Raises:
            TimeoutError: ``timeout`` passed; the work was cancelled.
            RuntimeError: the completions are not entered or already left.
        """
        task = self._start(function, name=name, timeout=timeout, attended=True)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task in self._tasks:
                self._tasks[task] = False
            else:
                self._report(task)  # it failed just before the caller could be told
            raise

    def start(self, function: Callable[[], Coroutine[Any, Any, object]], *, name: str, timeout: timedelta) -> None:
        """Run ``function`` to its end in the background.

        Raises:
            RuntimeError: the completions are not entered or already left.
        """
        self._start(function, name=name, timeout=timeout, attended=False)

    def _start(
        self, function: Callable[[], Coroutine[Any, Any, _T]], *, name: str, timeout: timedelta, attended: bool
    ) -> asyncio.Task[_T]:
        if not self._open:
            msg = f"completion {name!r} started outside the lifetime of its owner"
            raise RuntimeError(msg)
        task = asyncio.get_running_loop().create_task(_bounded(function, timeout), name=name)
        self._tasks[task] = attended
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        if not self._tasks.pop(task):
            self._report(task)

    def _report(self, task: asyncio.Task[Any]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if self._on_failure is not None:
            self._on_failure(task.get_name(), error)
            return
        task.get_loop().call_exception_handler(
            {"message": f"completion {task.get_name()!r} failed", "exception": error, "task": task}
        )


async def _bounded(function: Callable[[], Coroutine[Any, Any, _T]], timeout: timedelta) -> _T:
    async with asyncio.timeout(timeout.total_seconds()):
        return await function()
