"""Creating a repository: built and filled aside, voted on, then moved to its place in one rename."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.domain.errors import AlreadyExistsError, FailedPreconditionError, PraefectError
from praefect.node.git.command import Command
from praefect.node.git.object_format import ObjectFormat
from praefect.node.storage.durable import sync_ancestors, sync_tree
from praefect.node.storage.locking import lock_file
from praefect.node.storage.repository import LocalRepository
from praefect.node.storage.temporary import discard_in_thread
from praefect.node.voting import Dialect, Phase
from praefect.transport.grpc.status import StatusError, wrap

if TYPE_CHECKING:
    from praefect.node.context import NodeContext
    from praefect.node.git.runner import Git
    from praefect.node.voting import Voter
    from praefect.proto.shared_pb2 import Repository

FULL_REPACK_STAMP = ".gitaly-full-repack-timestamp"
REFERENCE_FORMAT = "%(refname) %(objectname) %(symref)"

Seed = Callable[[LocalRepository], Awaitable[None]]
"""Fills a repository that is not yet visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """How the empty repository is made that a seed then fills.

    Attributes:
        initialise: false if the seed makes the directory itself, as ``git clone`` does.
        default_branch: what HEAD will name; empty for git's default.
    """

    initialise: bool = True
    default_branch: bytes = b""
    object_format: ObjectFormat = ObjectFormat.SHA1


class RepositoryExistsError(AlreadyExistsError):
    """Something is at the place where the repository should go."""

    def __init__(self) -> None:
        super().__init__("repository exists already")


async def create_repository(
    context: NodeContext, message: Repository, voter: Voter, *, seed: Seed | None = None, blueprint: Blueprint
) -> LocalRepository:
    """Create a repository and return it; on failure nothing is left.

    Raises:
        RepositoryExistsError: there is something already.
        PraefectError: a vote failed (FAILED_PRECONDITION before anything is visible), or the seed's own error.
    """
    target = context.storages.locate(message)
    if target.path.exists():
        raise RepositoryExistsError
    temporary = context.temporary.create(target.root, "repo")
    try:
        built = LocalRepository(
            root=target.root, relative_path=str(temporary.relative_to(target.root.path)), path=temporary
        )
        await _build(context.git, built, blueprint)
        if seed is not None:
            await seed(built)
        await _publish(context.git, built, target, voter)
    finally:
        await discard_in_thread(temporary)
    await context.objects.forget(target)
    return target


async def _build(git: Git, repository: LocalRepository, blueprint: Blueprint) -> None:
    if not blueprint.initialise:
        repository.path.rmdir()
        return
    flags = ["--bare", "--quiet"]
    if git.features.ref_format and "GIT_DEFAULT_REF_FORMAT" not in git.environment:
        flags.append("--ref-format=files")
    if blueprint.default_branch:
        flags.append(f"--initial-branch={os.fsdecode(blueprint.default_branch)}")
    if blueprint.object_format is not ObjectFormat.SHA1:
        flags.append(f"--object-format={blueprint.object_format}")
    try:
        await git.output(None, Command(name="init", flags=flags, arguments=[str(repository.path)]))
    except PraefectError as exc:
        raise wrap("creating repository", exc) from exc


async def _publish(git: Git, built: LocalRepository, target: LocalRepository, voter: Voter) -> None:
    vote = await creation_vote(git, built, voter.dialect)
    (built.path / FULL_REPACK_STAMP).touch(mode=0o644)
    target.path.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(target.path, held="repository is already locked"):
        if target.path.exists():
            raise RepositoryExistsError
        await _cast(voter, vote, Phase.PREPARING, "preparatory vote")
        await _cast(voter, vote, Phase.PREPARED, "preparatory vote")
        await asyncio.to_thread(_move, built.path, target)
        await _cast(voter, vote, Phase.COMMITTED, "committing vote")


def _move(source: Path, target: LocalRepository) -> None:
    sync_tree(source)
    source.rename(target.path)
    sync_ancestors(target.path, target.root.path)


async def _cast(voter: Voter, vote: bytes, phase: Phase, prefix: str) -> None:
    try:
        await voter.vote(vote, phase)
    except StatusError as exc:
        raise wrap(prefix, exc) from exc
    except PraefectError as exc:
        raise FailedPreconditionError(f"{prefix}: {exc}") from exc


async def creation_vote(git: Git, repository: LocalRepository, dialect: Dialect) -> bytes:
    """Return what is voted on before a new repository becomes visible."""
    if dialect is Dialect.R18_9:
        return await asyncio.to_thread(contents_vote, repository.path)
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(await git.output(None, list_config_command(git, repository.path / "config")))
    digest.update(await list_references(git, repository))
    return digest.digest()


def list_config_command(git: Git, file: Path) -> Command:
    """Return the command that prints a configuration file as ``key=value`` lines."""
    if git.features.config_list:
        return Command(name="config", action="list", flags=[f"--file={file}"])
    return Command(name="config", flags=["--list", f"--file={file}"])


async def list_references(git: Git, repository: LocalRepository) -> bytes:
    """Return every reference with object and symbolic target, HEAD first if it leads to an object."""
    command = Command(name="for-each-ref", flags=[f"--format={REFERENCE_FORMAT}"])
    if git.features.root_refs:
        flags = [*command.flags, "--include-root-refs"]
        return await git.output(repository, Command(name="for-each-ref", flags=flags))
    listing = await git.output(repository, command)
    head = await git.run(repository, Command(name="rev-parse", flags=["--verify", "--quiet"], arguments=[b"HEAD"]))
    if head.returncode != 0:
        return listing
    symbolic = Command(name="rev-parse", flags=["--symbolic-full-name"], arguments=[b"HEAD"])
    target = (await git.output(repository, symbolic)).strip()
    shown = target if target != b"HEAD" else b""
    return b"HEAD %b %b\n" % (head.stdout.strip(), shown) + listing


def contents_vote(repository: Path) -> bytes:
    """Return the older creation vote: the contents of every file but objects and FETCH_HEAD. Blocks."""
    digest = hashlib.sha1(usedforsecurity=False)
    for file in _sorted_files(repository):
        relative = file.relative_to(repository)
        if relative.parts[0] != "objects" and relative.parts != ("FETCH_HEAD",):
            digest.update(file.read_bytes())
    return digest.digest()


def _sorted_files(directory: Path) -> list[Path]:
    files: list[Path] = []
    for entry in sorted(directory.iterdir(), key=lambda entry: os.fsencode(entry.name)):
        if entry.is_dir() and not entry.is_symlink():
            files += _sorted_files(entry)
        else:
            files.append(entry)
    return files
