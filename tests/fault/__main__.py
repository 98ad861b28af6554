"""Runs seeds one after the other: ``python -m tests.fault 1-20``; what ``make fault`` does."""

from __future__ import annotations

import asyncio
import os
import sys

from tests.fault.scenarios.seeded import run_seed, settings_from_environment


def seeds_of(text: str) -> list[int]:
    """Return the seeds of ``first-last`` or a list of such."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main(arguments: list[str]) -> int:
    """Run seeds; return 1 if any of them broke a guarantee."""
    settings = settings_from_environment()
    seeds = seeds_of(arguments[0] if arguments else os.environ.get("SEEDS", "1-3"))
    failed: list[int] = []
    acknowledged = 0
    for seed in seeds:
        result = asyncio.run(run_seed(seed, settings))
        print(result.report(), flush=True)  # noqa: T201
        acknowledged += result.history.acknowledged()
        if result.violations:
            failed.append(seed)
    verdict = f"seeds {failed} broke guarantees" if failed else "no violation"
    print(f"{len(seeds)} seeds, {acknowledged} acknowledged writes checked: {verdict}", flush=True)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
