"""What the parts of RefService have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from praefect.node.git.references import UNLIMITED, Page
from praefect.node.services.commits import read_commits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from praefect.node.context import NodeContext
    from praefect.node.git.references import Reference
    from praefect.node.storage.repository import LocalRepository
    from praefect.proto.shared_pb2 import GitCommit, PaginationParameter


class RefPart:
    """Some RPCs of RefService."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._git = context.git
        self._storages = context.storages

    async def _with_commits(
        self, repository: LocalRepository, references: Sequence[Reference]
    ) -> AsyncGenerator[tuple[Reference, GitCommit | None], None]:
        """Yield each reference with the commit it leads to."""
        targets = [(reference.peeled or reference.target).encode() for reference in references]
        async for index, commit in read_commits(self._context.objects, repository, targets):
            yield references[index], commit


def page_of(params: PaginationParameter, *, present: bool) -> Page:
    """Return the page that a request wants; without the parameter it is everything."""
    if not present:
        return Page()
    limit = params.limit if params.limit >= 0 else UNLIMITED
    return Page(token=params.page_token.encode("utf-8", "surrogateescape"), limit=limit)
