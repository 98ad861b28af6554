"""Settings that must not stay in a repository's configuration: left by old versions, or secrets of remotes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from praefect.node.git.command import Command
from praefect.node.storage.replacing import replace_file
from praefect.node.voting import SilentVoter

if TYPE_CHECKING:
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository

_UNWANTED = re.compile(
    r"(http\..+\.extraheader|remote\..+\.(fetch|mirror|prune|url)|core\.(commitgraph|sparsecheckout|splitindex)"
    r"|gitlab\.fullpath)",
    re.IGNORECASE,
)
_SECTION = re.compile(rb"^\s*\[")


async def clean_config(git: Git, repository: LocalRepository) -> None:
    """Remove unwanted settings and the sections that are empty then.

    Raises:
        GitCommandError: the file cannot be read or changed.
    """
    file = repository.path / "config"
    listing = await git.output(None, Command(name="config", flags=["--list", "--name-only", "-z", f"--file={file}"]))
    names = {name for name in listing.decode("utf-8", "surrogateescape").split("\0") if name}
    unwanted = sorted(name for name in names if _UNWANTED.fullmatch(name))
    for name in unwanted:
        await git.output(None, Command(name="config", flags=[f"--file={file}", "--unset-all"], arguments=[name]))
    if unwanted:
        await replace_file(file, without_empty_sections(file.read_bytes()), SilentVoter())


def without_empty_sections(content: bytes) -> bytes:
    """Return a configuration file without sections that set nothing."""
    sections: list[list[bytes]] = [[]]
    for line in content.splitlines(keepends=True):
        if _SECTION.match(line):
            sections.append([])
        sections[-1].append(line)
    kept = [section for section in sections if not _is_empty(section)]
    return b"".join(line for section in kept for line in section)


def _is_empty(section: list[bytes]) -> bool:
    if not section or not _SECTION.match(section[0]):
        return not section
    return section[0].rstrip().endswith(b"]") and all(not line.strip() for line in section[1:])
