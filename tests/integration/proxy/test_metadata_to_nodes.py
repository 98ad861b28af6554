"""What travels beside the messages from the client to the nodes."""

from __future__ import annotations

import asyncio
import time

from praefect.proto import objectpool_pb2, ref_pb2, remote_pb2, repository_pb2, server_pb2, shared_pb2
from praefect.proxy.rewrite import FEATURE_FLAGS
from praefect.transport.grpc.status import Status, StatusCode
from praefect.transport.grpc.token import check_token
from tests.support.scripted_cluster import G1, G2, G3, NODE_TOKEN, Cluster, Repository
from tests.support.scripted_node import NodeCall, NodeTransaction

FIND = "/gitaly.RefService/FindLocalBranches"
WRITE = "/gitaly.RepositoryService/WriteRef"
CREATE = "/gitaly.RepositoryService/CreateRepository"
FORK = "/gitaly.RepositoryService/CreateFork"
HINT = "gitaly-partitioning-hint"


def _only(cluster: Cluster) -> NodeCall:
    [call] = [call for node in cluster.nodes.values() for call in node.calls]
    return call


async def _read(cluster: Cluster, repository: Repository, *metadata: tuple[str, str | bytes]) -> NodeCall:
    await cluster.call(FIND, ref_pb2.FindLocalBranchesRequest(repository=repository.message), metadata=metadata)
    return _only(cluster)


async def test_clients_metadata_pass_unchanged(cluster: Cluster) -> None:
    sent: list[tuple[str, str | bytes]] = [
        ("username", "root"),
        ("remote_ip", "192.0.2.1"),
        ("gitaly-servers", "e30="),
        ("gitaly-client-context-bin", b"\x00\xff"),
        ("traceparent", "00-1-2-03"),
        ("x-gitlab-correlation-id", "client-chosen"),
        ("many", "1"),
        ("many", "2"),
    ]
    call = await _read(cluster, await cluster.repository(), *sent)

    for key in {key for key, _ in sent}:
        assert call.metadata.get_all(key) == [value for name, value in sent if name == key], key


async def test_nodes_are_told_of_the_virtual_storage(cluster: Cluster) -> None:
    repository = await cluster.repository()
    call = await _read(cluster, repository, ("virtual_storage", "claimed"))
    assert call.metadata.get_all("virtual_storage") == ["claimed", "default"]


async def test_correlation_id_is_made_where_the_client_has_none(cluster: Cluster) -> None:
    call = await _read(cluster, await cluster.repository())
    [made] = call.metadata.get_all("x-gitlab-correlation-id")
    assert len(str(made)) == 26


async def test_flags_the_client_does_not_set_get_the_defaults(cluster: Cluster) -> None:
    sent = [("gitaly-feature-gpg-signing", "whatever"), ("gitaly-feature-of-the-future", "true")]
    call = await _read(cluster, await cluster.repository(), *sent)

    assert call.metadata.get_all("gitaly-feature-gpg-signing") == ["whatever"]
    assert call.metadata.get_all("gitaly-feature-of-the-future") == ["true"]
    assert call.metadata.get_all("gitaly-feature-mailmap-options") == ["true"]
    assert call.metadata.get_all("gitaly-feature-git-master") == ["false"]
    flags = {key for key, _ in call.metadata if key.startswith("gitaly-feature-")}
    assert len(flags) == len(FEATURE_FLAGS) + 1


async def test_node_gets_the_nodes_token_and_not_the_clients(cluster: Cluster) -> None:
    call = await _read(cluster, await cluster.repository())
    [token] = call.metadata.get_all("authorization")
    assert check_token(str(token), NODE_TOKEN.encode(), time.time()).ok


async def test_node_gets_what_is_left_of_the_clients_time(cluster: Cluster) -> None:
    repository = await cluster.repository()
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    await cluster.call(FIND, request, timeout=100.0)
    await cluster.call(FIND, request, timeout=None)

    limited, unlimited = sorted(
        (call.raw for node in cluster.nodes.values() for call in node.calls), key=lambda raw: raw.deadline is None
    )
    assert limited.deadline is not None
    assert 90 < limited.deadline - asyncio.get_running_loop().time() <= 100
    assert unlimited.deadline is None


async def test_every_call_to_a_node_names_the_proxys_codec(cluster: Cluster) -> None:
    """A node cannot tell our calls from upstream's."""
    call = await _read(cluster, await cluster.repository())
    node = next(iter(cluster.nodes.values()))
    assert call.raw.content_type == b"application/grpc+proxy>proto"
    assert node.checks[0].content_type == b"application/grpc+proxy>proto"


# --- transactions ---


async def test_each_participant_is_told_its_part(cluster: Cluster) -> None:
    repository = await cluster.repository()
    request = repository_pb2.WriteRefRequest(repository=repository.message)
    for _ in range(2):
        await cluster.call(WRITE, request, metadata=[("gitaly-reference-transaction", "forged")])

    for name, node in cluster.nodes.items():
        first, second = (call.transaction for call in node.called("WriteRef"))
        assert first == NodeTransaction(id=1, node=name, primary=name == G1)
        assert second == NodeTransaction(id=2, node=name, primary=name == G1)
        [value] = node.calls[0].metadata.get_all("gitaly-reference-transaction")
        assert value != "forged"


async def test_reads_belong_to_no_transaction(cluster: Cluster) -> None:
    call = await _read(cluster, await cluster.repository(), ("gitaly-reference-transaction", "forged"))
    assert call.transaction is None


