"""Runs seeds: ``python -m tests.fault 1-20``; what ``make fault`` does.

``JOBS`` seeds run at a time (1 if not given); with ``KEEP_GOING`` a seed that broke a guarantee does not end the run.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from tests.fault.faults.disk import enter_private_mounts
from tests.fault.runner import run_seeds
from tests.fault.scenarios.seeded import Result, run_seed, settings_from_environment


def seeds_of(text: str) -> list[int]:
    """Return the seeds of ``first-last`` or a list of such."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


async def _one(seed: int) -> Result:
    """Run a seed; when told to end, leave no process behind."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await run_seed(seed, settings_from_environment())
    except asyncio.CancelledError:
        sys.exit("interrupted")


def _run_one(seed: int) -> int:
    """Run a seed in this process; print its report, and what the runner counts in the last line."""
    result = asyncio.run(_one(seed))
    numbers = {
        "acknowledged": result.history.acknowledged(),
        "reads": len(result.history.reads),
        "violations": len(result.violations),
        "skipped": list(result.skipped),
    }
    print(f"{result.report()}\n{json.dumps(numbers)}", flush=True)  # noqa: T201
    return 1 if result.violations else 0


def main(arguments: list[str]) -> int:
    """Run seeds; return 1 if any of them broke a guarantee."""
    enter_private_mounts()
    if arguments[:1] == ["--one"]:
        return _run_one(int(arguments[1]))
    seeds = seeds_of(arguments[0] if arguments else os.environ.get("SEEDS", "1-3"))
    jobs, keep_going = int(os.environ.get("JOBS") or 1), os.environ.get("KEEP_GOING", "0") not in {"", "0"}
    tally = asyncio.run(run_seeds(seeds, jobs=jobs, keep_going=keep_going))
    print(tally.summary(len(seeds)), flush=True)  # noqa: T201
    return 1 if tally.failed() or len(tally.verdicts) < len(seeds) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
