from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from praefect.config.praefect import DatabaseConfig
from tests.support.postgres import connection, database, datastore, empty_database, postgres_server
from tests.support.praefect_cli import Installation, serve_nodes, serve_praefect

__all__ = ["connection", "database", "datastore", "empty_database", "postgres_server"]

STORAGES = ("gitaly-1", "gitaly-2", "gitaly-3")
NO_LOOPS = """
[background_verification]
verification_interval = "0s"
[reconciliation]
scheduling_interval = "0s"
"""


@pytest.fixture
async def nodes(tmp_path: Path, database: DatabaseConfig) -> AsyncIterator[Installation]:
    """Three nodes, a database, a configuration file; no Praefect runs."""
    async with serve_nodes(tmp_path, database, STORAGES, NO_LOOPS) as installation:
        yield installation


@pytest.fixture
async def praefect(nodes: Installation) -> AsyncIterator[Installation]:
    """The same with Praefect running."""
    async with serve_praefect(nodes):
        yield nodes
