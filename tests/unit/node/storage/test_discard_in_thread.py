"""What an operation used is deleted, also if its call is cancelled in the middle of that."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from praefect.node.storage.temporary import discard, discard_in_thread


async def test_cancelled_before_its_thread_begins(tmp_path: Path) -> None:
    directory = tmp_path / "temporary"
    directory.mkdir()
    (directory / "0").write_bytes(b"x")
    free = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as executor:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executor)
        busy = loop.run_in_executor(None, free.wait)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(discard_in_thread(directory), name="discard")
            await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            free.set()
        await busy
        await loop.run_in_executor(None, lambda: None)  # the threads work in order

    assert list(tmp_path.iterdir()) == []


def test_tree_deeper_than_python_walks(tmp_path: Path) -> None:
    top = tmp_path / "repository"
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for name in ["repository", *("b" for _ in range(2000))]:
        os.mkdir(name, dir_fd=descriptor)
        inner = os.open(name, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)

    discard(top)

    assert list(tmp_path.iterdir()) == []
