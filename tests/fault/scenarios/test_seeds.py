"""A handful of seeds, as ``make fault`` runs them; that runs more."""

from __future__ import annotations

import asyncio
import os
import sys

import pytest

from tests.fault.__main__ import seeds_of
from tests.fault.runner import conclude

SEEDS = seeds_of(os.environ.get("FAULT_SEEDS", "1-2"))


@pytest.mark.slow
@pytest.mark.timeout(480)
@pytest.mark.parametrize("seed", SEEDS)
async def test_guarantees_hold(seed: int) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fault", "--one", str(seed)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()  # it stops its cluster
            await process.wait()

    verdict = conclude(seed, process.returncode or 0, output.decode("utf-8", "replace"))
    assert verdict.clean, verdict.report
    assert verdict.numbers["acknowledged"] > 0, verdict.report
