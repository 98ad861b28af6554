"""How many statements a call costs: those with its correlation id, so that loops in the background do not count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from praefect.datastore.connection import PromptConnection
from praefect.observability.correlation import correlation_id
from praefect.proto import ref_pb2, repository_pb2
from tests.support.scripted_cluster import Cluster, Repository

READ = "/gitaly.RefService/FindLocalBranches"
WRITE = "/gitaly.RepositoryService/WriteRef"
MOST_PER_WRITE = 6


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The statements sent so far, by correlation id."""
    counted: Counter[str] = Counter()
    execute = PromptConnection.execute

    async def counting(self: PromptConnection, *arguments: Any, **options: Any) -> Any:
        counted[correlation_id.get()] += 1
        return await execute(self, *arguments, **options)

    monkeypatch.setattr(PromptConnection, "execute", counting)
    return counted


@contextmanager
def without_doubts(cluster: Cluster) -> Iterator[None]:
    lease = cluster.parts.doubts.lease
    lease.is_off = True
    try:
        yield
    finally:
        lease.is_off = False


async def write(cluster: Cluster, repository: Repository, correlation: str) -> None:
    request = repository_pb2.WriteRefRequest(repository=repository.message, ref=b"refs/heads/main", revision=b"1" * 40)
    await cluster.call(WRITE, request, metadata=[("x-gitlab-correlation-id", correlation)])


async def test_write_costs_few_statements_and_its_doubt_one(cluster: Cluster, sent: Counter[str]) -> None:
    repository = await cluster.repository()
    for number in range(3):
        await write(cluster, repository, f"write-{number}")
    with without_doubts(cluster):
        await write(cluster, repository, "plain")
    assert [sent[f"write-{number}"] for number in range(3)] == [sent["write-0"]] * 3
    assert 0 < sent["write-0"] <= MOST_PER_WRITE
    assert sent["write-0"] <= sent["plain"] + 1
    assert await cluster.jobs() == []


async def test_cached_read_costs_none(cluster: Cluster, sent: Counter[str]) -> None:
    repository = await cluster.repository()
    await cluster.heard()
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    for correlation in ("first", "second", "third"):
        await cluster.call(READ, request, metadata=[("x-gitlab-correlation-id", correlation)])
    assert sent["first"] == 1
    assert (sent["second"], sent["third"]) == (0, 0)
