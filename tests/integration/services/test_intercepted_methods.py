"""Methods of forwarded services that praefect answers itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from google.protobuf.message import Message

from praefect.datastore.cache import ConsistentStoragesCache
from praefect.domain.repository import Storage
from praefect.observability.log import capture
from praefect.proto import internal_pb2, objectpool_pb2, repository_pb2, shared_pb2
from praefect.transport.grpc.status import OK, Status, StatusCode
from tests.support.scripted_cluster import ALL, G1, G2, G3, VS, Cluster
from tests.support.scripted_node import answering, failing, hang

Repo = shared_pb2.Repository

EXISTS = "/gitaly.RepositoryService/RepositoryExists"
REMOVE = "/gitaly.RepositoryService/RemoveRepository"
BACKUP = "/gitaly.RepositoryService/BackupRepository"
DELETE_POOL = "/gitaly.ObjectPoolService/DeleteObjectPool"
GET_POOL = "/gitaly.ObjectPoolService/GetObjectPool"
WALK = "/gitaly.InternalGitaly/WalkRepos"
POOL_PATH = f"@pools/0f/ab/0fab{'0' * 60}.git"

INVALID = StatusCode.INVALID_ARGUMENT


def _exists(repository: Repo | None = None) -> Message:
    return repository_pb2.RepositoryExistsRequest(repository=repository)


def _remove(repository: Repo | None = None) -> Message:
    return repository_pb2.RemoveRepositoryRequest(repository=repository)


def _get_pool(repository: Repo | None = None) -> Message:
    return objectpool_pb2.GetObjectPoolRequest(repository=repository)


def _delete_pool(repository: Repo | None = None) -> Message:
    pool = None if repository is None else shared_pb2.ObjectPool(repository=repository)
    return objectpool_pb2.DeleteObjectPoolRequest(object_pool=pool)


REFUSED: list[tuple[str, Message, Status]] = [
    (EXISTS, _exists(), Status(INVALID, "repository not set")),
    (EXISTS, _exists(Repo()), Status(INVALID, "storage name not set")),
    (EXISTS, _exists(Repo(relative_path="a.git")), Status(INVALID, "storage name not set")),
    (EXISTS, _exists(Repo(storage_name="default")), Status(INVALID, "repository path not set")),
    (REMOVE, _remove(), Status(INVALID, "repository not set")),
    (REMOVE, _remove(Repo()), Status(StatusCode.NOT_FOUND, "repository does not exist")),
    (
        REMOVE,
        _remove(Repo(storage_name="nowhere", relative_path="a.git")),
        Status(StatusCode.NOT_FOUND, "repository does not exist"),
    ),
    (DELETE_POOL, _delete_pool(), Status(INVALID, "no object pool repository")),
    (
        DELETE_POOL,
        objectpool_pb2.DeleteObjectPoolRequest(object_pool=shared_pb2.ObjectPool()),
        Status(INVALID, "no object pool repository"),
    ),
    (
        DELETE_POOL,
        _delete_pool(Repo(storage_name="default", relative_path="pool.git")),
        Status(INVALID, "invalid object pool directory"),
    ),
    (DELETE_POOL, _delete_pool(Repo(storage_name="default", relative_path=POOL_PATH)), OK),
    (BACKUP, repository_pb2.BackupRepositoryRequest(), Status(INVALID, "repository not set")),
    (
        BACKUP,
        repository_pb2.BackupRepositoryRequest(repository=Repo(storage_name="nowhere", relative_path="a.git")),
        Status(INVALID, "virtual storage does not exist"),
    ),
    (GET_POOL, _get_pool(), Status(INVALID, "repository not set")),
    (GET_POOL, _get_pool(Repo(storage_name="default")), Status(INVALID, "repository not set")),
    (GET_POOL, _get_pool(Repo(relative_path="a.git")), Status(INVALID, "repository not set")),
    (
        GET_POOL,
        _get_pool(Repo(storage_name="nowhere", relative_path="a.git")),
        Status(INVALID, "route RPC: virtual storage does not exist"),
    ),
    (
        GET_POOL,
        _get_pool(Repo(storage_name="default", relative_path="unknown.git")),
        Status(StatusCode.NOT_FOUND, "route RPC: consistent storages: repository not found"),
    ),
    (WALK, internal_pb2.WalkReposRequest(), Status(INVALID, "storage name not set")),
]


async def test_requests_are_judged_before_any_node_is_asked(cluster: Cluster) -> None:
    wrong = []
    for method, request, expected in REFUSED:
        if method == WALK:
            got = await _drain(cluster, method, request)
        else:
            got = await cluster.status(method, request)
        if got != expected:
            wrong.append((method, expected, got))
    assert wrong == []
    assert [node.calls for node in cluster.nodes.values()] == [[], [], []]


async def _drain(cluster: Cluster, method: str, request: Message) -> Status:
    async with cluster.client.call(method) as call:
        await call.send(request.SerializeToString(), last=True)
        return await call.drain()


@pytest.mark.parametrize("method", [EXISTS, REMOVE, BACKUP, DELETE_POOL, GET_POOL, WALK])
async def test_call_without_a_message_has_none_to_answer(cluster: Cluster, method: str) -> None:
    async with cluster.client.call(method) as call:
        await call.half_close()
        assert await call.drain() == Status(StatusCode.INTERNAL, "receive request: EOF")


# --- RepositoryExists ---


async def test_existence_is_what_the_records_say(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={})
    cases = [
        (repository.message, True),
        (Repo(storage_name="default", relative_path="unknown.git"), False),
        (Repo(storage_name="nowhere", relative_path="a.git"), False),
    ]
    await cluster.lose(*ALL)
    for target, exists in cases:
        response = await cluster.call(EXISTS, _exists(target))
        assert response == repository_pb2.RepositoryExistsResponse(exists=exists)


# --- RemoveRepository, DeleteObjectPool ---


@pytest.mark.parametrize(
    ("method", "request_for", "path"), [(REMOVE, _remove, "a.git"), (DELETE_POOL, _delete_pool, POOL_PATH)]
)
async def test_removal_deletes_the_record_and_every_replica(
    cluster: Cluster, method: str, request_for: Callable[[Repo], Message], path: str
) -> None:
    repository = await cluster.repository(path, generation=1, replicas={G1: 1, G3: 0}, assigned=(G1, G3))
    target = repository.message
    target.gl_repository = "project-1"

    await cluster.call(method, request_for(target), metadata=[("username", "root")])

    for table in ("repositories", "storage_repositories", "repository_assignments"):
        assert await cluster.rows.run(f"SELECT * FROM {table}") == []
    name = method.rpartition("/")[2]
    assert {storage: len(node.called(name)) for storage, node in cluster.nodes.items()} == {G1: 1, G2: 0, G3: 1}
    for storage in (G1, G3):
        [call] = cluster.nodes[storage].calls
        expected = Repo()
        expected.CopyFrom(target)
        expected.storage_name, expected.relative_path = storage, repository.replica_path
        assert call.request == request_for(expected)
        assert "username" not in call.metadata


async def test_removal_of_an_unknown_repository(cluster: Cluster) -> None:
    request = _remove(Repo(storage_name="default", relative_path="unknown.git"))
    assert await cluster.status(REMOVE, request) == Status(StatusCode.NOT_FOUND, "repository does not exist")


async def test_removal_does_not_depend_on_nodes(cluster: Cluster) -> None:
    """The records decide; what stays on a disk is reported by the search for unknown repositories."""
    repository = await cluster.repository(replicas={G1: 0, G2: 0, G3: 0, Storage("unconfigured"): 0})
    cluster.nodes[G2].on("RemoveRepository", failing(StatusCode.INTERNAL, "disk on fire"))
    await cluster.lose(G1)

    with capture() as lines:
        assert await cluster.status(REMOVE, _remove(repository.message)) == OK

    assert len(cluster.nodes[G3].called("RemoveRepository")) == 1
    failures = {
        (line["storage"], line["virtual_storage"], line["relative_path"])
        for line in lines
        if line["msg"] == "failed deleting repository"
    }
    assert failures == {(G1, VS, "a.git"), (G2, VS, "a.git")}


async def test_removal_leaves_jobs_alone(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
    await cluster.lose(G2)
    await cluster.call(
        "/gitaly.RepositoryService/WriteRef", repository_pb2.WriteRefRequest(repository=repository.message)
    )
    jobs = await cluster.jobs()
    assert (G1, G2, "update") in jobs
    await cluster.call(REMOVE, _remove(repository.message))
    assert await cluster.jobs() == jobs


async def test_removal_waits_ten_seconds_for_a_node_and_no_longer_than_its_client(cluster: Cluster) -> None:
    repository = await cluster.repository()
    cluster.nodes[G2].on("RemoveRepository", hang)
    async with cluster.client.call(REMOVE) as call:
        await call.send(_remove(repository.message).SerializeToString(), last=True)
        seen = await cluster.nodes[G2].wait_called("RemoveRepository")
        assert seen.raw.deadline is not None
        assert seen.raw.deadline - asyncio.get_running_loop().time() <= 10
    # The client has left.
    await cluster.nodes[G2].wait_ended("RemoveRepository")


async def test_removed_repository_is_gone_for_reads_at_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the database's notification has come back or not."""
    repository = await cluster.repository()
    size = repository_pb2.RepositoryInfoRequest(repository=repository.message)
    info = "/gitaly.RepositoryService/RepositoryInfo"
    await cluster.heard()
    assert await cluster.status(info, size) == OK
    monkeypatch.setattr(ConsistentStoragesCache, "notified", lambda *_: None)
    await cluster.call(REMOVE, _remove(repository.message))
    assert await cluster.status(info, size) == Status(StatusCode.NOT_FOUND, "repository not found")


