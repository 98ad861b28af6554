"""What a push of many references costs: tags pushed by stock git through the front door to three nodes.

``python -m bench.pushes 1000`` measures one push and says which process used how much processor time; its children's,
git and the programs it starts as hooks, count with it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from praefect.app.cluster import Cluster, ClusterOptions, run_cluster
from tests.support.cluster import ClusterClient
from tests.support.git_client import git

TAGS = 1000
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class PushTimes:
    """What a push came to.

    Attributes:
        cpu: seconds of processor time by process.
    """

    seconds: float
    cpu: Mapping[str, float]

    @property
    def total_cpu(self) -> float:
        """Seconds of processor time of all processes of the cluster together."""
        return sum(self.cpu.values())


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15]) / TICKS


def _cluster_cpu(cluster: Cluster) -> dict[str, float]:
    names = ("praefect", "praefect-gateway", *cluster.layout.node_names)
    return {name: _cpu_seconds(cluster.child(name).pid) for name in names}


async def push_tags(cluster: Cluster, directory: Path, tags: int = TAGS) -> PushTimes:
    """Push so many new tags at once to a new project."""
    client = ClusterClient(cluster)
    await client.create_project("pushes")
    work = await client.clone("pushes", directory, "pushes")
    head = (await git(work, "rev-parse", "HEAD")).ok().output
    packed = "".join(f"{head} refs/tags/tag-{number:06}\n" for number in range(tags))
    (work / ".git" / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" + packed)
    before = _cluster_cpu(cluster)
    began = time.perf_counter()
    (await client.push(work, "refs/tags/*:refs/tags/*")).ok()
    seconds = time.perf_counter() - began
    after = _cluster_cpu(cluster)
    return PushTimes(seconds=seconds, cpu={name: after[name] - before[name] for name in after})


async def _run(tags: int) -> None:
    with tempfile.TemporaryDirectory(prefix="praefect-bench-") as directory:
        root = Path(directory)
        async with run_cluster(ClusterOptions(directory=root / "cluster")) as cluster:
            times = await push_tags(cluster, root, tags)
    print(f"{tags} tags: {times.seconds:.1f} s, {times.total_cpu:.1f} s CPU, load {os.getloadavg()[0]:.1f}")
    for name, seconds in times.cpu.items():
        print(f"  {name}: {seconds:.1f} s CPU")


if __name__ == "__main__":
    asyncio.run(_run(int(sys.argv[1]) if len(sys.argv) > 1 else TAGS))
