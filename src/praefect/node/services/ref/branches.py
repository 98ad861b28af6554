"""Branches: FindDefaultBranchName, FindLocalBranches, FindAllBranches, FindAllRemoteBranches, FindBranch and others."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import InvalidArgumentError, PraefectError
from praefect.domain.references import is_reference_name
from praefect.node.default_branch import find_default_branch, head_target
from praefect.node.git.command import Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.names import HEADS_PREFIX, TAGS_PREFIX
from praefect.node.git.object_format import object_format_of
from praefect.node.git.references import Listing, PageTokenError, collect_references
from praefect.node.quoting import quote
from praefect.node.services.commits import find_commit
from praefect.node.services.ref.part import RefPart, page_of
from praefect.node.services.streaming import batches_by_count, batches_by_size
from praefect.proto.ref_pb2 import (
    FindAllBranchesRequest,
    FindAllBranchesResponse,
    FindAllRemoteBranchesRequest,
    FindAllRemoteBranchesResponse,
    FindBranchRequest,
    FindBranchResponse,
    FindDefaultBranchNameRequest,
    FindDefaultBranchNameResponse,
    FindLocalBranchesRequest,
    FindLocalBranchesResponse,
    ListBranchNamesContainingCommitRequest,
    ListBranchNamesContainingCommitResponse,
    ListTagNamesContainingCommitRequest,
    ListTagNamesContainingCommitResponse,
    RefExistsRequest,
    RefExistsResponse,
)
from praefect.proto.shared_pb2 import Branch
from praefect.transport.grpc.status import wrap

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from praefect.node.storage.repository import LocalRepository
    from praefect.proto.shared_pb2 import Repository
    from praefect.transport.grpc.server_call import ServerCall

_LOCAL_SORTS = {
    FindLocalBranchesRequest.NAME: "refname",
    FindLocalBranchesRequest.UPDATED_ASC: "committerdate",
    FindLocalBranchesRequest.UPDATED_DESC: "-committerdate",
}
_LINES_PER_MESSAGE = 20
_NAMES_PER_MESSAGE = 1000


class BranchPart(RefPart):
    """RPCs about branches."""

    async def find_default_branch_name(
        self, request: FindDefaultBranchNameRequest, call: ServerCall
    ) -> FindDefaultBranchNameResponse:
        """Return the default branch's full name, empty if there is none."""
        del call
        repository = self._storages.open(request.repository)
        if request.head_only:
            return FindDefaultBranchNameResponse(name=head_target(repository))
        return FindDefaultBranchNameResponse(name=await find_default_branch(self._git, repository))

    async def find_local_branches(
        self, request: FindLocalBranchesRequest, call: ServerCall
    ) -> AsyncGenerator[FindLocalBranchesResponse, None]:
        """Yield branches with their commits."""
        del call
        repository = self._storages.open(request.repository)
        for pattern in request.exclude_patterns:
            if not pattern.startswith(HEADS_PREFIX):
                raise InvalidArgumentError(f'exclude pattern must start with "refs/heads/": {quote(pattern)}')
        listing = Listing(
            patterns=[HEADS_PREFIX],
            sort=_LOCAL_SORTS.get(request.sort_by, "refname"),
            exclude=list(request.exclude_patterns),
        )
        page = page_of(request.pagination_params, present=request.HasField("pagination_params"))
        try:
            references = await collect_references(self._git, repository, listing, page)
        except PageTokenError as exc:
            raise InvalidArgumentError(f"invalid page token: sending lines: {exc}") from exc

        async def branches() -> AsyncGenerator[Branch, None]:
            async with aclosing(self._with_commits(repository, references)) as found:
                async for reference, commit in found:
                    if commit is not None:
                        yield Branch(name=reference.name, target_commit=commit)

        async with aclosing(batches_by_size(branches())) as batches:
            async for batch in batches:
                yield FindLocalBranchesResponse(local_branches=batch)

    async def find_all_branches(
        self, request: FindAllBranchesRequest, call: ServerCall
    ) -> AsyncGenerator[FindAllBranchesResponse, None]:
        """Yield local and remote branches, perhaps only those merged into the default branch."""
        del call
        repository = self._storages.open(request.repository)
        patterns = [HEADS_PREFIX, b"refs/remotes/"]
        flags: list[str] = []
        if request.merged_only:
            default = await find_default_branch(self._git, repository)
            if not default:
                return
            flags.append(f"--merged={default.decode('utf-8', 'surrogateescape')}")
            if request.merged_branches:
                patterns = [HEADS_PREFIX + name.removeprefix(HEADS_PREFIX) for name in request.merged_branches]
        references = await collect_references(self._git, repository, Listing(patterns=patterns, flags=flags))
        for group in batches_by_count(references, _LINES_PER_MESSAGE):
            async with aclosing(self._with_commits(repository, group)) as found:
                yield FindAllBranchesResponse(
                    branches=[
                        FindAllBranchesResponse.Branch(name=reference.name, target=commit)
                        async for reference, commit in found
                    ]
                )

    async def find_all_remote_branches(
        self, request: FindAllRemoteBranchesRequest, call: ServerCall
    ) -> AsyncGenerator[FindAllRemoteBranchesResponse, None]:
        """Yield the branches that were fetched from a remote."""
        del call
        repository = self._storages.open(request.repository)
        if not request.remote_name:
            raise InvalidArgumentError("empty RemoteName")
        listing = Listing(patterns=[f"refs/remotes/{request.remote_name}/".encode()])
        references = await collect_references(self._git, repository, listing)
        for group in batches_by_count(references, _LINES_PER_MESSAGE):
            async with aclosing(self._with_commits(repository, group)) as found:
                yield FindAllRemoteBranchesResponse(
                    branches=[Branch(name=reference.name, target_commit=commit) async for reference, commit in found]
                )

    async def find_branch(self, request: FindBranchRequest, call: ServerCall) -> FindBranchResponse:
        """Return a branch by its short or full name, nothing if there is none."""
        del call
        repository = self._storages.open(request.repository)
        if not request.name:
            raise InvalidArgumentError("Branch name cannot be empty")
        full = HEADS_PREFIX + request.name.removeprefix(HEADS_PREFIX)
        if not is_reference_name(full):
            return FindBranchResponse()
        references = await collect_references(self._git, repository, Listing(patterns=[full]))
        if not references:
            return FindBranchResponse()
        if references[0].name != full:
            reason = f"reference is ambiguous: conflicts with {quote(references[0].name)}"
            raise InvalidArgumentError(f"target reference is ambiguous: {reason}")
        commit = await find_commit(self._context.objects, repository, references[0].target.encode())
        return FindBranchResponse(branch=Branch(name=full.removeprefix(HEADS_PREFIX), target_commit=commit))

    async def ref_exists(self, request: RefExistsRequest, call: ServerCall) -> RefExistsResponse:
        """Tell whether exactly this reference is there."""
        del call
        repository = self._storages.open(request.repository)
        if not request.ref.startswith(b"refs/") or not is_reference_name(request.ref):
            raise InvalidArgumentError("invalid refname")
        command = Command(name="show-ref", flags=["--verify", "--quiet"], arguments=[request.ref])
        completed = await self._git.run(repository, command)
        if completed.returncode not in (0, 1):
            completed.check()
        return RefExistsResponse(value=completed.returncode == 0)

    async def list_branch_names_containing_commit(
        self, request: ListBranchNamesContainingCommitRequest, call: ServerCall
    ) -> AsyncGenerator[ListBranchNamesContainingCommitResponse, None]:
        """Yield the short names of branches that contain a commit."""
        del call
        names = await self._containing(request.repository, request.commit_id, request.limit, HEADS_PREFIX)
        for group in batches_by_count(names, _NAMES_PER_MESSAGE):
            yield ListBranchNamesContainingCommitResponse(branch_names=group)

    async def list_tag_names_containing_commit(
        self, request: ListTagNamesContainingCommitRequest, call: ServerCall
    ) -> AsyncGenerator[ListTagNamesContainingCommitResponse, None]:
        """Yield the short names of tags that contain a commit."""
        del call
        names = await self._containing(request.repository, request.commit_id, request.limit, TAGS_PREFIX)
        for group in batches_by_count(names, _NAMES_PER_MESSAGE):
            yield ListTagNamesContainingCommitResponse(tag_names=group)

    async def _containing(self, message: Repository, commit: str, limit: int, prefix: bytes) -> list[bytes]:
        repository: LocalRepository = self._storages.open(message)
        object_format_of(repository.path).check_id(commit)
        flags = [f"--contains={commit}"]
        if limit:
            flags.append(f"--count={limit}")
        try:
            references = await collect_references(self._git, repository, Listing(patterns=[prefix], flags=flags))
        except GitCommandError as exc:
            raise wrap("for-each-ref", PraefectError(exc.status)) from exc
        return [reference.name.removeprefix(prefix) for reference in references]