# --- BackupRepository ---


async def test_backup_is_made_by_an_up_to_date_node(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 0, G2: 1, G3: 0})
    request = repository_pb2.BackupRepositoryRequest(
        repository=repository.message, vanity_repository=repository.message, backup_id="1"
    )
    await cluster.call(BACKUP, request, metadata=[("username", "root")])

    [call] = cluster.nodes[G2].calls
    expected = repository_pb2.BackupRepositoryRequest()
    expected.CopyFrom(request)
    expected.repository.storage_name, expected.repository.relative_path = G2, repository.replica_path
    assert call.request == expected
    assert "username" not in call.metadata


async def test_missing_repository_is_backed_up_as_missing(cluster: Cluster) -> None:
    missing = Repo(storage_name="default", relative_path="unknown.git")
    request = repository_pb2.BackupRepositoryRequest(repository=missing, backup_id="1")
    for node in cluster.nodes.values():
        node.on("BackupRepository", failing(StatusCode.NOT_FOUND, "repository skipped"))

    assert await cluster.status(BACKUP, request) == Status(StatusCode.NOT_FOUND, "repository skipped")

    [(name, call)] = [(name, call) for name, node in cluster.nodes.items() for call in node.calls]
    assert call.request.repository == Repo(storage_name=name, relative_path="unknown.git")


