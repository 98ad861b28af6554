"""Writes from the client to the rows they leave."""

from praefect.proto import repository_pb2
from tests.support.scripted_cluster import Cluster


async def test_agreement(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await cluster.call(
        "/gitaly.RepositoryService/WriteRef", repository_pb2.WriteRefRequest(repository=repository.message)
    )
    assert await cluster.generations(repository) == {"": 1, "gitaly-1": 1, "gitaly-2": 1, "gitaly-3": 1}
    assert await cluster.jobs() == []
