"""Clocks that are set while their process runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fault.faults.skewed import set_skew, skew_file, skewed_clock


@pytest.mark.parametrize("seconds", [-3600.0, 45.0])
def test_clock_follows_its_file(tmp_path: Path, seconds: float) -> None:
    config = tmp_path / "config.toml"
    set_skew(config, 0.0)
    clock = skewed_clock(skew_file(config))
    assert abs(clock() - time.time()) < 10.0

    set_skew(config, seconds)
    assert abs(clock() - time.time() - seconds) < 10.0

    set_skew(config, 0.0)
    assert abs(clock() - time.time()) < 10.0
