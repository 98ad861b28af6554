"""Fetching many references from a remote, all checked before any is changed.

The fetch runs in a repository of its own that borrows the target's objects and starts with its references. What it
changed there is then made true in the target: new objects are moved in, references updated in one transaction.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError
from praefect.node.git.command import NO_HOOKS, Command, ConfigPair
from praefect.node.git.object_format import object_format_of
from praefect.node.git.references import Listing, collect_references
from praefect.node.git.update_ref import reference_transaction
from praefect.node.quoting import quote
from praefect.node.storage.quarantine import migrate_objects
from praefect.node.storage.repository import LocalRepository
from praefect.node.storage.temporary import discard_in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from praefect.node.context import NodeContext
    from praefect.node.voting import Voter

REMOTE_NAME = "inmemory"


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorFetch:
    """What to fetch. ``config`` is in arguments, ``secret_config`` is not."""

    url: str = field(repr=False)
    refspecs: Sequence[str]
    force: bool = False
    prune: bool = True
    tags: bool = True
    config: Sequence[ConfigPair] = ()
    secret_config: Sequence[ConfigPair] = field(default=(), repr=False)
    environment: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One reference that the fetch changed; ``old`` or ``new`` is all zeros for a created or deleted one."""

    reference: bytes
    old: bytes
    new: bytes


class FetchFailedError(InternalError):
    """Git could not fetch.

    Attributes:
        stderr: what git said.
    """

    def __init__(self, returncode: int, stderr: bytes) -> None:
        self.stderr = stderr
        super().__init__(f"fetch remote: {quote(stderr)}: exit status {returncode}")


async def fetch_mirror(
    context: NodeContext, repository: LocalRepository, fetch: MirrorFetch, voter: Voter
) -> list[Change]:
    """Fetch and return what changed.

    Raises:
        FetchFailedError: git could not; nothing has changed.
        PraefectError: the references could not be updated, or the other nodes do not agree.
    """
    directory = context.temporary.create(repository.root, "fetch")
    try:
        scratch = await _make_scratch(context, repository, directory)
        before = await _references(context, repository)
        (directory / "packed-refs").write_bytes(
            b"".join(b"%b %b\n" % (oid, name) for name, oid in sorted(before.items()))
        )
        await _run(context, scratch, fetch)
        changes = _difference(before, await _references(context, scratch), repository)
        await _apply(context, repository, directory / "objects", changes, voter)
    finally:
        await discard_in_thread(directory)
    return changes


async def _make_scratch(context: NodeContext, repository: LocalRepository, directory: Path) -> LocalRepository:
    object_format = object_format_of(repository.path)
    flags = ["--bare", "--quiet", f"--object-format={object_format}"]
    await context.git.output(None, Command(name="init", flags=flags, arguments=[str(directory)]))
    alternates = directory / "objects" / "info" / "alternates"
    alternates.parent.mkdir(exist_ok=True)
    alternates.write_bytes(os.fsencode(repository.path / "objects") + b"\n")
    (directory / "HEAD").write_bytes((repository.path / "HEAD").read_bytes())
    relative = str(directory.relative_to(repository.root.path))
    return LocalRepository(root=repository.root, relative_path=relative, path=directory)


async def _references(context: NodeContext, repository: LocalRepository) -> dict[bytes, bytes]:
    found = await collect_references(context.git, repository, Listing(patterns=[]))
    return {reference.name: reference.target.encode() for reference in found}


async def _run(context: NodeContext, scratch: LocalRepository, fetch: MirrorFetch) -> None:
    flags = ["--quiet", "--no-write-fetch-head", "--tags" if fetch.tags else "--no-tags"]
    flags += [flag for flag, wanted in (("--prune", fetch.prune), ("--force", fetch.force)) if wanted]
    command = Command(
        name="fetch",
        flags=flags,
        arguments=[REMOTE_NAME],
        config=[
            (f"remote.{REMOTE_NAME}.followremotehead", "never"),
            *((f"remote.{REMOTE_NAME}.fetch", refspec) for refspec in fetch.refspecs),
            *fetch.config,
        ],
        secret_config=[(f"remote.{REMOTE_NAME}.url", fetch.url), *fetch.secret_config],
        environment=fetch.environment,
        hooks=NO_HOOKS,
    )
    completed = await context.git.run(scratch, command)
    # 1 is how git says that some references were not fast-forwards; the others are fetched.
    if completed.returncode != 0 and (completed.returncode != 1 or b"fatal:" in completed.stderr):
        raise FetchFailedError(completed.returncode, completed.stderr)


def _difference(before: dict[bytes, bytes], after: dict[bytes, bytes], repository: LocalRepository) -> list[Change]:
    zero = object_format_of(repository.path).zero_id
    names = sorted(before.keys() | after.keys())
    pairs = [(name, before.get(name, zero), after.get(name, zero)) for name in names]
    return [Change(reference=name, old=old, new=new) for name, old, new in pairs if old != new]


async def _apply(
    context: NodeContext, repository: LocalRepository, objects: Path, changes: Sequence[Change], voter: Voter
) -> None:
    zero = object_format_of(repository.path).zero_id
    pruned = [change for change in changes if change.new == zero]
    updated = [change for change in changes if change.new != zero]
    if pruned:
        async with reference_transaction(context.git, repository, voter=voter, deref=False) as transaction:
            for change in pruned:
                transaction.delete(change.reference)
            await transaction.commit()
    if not updated:
        return
    quarantined = repository.quarantined_in(objects)
    async with reference_transaction(context.git, quarantined, voter=voter, deref=False) as transaction:
        for change in updated:
            transaction.update(change.reference, change.new, change.old)
        await transaction.prepare()
        await asyncio.to_thread(migrate_objects, objects, repository.path / "objects")
        await transaction.commit()
