"""What the parts of DiffService have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from praefect.domain.errors import InvalidArgumentError
from praefect.node.git.names import check_revision

if TYPE_CHECKING:
    from praefect.node.context import NodeContext
    from praefect.node.storage.repository import LocalRepository
    from praefect.proto.shared_pb2 import Repository

RENAME_FLAG = "--find-renames=30%"
DIFF_CONFIG = (("diff.noprefix", "false"),)


class TwoCommits(Protocol):
    """A request that compares two commits."""

    @property
    def repository(self) -> Repository:
        """Where they are."""

    @property
    def left_commit_id(self) -> str:
        """The older one."""

    @property
    def right_commit_id(self) -> str:
        """The newer one."""


class DiffPart:
    """Some RPCs of DiffService."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._git = context.git
        self._storages = context.storages

    def _open(self, request: TwoCommits) -> LocalRepository:
        repository = self._storages.open(request.repository)
        if not request.right_commit_id:
            raise InvalidArgumentError("empty RightCommitId")
        if not request.left_commit_id:
            raise InvalidArgumentError("empty LeftCommitId")
        check_revision(request.left_commit_id.encode())
        check_revision(request.right_commit_id.encode())
        return repository
