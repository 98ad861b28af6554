"""OperationService."""

from __future__ import annotations

from praefect.node.services.operation.branches import BranchPart
from praefect.node.services.operation.files import FilesPart
from praefect.node.services.operation.merges import MergePart
from praefect.node.services.operation.patches import PatchPart
from praefect.node.services.operation.picks import PickPart
from praefect.node.services.operation.rebases import RebasePart
from praefect.node.services.operation.submodules import SubmodulePart
from praefect.node.services.operation.tags import TagPart


class OperationService(BranchPart, TagPart, FilesPart, MergePart, PickPart, RebasePart, PatchPart, SubmodulePart):
    """All RPCs of users' operations."""
