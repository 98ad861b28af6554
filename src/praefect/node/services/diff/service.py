"""DiffService."""

from __future__ import annotations

from praefect.node.services.diff.blobs import BlobsPart
from praefect.node.services.diff.changes import ChangesPart
from praefect.node.services.diff.commits import CommitDiffPart


class DiffService(CommitDiffPart, ChangesPart, BlobsPart):
    """All RPCs that compare."""
