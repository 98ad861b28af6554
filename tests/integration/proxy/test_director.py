"""What is refused before a call is routed, and how nodes get to see those that are not."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from praefect.proto import (
    cluster_pb2,
    commit_pb2,
    internal_pb2,
    objectpool_pb2,
    operations_pb2,
    partition_pb2,
    ref_pb2,
    remote_pb2,
    repository_pb2,
    shared_pb2,
)
from praefect.transport.grpc.status import Status, StatusCode
from tests.support.scripted_cluster import Cluster

Repo = shared_pb2.Repository


def _find(repository: Repo | None = None) -> ref_pb2.FindLocalBranchesRequest:
    return ref_pb2.FindLocalBranchesRequest(repository=repository)


def _pool(pool: shared_pb2.ObjectPool | None, origin: Repo | None = None) -> objectpool_pb2.CreateObjectPoolRequest:
    return objectpool_pb2.CreateObjectPoolRequest(object_pool=pool, origin=origin)


FIND = "/gitaly.RefService/FindLocalBranches"
CREATE_POOL = "/gitaly.ObjectPoolService/CreateObjectPool"
INVALID, INTERNAL, MISSING = StatusCode.INVALID_ARGUMENT, StatusCode.INTERNAL, StatusCode.NOT_FOUND

REFUSED: list[tuple[str, Message, StatusCode, str]] = [
    # 4: no target
    (FIND, _find(), INVALID, "repository not set"),
    (CREATE_POOL, _pool(None), INVALID, "repository not set"),
    (CREATE_POOL, _pool(shared_pb2.ObjectPool()), INVALID, "repository not set"),
    (
        "/gitaly.OperationService/UserCommitFiles",
        operations_pb2.UserCommitFilesRequest(),
        INVALID,
        "repository not set",
    ),
    # 6 to 9: a target that is none
    (FIND, _find(Repo()), INVALID, "repository not set"),
    (FIND, _find(Repo(gl_repository="project-1")), INVALID, "repository not set"),
    (FIND, _find(Repo(relative_path="a.git")), INVALID, "storage name not set"),
    (FIND, _find(Repo(storage_name="default")), INVALID, "repository path not set"),
    (FIND, _find(Repo(storage_name="nowhere", relative_path="a.git")), INVALID, "storage name not found"),
    (
        "/gitaly.RepositoryService/OptimizeRepository",
        repository_pb2.OptimizeRepositoryRequest(repository=Repo(storage_name="nowhere", relative_path="a.git")),
        INVALID,
        "storage name not found",
    ),
    # 1.5: two virtual storages, compared before anything is routed
    (
        CREATE_POOL,
        _pool(
            shared_pb2.ObjectPool(repository=Repo(storage_name="default", relative_path="pool.git")),
            Repo(storage_name="other", relative_path="a.git"),
        ),
        INVALID,
        "resolving additional repository on different storage than target repository is not supported",
    ),
    # 4': storages
    (
        "/gitaly.RemoteService/FindRemoteRepository",
        remote_pb2.FindRemoteRepositoryRequest(remote="https://example.com/a.git"),
        INVALID,
        "storage scoped: target storage field not found",
    ),
    (
        "/gitaly.RaftService/GetClusterInfo",
        cluster_pb2.RaftClusterInfoRequest(),
        INVALID,
        "storage scoped: target storage field not found",
    ),
    (
        "/gitaly.RemoteService/FindRemoteRepository",
        remote_pb2.FindRemoteRepositoryRequest(remote="https://example.com/a.git", storage_name="nowhere"),
        INVALID,
        "virtual storage does not exist",
    ),
    (
        "/gitaly.InternalGitaly/StorePoolMetadata",
        internal_pb2.StorePoolMetadataRequest(storage_name="default"),
        INTERNAL,
        'mutator storage scoped: get shard "default": RouteStorageMutator is not implemented on PerRepositoryRouter',
    ),
    # 4'': partitions
    (
        "/gitaly.PartitionService/BackupPartition",
        partition_pb2.BackupPartitionRequest(storage_name="default", partition_id="1"),
        INTERNAL,
        'rpc with undefined scope "partition"',
    ),
    # the records
    (FIND, _find(Repo(storage_name="default", relative_path="unknown.git")), MISSING, "repository not found"),
    (
        "/gitaly.RepositoryService/WriteRef",
        repository_pb2.WriteRefRequest(repository=Repo(storage_name="default", relative_path="unknown.git")),
        MISSING,
        "repository not found",
    ),
    (
        "/gitaly.RepositoryService/OptimizeRepository",
        repository_pb2.OptimizeRepositoryRequest(repository=Repo(storage_name="default", relative_path="unknown.git")),
        MISSING,
        "repository not found",
    ),
    (
        "/gitaly.RepositoryService/RepositorySize",
        repository_pb2.RepositorySizeRequest(repository=Repo(storage_name="default", relative_path="unknown.git")),
        MISSING,
        "repository not found",
    ),
]


async def test_what_is_refused_reaches_no_node(cluster: Cluster) -> None:
    wrong = []
    for method, request, code, message in REFUSED:
        status = await cluster.status(method, request)
        if status != Status(code, message):
            wrong.append((method, message, status))
    assert wrong == []
    assert [node.calls for node in cluster.nodes.values()] == [[], [], []]


async def test_existing_repository_is_not_created_again(cluster: Cluster) -> None:
    repository = await cluster.repository()
    request = repository_pb2.CreateRepositoryRequest(repository=repository.message)

    assert await cluster.status("/gitaly.RepositoryService/CreateRepository", request) == Status(
        StatusCode.ALREADY_EXISTS, "route repository creation: reserve repository id: repository already exists"
    )


async def test_second_repository_must_exist(cluster: Cluster) -> None:
    repository = await cluster.repository()
    pool = shared_pb2.ObjectPool(repository=Repo(storage_name="default", relative_path="pool.git"))

    link = objectpool_pb2.LinkRepositoryToObjectPoolRequest(repository=repository.message, object_pool=pool)
    assert await cluster.status("/gitaly.ObjectPoolService/LinkRepositoryToObjectPool", link) == Status(
        MISSING,
        "mutator call: route repository mutator: resolve additional replica path: additional repository not found",
    )
    create = _pool(pool, Repo(storage_name="default", relative_path="unknown.git"))
    assert await cluster.status(CREATE_POOL, create) == Status(
        MISSING, "route repository creation: additional repository not found"
    )


@pytest.mark.parametrize(
    "method", ["/gitaly.RepositoryService/NoSuchMethod", "/gitaly.ServerService/ClockSynced", "/no.Such/Service"]
)
async def test_unknown_method_is_an_internal_error(cluster: Cluster, method: str) -> None:
    async with cluster.client.call(method) as call:
        await call.send(b"", last=True)
        assert await call.drain() == Status(INTERNAL, f"full method name not found: {method}")


async def test_malformed_method_is_unimplemented(cluster: Cluster) -> None:
    async with cluster.client.call("/x") as call:
        await call.send(b"", last=True)
        assert await call.drain() == Status(StatusCode.UNIMPLEMENTED, 'malformed method name: "/x"')


@pytest.mark.parametrize(
    ("send", "status"),
    [
        (None, Status(INTERNAL, "EOF")),
        (b"\xff\xff\xff", Status(INTERNAL, "proto: cannot parse invalid wire-format data")),
    ],
    ids=["none", "garbage"],
)
async def test_first_message_must_be_one(cluster: Cluster, send: bytes | None, status: Status) -> None:
    async with cluster.client.call(FIND) as call:
        if send is None:
            await call.half_close()
        else:
            await call.send(send, last=True)
        assert await call.drain() == status
        assert call.trailing_metadata.get_all("x-gitaly-cost") == []


# --- what nodes see ---


async def test_target_is_renamed_and_nothing_else(cluster: Cluster) -> None:
    repository = await cluster.repository()
    target = repository.message
    target.gl_repository = "project-1"
    target.git_object_directory = "objects/incoming"
    target.git_alternate_object_directories.append("objects")
    # A field of a newer version.
    target.MergeFromString(b"\xfa\x3f\x03new")
    request = repository_pb2.WriteRefRequest(repository=target, ref=b"refs/heads/x", revision=b"\xff")

    await cluster.call("/gitaly.RepositoryService/WriteRef", request)

    for name, node in cluster.nodes.items():
        [seen] = node.requests("WriteRef", repository_pb2.WriteRefRequest)
        expected = repository_pb2.WriteRefRequest()
        expected.CopyFrom(request)
        expected.repository.storage_name, expected.repository.relative_path = name, repository.replica_path
        assert seen == expected
        assert UnknownFieldSet(seen.repository)[0].data == b"new"


async def test_second_repository_is_renamed_where_the_protocol_says_so(cluster: Cluster) -> None:
    repository, pool = await cluster.repository("a.git"), await cluster.repository("pool.git")
    request = objectpool_pb2.LinkRepositoryToObjectPoolRequest(
        repository=repository.message, object_pool=shared_pb2.ObjectPool(repository=pool.message)
    )

    await cluster.call("/gitaly.ObjectPoolService/LinkRepositoryToObjectPool", request)

    for name, node in cluster.nodes.items():
        [seen] = node.requests("LinkRepositoryToObjectPool", objectpool_pb2.LinkRepositoryToObjectPoolRequest)
        assert seen.repository == Repo(storage_name=name, relative_path=repository.replica_path)
        assert seen.object_pool.repository == Repo(storage_name=name, relative_path=pool.replica_path)


async def test_other_repositories_stay_as_the_client_named_them(cluster: Cluster) -> None:
    repository, source = await cluster.repository("a.git"), await cluster.repository("source.git")
    request = repository_pb2.FetchSourceBranchRequest(
        repository=repository.message, source_repository=source.message, source_branch=b"x", target_ref=b"y"
    )

    await cluster.call("/gitaly.RepositoryService/FetchSourceBranch", request)

    [seen] = cluster.nodes[next(iter(cluster.nodes))].requests(
        "FetchSourceBranch", repository_pb2.FetchSourceBranchRequest
    )
    assert seen.source_repository == source.message


async def test_target_below_a_header_is_found(cluster: Cluster) -> None:
    repository = await cluster.repository()
    header = operations_pb2.UserCommitFilesRequestHeader(repository=repository.message, branch_name=b"main")

    await cluster.client.client_stream(
        "/gitaly.OperationService/UserCommitFiles",
        [operations_pb2.UserCommitFilesRequest(header=header)],
        operations_pb2.UserCommitFilesResponse,
    )

    for name, node in cluster.nodes.items():
        [seen] = node.requests("UserCommitFiles", operations_pb2.UserCommitFilesRequest)
        assert seen.header.repository == Repo(storage_name=name, relative_path=repository.replica_path)
        assert seen.header.branch_name == b"main"


async def test_storage_is_renamed(cluster: Cluster) -> None:
    request = remote_pb2.FindRemoteRepositoryRequest(remote="https://example.com/a.git", storage_name="default")

    await cluster.call("/gitaly.RemoteService/FindRemoteRepository", request, metadata=[("username", "root")])

    [(name, call)] = [(name, call) for name, node in cluster.nodes.items() for call in node.calls]
    assert call.request == remote_pb2.FindRemoteRepositoryRequest(remote=request.remote, storage_name=name)


async def test_languages_are_a_write(cluster: Cluster) -> None:
    """It reads, but the protocol declares it a write."""
    repository = await cluster.repository()
    await cluster.call(
        "/gitaly.CommitService/CommitLanguages",
        commit_pb2.CommitLanguagesRequest(repository=repository.message),
    )
    assert [len(node.called("CommitLanguages")) for node in cluster.nodes.values()] == [1, 1, 1]
