"""Clusters of real processes, one for all tests of a module that leave it healthy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from praefect.app.cluster import ClusterOptions, run_cluster
from tests.support.cluster import ClusterClient


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClusterClient]:
    """A cluster that the tests of a module share."""
    async with run_cluster(ClusterOptions(directory=tmp_path_factory.mktemp("cluster"))) as cluster:
        yield ClusterClient(cluster)


@pytest_asyncio.fixture
async def own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ClusterClient]:
    """A cluster that one test may break."""
    async with run_cluster(ClusterOptions(directory=tmp_path_factory.mktemp("cluster"))) as cluster:
        yield ClusterClient(cluster)
