"""Stock git as a user runs it, with nobody's own configuration."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GitResult:
    """What a git command came to."""

    code: int
    output: str
    errors: str

    def ok(self) -> GitResult:
        """Insist on success."""
        assert self.code == 0, f"git failed with {self.code}: {self.output}\n{self.errors}"
        return self


def git_environment() -> dict[str, str]:
    """Return the environment of a user without any configuration."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    names = {f"GIT_{role}_NAME": "Tester" for role in ("AUTHOR", "COMMITTER")}
    emails = {f"GIT_{role}_EMAIL": "tester@example.org" for role in ("AUTHOR", "COMMITTER")}
    config = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    return {**kept, **names, **emails, **config, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}


async def git(directory: Path, *arguments: str, config: tuple[str, ...] = ()) -> GitResult:
    """Run a git command in a directory."""
    options = [part for value in config for part in ("-c", value)]
    process = await asyncio.create_subprocess_exec(
        "git",
        *options,
        *arguments,
        cwd=directory,
        env=git_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return GitResult(
        process.returncode or 0, output.decode("utf-8", "replace").strip(), errors.decode("utf-8", "replace").strip()
    )


async def commit_file(work: Path, name: str, content: str) -> str:
    """Commit a file and return the new commit's id."""
    path = work / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    (await git(work, "add", "--", name)).ok()
    (await git(work, "commit", "-q", "-m", f"change {name}")).ok()
    return (await git(work, "rev-parse", "HEAD")).ok().output
