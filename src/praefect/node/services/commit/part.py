"""What the parts of CommitService have in common."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.node.services.commits import read_commits
from praefect.node.services.streaming import batches_by_size

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp

    from praefect.node.context import NodeContext
    from praefect.node.storage.repository import LocalRepository
    from praefect.proto.shared_pb2 import GitCommit, GlobalOptions


class CommitPart:
    """Some RPCs of CommitService."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._git = context.git
        self._storages = context.storages

    async def _commits(
        self, repository: LocalRepository, oids: Sequence[bytes], *, trailers: bool = False
    ) -> AsyncGenerator[GitCommit, None]:
        """Yield the commits of the ids that are commits."""
        found = read_commits(self._context.objects, repository, oids, trailers=trailers)
        async with aclosing(found):
            async for _, commit in found:
                if commit is not None:
                    yield commit

    def _commit_batches(
        self, repository: LocalRepository, oids: Sequence[bytes], *, trailers: bool = False
    ) -> AsyncGenerator[list[GitCommit], None]:
        return batches_by_size(self._commits(repository, oids, trailers=trailers))


def time_flag(name: str, value: Timestamp) -> str:
    """Return ``--after`` or ``--before`` with a point in time."""
    return f"--{name}={value.ToJsonString()}"


def pathspec_environment(options: GlobalOptions) -> dict[str, str]:
    """Return the variable that makes git take paths literally, if the request wants that."""
    return {"GIT_LITERAL_PATHSPECS": "1"} if options.literal_pathspecs else {}
