"""What clients do with a cluster of upstream's parts and ours: one write of each kind, each looked at on every node."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from praefect.proto import objectpool_pb2, operations_pb2, ref_pb2, repository_pb2, shared_pb2
from praefect.proto.shared_pb2 import ObjectPool
from tests.support.eventually import eventually
from tests.support.git_client import commit_file, git
from tests.support.upstream import USER, MixedCluster, relative_path, repository

ZERO = "0" * 40
Step = Callable[[], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Story:
    """Writes to one project, its fork and its pool.

    Attributes:
        faults: what was wrong after a step, by its name.
    """

    mixed: MixedCluster
    directory: Path
    name: str = "mixed"
    path: str = ""
    work: Path = Path()
    head: str = ""
    faults: dict[str, str] = field(default_factory=dict)

    async def begin(self) -> None:
        """Create the project and clone it."""
        project = await self.mixed.client.create_project(self.name)
        self.path = relative_path(project["id"])
        self.work = await self.mixed.client.clone(self.name, self.directory)
        self.head = (await git(self.work, "rev-parse", "HEAD")).ok().output
        self.faults["creation"] = await self.mixed.outdated(self.path)

    @property
    def target(self) -> shared_pb2.Repository:
        """The project's repository."""
        return repository(self.path)

    @property
    def fork_path(self) -> str:
        """Where the fork is."""
        return _hashed("@hashed", f"fork of {self.path}")

    @property
    def pool(self) -> ObjectPool:
        """The project's pool."""
        pool = repository(_hashed("@pools", f"pool of {self.path}"))
        pool.gl_repository = ""
        return ObjectPool(repository=pool)

    async def write_everything(self) -> None:
        """Do every write; each must leave all nodes equal at one generation, without a replication job."""
        steps: dict[Step, str] = {
            self.push: self.path,
            self.push_several: self.path,
            self.create_branch: self.path,
            self.commit_files: self.path,
            self.write_reference: self.path,
            self.update_references: self.path,
            self.create_tag: self.path,
            self.merge_branch: self.path,
            self.delete_branch: self.path,
            self.delete_references: self.path,
            self.set_custom_hooks: self.path,
            self.fork: self.fork_path,
            self.create_pool: self.pool.repository.relative_path,
            self.link_pool: self.path,
            self.fetch_into_pool: self.pool.repository.relative_path,
            self.optimize: self.path,
            self.disconnect: self.path,
        }
        for step, path in steps.items():
            jobs = await self.mixed.jobs_so_far()
            await step()
            if step == self.create_pool:  # without votes: the others get it by replication
                await self.mixed.wait_until_equal(path)
                jobs = await self.mixed.jobs_so_far()
            fault = await self.mixed.outdated(path)
            if not fault and (more := await self.mixed.jobs_so_far() - jobs):
                fault = f"{more} replication jobs"
            self.faults[step.__name__] = fault
        for path in (self.path, self.fork_path):
            self.faults[f"fsck of {path}"] = str(await self.mixed.fsck(path) or "")

    def found(self) -> dict[str, str]:
        """Return the steps after which something was wrong."""
        return {name: fault for name, fault in self.faults.items() if fault}

    # --- git ---

    async def push(self) -> None:
        self.head = await commit_file(self.work, "file.txt", f"after {self.head}\n")
        (await self.mixed.client.push(self.work)).ok()

    async def push_several(self) -> None:
        self.head = await commit_file(self.work, "file.txt", f"again after {self.head}\n")
        (
            await self.mixed.client.push(self.work, "--atomic", "HEAD:main", "HEAD:refs/heads/two", "HEAD:refs/tags/v1")
        ).ok()

    # --- calls ---

    async def create_branch(self) -> None:
        request = operations_pb2.UserCreateBranchRequest(
            repository=self.target, branch_name=b"created", user=USER, start_point=self.head.encode()
        )
        kind = operations_pb2.UserCreateBranchResponse
        response = await self.mixed.call("/gitaly.OperationService/UserCreateBranch", request, kind)
        assert response.branch.target_commit.id == self.head

    async def commit_files(self) -> None:
        kind = operations_pb2.UserCommitFilesRequest
        header = operations_pb2.UserCommitFilesRequestHeader(
            repository=self.target,
            user=USER,
            branch_name=b"created",
            commit_message=b"commit through the API",
            timestamp=Timestamp(seconds=1700000000),
        )
        action = operations_pb2.UserCommitFilesActionHeader(
            action=operations_pb2.UserCommitFilesActionHeader.CREATE, file_path=b"api.txt"
        )
        requests = [
            kind(header=header),
            kind(action=operations_pb2.UserCommitFilesAction(header=action)),
            kind(action=operations_pb2.UserCommitFilesAction(content=b"content\n")),
        ]
        response = await self.mixed.call(
            "/gitaly.OperationService/UserCommitFiles", requests, operations_pb2.UserCommitFilesResponse
        )
        assert response.branch_update.commit_id

    async def write_reference(self) -> None:
        request = repository_pb2.WriteRefRequest(
            repository=self.target, ref=b"refs/heads/written", revision=self.head.encode(), old_revision=ZERO.encode()
        )
        await self.mixed.call("/gitaly.RepositoryService/WriteRef", request, repository_pb2.WriteRefResponse)

    async def update_references(self) -> None:
        kind = ref_pb2.UpdateReferencesRequest
        updates = [
            kind.Update(reference=name, old_object_id=ZERO.encode(), new_object_id=self.head.encode())
            for name in (b"refs/heads/updated", b"refs/keep-around/updated")
        ]
        request = kind(repository=self.target, updates=updates)
        await self.mixed.call("/gitaly.RefService/UpdateReferences", [request], ref_pb2.UpdateReferencesResponse)

    async def create_tag(self) -> None:
        request = operations_pb2.UserCreateTagRequest(
            repository=self.target,
            tag_name=b"v2",
            user=USER,
            target_revision=self.head.encode(),
            message=b"the second",
            timestamp=Timestamp(seconds=1700000000),
        )
        kind = operations_pb2.UserCreateTagResponse
        assert (await self.mixed.call("/gitaly.OperationService/UserCreateTag", request, kind)).tag.id

    async def merge_branch(self) -> None:
        request = operations_pb2.UserMergeToRefRequest(
            repository=self.target,
            user=USER,
            source_sha=self.head,
            target_ref=b"refs/merge-requests/1/merge",
            first_parent_ref=b"refs/heads/created",
            message=b"merge",
            timestamp=Timestamp(seconds=1700000000),
        )
        kind = operations_pb2.UserMergeToRefResponse
        assert (await self.mixed.call("/gitaly.OperationService/UserMergeToRef", request, kind)).commit_id

    async def delete_branch(self) -> None:
        request = operations_pb2.UserDeleteBranchRequest(repository=self.target, branch_name=b"created", user=USER)
        kind = operations_pb2.UserDeleteBranchResponse
        await self.mixed.call("/gitaly.OperationService/UserDeleteBranch", request, kind)

    async def delete_references(self) -> None:
        request = ref_pb2.DeleteRefsRequest(repository=self.target, refs=[b"refs/heads/two", b"refs/heads/written"])
        response = await self.mixed.call("/gitaly.RefService/DeleteRefs", request, ref_pb2.DeleteRefsResponse)
        assert not response.git_error

    async def set_custom_hooks(self) -> None:
        requests = [repository_pb2.SetCustomHooksRequest(repository=self.target, data=_hooks())]
        kind = repository_pb2.SetCustomHooksResponse
        await self.mixed.call("/gitaly.RepositoryService/SetCustomHooks", requests, kind)

    async def fork(self) -> None:
        request = repository_pb2.CreateForkRequest(repository=repository(self.fork_path), source_repository=self.target)
        kind = repository_pb2.CreateForkResponse
        await self.mixed.call("/gitaly.RepositoryService/CreateFork", request, kind, forwarded=True)

    async def create_pool(self) -> None:
        request = objectpool_pb2.CreateObjectPoolRequest(object_pool=self.pool, origin=self.target)
        kind = objectpool_pb2.CreateObjectPoolResponse
        await self.mixed.call("/gitaly.ObjectPoolService/CreateObjectPool", request, kind)

    async def link_pool(self) -> None:
        request = objectpool_pb2.LinkRepositoryToObjectPoolRequest(object_pool=self.pool, repository=self.target)
        kind = objectpool_pb2.LinkRepositoryToObjectPoolResponse
        await self.mixed.call("/gitaly.ObjectPoolService/LinkRepositoryToObjectPool", request, kind)

    async def fetch_into_pool(self) -> None:
        request = objectpool_pb2.FetchIntoObjectPoolRequest(object_pool=self.pool, origin=self.target)
        kind = objectpool_pb2.FetchIntoObjectPoolResponse
        await self.mixed.call("/gitaly.ObjectPoolService/FetchIntoObjectPool", request, kind)

    async def optimize(self) -> None:
        request = repository_pb2.OptimizeRepositoryRequest(
            repository=self.target, strategy=repository_pb2.OptimizeRepositoryRequest.STRATEGY_EAGER
        )
        kind = repository_pb2.OptimizeRepositoryResponse
        await self.mixed.call("/gitaly.RepositoryService/OptimizeRepository", request, kind)

    async def disconnect(self) -> None:
        request = objectpool_pb2.DisconnectGitAlternatesRequest(repository=self.target)
        kind = objectpool_pb2.DisconnectGitAlternatesResponse
        await self.mixed.call("/gitaly.ObjectPoolService/DisconnectGitAlternates", request, kind)

    async def remove_fork(self) -> None:
        """Remove the fork; no node keeps it and no record names it."""
        record = await self.mixed.record(self.fork_path)
        assert record is not None
        request = repository_pb2.RemoveRepositoryRequest(repository=repository(self.fork_path))
        kind = repository_pb2.RemoveRepositoryResponse
        await self.mixed.call("/gitaly.RepositoryService/RemoveRepository", request, kind)
        assert await self.mixed.record(self.fork_path) is None
        for directory in self.mixed.replicas(record):
            assert not directory.exists(), directory

    async def lose_a_primary(self) -> None:
        """Push while the primary is dead, then bring it back; all nodes end equal."""
        cluster = self.mixed.cluster
        primary = await self.mixed.primary(self.path)
        child = cluster.child(primary)
        child.kill()
        await child.wait()
        self.head = await commit_file(self.work, "file.txt", f"without {primary}\n")
        await eventually(self.pushed, within_seconds=60.0)
        await cluster.start_node(primary)
        await self.mixed.wait_until_equal(self.path)
        again = await self.mixed.client.clone(self.name, self.directory, f"after-{primary}")
        assert (await git(again, "rev-parse", "HEAD")).ok().output == self.head

    async def pushed(self) -> bool:
        """Push once more; say whether it went through."""
        return (await self.mixed.client.push(self.work)).code == 0


def _hashed(prefix: str, text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{prefix}/{digest[:2]}/{digest[2:4]}/{digest}.git"


def _hooks() -> bytes:
    archive = io.BytesIO()
    script = b"#!/bin/sh\nexit 0\n"
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("custom_hooks/pre-receive")
        entry.size, entry.mode = len(script), 0o755
        tar.addfile(entry, io.BytesIO(script))
    return archive.getvalue()
