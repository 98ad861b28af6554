"""OperationService."""

from __future__ import annotations

from praefect.node.services.operation.files import FilesPart


class OperationService(FilesPart):
    """All RPCs of users' operations."""
