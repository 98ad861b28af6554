"""RepositoryService."""

from __future__ import annotations

from praefect.node.services.repository.checksum import ChecksumPart
from praefect.node.services.repository.files import FilesPart
from praefect.node.services.repository.info import InfoPart
from praefect.node.services.repository.inspection import InspectionPart
from praefect.node.services.repository.lifecycle import LifecyclePart
from praefect.node.services.repository.references import ReferencesPart


class RepositoryService(
    LifecyclePart,
    ChecksumPart,
    FilesPart,
    InfoPart,
    InspectionPart,
    ReferencesPart,
):
    """All RPCs about a repository as a whole."""