async def test_pool_creation_belongs_to_no_transaction(cluster: Cluster) -> None:
    origin = await cluster.repository()
    pool = shared_pb2.ObjectPool(repository=shared_pb2.Repository(storage_name="default", relative_path="pool.git"))
    await cluster.call(
        "/gitaly.ObjectPoolService/CreateObjectPool",
        objectpool_pb2.CreateObjectPoolRequest(object_pool=pool, origin=origin.message),
    )
    call = _only(cluster)
    assert call.node.name == G1
    assert call.transaction is None


# --- what goes with calls that are not about a repository ---


async def test_storage_scoped_calls_carry_nothing_of_the_client(cluster: Cluster) -> None:
    request = remote_pb2.FindRemoteRepositoryRequest(remote="https://example.com/a.git", storage_name="default")
    metadata = [("username", "root"), ("gitaly-feature-gpg-signing", "false"), ("x-gitlab-correlation-id", "mine")]
    await cluster.call("/gitaly.RemoteService/FindRemoteRepository", request, metadata=metadata, timeout=50.0)

    call = _only(cluster)
    assert sorted(key for key, _ in call.metadata) == ["authorization", "x-gitlab-correlation-id"]
    assert call.metadata.get_all("x-gitlab-correlation-id") == ["mine"]
    assert call.raw.deadline is not None


async def test_server_info_carries_the_clients_metadata(cluster: Cluster) -> None:
    await cluster.call(
        "/gitaly.ServerService/ServerInfo", server_pb2.ServerInfoRequest(), metadata=[("username", "root")]
    )
    assert _only(cluster).metadata.get_all("username") == ["root"]


# --- the partitioning hint ---


async def test_hint_becomes_the_path_on_disk(cluster: Cluster) -> None:
    repository, other = await cluster.repository("a.git"), await cluster.repository("other.git")
    request = repository_pb2.WriteRefRequest(repository=repository.message)
    await cluster.call(WRITE, request, metadata=[(HINT, "other.git")])
    for node in cluster.nodes.values():
        assert node.calls[0].metadata.get_all(HINT) == [other.replica_path]


async def test_hint_must_name_a_repository(cluster: Cluster) -> None:
    repository = await cluster.repository()
    request = repository_pb2.WriteRefRequest(repository=repository.message)
    assert await cluster.status(WRITE, request, metadata=[(HINT, "unknown.git")]) == Status(
        StatusCode.NOT_FOUND,
        "mutator call: route repository mutator: resolve additional replica path: additional repository not found",
    )


async def test_two_hints_are_one_too_many(cluster: Cluster) -> None:
    repository = await cluster.repository()
    request = repository_pb2.WriteRefRequest(repository=repository.message)
    metadata = [(HINT, "a.git"), (HINT, "a.git")]
    assert await cluster.status(WRITE, request, metadata=metadata) == Status(
        StatusCode.INTERNAL, "mutator call: extract partitioning hint: multiple partitioning hints"
    )


async def test_hint_places_a_new_repository(cluster: Cluster) -> None:
    await cluster.repository("other.git", primary=G2, replicas={G2: 0, G3: 0}, assigned=(G2, G3))
    request = repository_pb2.CreateRepositoryRequest(
        repository=shared_pb2.Repository(storage_name="default", relative_path="new.git")
    )
    await cluster.call(CREATE, request, metadata=[(HINT, "other.git")])

    assert [len(node.called("CreateRepository")) for node in cluster.nodes.values()] == [0, 1, 1]
    transaction = cluster.nodes[G2].calls[0].transaction
    assert transaction is not None
    assert transaction.primary


async def test_fork_is_placed_beside_its_source(cluster: Cluster) -> None:
    source = await cluster.repository("source.git", primary=G2, replicas={G2: 0, G3: 0}, assigned=(G2, G3))
    request = repository_pb2.CreateForkRequest(
        repository=shared_pb2.Repository(storage_name="default", relative_path="fork.git"),
        source_repository=source.message,
    )
    await cluster.call(FORK, request)

    assert [len(node.called("CreateFork")) for node in cluster.nodes.values()] == [0, 1, 1]
    for node in (cluster.nodes[G2], cluster.nodes[G3]):
        assert node.calls[0].request.source_repository == source.message
        assert node.calls[0].metadata.get_all(HINT) == [source.replica_path]
    assert await cluster.rows.run(
        "SELECT storage FROM repository_assignments JOIN repositories USING (repository_id) "
        "WHERE repositories.relative_path = 'fork.git' ORDER BY storage"
    ) == [(G2,), (G3,)]


async def test_fork_of_a_repository_elsewhere_is_looked_up_here(cluster: Cluster) -> None:
    request = repository_pb2.CreateForkRequest(
        repository=shared_pb2.Repository(storage_name="default", relative_path="fork.git"),
        source_repository=shared_pb2.Repository(storage_name="elsewhere", relative_path="source.git"),
    )
    assert await cluster.status(FORK, request) == Status(
        StatusCode.NOT_FOUND, "route repository creation: additional repository not found"
    )


async def test_hint_of_a_call_with_a_second_repository_passes(cluster: Cluster) -> None:
    """The message itself says which repository belongs beside it."""
    repository, pool = await cluster.repository("a.git"), await cluster.repository("pool.git")
    request = objectpool_pb2.LinkRepositoryToObjectPoolRequest(
        repository=repository.message, object_pool=shared_pb2.ObjectPool(repository=pool.message)
    )
    await cluster.call(
        "/gitaly.ObjectPoolService/LinkRepositoryToObjectPool", request, metadata=[(HINT, "anything.git")]
    )
    for node in cluster.nodes.values():
        assert node.calls[0].metadata.get_all(HINT) == ["anything.git"]
