"""Every RPC on a repository checks in the same order and says the same: over the table of methods, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from praefect.proto.shared_pb2 import Repository
from praefect.transport.grpc.status import StatusCode, StatusError
from praefect.transport.methods import METHODS, MethodInfo, Scope
from tests.support.running_node import running_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.running_node import RunningNode

INVALID = StatusCode.INVALID_ARGUMENT
REQUESTS = [
    (None, INVALID, "repository not set"),
    (Repository(relative_path="a"), INVALID, "storage name not set"),
    (Repository(storage_name="default"), INVALID, "repository path not set"),
    (Repository(storage_name="x", relative_path="a"), INVALID, "storage name not found"),
    (Repository(storage_name="default", relative_path="../a"), INVALID, "relative path escapes root directory"),
]
EXISTENCE = [
    (Repository(storage_name="default", relative_path="none.git"), StatusCode.NOT_FOUND, "repository not found"),
    (
        Repository(storage_name="default", relative_path="partial.git"),
        StatusCode.FAILED_PRECONDITION,
        'repository not valid: "objects" does not exist',
    ),
]
NOT_SERVED = {
    "/gitaly.AnalysisService/CheckBlobsGenerated",
    "/gitaly.CleanupService/ApplyBfgObjectMapStream",
    "/gitaly.CleanupService/RewriteHistory",
    "/gitaly.CommitService/CommitLanguages",
    "/gitaly.ConflictsService/ListConflictFiles",
    "/gitaly.ConflictsService/ResolveConflicts",
    "/gitaly.RepositoryService/FindLicense",
}
# These look at something else of the request first.
OWN_ORDER = {
    "/gitaly.HookService/ProcReceiveHook",
    "/gitaly.ObjectPoolService/CreateObjectPool",
    "/gitaly.ObjectPoolService/FetchIntoObjectPool",
    "/gitaly.RepositoryService/CreateFork",
    "/gitaly.RepositoryService/FastExport",
    "/gitaly.SSHService/SSHReceivePack",
    "/gitaly.SSHService/SSHUploadPackWithSidechannel",
    "/gitaly.SmartHTTPService/PostReceivePack",
    "/gitaly.OperationService/UserApplyPatch",
    "/gitaly.OperationService/UserCommitFiles",
    "/gitaly.OperationService/UserRebaseConfirmable",
}
# The repository need not exist, or something else of the request is checked before.
NEED_NOT_EXIST = {
    "/gitaly.HookService/PostReceiveHook",
    "/gitaly.HookService/PreReceiveHook",
    "/gitaly.HookService/ReferenceTransactionHook",
    "/gitaly.HookService/UpdateHook",
    "/gitaly.ObjectPoolService/DeleteObjectPool",
    "/gitaly.RepositoryService/BackupRepository",
    "/gitaly.RepositoryService/CreateRepository",
    "/gitaly.RepositoryService/CreateRepositoryFromBundle",
    "/gitaly.RepositoryService/CreateRepositoryFromSnapshot",
    "/gitaly.RepositoryService/CreateRepositoryFromURL",
    "/gitaly.RepositoryService/GetObjectDirectorySize",
    "/gitaly.RepositoryService/ReplicateRepository",
    "/gitaly.RepositoryService/RepositoryExists",
    "/gitaly.RepositoryService/RestoreRepository",
}
ALL = {
    name: method
    for name, method in METHODS.items()
    if method.scope is Scope.REPOSITORY and not method.intercepted and name not in NOT_SERVED
}


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with running_node(tmp_path / "storage") as running:
        (running.storage / "partial.git/refs").mkdir(parents=True)
        yield running


async def answer(node: RunningNode, method: MethodInfo, repository: Repository | None) -> tuple[StatusCode, str]:
    request = method.request_type()
    if repository is not None:
        *outer, last = method.target_repository_field or ()
        holder = request
        for field in outer:
            holder = getattr(holder, field)
        getattr(holder, last).CopyFrom(repository)
    try:
        async with node.channel.call(method.full_name) as call:
            await call.send(request.SerializeToString(), last=True)
            while await call.receive() is not None:
                pass
    except StatusError as exc:
        return exc.code, exc.message
    return StatusCode.OK, ""


async def test_requests_are_checked_in_order(node: RunningNode) -> None:
    wrong = {}
    for name in sorted(ALL.keys() - OWN_ORDER):
        cases = REQUESTS if name in NEED_NOT_EXIST else [*REQUESTS, *EXISTENCE]
        for repository, code, text in cases:
            found = await answer(node, ALL[name], repository)
            if found != (code, text):
                wrong[name, text] = found
    assert wrong == {}
    assert sorted(entry.name for entry in node.storage.iterdir()) == ["+gitaly", ".gitaly-metadata", "partial.git"]


async def test_what_is_not_served_says_so(node: RunningNode) -> None:
    for name in NOT_SERVED:
        code, _ = await answer(node, METHODS[name], None)
        assert code is StatusCode.UNIMPLEMENTED, name


async def test_every_method_of_the_node_is_served_or_known_not_to_be(node: RunningNode) -> None:
    for name, method in METHODS.items():
        if not method.intercepted and name not in NOT_SERVED and method.scope is not Scope.REPOSITORY:
            code, text = await answer(node, method, None)
            assert code is not StatusCode.UNIMPLEMENTED, (name, text)
