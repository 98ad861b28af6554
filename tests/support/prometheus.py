"""A real Prometheus that scrapes a cluster."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from praefect.app.layout import free_ports
from praefect.app.processes import Child
from tests.support.eventually import eventually


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    url: str

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query; it must be valid."""
        answer = await self._get("/api/v1/query", {"query": expression})
        assert answer["status"] == "success", (expression, answer)
        return list(answer["data"]["result"])

    async def alerts(self) -> dict[str, str]:
        """Return the state of each alert that is pending or firing."""
        answer = await self._get("/api/v1/alerts", {})
        return {alert["labels"]["alertname"]: alert["state"] for alert in answer["data"]["alerts"]}

    async def _get(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession(trust_env=False) as session,
            session.get(self.url + path, params=parameters) as response,
        ):
            return dict(await response.json())


@asynccontextmanager
async def run_prometheus(directory: Path, *, targets: Sequence[str], rules: Path) -> AsyncIterator[Prometheus]:
    """Start the machine's Prometheus with a scrape each second."""
    program = shutil.which("prometheus")
    assert program is not None
    configuration = directory / "prometheus.yml"
    configuration.write_text(
        json.dumps(  # JSON is YAML
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(rules)],
                "scrape_configs": [
                    {"job_name": "praefect", "static_configs": [{"targets": list(targets)}]},
                    {
                        "job_name": "praefect-database",
                        "metrics_path": "/db_metrics",
                        "static_configs": [{"targets": list(targets)}],
                    },
                ],
            }
        )
    )
    (port,) = free_ports(1)
    child = Child(
        name="prometheus",
        arguments=(
            program,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ),
        log=directory / "prometheus.log",
    )
    await child.start()
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:

        async def scrapes() -> bool:
            assert child.running, child.log.read_text()
            try:
                return len(await prometheus.query("up == 1")) == 2 * len(targets)
            except (TimeoutError, aiohttp.ClientError):
                return False

        await eventually(scrapes)
        yield prometheus
    finally:
        await child.stop()
