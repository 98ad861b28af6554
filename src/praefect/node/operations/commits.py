"""Making commits and tags."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.node.git.command import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praefect.node.git.runner import Git
    from praefect.node.operations.identity import Signature
    from praefect.node.storage.repository import LocalRepository


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCommit:
    """A commit that is to be made."""

    tree: str
    parents: Sequence[str]
    message: bytes
    author: Signature
    committer: Signature


async def write_commit(git: Git, repository: LocalRepository, commit: NewCommit) -> str:
    """Make a commit and return its id; the same values give the same id on every node.

    Raises:
        GitCommandError: git does not take it.
    """
    flags = [commit.tree]
    for parent in commit.parents:
        flags += ["-p", parent]
    command = Command(name="commit-tree", flags=[*flags, "-F", "-"], environment=signature_environment(commit))
    return (await git.output(repository, command, stdin=commit.message)).decode("ascii").strip()


def signature_environment(commit: NewCommit) -> dict[str, str]:
    """Return the variables that give git author and committer."""
    environment = {}
    for role, signature in (("AUTHOR", commit.author), ("COMMITTER", commit.committer)):
        environment[f"GIT_{role}_NAME"] = os.fsdecode(signature.identity.name)
        environment[f"GIT_{role}_EMAIL"] = os.fsdecode(signature.identity.email)
        environment[f"GIT_{role}_DATE"] = f"@{signature.moment}"
    return environment


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTag:
    """An annotated tag that is to be made."""

    name: bytes
    target: str
    target_type: str
    message: bytes
    tagger: Signature


async def write_tag(git: Git, repository: LocalRepository, tag: NewTag) -> str:
    """Make a tag object and return its id.

    Raises:
        GitCommandError: git does not take it.
    """
    lines = [
        b"object %b" % tag.target.encode(),
        b"type %b" % tag.target_type.encode(),
        b"tag %b" % tag.name,
        b"tagger %b" % bytes(tag.tagger),
    ]
    content = b"\n".join(lines) + b"\n\n" + tag.message
    return (await git.output(repository, Command(name="mktag"), stdin=content)).decode("ascii").strip()
