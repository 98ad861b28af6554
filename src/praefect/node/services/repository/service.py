"""RepositoryService."""

from __future__ import annotations

from praefect.node.services.repository.archive import ArchivePart
from praefect.node.services.repository.bundles import BundlesPart
from praefect.node.services.repository.checksum import ChecksumPart
from praefect.node.services.repository.files import FilesPart
from praefect.node.services.repository.forks import ForksPart
from praefect.node.services.repository.info import InfoPart
from praefect.node.services.repository.inspection import InspectionPart
from praefect.node.services.repository.lifecycle import LifecyclePart
from praefect.node.services.repository.maintenance import MaintenancePart
from praefect.node.services.repository.references import ReferencesPart
from praefect.node.services.repository.remotes import RemotesPart
from praefect.node.services.repository.replication import ReplicationPart
from praefect.node.services.repository.search import SearchPart
from praefect.node.services.repository.snapshots import SnapshotPart
from praefect.node.services.switched_off import SwitchedOffPart


class RepositoryService(
    LifecyclePart,
    ArchivePart,
    BundlesPart,
    ChecksumPart,
    FilesPart,
    ForksPart,
    InfoPart,
    InspectionPart,
    MaintenancePart,
    ReferencesPart,
    RemotesPart,
    ReplicationPart,
    SearchPart,
    SnapshotPart,
    SwitchedOffPart,
):
    """All RPCs about a repository as a whole."""
