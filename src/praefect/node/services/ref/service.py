"""RefService."""

from __future__ import annotations

from praefect.node.services.ref.branches import BranchPart
from praefect.node.services.ref.listing import ListingPart
from praefect.node.services.ref.tags import TagPart
from praefect.node.services.ref.updates import UpdatePart


class RefService(BranchPart, TagPart, ListingPart, UpdatePart):
    """All RPCs about references."""
