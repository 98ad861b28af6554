"""Making the change of one commit on top of another: cherry-pick, revert, rebase. Source: node.md 15 and 15.2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from praefect.domain.errors import NotFoundError, PraefectError
from praefect.node.git.command import Command
from praefect.node.git.objects import parse_commit
from praefect.node.git.revisions import read_commit
from praefect.node.operations.commits import NewCommit, write_commit
from praefect.node.operations.identity import Identity, Moment, Signature
from praefect.node.operations.merging import Merge, MergeConflictError, empty_tree_of, merge_trees
from praefect.node.operations.trees import read_tree

if TYPE_CHECKING:
    from praefect.node.git.catfile import CatFilePool
    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository


class CommitNotFoundError(NotFoundError):
    """There is no such commit."""

    def __init__(self) -> None:
        super().__init__("commit not found")


class RebaseConflictError(PraefectError):
    """A commit cannot be replayed.

    Attributes:
        commit: the one in the way.
        conflict: what is in conflict.
    """

    def __init__(self, commit: str, conflict: MergeConflictError) -> None:
        super().__init__(f'rebase: commit "{commit}": there are conflicting files')
        self.commit = commit
        self.conflict = conflict


@dataclass(frozen=True, slots=True, kw_only=True)
class OldCommit:
    """A commit whose change is made again.

    Attributes:
        parent: the first one, ``None`` for a root commit.
    """

    oid: str
    tree: str
    parent: str | None
    author: Signature
    message: bytes


async def load_commit(objects: CatFilePool, repository: LocalRepository, revision: str) -> OldCommit:
    """Read a commit.

    Raises:
        CommitNotFoundError: there is none.
    """
    async with objects.reader(repository) as reader:
        found = await read_commit(reader, revision.encode())
    if found is None:
        raise CommitNotFoundError
    raw = parse_commit(found.data)
    return OldCommit(
        oid=found.oid,
        tree=raw.tree.decode("ascii"),
        parent=raw.parents[0].decode("ascii") if raw.parents else None,
        author=parse_signature(raw.author),
        message=raw.body,
    )


def parse_signature(line: bytes) -> Signature:
    """Read ``Name <e-mail> seconds zone``; what cannot be read is the epoch."""
    name, _, rest = line.partition(b"<")
    email, _, date = rest.partition(b">")
    seconds, _, zone = date.strip().partition(b" ")
    return Signature(
        identity=Identity.of(name.strip(), email),
        moment=Moment(
            seconds=int(seconds) if seconds.isdigit() else 0,
            zone=zone.decode("ascii", "replace") if len(zone) == 5 else "+0000",
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayer:
    """Replays commits in one repository, all with the same committer."""

    git: Git
    objects: CatFilePool
    repository: LocalRepository
    committer: Signature

    async def rebase(self, upstream: str, branch: str) -> str:
        """Return ``branch`` with its own commits on top of ``upstream``; merges are left out.

        Raises:
            RebaseConflictError: a commit does not fit.
            GitCommandError: one of the two is missing.
        """
        base = await self._merge_base(upstream, branch)
        if base == upstream:
            return branch
        if base == branch:
            return upstream
        current = upstream
        tree = await read_tree(self.objects, self.repository, upstream)
        for oid in await self._own_commits(upstream, branch):
            commit = await load_commit(self.objects, self.repository, oid)
            merged = await self._replay(commit, current)
            if merged == tree and not await self._is_empty(commit):
                continue  # the change is there already
            tree = merged
            current = await self._write(commit, tree, current)
        return current

    async def _replay(self, commit: OldCommit, current: str) -> str:
        base = commit.parent or empty_tree_of(self.repository)
        try:
            return await merge_trees(self.git, self.repository, Merge(ours=current, theirs=commit.oid, base=base))
        except MergeConflictError as error:
            raise RebaseConflictError(commit.oid, error) from error

    async def _write(self, commit: OldCommit, tree: str, parent: str) -> str:
        made = NewCommit(
            tree=tree, parents=[parent], message=commit.message, author=commit.author, committer=self.committer
        )
        return await write_commit(self.git, self.repository, made)

    async def _is_empty(self, commit: OldCommit) -> bool:
        if commit.parent is None:
            return commit.tree == empty_tree_of(self.repository)
        return commit.tree == await read_tree(self.objects, self.repository, commit.parent)

    async def _merge_base(self, one: str, other: str) -> str | None:
        completed = await self.git.run(self.repository, Command(name="merge-base", arguments=[one, other]))
        if completed.returncode == 1:
            return None
        return completed.check().decode("ascii").split()[0]

    async def _own_commits(self, upstream: str, branch: str) -> list[str]:
        flags = ["--cherry-pick", "--right-only", "--no-merges", "--topo-order", "--reverse"]
        command = Command(name="rev-list", flags=flags, revisions=[f"{upstream}...{branch}"])
        return (await self.git.output(self.repository, command)).decode("ascii").split()
