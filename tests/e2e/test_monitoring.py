"""The dashboard's queries and the alert rules, against a real Prometheus that scrapes a cluster with a fault in it."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.cluster import ClusterClient
from tests.support.distribution import ROOT
from tests.support.eventually import eventually
from tests.support.git_client import commit_file
from tests.support.prometheus import run_prometheus

MONITORING = ROOT / "docs" / "monitoring"
RULES = MONITORING / "praefect-alerts.yml"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        shutil.which("prometheus") is None or shutil.which("promtool") is None,
        reason="prometheus or promtool is missing (package prometheus)",
    ),
]


def _queries() -> dict[str, list[str]]:
    """Return the queries of each panel, with values for Grafana's variables."""
    dashboard = json.loads((MONITORING / "praefect-dashboard.json").read_text())
    return {
        panel["title"]: [
            target["expr"].replace("$__rate_interval", "5m").replace("$virtual_storage", "default")
            for target in panel["targets"]
        ]
        for panel in dashboard["panels"]
        if panel["type"] != "row"
    }


@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "praefect-alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "praefect-alerts.test.yml"),
    ],
)
def test_promtool_accepts_and_plays_the_rules(command: tuple[str, ...]) -> None:
    result = subprocess.run(["promtool", *command], cwd=MONITORING, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


async def test_every_query_of_the_dashboard_shows_something_of_a_cluster_with_a_fault(
    own: ClusterClient, tmp_path: Path
) -> None:
    cluster = own.cluster
    project = await own.create_project("watched")
    work = await own.clone("watched", tmp_path)
    primary = (await own.metadata(project["id"])).primary
    lost = next(name for name in cluster.layout.node_names if name != primary)

    async def read_and_write(number: int) -> None:
        await commit_file(work, "file.txt", f"{number}\n")
        (await own.push(work)).ok()
        await own.clone("watched", tmp_path, f"clone-{number}")

    async with run_prometheus(tmp_path, targets=[f"127.0.0.1:{cluster.ports.metrics}"], rules=RULES) as prometheus:
        numbers = itertools.count()
        await read_and_write(next(numbers))
        cluster.child(lost).kill()
        await cluster.child(lost).wait()

        # What a panel shows may be gone later: a queue that is worked off has no series.
        empty = set(_queries())

        async def look() -> None:
            await read_and_write(next(numbers))
            for title in sorted(empty):
                found = [await prometheus.query(query) for query in _queries()[title]]
                if all(any(series["value"][1] != "NaN" for series in one) for one in found):
                    empty.discard(title)

        async def is_noticed() -> bool:
            await look()
            pending = (await prometheus.alerts()).get("PraefectSecondariesLeftBehind") == "pending"
            return pending and "Queue" not in empty

        await eventually(is_noticed, within_seconds=60)
        # Jobs can be shown once the node is back and they are done.
        await cluster.start_node(lost)
        deadline = time.monotonic() + 60
        while empty and time.monotonic() < deadline:
            await look()
        assert empty == set()
