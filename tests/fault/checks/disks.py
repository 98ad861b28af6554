"""What lies on the nodes' disks, looked at from outside once everything has healed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from praefect.app.cluster import Cluster
from tests.support.git_client import git, git_environment


@dataclass(frozen=True, slots=True)
class Disk:
    """One replica: its references with HEAD, or nothing if there is no directory."""

    node: str
    references: Mapping[str, str] | None


async def look(cluster: Cluster, replica_path: str) -> list[Disk]:
    """Return what each node has of a repository."""
    return [Disk(name, await references(replica(cluster, name, replica_path))) for name in cluster.layout.node_names]


def replica(cluster: Cluster, node: str, replica_path: str) -> Path:
    """Return the directory of a replica."""
    return cluster.layout.node_storage(node) / replica_path


async def references(directory: Path) -> Mapping[str, str] | None:
    """Return the references of a repository with HEAD's target."""
    if not directory.is_dir():
        return None
    listed = await git(directory, "for-each-ref", "--format=%(refname) %(objectname)")
    if listed.code != 0:
        return {"unreadable": listed.errors}
    head = (await git(directory, "symbolic-ref", "-q", "HEAD")).output
    return {"HEAD": head, **dict(line.split(" ", 1) for line in listed.output.splitlines())}


async def fsck(directory: Path) -> str:
    """Return what git finds wrong with a repository; dangling objects are not wrong."""
    result = await git(directory, "fsck", "--full", "--no-dangling", "--no-progress")
    return "" if result.code == 0 else result.errors or result.output or f"exit code {result.code}"


async def commits_by_subject(directory: Path) -> dict[str, str]:
    """Return every commit of a repository, reachable or not, by the first line of its message."""
    listed = await git(directory, "cat-file", "--batch-all-objects", "--batch-check=%(objecttype) %(objectname)")
    oids = [line.split()[1] for line in listed.ok().output.splitlines() if line.startswith("commit ")]
    if not oids:
        return {}
    process = await asyncio.create_subprocess_exec(
        *("git", "log", "--no-walk=unsorted", "--stdin", "--format=%H %s"),
        cwd=directory,
        env=git_environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate("\n".join(oids).encode() + b"\n")
    return {subject: oid for oid, _, subject in (line.partition(" ") for line in output.decode().splitlines())}


def repositories(storage: Path) -> set[str]:
    """Return the relative paths of all repositories of a storage."""
    return {
        str(head.parent.relative_to(storage))
        for head in storage.rglob("HEAD")
        if (head.parent / "objects").is_dir() and "+gitaly" not in head.parts
    }


def residue(storage: Path) -> list[str]:
    """Return files that a finished operation should not have left."""
    found = [path for pattern in ("*.lock", "incoming-*", "tmp_*", "quarantine-*") for path in storage.rglob(pattern)]
    temporary = storage / "+gitaly" / "tmp"
    if temporary.is_dir():
        found += [path for path in temporary.iterdir() if not path.name.startswith(".owner-")]
    return sorted({_describe(path, storage) for path in found if path.exists()})


def _describe(path: Path, storage: Path) -> str:
    """Return a path with what lies below it."""
    below = sorted(str(child.relative_to(path)) for child in path.rglob("*")) if path.is_dir() else []
    return f"{path.relative_to(storage)} {below}" if path.is_dir() else str(path.relative_to(storage))
