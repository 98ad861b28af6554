"""Object pools: made, linked, fetched into, left; and what lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from praefect.node.services.internal import InternalService
from praefect.node.services.objectpool import ObjectPoolService
from praefect.node.services.repository.service import RepositoryService
from praefect.node.voting import vote_hash
from praefect.proto import internal_pb2, repository_pb2
from praefect.proto import objectpool_pb2 as pb
from praefect.proto.shared_pb2 import ObjectPool
from praefect.transport.grpc.status import StatusCode
from tests.support.storage_node import collect, failure, make_commit, repository, run_git

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.storage_node import StorageNode

POOL = "@cluster/pools/6b/86/1"
MEMBER = "@cluster/repositories/6b/86/1"


@pytest.fixture
def service(node: StorageNode) -> ObjectPoolService:
    return ObjectPoolService(node.context)


@pytest.fixture
async def member(node: StorageNode) -> Path:
    request = repository_pb2.CreateRepositoryRequest(repository=repository(MEMBER))
    await RepositoryService(node.context).create_repository(request, node.call())
    path = node.path / MEMBER
    await run_git(path, "update-ref", "refs/heads/main", await make_commit(path, {"a": b"1"}))
    return path


@pytest.fixture
async def pool(node: StorageNode, service: ObjectPoolService, member: Path) -> Path:
    request = pb.CreateObjectPoolRequest(object_pool=pool_message(), origin=repository(MEMBER))
    await service.create_object_pool(request, node.call(transaction=True))
    assert node.votes == []
    return node.path / POOL


def pool_message(path: str = POOL) -> ObjectPool:
    return ObjectPool(repository=repository(path))


async def link(service: ObjectPoolService, node: StorageNode) -> None:
    request = pb.LinkRepositoryToObjectPoolRequest(object_pool=pool_message(), repository=repository(MEMBER))
    await service.link_repository_to_object_pool(request, node.call(transaction=True))


async def test_pool_has_everything_of_its_origin(pool: Path, member: Path) -> None:
    assert await run_git(pool, "rev-parse", "refs/heads/main") == await run_git(member, "rev-parse", "main")
    assert b"origin" not in (pool / "config").read_bytes()


async def test_pool_errors(service: ObjectPoolService, node: StorageNode, pool: Path) -> None:
    cases = [
        (pb.CreateObjectPoolRequest(object_pool=pool_message()), "no origin repository"),
        (pb.CreateObjectPoolRequest(origin=repository(MEMBER)), "no object pool repository"),
        (
            pb.CreateObjectPoolRequest(object_pool=pool_message("a.git"), origin=repository(MEMBER)),
            "invalid object pool directory",
        ),
    ]
    for request, text in cases:
        with failure(StatusCode.INVALID_ARGUMENT, text):
            await service.create_object_pool(request, node.call())
    again = pb.CreateObjectPoolRequest(object_pool=pool_message(), origin=repository(MEMBER))
    with failure(StatusCode.ALREADY_EXISTS, "creating object pool: repository exists already"):
        await service.create_object_pool(again, node.call())
    with failure(StatusCode.INVALID_ARGUMENT, "repository not set"):
        await service.delete_object_pool(pb.DeleteObjectPoolRequest(), node.call())
    missing = pb.LinkRepositoryToObjectPoolRequest(
        object_pool=pool_message("@cluster/pools/6b/86/2"), repository=repository(MEMBER)
    )
    with failure(StatusCode.FAILED_PRECONDITION, "object pool is not a valid git repository"):
        await service.link_repository_to_object_pool(missing, node.call())


async def test_linking_votes_over_the_alternates(
    service: ObjectPoolService, node: StorageNode, pool: Path, member: Path
) -> None:
    await link(service, node)
    content = b"../../../../pools/6b/86/1/objects"
    assert (member / "objects/info/alternates").read_bytes() == b"../" + content
    vote = vote_hash(b"../" + content).hex()
    assert node.votes == [
        ("PREPARING", "1c7fed94f9d88c4fcc97d296a6752cdf623971ea"),
        ("PREPARED", vote),
        ("COMMITTED", vote),
    ]
    node.votes.clear()
    await link(service, node)
    assert node.votes == [("SYNCHRONIZED", "2b2ba21f594461037fe1beea890831af2d7b5122")]
    answer = await service.get_object_pool(pb.GetObjectPoolRequest(repository=repository(MEMBER)), node.call())
    assert answer.object_pool.repository.relative_path == POOL
    (member / "objects/info/alternates").write_bytes(b"elsewhere")
    with failure(StatusCode.INTERNAL, "unexpected alternates content"):
        await link(service, node)


async def test_member_survives_leaving_its_pool(
    service: ObjectPoolService, node: StorageNode, pool: Path, member: Path
) -> None:
    await link(service, node)
    await run_git(member, "repack", "-a", "-d", "-l")  # leaves nothing of its own
    node.votes.clear()
    request = pb.DisconnectGitAlternatesRequest(repository=repository(MEMBER))
    await service.disconnect_git_alternates(request, node.call(transaction=True))
    phases = ("PREPARING", "PREPARED", "COMMITTED")
    assert node.votes == [
        *((phase, "4f04104349b49f2772c34ffacc27d46a2804014e") for phase in phases),
        *((phase, "dc2bd22287c9dd865c170382df0c1d91a8d4e4e0") for phase in phases),
    ]
    await service.delete_object_pool(pb.DeleteObjectPoolRequest(object_pool=pool_message()), node.call())
    assert not pool.exists()
    assert await run_git(member, "fsck", "--strict") == b""
    node.votes.clear()
    await service.disconnect_git_alternates(request, node.call(transaction=True))
    assert node.votes == [("SYNCHRONIZED", "259f2d785585d296f3f93d6b798d5f3ef585f0e0")]
    answer = await service.get_object_pool(pb.GetObjectPoolRequest(repository=repository(MEMBER)), node.call())
    assert not answer.HasField("object_pool")
    await service.delete_object_pool(pb.DeleteObjectPoolRequest(object_pool=pool_message()), node.call())


async def test_pool_follows_its_member(service: ObjectPoolService, node: StorageNode, pool: Path, member: Path) -> None:
    request = pb.FetchIntoObjectPoolRequest(origin=repository(MEMBER), object_pool=pool_message())
    first = (await run_git(member, "rev-parse", "main")).decode().strip()
    await run_git(member, "update-ref", "refs/heads/gone", first)
    await service.fetch_into_object_pool(request, node.call())
    await run_git(member, "update-ref", "-d", "refs/heads/gone")
    second = await make_commit(member, {"a": b"2"})
    await run_git(member, "update-ref", "refs/heads/main", second)
    await service.fetch_into_object_pool(request, node.call(transaction=True))
    listing = (await run_git(pool, "for-each-ref", "--format=%(refname) %(objectname)", "refs/remotes")).decode()
    assert listing == f"refs/remotes/origin/heads/main {second}\n"
    vote = vote_hash(f"{'0' * 40} {'0' * 40} refs/remotes/origin/heads/gone\n".encode()).hex()
    assert node.votes[:3] == [(phase, vote) for phase in ("PREPARING", "PREPARED", "COMMITTED")]
    assert await run_git(pool, "fsck", "--strict", "--connectivity-only") == b""
    with failure(StatusCode.INVALID_ARGUMENT, "origin is empty"):
        await service.fetch_into_object_pool(pb.FetchIntoObjectPoolRequest(), node.call())
    missing = pb.FetchIntoObjectPoolRequest(
        origin=repository(MEMBER), object_pool=pool_message("@cluster/pools/6b/86/2")
    )
    text = "object pool invalid: object pool is not a valid git repository"
    with failure(StatusCode.INVALID_ARGUMENT, text):
        await service.fetch_into_object_pool(missing, node.call())


async def test_storage_is_walked(service: ObjectPoolService, node: StorageNode, pool: Path, member: Path) -> None:
    await link(service, node)
    internal = InternalService(node.context)
    (node.path / "+gitaly/tmp/trash").mkdir(exist_ok=True)
    answers = await collect(internal.walk_repos(internal_pb2.WalkReposRequest(storage_name="default"), node.call()))
    assert [answer.relative_path for answer in answers] == [POOL, MEMBER]
    assert answers[0].modification_time.seconds == int(pool.stat().st_mtime)
    scanned = await collect(
        internal.scan_pool_metadata(internal_pb2.ScanPoolMetadataRequest(storage_name="default"), node.call())
    )
    assert [(each.relative_path, each.pool_disk_path) for each in scanned] == [(MEMBER, POOL)]
    for name, text in (("", "storage name not set"), ("x", "storage name not found")):
        with failure(StatusCode.INVALID_ARGUMENT, f"looking up storage: {text}"):
            await collect(internal.walk_repos(internal_pb2.WalkReposRequest(storage_name=name), node.call()))
    with failure(StatusCode.FAILED_PRECONDITION, "pool metadata store not configured"):
        await collect(internal.list_pool_metadata(internal_pb2.ListPoolMetadataRequest(), node.call()))
