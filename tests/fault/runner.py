"""Runs many seeds, each in a process of its own, a few at a time; one line for each and a summary."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

SEED_SECONDS = 480.0
"""After which a seed that has not ended counts as failed."""
END_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a seed's process said at its end; ``numbers`` is empty if it said nothing."""

    seed: int
    clean: bool
    report: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What all seeds together gave."""

    verdicts: list[Verdict] = field(default_factory=list)

    def failed(self) -> list[int]:
        """Return the seeds that broke guarantees or did not end well."""
        return sorted(verdict.seed for verdict in self.verdicts if not verdict.clean)

    def summary(self, wanted: int) -> str:
        """Return the last line."""
        clean = sum(verdict.clean for verdict in self.verdicts)
        acknowledged = sum(verdict.numbers.get("acknowledged", 0) for verdict in self.verdicts)
        reads = sum(verdict.numbers.get("reads", 0) for verdict in self.verdicts)
        skipped = sorted({name for verdict in self.verdicts for name in verdict.numbers.get("skipped", ())})
        told = f"; seeds that broke guarantees or did not end: {self.failed()}" if self.failed() else "; no violation"
        told += f"; skipped: {', '.join(skipped)}" if skipped else ""
        told += f"; {wanted - len(self.verdicts)} seeds not run" if wanted > len(self.verdicts) else ""
        return (
            f"{commit()}: {clean} of {len(self.verdicts)} seeds clean, "
            f"{acknowledged} acknowledged writes and {reads} reads checked{told}"
        )


def commit() -> str:
    """Name what is tried."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"], capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "no commit"


async def run_seeds(seeds: Sequence[int], *, jobs: int, keep_going: bool) -> Tally:
    """Run seeds; end early when told to, or at the first that is not clean unless ``keep_going``."""
    tally = Tally()
    waiting = iter(seeds)
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        async with asyncio.TaskGroup() as group:
            for job in range(jobs):
                group.create_task(_work(waiting, tally, keep_going=keep_going), name=f"seeds {job}")
    except asyncio.CancelledError:
        print("interrupted", flush=True)  # noqa: T201
    return tally


async def _work(waiting: Iterator[int], tally: Tally, *, keep_going: bool) -> None:
    for seed in waiting:
        verdict = await _run(seed)
        tally.verdicts.append(verdict)
        print(verdict.report, flush=True)  # noqa: T201
        if not keep_going and tally.failed():
            return


async def _run(seed: int) -> Verdict:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.fault", "--one", str(seed)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    late = ""
    try:
        async with asyncio.timeout(SEED_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        late = f"\n  not at its end after {SEED_SECONDS:.0f} s"
        output = await _end(process)
    except BaseException:
        await _end(process)
        raise
    return conclude(seed, process.returncode or 0, output.decode("utf-8", "replace"), late)


async def _end(process: asyncio.subprocess.Process) -> bytes:
    """Tell a seed to end, and wait until it has stopped its cluster."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(END_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        output, _ = await process.communicate()
    return output


def conclude(seed: int, code: int, output: str, late: str = "") -> Verdict:
    """Read what a seed printed: its report, and its numbers in the last line."""
    told, _, last = output.rstrip().rpartition("\n")
    try:
        numbers = json.loads(last)
    except json.JSONDecodeError:
        numbers = None
    if not isinstance(numbers, dict) or late:
        return Verdict(
            seed=seed, clean=False, report=f"seed {seed}: NO VERDICT, exit code {code}{late}\n{output.rstrip()}"
        )
    return Verdict(seed=seed, clean=code == 0 and not numbers["violations"], report=told, numbers=numbers)