async def test_backup_needs_a_node(cluster: Cluster) -> None:
    repository = await cluster.repository(generation=1, replicas={G1: 1, G2: 0})
    request = repository_pb2.BackupRepositoryRequest(repository=repository.message)
    await cluster.lose(G1)
    assert await cluster.status(BACKUP, request) == Status(
        StatusCode.UNAVAILABLE, "no suitable node to serve the request"
    )
    await cluster.lose(G2, G3)
    assert await cluster.status(BACKUP, request) == Status(StatusCode.UNAVAILABLE, "no healthy nodes")


# --- GetObjectPool ---


def _pool(path: str) -> objectpool_pb2.GetObjectPoolResponse:
    pool = shared_pb2.ObjectPool(repository=Repo(storage_name="gitaly-1", relative_path=path, gl_repository="x"))
    return objectpool_pb2.GetObjectPoolResponse(object_pool=pool)


async def test_pool_is_named_as_clients_know_it(cluster: Cluster) -> None:
    repository = await cluster.repository()
    pool = await cluster.repository("pool.git")
    on_disk = f"@cluster/pools/d4/73/{pool.id}"
    for node in cluster.nodes.values():
        node.on("GetObjectPool", answering(_pool(on_disk)))

    response = await cluster.call(GET_POOL, _get_pool(repository.message), metadata=[("username", "root")])

    assert response == objectpool_pb2.GetObjectPoolResponse(
        object_pool=shared_pb2.ObjectPool(repository=Repo(storage_name="default", relative_path="pool.git"))
    )
    [(name, call)] = [(name, call) for name, node in cluster.nodes.items() for call in node.calls]
    assert call.request.repository == Repo(storage_name=name, relative_path=repository.replica_path)
    assert "username" not in call.metadata


