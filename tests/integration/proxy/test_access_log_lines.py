"""The line of each call, as operators' tools read it."""

from __future__ import annotations

import re

import pytest
from google.protobuf.message import Message

from praefect.observability.log import capture
from praefect.proto import health_pb2, objectpool_pb2, praefect_pb2, ref_pb2, repository_pb2, shared_pb2
from praefect.transport.grpc.metadata import MetadataLike
from praefect.transport.grpc.status import StatusCode
from tests.support.scripted_cluster import G1, Cluster
from tests.support.scripted_node import answering, failing

FIND = "/gitaly.RefService/FindLocalBranches"
METADATA = "/gitaly.PraefectInfoService/GetRepositoryMetadata"
EXISTS = "/gitaly.RepositoryService/RepositoryExists"
LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}")


async def lines_of(
    cluster: Cluster,
    method: str,
    request: Message,
    *,
    metadata: MetadataLike = (),
) -> list[dict[str, object]]:
    """Make a call and return its lines at the end."""
    with capture() as lines:
        async with cluster.client.call(method, metadata=metadata) as call:
            await call.send(request.SerializeToString(), last=True)
            await call.drain()
    return [line for line in lines if str(line["msg"]).startswith("finished ")]


async def test_refused_read(cluster: Cluster) -> None:
    repository = shared_pb2.Repository(storage_name="default", relative_path="a/none.git")
    request = ref_pb2.FindLocalBranchesRequest(repository=repository)
    metadata = [
        ("x-gitlab-correlation-id", "ID"),
        ("x-gitlab-client-name", "gitlab-web"),
        ("call_site", "rest_api"),
        ("remote_ip", "192.0.2.1"),
        ("user_id", "user-1"),
        ("username", "root"),
    ]
    [line] = await lines_of(cluster, FIND, request, metadata=metadata)

    assert isinstance(line["pid"], int)
    assert isinstance(line["grpc.time_ms"], float)
    assert LOCAL_TIME.fullmatch(str(line["grpc.start_time"]))
    changing = {"pid", "grpc.time_ms", "grpc.start_time"}
    assert {key: value for key, value in line.items() if key not in changing} == {
        "component": "praefect.StreamServerInterceptor",
        "correlation_id": "ID",
        "error": "repository not found",
        "error_metadata": {"relative_path": "a/none.git", "storage_name": "default"},
        "grpc.code": "NotFound",
        "grpc.meta.auth_version": "v2",
        "grpc.meta.call_site": "rest_api",
        "grpc.meta.client_name": "gitlab-web",
        "grpc.meta.deadline_type": "none",
        "grpc.meta.method_operation": "accessor",
        "grpc.meta.method_scope": "repository",
        "grpc.meta.method_type": "bidi_stream",
        "grpc.method": "FindLocalBranches",
        "grpc.request.fullMethod": FIND,
        "grpc.request.payload_bytes": len(request.SerializeToString()),
        "grpc.response.payload_bytes": 0,
        "grpc.service": "gitaly.RefService",
        "level": "info",
        "msg": "finished streaming call with code NotFound",
        "remote_ip": "192.0.2.1",
        "span.kind": "server",
        "system": "grpc",
        "user_id": "user-1",
        "username": "root",
    }


async def test_call_that_praefect_answers(cluster: Cluster) -> None:
    repository = await cluster.repository()
    request = praefect_pb2.GetRepositoryMetadataRequest(repository_id=repository.id)
    [line] = await lines_of(cluster, METADATA, request)
    assert line["component"] == "praefect.UnaryServerInterceptor"
    assert line["msg"] == "finished unary call with code OK"
    assert line["grpc.meta.method_type"] == "unary"
    assert line["grpc.request.payload_bytes"] == 2
    assert int(str(line["grpc.response.payload_bytes"])) > 50
    assert not {"error", "grpc.meta.method_operation", "grpc.meta.method_scope", "grpc.request.repoPath"} & line.keys()


