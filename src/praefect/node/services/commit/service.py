"""CommitService."""

from __future__ import annotations

from praefect.node.services.commit.finding import FindingPart
from praefect.node.services.commit.history import HistoryPart
from praefect.node.services.commit.listing import ListingPart
from praefect.node.services.commit.trees import TreePart


class CommitService(FindingPart, HistoryPart, ListingPart, TreePart):
    """All RPCs about commits and the files in them."""