@pytest.mark.parametrize("path", ["@pools/aa/bb/aabb.git", "@cluster/repositories/aa/bb/12"])
async def test_other_pool_paths_pass(cluster: Cluster, path: str) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    cluster.nodes[G1].on("GetObjectPool", answering(_pool(path)))
    response = await cluster.call(GET_POOL, _get_pool(repository.message))
    assert response == objectpool_pb2.GetObjectPoolResponse(
        object_pool=shared_pb2.ObjectPool(repository=Repo(storage_name="default", relative_path=path))
    )


async def test_repository_without_pool(cluster: Cluster) -> None:
    repository = await cluster.repository()
    assert await cluster.call(GET_POOL, _get_pool(repository.message)) == objectpool_pb2.GetObjectPoolResponse()


async def test_unknown_pool_is_an_internal_error(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    cluster.nodes[G1].on("GetObjectPool", answering(_pool("@cluster/pools/aa/bb/4711")))
    assert await cluster.status(GET_POOL, _get_pool(repository.message)) == Status(
        StatusCode.INTERNAL, "get Praefect repository metadata: repository not found"
    )
    cluster.nodes[G1].on("GetObjectPool", answering(_pool("@cluster/pools/aa/bb/99999999999999999999")))
    assert await cluster.status(GET_POOL, _get_pool(repository.message)) == Status(
        StatusCode.INTERNAL,
        'parsing repository ID: strconv.ParseInt: parsing "99999999999999999999": value out of range',
    )


async def test_nodes_refusal_keeps_its_code(cluster: Cluster) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    cluster.nodes[G1].on("GetObjectPool", failing(StatusCode.NOT_FOUND, "no such directory"))
    assert await cluster.status(GET_POOL, _get_pool(repository.message)) == Status(
        StatusCode.NOT_FOUND, "get object pool: rpc error: code = NotFound desc = no such directory"
    )


async def test_pool_needs_a_node_to_be_asked(cluster: Cluster) -> None:
    repository = await cluster.repository()
    await cluster.lose(*ALL)
    assert await cluster.status(GET_POOL, _get_pool(repository.message)) == Status(
        StatusCode.UNAVAILABLE, "route RPC: no healthy nodes"
    )


# --- WalkRepos ---


async def test_walk_lists_the_records(cluster: Cluster) -> None:
    for number in range(3):
        await cluster.repository(f"{number}.git", replicas={})
    await cluster.repository("elsewhere.git", virtual_storage="other", replicas={})

    async def walk(storage: str) -> set[str]:
        request = internal_pb2.WalkReposRequest(storage_name=storage)
        responses = [
            response async for response in cluster.client.server_stream(WALK, request, internal_pb2.WalkReposResponse)
        ]
        assert not any(response.HasField("modification_time") for response in responses)
        return {response.relative_path for response in responses}

    assert await walk("default") == {"0.git", "1.git", "2.git"}
    assert await walk("nowhere") == set()
