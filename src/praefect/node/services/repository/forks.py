"""CreateFork and FetchSourceBranch: what comes from other repositories of the cluster."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from praefect.domain.errors import FailedPreconditionError, InternalError, InvalidArgumentError, PraefectError
from praefect.node.creation import Blueprint, create_repository
from praefect.node.git.command import NO_HOOKS, Command
from praefect.node.git.names import HEADS_PREFIX, check_revision
from praefect.node.git.object_format import object_format_of
from praefect.node.git.revisions import resolve_commit
from praefect.node.git.update_ref import ReferenceExistsError, ReferenceMismatchError, reference_transaction
from praefect.node.internal_fetch import (
    INTERNAL_URL,
    InternalFetch,
    RemoteRepository,
    fetch_internally,
    run_with_remote,
)
from praefect.node.quoting import quote
from praefect.node.remote import ServersMetadataError, server_of
from praefect.node.services.repository.part import RepositoryPart
from praefect.node.storage.quarantine import quarantine
from praefect.observability.log import get_logger
from praefect.proto.commit_pb2 import FindCommitRequest, FindCommitResponse
from praefect.proto.repository_pb2 import (
    CreateForkRequest,
    CreateForkResponse,
    FetchSourceBranchRequest,
    FetchSourceBranchResponse,
)
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from praefect.node.remote import ServerAddress
    from praefect.node.storage.repository import LocalRepository
    from praefect.transport.grpc.server_call import ServerCall

_log = get_logger("node.repository")
_NO_CHECKS = [("fetch.fsckObjects", "false"), ("transfer.fsckObjects", "false")]


class ForksPart(RepositoryPart):
    """RPCs that read another repository of the cluster."""

    async def create_fork(self, request: CreateForkRequest, call: ServerCall) -> CreateForkResponse:
        """Create a repository as a clone of another, or of one of its branches."""
        try:
            if not request.source_repository.ByteSize():
                raise InvalidArgumentError("repository not set")
        except PraefectError as exc:
            raise wrap("validating source repository", exc) from exc
        self._storages.locate(request.repository)
        branch = _fork_branch(request.revision)

        async def seed(built: LocalRepository) -> None:
            await self._clone_source(request, built, branch, call)

        try:
            await create_repository(
                self._context,
                request.repository,
                self._context.voter(call),
                seed=seed,
                blueprint=Blueprint(initialise=False),
            )
        except PraefectError as exc:
            raise wrap("creating fork", exc) from exc
        return CreateForkResponse()

    async def _clone_source(
        self, request: CreateForkRequest, built: LocalRepository, branch: str, call: ServerCall
    ) -> None:
        flags = ["--bare", "--quiet"]
        if branch:
            flags += ["--no-tags", "--single-branch", f"--branch={branch}"]
        command = Command(
            name="clone",
            flags=flags,
            arguments=[INTERNAL_URL, str(built.path)],
            config=_NO_CHECKS,
            hooks=NO_HOOKS,
        )
        try:
            server = server_of(call.metadata, request.source_repository.storage_name)
        except ServersMetadataError as exc:
            raise wrap("spawning fetch: extracting Gitaly servers", exc) from exc
        source = RemoteRepository(server=server, message=request.source_repository)
        completed = await run_with_remote(self._context, None, command, source)
        if completed.returncode != 0:
            raise InternalError(
                f"fetching source repo: exit status {completed.returncode}, stderr: {quote(completed.stderr)}"
            )
        await self._git.output(built, Command(name="remote", action="remove", arguments=["origin"], hooks=NO_HOOKS))

    async def fetch_source_branch(
        self, request: FetchSourceBranchRequest, call: ServerCall
    ) -> FetchSourceBranchResponse:
        """Make a reference what a branch of another repository is; false if that branch cannot be had."""
        repository = self._storages.open(request.repository)
        check_revision(request.source_branch)
        check_revision(request.target_ref)
        expected = request.expected_target_old_oid
        old = object_format_of(repository.path).check_id(expected) if expected else None
        is_same = request.source_repository.storage_name == repository.storage_name and (
            request.source_repository.relative_path == repository.relative_path
        )
        async with quarantine(self._context.temporary, repository) as place:
            if is_same:
                async with self._context.objects.reader(repository) as reader:
                    commit = await resolve_commit(reader, request.source_branch)
            else:
                commit = await self._fetch_commit(place.repository, request, call)
            if commit is None:
                return FetchSourceBranchResponse(result=False)
            await place.migrate()
        voter = self._context.voter(call)
        try:
            async with reference_transaction(self._git, repository, voter=voter) as transaction:
                transaction.update(request.target_ref, commit.encode(), old)
                await transaction.commit()
        except (ReferenceMismatchError, ReferenceExistsError) as exc:
            raise FailedPreconditionError(f"updating target reference: {ReferenceMismatchError.text}") from exc
        return FetchSourceBranchResponse(result=True)

    async def _fetch_commit(
        self, quarantined: LocalRepository, request: FetchSourceBranchRequest, call: ServerCall
    ) -> str | None:
        source = request.source_repository
        server = server_of(call.metadata, source.storage_name)
        commit = await self._find_source_commit(server, request)
        if commit is None:
            return None
        async with self._context.objects.reader(quarantined) as reader:
            if await resolve_commit(reader, commit.encode()) is not None:
                return commit
        remote = RemoteRepository(server=server, message=source, config_options=["uploadpack.allowAnySHA1InWant=true"])
        fetch = InternalFetch(source=remote, refspecs=[commit], flags=["--no-tags"], hooks=NO_HOOKS)
        try:
            await fetch_internally(self._context, quarantined, fetch)
        except PraefectError as exc:
            _log.warning("fetching source branch failed", error=str(exc))
            return None
        return commit

    async def _find_source_commit(self, server: ServerAddress, request: FetchSourceBranchRequest) -> str | None:
        response = await self._context.remotes.channel(server).unary(
            "/gitaly.CommitService/FindCommit",
            FindCommitRequest(repository=request.source_repository, revision=request.source_branch),
            FindCommitResponse,
        )
        return response.commit.id if response.HasField("commit") else None


def _fork_branch(revision: bytes) -> str:
    if not revision:
        return ""
    if not revision.startswith(HEADS_PREFIX):
        raise InvalidArgumentError("creating fork: reference is not a branch")
    name = revision.removeprefix(HEADS_PREFIX)
    if not name:
        raise InvalidArgumentError("creating fork: branch name is empty")
    return os.fsdecode(name)
