"""The lines that the troubleshooting page explains are those that the programs print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OWN_SECTIONS = ("Nodes", "Secrets", "Pushes", "The front door's answers", "Failover")
OF_AIOHTTP = "Maximum request body size"
SHORTEST = 7


def documented() -> list[str]:
    """Return the lines in the tables of the sections whose errors are our own."""
    sections = re.split(r"^## ", (ROOT / "docs" / "troubleshooting.md").read_text(), flags=re.MULTILINE)
    rows = [
        row.split(" | ")[1 if row.startswith(("| 4", "| 5")) else 0]
        for section in sections
        if section.startswith(OWN_SECTIONS)
        for row in section.splitlines()
        if row.startswith("| ")
    ]
    lines = [line for row in rows for line in re.findall(r"`([^`]+)`", row)]
    return [line for line in lines if not line.startswith(OF_AIOHTTP)]


def fixed_parts(line: str) -> list[str]:
    """Return what a line has besides names, numbers and what is left out."""
    parts = re.split(r"ERROR: |GitLab: |connection refused|changes|…|\"[^\"]*\"|[a-z]+://|\d+|'[^']*'", line)
    return [part.strip(" :,.") for part in parts if len(part.strip(" :,.")) >= SHORTEST]


@pytest.fixture(scope="module")
def sources() -> str:
    texts = (path.read_text() for path in (ROOT / "src" / "praefect").rglob("*.py") if path.name != "page.py")
    joined = " ".join(texts)
    return re.sub(r"\"\s*\n\s*f?r?\"", "", joined)


@pytest.mark.parametrize("line", documented())
def test_a_documented_line_is_one_that_is_printed(sources: str, line: str) -> None:
    missing = [part for part in fixed_parts(line) if part not in sources]
    assert missing == []
