"""Many commits: ListCommits, ListAllCommits, FindAllCommits, CommitsByMessage, CountCommits and others."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from praefect.domain.errors import InternalError, InvalidArgumentError
from praefect.node.default_branch import find_default_branch
from praefect.node.git.command import Command
from praefect.node.git.errors import GitCommandError
from praefect.node.git.names import check_pseudo_revision, check_revision
from praefect.node.git.revisions import rev_list
from praefect.node.services.commit.part import CommitPart, pathspec_environment, time_flag
from praefect.proto.commit_pb2 import (
    CommitIsAncestorRequest,
    CommitIsAncestorResponse,
    CommitsByMessageRequest,
    CommitsByMessageResponse,
    CountCommitsRequest,
    CountCommitsResponse,
    CountDivergingCommitsRequest,
    CountDivergingCommitsResponse,
    FindAllCommitsRequest,
    FindAllCommitsResponse,
    ListAllCommitsRequest,
    ListAllCommitsResponse,
    ListCommitsRequest,
    ListCommitsResponse,
)
from praefect.proto.shared_pb2 import PaginationCursor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from praefect.node.storage.repository import LocalRepository
    from praefect.proto.shared_pb2 import PaginationParameter
    from praefect.transport.grpc.server_call import ServerCall

_ORDER_FLAGS = {ListCommitsRequest.TOPO: "--topo-order", ListCommitsRequest.DATE: "--date-order"}
_ALL_ORDER_FLAGS = {FindAllCommitsRequest.TOPO: "--topo-order", FindAllCommitsRequest.DATE: "--date-order"}


class ListingPart(CommitPart):
    """RPCs that walk the history."""

    async def list_commits(
        self, request: ListCommitsRequest, call: ServerCall
    ) -> AsyncGenerator[ListCommitsResponse, None]:
        """Yield the commits that revisions reach."""
        del call
        repository = self._storages.open(request.repository)
        if not request.revisions:
            raise InvalidArgumentError("missing revisions")
        lines = [check_pseudo_revision(revision.encode()) for revision in request.revisions]
        oids = await self._rev_list(repository, request, lines)
        oids, has_more = _page(oids, request.pagination_params, present=request.HasField("pagination_params"))
        first = True
        async with aclosing(self._commit_batches(repository, oids)) as batches:
            async for batch in batches:
                response = ListCommitsResponse(commits=batch)
                if first and has_more:
                    response.pagination_cursor.CopyFrom(PaginationCursor(next_cursor=oids[-1].decode()))
                first = False
                yield response

    async def _rev_list(
        self, repository: LocalRepository, request: ListCommitsRequest, revisions: list[bytes]
    ) -> list[bytes]:
        try:
            output = await rev_list(
                self._git,
                repository,
                _rev_list_flags(request),
                revisions,
                paths=list(request.paths),
                environment=pathspec_environment(request.global_options),
            )
        except GitCommandError as exc:
            raise InternalError(f"iterating objects: rev-list pipeline command: {exc}") from exc
        return output.split()

    async def list_all_commits(
        self, request: ListAllCommitsRequest, call: ServerCall
    ) -> AsyncGenerator[ListAllCommitsResponse, None]:
        """Yield every commit object there is, reachable or not."""
        del call
        repository = self._storages.open(request.repository)
        flags = ["--batch-all-objects", "--batch-check=%(objecttype) %(objectname)", "--buffer", "--unordered"]
        output = await self._git.output(repository, Command(name="cat-file", flags=flags))
        oids = [line[7:] for line in output.split(b"\n") if line.startswith(b"commit ")]
        oids, _ = _page(oids, request.pagination_params, present=request.HasField("pagination_params"))
        async with aclosing(self._commit_batches(repository, oids)) as batches:
            async for batch in batches:
                yield ListAllCommitsResponse(commits=batch)

    async def find_all_commits(
        self, request: FindAllCommitsRequest, call: ServerCall
    ) -> AsyncGenerator[FindAllCommitsResponse, None]:
        """Yield the commits of a revision or of all branches."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision, allow_empty=True)
        flags = ["--pretty=%H"]
        if request.max_count > 0:
            flags.append(f"--max-count={request.max_count}")
        if request.skip > 0:
            flags.append(f"--skip={request.skip}")
        order = _ALL_ORDER_FLAGS.get(request.order)
        if order is not None:
            flags.append(order)
        if not request.revision:
            flags.append("--branches")
        arguments = [request.revision] if request.revision else []
        completed = await self._git.run(repository, Command(name="log", flags=flags, arguments=arguments))
        async with aclosing(self._commit_batches(repository, completed.stdout.split())) as batches:
            async for batch in batches:
                yield FindAllCommitsResponse(commits=batch)

    async def commits_by_message(
        self, request: CommitsByMessageRequest, call: ServerCall
    ) -> AsyncGenerator[CommitsByMessageResponse, None]:
        """Yield commits whose message matches, newest first."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision, allow_empty=True)
        if not request.query:
            raise InvalidArgumentError("empty Query")
        revision = request.revision or await find_default_branch(self._git, repository)
        flags = ["--format=%H", "--regexp-ignore-case", f"--grep={request.query}", f"--skip={request.offset}"]
        flags.append(f"--max-count={request.limit}")
        command = Command(
            name="log",
            flags=flags,
            arguments=[revision] if revision else [],
            paths=[request.path] if request.path else None,
            environment=pathspec_environment(request.global_options),
        )
        completed = await self._git.run(repository, command)
        async with aclosing(self._commit_batches(repository, completed.stdout.split())) as batches:
            async for batch in batches:
                yield CommitsByMessageResponse(commits=batch)

    async def commit_is_ancestor(self, request: CommitIsAncestorRequest, call: ServerCall) -> CommitIsAncestorResponse:
        """Tell whether one commit is an ancestor of another; whatever git cannot answer is no."""
        del call
        repository = self._storages.open(request.repository)
        if not request.ancestor_id:
            raise InvalidArgumentError("empty ancestor sha")
        if not request.child_id:
            raise InvalidArgumentError("empty child sha")
        command = Command(name="merge-base", flags=["--is-ancestor"], arguments=[request.ancestor_id, request.child_id])
        return CommitIsAncestorResponse(value=(await self._git.run(repository, command)).returncode == 0)

    async def count_commits(self, request: CountCommitsRequest, call: ServerCall) -> CountCommitsResponse:
        """Count the commits that revisions reach; what git cannot count is none."""
        del call
        repository = self._storages.open(request.repository)
        check_revision(request.revision, allow_empty=True)
        revisions = [check_pseudo_revision(revision) for revision in request.revisions]
        if not revisions and not request.revision and not request.all:
            raise InvalidArgumentError("empty Revision and false All")
        if request.all:
            revisions = [b"--all"]
        elif not revisions:
            revisions = [request.revision]
        command = Command(
            name="rev-list",
            flags=["--count", *_count_flags(request)],
            revisions=revisions,
            paths=[request.path] if request.path else None,
            environment=pathspec_environment(request.global_options),
        )
        completed = await self._git.run(repository, command)
        text = completed.stdout.strip()
        return CountCommitsResponse(count=int(text) if completed.returncode == 0 and text else 0)

    async def count_diverging_commits(
        self, request: CountDivergingCommitsRequest, call: ServerCall
    ) -> CountDivergingCommitsResponse:
        """Count the commits that only one of two revisions reaches."""
        del call
        repository = self._storages.open(request.repository)
        left, right = getattr(request, "from"), request.to
        if not left or not right:
            raise InvalidArgumentError("from and to are both required")
        check_revision(left)
        check_revision(right)
        flags = ["--count", "--left-right"]
        if request.max_count > 0:
            flags.append(f"--max-count={request.max_count}")
        command = Command(name="rev-list", flags=flags, revisions=[left + b"..." + right])
        counts = (await self._git.output(repository, command)).split()
        return CountDivergingCommitsResponse(left_count=int(counts[0]), right_count=int(counts[1]))


def _rev_list_flags(request: ListCommitsRequest) -> list[str]:
    flags = [
        name
        for name, wanted in (
            ("--reverse", request.reverse),
            ("--no-walk", request.disable_walk),
            ("--first-parent", request.first_parent),
            ("--regexp-ignore-case", request.ignore_case),
        )
        if wanted
    ]
    order = _ORDER_FLAGS.get(request.order)
    if order is not None:
        flags.append(order)
    if request.max_parents:
        flags.append(f"--max-parents={request.max_parents}")
    if request.HasField("after"):
        flags.append(time_flag("since", request.after))
    if request.HasField("before"):
        flags.append(time_flag("until", request.before))
    if request.author:
        flags.append(f"--author={request.author.decode('utf-8', 'surrogateescape')}")
    if request.skip:
        flags.append(f"--skip={request.skip}")
    flags += [f"--grep={pattern.decode('utf-8', 'surrogateescape')}" for pattern in request.commit_message_patterns]
    return flags


def _count_flags(request: CountCommitsRequest) -> list[str]:
    flags = ["--first-parent"] if request.first_parent else []
    if request.HasField("after"):
        flags.append(time_flag("since", request.after))
    if request.HasField("before"):
        flags.append(time_flag("until", request.before))
    if request.max_count > 0:
        flags.append(f"--max-count={request.max_count}")
    return flags


def _page(oids: list[bytes], params: PaginationParameter, *, present: bool) -> tuple[list[bytes], bool]:
    """Return the ids behind the page's token, at most its limit, and whether there are more."""
    if not present:
        return oids, False
    if params.page_token:
        token = params.page_token.encode()
        oids = oids[oids.index(token) + 1 :] if token in oids else []
    if params.limit < 0:
        return oids, False
    return oids[: params.limit], 0 < params.limit < len(oids)
