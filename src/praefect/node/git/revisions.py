"""From what a client calls a revision to an object id, and to objects that many of them reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.node.git.command import Command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from praefect.node.git.catfile import GitObject, ObjectReader
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository


async def resolve(reader: ObjectReader, revision: bytes) -> str | None:
    """Return the id of the object that ``revision`` names, ``None`` if there is none."""
    info = await reader.info(revision)
    return info.oid if info is not None else None


async def resolve_commit(reader: ObjectReader, revision: bytes) -> str | None:
    """Return the id of the commit that ``revision`` leads to, ``None`` if it leads to none."""
    return await resolve(reader, revision + b"^{commit}")


async def read_commit(reader: ObjectReader, revision: bytes) -> GitObject | None:
    """Return the commit that ``revision`` leads to, ``None`` if it leads to none."""
    return await reader.read(revision + b"^{commit}")


async def rev_list(
    git: Git,
    repository: LocalRepository,
    flags: Sequence[str],
    revisions: Sequence[bytes],
    *,
    paths: Sequence[bytes] = (),
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """Run ``rev-list`` over revisions that were checked; pseudo-revisions may be among them.

    Raises:
        GitCommandError: git failed.
    """
    environment = environment or {}
    pseudo = any(revision.startswith(b"--") for revision in revisions)
    if pseudo and not git.features.stdin_pseudo_revisions:
        command = Command(
            name="rev-list", flags=flags, revisions=revisions, paths=paths or None, environment=environment
        )
        return await git.output(repository, command)
    lines = b"".join(revision + b"\n" for revision in revisions)
    if paths:
        lines += b"--\n" + b"".join(path + b"\n" for path in paths)
    command = Command(name="rev-list", flags=[*flags, "--stdin"], environment=environment)
    return await git.output(repository, command, stdin=lines)
