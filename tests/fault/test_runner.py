"""What the runner makes of a seed's output."""

from __future__ import annotations

import json

import pytest

from tests.fault.__main__ import seeds_of
from tests.fault.runner import Tally, Verdict, conclude


def _output(violations: int) -> str:
    numbers = {"acknowledged": 7, "reads": 3, "violations": violations, "skipped": ["node-disk-full"]}
    return f"seed 5: told\n  more\n{json.dumps(numbers)}\n"


def test_clean_seed_is_counted_with_its_writes() -> None:
    verdict = conclude(5, 0, _output(0))

    assert verdict.clean
    assert verdict.report == "seed 5: told\n  more"
    assert "1 of 1 seeds clean, 7 acknowledged writes and 3 reads checked; no violation" in Tally([verdict]).summary(1)


@pytest.mark.parametrize(
    ("code", "output", "late"),
    [(1, _output(2), ""), (1, "Traceback: it broke\n", ""), (0, "", ""), (-9, _output(0), ""), (0, _output(0), "late")],
)
def test_anything_else_has_failed(code: int, output: str, late: str) -> None:
    verdict = conclude(5, code, output, late)

    assert not verdict.clean
    assert verdict.report.startswith("seed 5")
    assert Tally([verdict]).failed() == [5]


def test_summary_names_what_was_not_done() -> None:
    told = Tally([Verdict(seed=1, clean=True, report="", numbers={"skipped": ["node-disk-full"]})]).summary(3)

    assert "skipped: node-disk-full" in told
    assert "2 seeds not run" in told


def test_seeds_are_ranges_and_lists() -> None:
    assert seeds_of("1-3,7, 9-10") == [1, 2, 3, 7, 9, 10]
