"""Runs seeds one after the other: ``python -m tests.fault 1-20``; what ``make fault`` does."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from tests.fault.scenarios.seeded import Result, Settings, run_seed, settings_from_environment


def seeds_of(text: str) -> list[int]:
    """Return the seeds of ``first-last`` or a list of such."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


async def _one(seed: int, settings: Settings) -> Result:
    """Run a seed; when told to end, leave no process behind."""
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await run_seed(seed, settings)
    except asyncio.CancelledError:
        sys.exit("interrupted")


def main(arguments: list[str]) -> int:
    """Run seeds; return 1 if any of them broke a guarantee."""
    settings = settings_from_environment()
    seeds = seeds_of(arguments[0] if arguments else os.environ.get("SEEDS", "1-3"))
    failed: list[int] = []
    acknowledged = 0
    for seed in seeds:
        result = asyncio.run(_one(seed, settings))
        print(result.report(), flush=True)  # noqa: T201
        acknowledged += result.history.acknowledged()
        if result.violations:
            failed.append(seed)
    verdict = f"seeds {failed} broke guarantees" if failed else "no violation"
    print(f"{len(seeds)} seeds, {acknowledged} acknowledged writes checked: {verdict}", flush=True)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
