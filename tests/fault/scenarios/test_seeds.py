"""A handful of seeds; ``make fault SEEDS=first-last`` runs more of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fault.__main__ import seeds_of
from tests.fault.scenarios.seeded import run_seed, settings_from_environment

SEEDS = seeds_of(os.environ.get("FAULT_SEEDS", "1-2"))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
async def test_guarantees_hold(seed: int, tmp_path: Path) -> None:
    result = await run_seed(seed, settings_from_environment())

    assert not result.violations, result.report()
    assert result.history.acknowledged() > 0, result.report()
