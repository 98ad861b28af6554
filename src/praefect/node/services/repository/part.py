"""What the parts of RepositoryService have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from praefect.node.context import NodeContext


class RepositoryPart:
    """Some RPCs of RepositoryService."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._git = context.git
        self._storages = context.storages
