"""The guarantees about custom hooks: what they refuse is refused, and every replica has what was set last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from praefect.app.cluster import Cluster
from tests.fault.checks.disks import replica
from tests.fault.checks.records import Records
from tests.fault.checks.references import Violation
from tests.fault.model.history import Answer, History, HookChange, Write
from tests.fault.traffic.hooks import REFUSED_BY_PRE_RECEIVE, REFUSED_BY_UPDATE, VERSION

_THROUGH_HOOKS = {"git push", "UserCommitFiles"}
_NONE = 0


def check_hooks(cluster: Cluster, history: History, records: Records) -> list[Violation]:
    """Return what is wrong with the repositories that have custom hooks."""
    found = []
    for path in sorted({change.repository for change in history.hook_changes}):
        writes = [write for write in history.writes if write.reference.repository == path]
        found += [
            Violation("custom hooks have the last word", f"{write} was acknowledged")
            for write in writes
            if must_be_refused(write) and write.answer is Answer.ACKNOWLEDGED
        ]
        if path in records.repositories:
            changes = [change for change in history.hook_changes if change.repository == path]
            replica_path = records.repositories[path].replica_path
            versions = {name: version_of(replica(cluster, name, replica_path)) for name in cluster.layout.node_names}
            possible = possible_versions(changes)
            if len(set(versions.values())) > 1 or not set(versions.values()) <= possible:
                told = "; ".join(f"{change.version} {change.answer} {change.detail}" for change in changes)
                found.append(
                    Violation(
                        "custom hooks are as acknowledged", f"{path}: versions {versions}, not in {possible}: {told}"
                    )
                )
    return found


def must_be_refused(write: Write) -> bool:
    """Tell whether one of the hooks refuses a write."""
    return write.method in _THROUGH_HOOKS and write.new[-1:] in {*REFUSED_BY_PRE_RECEIVE, *REFUSED_BY_UPDATE}


def possible_versions(changes: Sequence[HookChange]) -> set[int]:
    """Return which versions may be there: the last acknowledged one, and any in doubt, for however long."""
    acknowledged = [change.version for change in changes if change.answer is Answer.ACKNOWLEDGED]
    return {
        acknowledged[-1] if acknowledged else _NONE,
        *(change.version for change in changes if change.answer is Answer.IN_DOUBT),
    }


def version_of(directory: Path) -> int:
    """Return which version of the hooks a replica has, 0 if none or a mixture."""
    hooks = directory / "custom_hooks"
    texts = [file.read_text() for file in hooks.iterdir()] if hooks.is_dir() else []
    versions = {int(text.partition(VERSION)[2].partition("\n")[0]) for text in texts if VERSION in text}
    return versions.pop() if len(versions) == 1 and len(texts) == 3 else _NONE
