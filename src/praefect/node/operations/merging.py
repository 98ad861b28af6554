"""Three-way merges without a work tree. Source: git-merge-tree(1), node.md 15 and 17."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, PraefectError
from praefect.node.git.command import EMPTY_TREE_SHA1, EMPTY_TREE_SHA256, Command
from praefect.node.git.object_format import ObjectFormat, object_format_of
from praefect.node.operations.commits import NewCommit, write_commit
from praefect.node.operations.identity import Identity, Moment, Signature
from praefect.proto.errors_pb2 import MergeConflictError as MergeConflictDetail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from praefect.node.git.runner import Git
    from praefect.node.storage.repository import LocalRepository

_NOBODY = Signature(identity=Identity(name=b"praefect", email=b"praefect@localhost"), moment=Moment(seconds=0))


class MergeConflictError(PraefectError):
    """The two sides change the same places.

    Attributes:
        files: the conflicting paths.
    """

    def __init__(self, files: Sequence[bytes]) -> None:
        super().__init__("merge: there are conflicting files")
        self.files = tuple(files)

    def detail(self, *commits: str) -> MergeConflictDetail:
        """Return what clients get to see; ``commits`` are the two sides, where they are told."""
        return MergeConflictDetail(conflicting_files=self.files, conflicting_commit_ids=commits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Two sides, commits, and what they have in common.

    Attributes:
        base: a tree or commit that counts as the common ancestor; ``None`` lets git find it in the history.
    """

    ours: str
    theirs: str
    base: str | None = field(default=None)


async def merge_trees(git: Git, repository: LocalRepository, merge: Merge) -> str:
    """Return the id of the merged tree, written into ``repository``.

    Raises:
        MergeConflictError: the sides are in conflict.
        InternalError: git cannot merge them at all.
    """
    flags = ["--write-tree", "-z", "--name-only", "--no-messages", "--allow-unrelated-histories"]
    ours, theirs = merge.ours, merge.theirs
    if merge.base is not None and git.features.merge_base:
        flags.append(f"--merge-base={merge.base}")
    elif merge.base is not None:
        ours, theirs = await _with_parent(git, repository, ours, theirs, merge.base)
    command = Command(name="merge-tree", flags=flags, arguments=[ours, theirs])
    completed = await git.run(repository, command)
    tree, *files = completed.stdout.split(b"\0")
    if completed.returncode not in {0, 1} or not tree:  # also 1 for a side that is missing
        raise InternalError("merge: couldn't parse merge tree output: ")
    if completed.returncode == 1:
        raise MergeConflictError([file for file in files if file])
    return tree.decode("ascii")


async def _with_parent(git: Git, repository: LocalRepository, ours: str, theirs: str, base: str) -> tuple[str, str]:
    """Return commits with the trees of the sides whose only common history is a commit with the tree of the base.

    git before 2.40 takes its merge base from the history only.
    """
    ancestor = await _commit_of(git, repository, base, [])
    return (
        await _commit_of(git, repository, ours, [ancestor]),
        await _commit_of(git, repository, theirs, [ancestor]),
    )


async def _commit_of(git: Git, repository: LocalRepository, treeish: str, parents: Sequence[str]) -> str:
    made = NewCommit(tree=f"{treeish}^{{tree}}", parents=parents, message=b"", author=_NOBODY, committer=_NOBODY)
    return await write_commit(git, repository, made)


def empty_tree_of(repository: LocalRepository) -> str:
    """Return the id of the tree without entries; git knows it without having it."""
    is_sha1 = object_format_of(repository.path) is ObjectFormat.SHA1
    return EMPTY_TREE_SHA1 if is_sha1 else EMPTY_TREE_SHA256


async def is_ancestor(git: Git, repository: LocalRepository, ancestor: str, descendant: str) -> bool:
    """Tell whether one commit is in the history of the other, or the same.

    Raises:
        GitCommandError: one of them is missing.
    """
    command = Command(name="merge-base", flags=["--is-ancestor"], arguments=[ancestor, descendant])
    completed = await git.run(repository, command)
    if completed.returncode == 1:
        return False
    completed.check()
    return True