async def test_repository_of_an_intercepted_call_is_named(cluster: Cluster) -> None:
    repository = shared_pb2.Repository(storage_name="default", relative_path="a.git", gl_repository="project-1")
    [line] = await lines_of(cluster, EXISTS, repository_pb2.RepositoryExistsRequest(repository=repository))
    assert line["msg"] == "finished streaming call with code OK"
    assert {key: value for key, value in line.items() if "repo" in key.lower() or "Project" in key} == {
        "grpc.request.repoStorage": "default",
        "grpc.request.repoPath": "a.git",
        "grpc.request.glRepository": "project-1",
        "grpc.request.glProjectPath": "",
    }


async def test_pool_of_an_intercepted_call_is_named(cluster: Cluster) -> None:
    repository = shared_pb2.Repository(storage_name="default", relative_path="pool.git", gl_project_path="g/p")
    pool = shared_pb2.ObjectPool(repository=repository)
    method = "/gitaly.ObjectPoolService/DeleteObjectPool"
    [line] = await lines_of(cluster, method, objectpool_pb2.DeleteObjectPoolRequest(object_pool=pool))
    assert {key: value for key, value in line.items() if "request.pool" in key} == {
        "grpc.request.pool.storage": "default",
        "grpc.request.pool.relativePath": "pool.git",
        "grpc.request.pool.sourceProjectPath": "g/p",
    }


async def test_unknown_virtual_storage_is_named(cluster: Cluster) -> None:
    repository = shared_pb2.Repository(storage_name="x", relative_path="a.git")
    [line] = await lines_of(cluster, FIND, ref_pb2.FindLocalBranchesRequest(repository=repository))
    assert line["error_metadata"] == {"storage_name": "x"}


async def test_bytes_of_a_forwarded_call_are_added_up(cluster: Cluster) -> None:
    repository = await cluster.repository()
    answer = ref_pb2.FindLocalBranchesResponse(local_branches=[shared_pb2.Branch(name=b"x" * 1000)])
    for node in cluster.nodes.values():
        node.on("FindLocalBranches", answering(answer, answer))
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    [line] = await lines_of(cluster, FIND, request)
    assert line["grpc.request.payload_bytes"] == len(request.SerializeToString())
    # What is passed on unseen is counted with the five bytes before each message.
    assert line["grpc.response.payload_bytes"] == 2 * (answer.ByteSize() + 5)


async def test_health_checks_are_not_logged(cluster: Cluster) -> None:
    assert await lines_of(cluster, "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest()) == []
    [line] = await lines_of(cluster, "/grpc.health.v1.Health/List", health_pb2.HealthListRequest())
    assert line["grpc.service"] == "grpc.health.v1.Health"


LEVELS = {
    "info": {
        StatusCode.OK,
        StatusCode.CANCELLED,
        StatusCode.INVALID_ARGUMENT,
        StatusCode.NOT_FOUND,
        StatusCode.ALREADY_EXISTS,
        StatusCode.UNAUTHENTICATED,
    },
    "warning": {
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.PERMISSION_DENIED,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.FAILED_PRECONDITION,
        StatusCode.ABORTED,
        StatusCode.OUT_OF_RANGE,
        StatusCode.UNAVAILABLE,
    },
    "error": {StatusCode.UNKNOWN, StatusCode.UNIMPLEMENTED, StatusCode.INTERNAL, StatusCode.DATA_LOSS},
}


@pytest.mark.parametrize("level", list(LEVELS))
async def test_level_follows_the_code(cluster: Cluster, level: str) -> None:
    repository = await cluster.repository(replicas={G1: 0})
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    for code in LEVELS[level] - {StatusCode.OK}:
        cluster.nodes[G1].on("FindLocalBranches", failing(code, "refused"))
        [line] = await lines_of(cluster, FIND, request)
        assert (line["level"], line["error"]) == (level, "refused"), code


async def test_calls_are_told_apart_by_correlation_ids(cluster: Cluster) -> None:
    repository = await cluster.repository()
    request = ref_pb2.FindLocalBranchesRequest(repository=repository.message)
    ids = {line["correlation_id"] for _ in range(2) for line in await lines_of(cluster, FIND, request)}
    assert len(ids) == 2
