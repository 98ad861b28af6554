"""Commits to point references at, each used at most once: so that a value tells which write brought it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from tests.support.git_client import git, git_environment

KNOWN = 400
UNKNOWN = 120
FILE = "value.txt"


@dataclass(slots=True, kw_only=True)
class Supply:
    """The commits of one project.

    Attributes:
        directory: the bare repository that has all of them.
        root: the oldest commit of both chains.
        tip: the newest commit that the project has from the beginning.
        known: commits that the project has.
        unknown: commits that only clients have.
        contents: what ``FILE`` holds in each commit, by id.
    """

    directory: Path
    root: str
    tip: str
    known: deque[str]
    unknown: deque[str]
    contents: dict[str, str]


async def make_supply(directory: Path) -> Supply:
    """Make the commits in a new repository."""
    directory.mkdir(parents=True)
    (await git(directory, "init", "-q", "--bare", ".")).ok()
    lines = []
    for chain, count in (("known", KNOWN), ("unknown", UNKNOWN)):
        for number in range(count):
            text = f"{chain}-{number}"
            mark = number + (1 if chain == "known" else KNOWN + 1)
            lines.append(f"commit refs/heads/{chain}\nmark :{mark}")
            lines.append(f"committer Tester <tester@example.org> {1700000000 + mark} +0000")
            lines.append(f"data {len(text)}\n{text}")
            if chain == "unknown" and number == 0:
                lines.append("from :1")
            lines.append(f"M 100644 inline {FILE}\ndata {len(text)}\n{text}\n")
    stream = ("\n".join(lines) + "\ndone\n").encode()
    process = await asyncio.create_subprocess_exec(
        "git",
        "fast-import",
        "--quiet",
        "--done",
        f"--export-marks={directory / 'marks'}",
        cwd=directory,
        env=git_environment(),
        stdin=asyncio.subprocess.PIPE,
    )
    await process.communicate(stream)
    assert process.returncode == 0
    marks = dict(line.split() for line in (directory / "marks").read_text().splitlines())
    oids = [marks[f":{number}"] for number in range(1, KNOWN + UNKNOWN + 1)]
    contents = {oid: f"known-{number}" for number, oid in enumerate(oids[:KNOWN])}
    contents |= {oid: f"unknown-{number}" for number, oid in enumerate(oids[KNOWN:])}
    return Supply(
        directory=directory,
        root=oids[0],
        tip=oids[KNOWN - 1],
        known=deque(oids[1 : KNOWN - 1]),
        unknown=deque(oids[KNOWN:]),
        contents=contents,
    )
