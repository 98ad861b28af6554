"""The guarantees after healing: replicas equal and sound, records true, repositories there or gone, no residue."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from praefect.app.cluster import Cluster
from tests.fault.checks.disks import fsck, look, replica, repositories, residue
from tests.fault.checks.records import Records, read_records
from tests.fault.checks.references import Violation
from tests.fault.model.history import Answer, History, Lifetime

CONVERGENCE_SECONDS = 45.0
RESIDUE_SECONDS = 15.0
POLL_SECONDS = 0.3


async def wait_for_convergence(cluster: Cluster, seconds: float) -> tuple[list[Violation], Records]:
    """Wait until records and disks are as they should be for good; return what still is not when time is up."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + seconds
    while True:
        records = await read_records(cluster)
        found = _differ_from_records(records)
        if not found:
            found = await _disks_differ(cluster, records)
        if not found or loop.time() > give_up:
            return found, records
        await asyncio.sleep(POLL_SECONDS)


def _differ_from_records(records: Records) -> list[Violation]:
    found = [
        Violation("no jobs or doubts remain", f"{count} rows in {name}") for name, count in records.pending.items()
    ]
    for record in records.repositories.values():
        generations = set(record.replicas.values())
        if len(record.replicas) < 3 or generations != {record.generation}:
            detail = f"{record.relative_path} at {record.generation}, replicas {dict(record.replicas)}"
            found.append(Violation("replicas converge once healed", detail))
    return found


async def _disks_differ(cluster: Cluster, records: Records) -> list[Violation]:
    found = []
    for record in records.repositories.values():
        disks = await look(cluster, record.replica_path)
        if any(disk.references != disks[0].references for disk in disks) or disks[0].references is None:
            detail = "; ".join(f"{disk.node}: {_difference(disk.references, disks[0].references)}" for disk in disks)
            found.append(Violation("replicas are equal once healed", f"{record.relative_path}: {detail}"))
    return found


def _difference(one: Mapping[str, str] | None, other: Mapping[str, str] | None) -> str:
    if one is None or other is None:
        return "no directory" if one is None else f"{len(one)} references"
    if one == other:
        return "as the first"
    names = sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
    return ", ".join(f"{name} {one.get(name, 'absent')[:8]} not {other.get(name, 'absent')[:8]}" for name in names)


async def check_soundness(cluster: Cluster, records: Records) -> list[Violation]:
    """Run ``git fsck`` on every replica, and look for what should not be there."""
    found = []
    for record in records.repositories.values():
        for name in cluster.layout.node_names:
            directory = replica(cluster, name, record.replica_path)
            if directory.is_dir() and (fault := await fsck(directory)):
                found.append(Violation("git fsck is clean", f"{record.relative_path} on {name}: {fault}"))
    left = await _wait_for_no_residue(cluster)
    guarantee = "no locks, quarantines or temporary files remain"
    return found + [Violation(guarantee, f"{name}: {files}") for name, files in left.items() if files]


async def _wait_for_no_residue(cluster: Cluster) -> dict[str, list[str]]:
    """Return what stays; what a client has given up may still be at work on a node for a moment."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + RESIDUE_SECONDS
    while True:
        left = {name: residue(cluster.layout.node_storage(name)) for name in cluster.layout.node_names}
        if not any(left.values()) or loop.time() > give_up:
            return left
        await asyncio.sleep(POLL_SECONDS)


def unrecorded(cluster: Cluster, records: Records) -> dict[str, list[str]]:
    """Return directories without a record, by node: no guarantee is broken, the clean-up of unknown ones finds them."""
    known = {record.replica_path for record in records.repositories.values()}
    found = {name: repositories(cluster.layout.node_storage(name)) - known for name in cluster.layout.node_names}
    return {name: sorted(paths) for name, paths in found.items() if paths}


def check_lifetimes(history: History, paths: Sequence[str], records: Records) -> list[Violation]:
    """Compare which repositories exist with what clients were told."""
    found = []
    for path in paths:
        calls = [call for call in history.lifetimes if call.path == path]
        possible = _possible(calls)
        exists = path in records.repositories
        if exists not in possible:
            told = "; ".join(f"{call.method} {call.answer} {call.detail}" for call in calls)
            found.append(
                Violation(
                    "creations and removals are as acknowledged", f"{path} {'exists' if exists else 'is gone'}: {told}"
                )
            )
    return found


def _possible(calls: Sequence[Lifetime]) -> set[bool]:
    possible = {False}
    for call in calls:
        target = call.method != "RemoveRepository"
        if call.answer is Answer.ACKNOWLEDGED:
            possible = {target}
        elif call.answer is Answer.IN_DOUBT:
            possible = possible | {target}
    return possible
