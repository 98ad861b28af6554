"""A start says that ``primary = true`` is ignored, as long as ``failover.prefer_designated`` is not set."""

from __future__ import annotations

from pathlib import Path

import pytest

from praefect.config.praefect import load
from tests.support.praefect_cli import run_praefect, write_config

IGNORED = "virtual_storage.[0].node.[0].primary is ignored, as failover.prefer_designated is not set"


@pytest.mark.parametrize("heeded", [False, True])
async def test_a_designated_primary_is_heeded_or_said_to_be_ignored(tmp_path: Path, heeded: bool) -> None:
    more = f"[failover]\nprefer_designated = {'true' if heeded else 'false'}"
    path = write_config(
        tmp_path / "config.toml", database=None, nodes={"gitaly-1": ("tcp://127.0.0.1:1", "t")}, more=more
    )
    path.write_text(f"{path.read_text()}primary = true\n[database]\nhost = '{tmp_path}'\n")
    assert (IGNORED in load(str(path)).warnings) is not heeded
    started = await run_praefect("-config", str(path))
    assert started.code == 1  # there is no database
    assert (IGNORED in started.stdout) is not heeded
