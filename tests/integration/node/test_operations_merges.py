"""Merges, cherry-picks, reverts, rebases, squashes, patches and submodules of users, against real git."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import pytest
from google.protobuf.message import Message

from praefect.domain.errors import PraefectError
from praefect.node.voting import Phase, TransactionAbortedError, vote_hash
from praefect.proto.errors_pb2 import PathError
from praefect.proto.operations_pb2 import (
    UserApplyPatchRequest,
    UserCherryPickError,
    UserCherryPickRequest,
    UserFFBranchRequest,
    UserMergeBranchError,
    UserMergeBranchRequest,
    UserMergeBranchResponse,
    UserMergeToRefRequest,
    UserRebaseConfirmableError,
    UserRebaseConfirmableRequest,
    UserRebaseConfirmableResponse,
    UserRebaseToRefRequest,
    UserRevertError,
    UserRevertRequest,
    UserSquashError,
    UserSquashRequest,
    UserUpdateSubmoduleError,
    UserUpdateSubmoduleRequest,
)
from praefect.proto.shared_pb2 import GitCommit
from praefect.transport.grpc.status import StatusCode, StatusError, code_of, first_detail
from tests.support.hook_node import commit, count_objects, make_work_tree, run_git
from tests.support.operation_node import USER, CallStub, OperationNode, a_call, operation_node, stream_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from praefect.transport.grpc.server_call import ServerCall

MessageT = TypeVar("MessageT", bound=Message)
NEW_YEAR = "2026-01-01T00:00:00Z"


@pytest.fixture
async def work_tree(tmp_path: Path) -> Path:
    """Main and topic have one commit each since they parted; conflict changes what main changed."""
    work_tree = await make_work_tree(tmp_path / "work")
    await run_git("checkout", "--quiet", "-b", "topic", cwd=work_tree)
    await commit(work_tree, "topic", "t\n")
    await run_git("checkout", "--quiet", "-b", "conflict", "main", cwd=work_tree)
    await commit(work_tree, "b", "other\n")
    await run_git("checkout", "--quiet", "main", cwd=work_tree)
    await commit(work_tree, "b", "2\n")
    return work_tree


@pytest.fixture
async def node(tmp_path: Path, work_tree: Path) -> AsyncIterator[OperationNode]:
    async with operation_node(tmp_path) as node:
        await run_git("push", "--quiet", str(node.path), "--all", cwd=work_tree)
        yield node


async def drive(answers: AsyncGenerator[Message, None], call: ServerCall, kind: type[MessageT]) -> list[MessageT]:
    """Run a call that sends by itself and return what it sent."""
    assert [message async for message in answers] == []
    return [kind.FromString(data) for data in cast("CallStub", call).sent]


def detail_of(error: StatusError, kind: type[MessageT]) -> MessageT:
    detail = first_detail(error.details, kind)
    assert isinstance(detail, kind)
    return detail


async def merge_request(node: OperationNode, revision: str, **fields: object) -> UserMergeBranchRequest:
    request = UserMergeBranchRequest(
        repository=node.hooks.repository.message(),
        user=USER,
        branch=b"main",
        commit_id=await node.git("rev-parse", revision),
        message=b"merge it",
    )
    request.timestamp.FromJsonString(NEW_YEAR)
    for name, value in fields.items():
        setattr(request, name, value)
    return request


async def test_merge_is_applied_when_the_client_wants_it(node: OperationNode) -> None:
    main, topic = await node.git("rev-parse", "main"), await node.git("rev-parse", "topic")
    call = a_call(transaction="primary")
    requests = [await merge_request(node, "topic"), UserMergeBranchRequest(apply=True)]
    first, second = await drive(
        node.service.user_merge_branch(stream_of(requests), call), call, UserMergeBranchResponse
    )
    assert second.branch_update.commit_id == first.commit_id == await node.git("rev-parse", "main")
    assert (await node.git("log", "-1", "--format=%P", "main")).split() == [main, topic]
    assert await node.git("ls-tree", "--name-only", "main") == "a\nb\ntopic"
    assert len(node.hooks.voters.votes) == 6
    await node.git("fsck", "--strict")


async def test_squashed_merge_has_one_parent(node: OperationNode) -> None:
    main = await node.git("rev-parse", "main")
    call = a_call()
    requests = [await merge_request(node, "topic", squash=True), UserMergeBranchRequest(apply=True)]
    await drive(node.service.user_merge_branch(stream_of(requests), call), call, UserMergeBranchResponse)
    assert (await node.git("log", "-1", "--format=%P", "main")).split() == [main]


async def test_merge_that_is_not_wanted_leaves_nothing(node: OperationNode) -> None:
    before = count_objects(node.path)
    for requests, code, text in [
        ([await merge_request(node, "topic")], StatusCode.INTERNAL, "EOF"),
        (
            [await merge_request(node, "topic"), UserMergeBranchRequest()],
            StatusCode.FAILED_PRECONDITION,
            "merge aborted by client",
        ),
    ]:
        call = a_call()
        with pytest.raises(PraefectError) as caught:
            await drive(node.service.user_merge_branch(stream_of(requests), call), call, UserMergeBranchResponse)
        assert (code_of(caught.value), str(caught.value)) == (code, text)
    assert count_objects(node.path) == before


async def test_merge_conflict_names_files_and_commits(node: OperationNode) -> None:
    request = await merge_request(node, "conflict")
    call = a_call()
    with pytest.raises(StatusError) as caught:
        await drive(node.service.user_merge_branch(stream_of([request]), call), call, UserMergeBranchResponse)
    assert caught.value.code is StatusCode.FAILED_PRECONDITION
    assert caught.value.message == "merging commits: merge: there are conflicting files"
    conflict = detail_of(caught.value, UserMergeBranchError).merge_conflict
    assert list(conflict.conflicting_files) == [b"b"]
    assert list(conflict.conflicting_commit_ids) == [await node.git("rev-parse", "main"), request.commit_id]


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"branch": b"gone"}, StatusCode.NOT_FOUND, "reference not found"),
        ({"branch": b""}, StatusCode.INVALID_ARGUMENT, "empty branch name"),
        ({"message": b""}, StatusCode.INVALID_ARGUMENT, "empty message"),
        ({"commit_id": "a" * 40}, StatusCode.INTERNAL, "merge: couldn't parse merge tree output: "),
    ],
)
async def test_merges_that_cannot_be_made(
    node: OperationNode, fields: dict[str, object], code: StatusCode, text: str
) -> None:
    request, call = await merge_request(node, "topic", **fields), a_call()
    with pytest.raises(PraefectError) as caught:
        await drive(node.service.user_merge_branch(stream_of([request]), call), call, UserMergeBranchResponse)
    assert (code_of(caught.value), str(caught.value)) == (code, text)


async def test_refused_merge(node: OperationNode) -> None:
    node.hooks.door.refuse("no")
    requests, call = [await merge_request(node, "topic"), UserMergeBranchRequest(apply=True)], a_call()
    with pytest.raises(StatusError) as caught:
        await drive(node.service.user_merge_branch(stream_of(requests), call), call, UserMergeBranchResponse)
    assert (caught.value.code, caught.value.message) == (StatusCode.PERMISSION_DENIED, "GitLab: no")
    assert detail_of(caught.value, UserMergeBranchError).access_check.error_message == "no"


async def test_branch_that_moves_between_the_messages(node: OperationNode) -> None:
    call = a_call()
    first = await merge_request(node, "topic")

    async def requests() -> AsyncIterator[UserMergeBranchRequest]:
        yield first
        await node.git("update-ref", "refs/heads/main", "refs/heads/main~1")
        yield UserMergeBranchRequest(apply=True)

    with pytest.raises(StatusError) as caught:
        await drive(node.service.user_merge_branch(requests(), call), call, UserMergeBranchResponse)
    assert caught.value.code is StatusCode.FAILED_PRECONDITION
    update = detail_of(caught.value, UserMergeBranchError).reference_update
    assert update.reference_name == b"refs/heads/main"


def merge_to_ref(node: OperationNode, source: str, **fields: object) -> UserMergeToRefRequest:
    request = UserMergeToRefRequest(
        repository=node.hooks.repository.message(),
        user=USER,
        source_sha=source,
        first_parent_ref=b"refs/heads/main",
        target_ref=b"refs/merge-requests/1/merge",
        message=b"merge",
    )
    request.timestamp.FromJsonString(NEW_YEAR)
    for name, value in fields.items():
        setattr(request, name, value)
    return request


async def test_merge_to_a_reference_asks_nobody(node: OperationNode) -> None:
    topic = await node.git("rev-parse", "topic")
    response = await node.service.user_merge_to_ref(merge_to_ref(node, topic), a_call(transaction="primary"))
    assert await node.git("rev-parse", "refs/merge-requests/1/merge") == response.commit_id
    assert node.hooks.door.paths() == []
    assert [phase for phase, _ in node.hooks.voters.votes] == [Phase.PREPARED, Phase.COMMITTED]


async def test_merges_to_a_reference_that_fail(node: OperationNode) -> None:
    topic, main = await node.git("rev-parse", "topic"), await node.git("rev-parse", "main")
    conflict = await node.git("rev-parse", "conflict")
    await node.git("symbolic-ref", "refs/merge-requests/2/merge", "refs/heads/main")
    target = "refs/merge-requests/1/merge"
    failed_merge = f"Failed to create merge commit for source_sha {conflict} and target_sha {main} at {target}"
    for request, code, text in [
        (merge_to_ref(node, topic, target_ref=b"refs/heads/x"), StatusCode.INVALID_ARGUMENT, "invalid target ref"),
        (merge_to_ref(node, "a" * 40), StatusCode.INVALID_ARGUMENT, "Invalid merge source"),
        (
            merge_to_ref(node, conflict),
            StatusCode.FAILED_PRECONDITION,
            failed_merge,
        ),
        (
            merge_to_ref(node, topic, target_ref=b"refs/merge-requests/2/merge"),
            StatusCode.FAILED_PRECONDITION,
            'target reference is symbolic: "refs/merge-requests/2/merge"',
        ),
        (
            merge_to_ref(node, topic, expected_old_oid=main),
            StatusCode.FAILED_PRECONDITION,
            "Could not update refs/merge-requests/1/merge. Please refresh and try again",
        ),
    ]:
        with pytest.raises(PraefectError) as caught:
            await node.service.user_merge_to_ref(request, a_call())
        assert (code_of(caught.value), str(caught.value)) == (code, text)


async def test_fast_forward(node: OperationNode) -> None:
    await node.git("branch", "behind", "main~1")
    main, topic = await node.git("rev-parse", "main"), await node.git("rev-parse", "topic")
    request = UserFFBranchRequest(
        repository=node.hooks.repository.message(), user=USER, branch=b"behind", commit_id=main
    )
    response = await node.service.user_ff_branch(request, a_call())
    assert response.branch_update.commit_id == main == await node.git("rev-parse", "behind")
    request.commit_id = topic
    with pytest.raises(PraefectError) as caught:
        await node.service.user_ff_branch(request, a_call())
    assert (code_of(caught.value), str(caught.value)) == (StatusCode.FAILED_PRECONDITION, "not fast forward")
    request.branch = b"gone"
    with pytest.raises(PraefectError) as missing:
        await node.service.user_ff_branch(request, a_call())
    assert (code_of(missing.value), str(missing.value)) == (StatusCode.INVALID_ARGUMENT, "reference not found")


def cherry_pick(node: OperationNode, commit_id: str, **fields: object) -> UserCherryPickRequest:
    request = UserCherryPickRequest(
        repository=node.hooks.repository.message(),
        user=USER,
        commit=GitCommit(id=commit_id),
        branch_name=b"main",
        message=b"picked",
    )
    request.timestamp.FromJsonString(NEW_YEAR)
    for name, value in fields.items():
        setattr(request, name, value)
    return request


async def test_cherry_pick_keeps_the_author(node: OperationNode, work_tree: Path) -> None:
    await run_git("checkout", "--quiet", "topic", cwd=work_tree)
    (work_tree / "topic").write_text("more\n")
    author = "Someone Else <s@x.org>"
    await run_git("commit", "--quiet", "-am", "by another", f"--author={author}", cwd=work_tree)
    await run_git("push", "--quiet", str(node.path), "topic", cwd=work_tree)
    await node.service.user_cherry_pick(cherry_pick(node, await node.git("rev-parse", "topic~1")), a_call())
    response = await node.service.user_cherry_pick(cherry_pick(node, await node.git("rev-parse", "topic")), a_call())
    assert response.branch_update.commit_id == await node.git("rev-parse", "main")
    assert await node.git("log", "-1", "--format=%an <%ae> %cn", "main") == f"{author} Jane"
    assert await node.git("show", "main:topic") == "more"
    assert await node.git("show", "main:b") == "2"


async def test_cherry_picks_that_fail(node: OperationNode) -> None:
    topic, conflict = await node.git("rev-parse", "topic"), await node.git("rev-parse", "conflict")
    main = await node.git("rev-parse", "main")
    with pytest.raises(StatusError) as conflicting:
        await node.service.user_cherry_pick(cherry_pick(node, conflict), a_call())
    assert conflicting.value.message == "cherry pick: merge: there are conflicting files"
    files = detail_of(conflicting.value, UserCherryPickError).cherry_pick_conflict.conflicting_files
    assert list(files) == [b"b"]
    with pytest.raises(StatusError) as empty:
        await node.service.user_cherry_pick(cherry_pick(node, main), a_call())
    assert empty.value.code is StatusCode.FAILED_PRECONDITION
    assert empty.value.message == "cherry-pick: could not apply because the result was empty"
    assert detail_of(empty.value, UserCherryPickError).HasField("changes_already_applied")
    with pytest.raises(StatusError) as diverged:
        await node.service.user_cherry_pick(cherry_pick(node, topic, start_branch_name=b"conflict"), a_call())
    assert detail_of(diverged.value, UserCherryPickError).target_branch_diverged.parent_revision == main.encode()
    with pytest.raises(PraefectError) as missing:
        await node.service.user_cherry_pick(cherry_pick(node, "a" * 40), a_call())
    assert (code_of(missing.value), str(missing.value)) == (
        StatusCode.NOT_FOUND,
        f'cherry-pick: commit lookup: commit not found: "{"a" * 40}"',
    )
    with pytest.raises(PraefectError) as start:
        await node.service.user_cherry_pick(cherry_pick(node, topic, start_branch_name=b"x"), a_call())
    assert (code_of(start.value), str(start.value)) == (
        StatusCode.INVALID_ARGUMENT,
        "resolve start ref: reference not found",
    )
    node.hooks.install_hook("pre-receive", "echo no; exit 1")
    with pytest.raises(StatusError) as refused:
        await node.service.user_cherry_pick(cherry_pick(node, topic), a_call())
    assert (refused.value.code, refused.value.message) == (StatusCode.FAILED_PRECONDITION, "access check failed")
    assert detail_of(refused.value, UserCherryPickError).access_check.error_message == "no"


async def test_cherry_pick_to_a_new_branch_and_dry(node: OperationNode) -> None:
    topic, main = await node.git("rev-parse", "topic"), await node.git("rev-parse", "main")
    request = cherry_pick(node, topic, branch_name=b"new", start_branch_name=b"main")
    response = await node.service.user_cherry_pick(request, a_call())
    assert response.branch_update.branch_created
    assert await node.git("rev-parse", "new~1") == main
    dry = await node.service.user_cherry_pick(cherry_pick(node, topic, dry_run=True), a_call())
    assert dry.branch_update.commit_id == main == await node.git("rev-parse", "main")


def revert(node: OperationNode, commit_id: str) -> UserRevertRequest:
    request = UserRevertRequest(
        repository=node.hooks.repository.message(),
        user=USER,
        commit=GitCommit(id=commit_id),
        branch_name=b"main",
        message=b"reverted",
    )
    request.timestamp.FromJsonString(NEW_YEAR)
    return request


async def test_revert(node: OperationNode) -> None:
    main = await node.git("rev-parse", "main")
    response = await node.service.user_revert(revert(node, main), a_call())
    assert response.branch_update.commit_id == await node.git("rev-parse", "main")
    assert await node.git("ls-tree", "--name-only", "main") == "a"
    with pytest.raises(StatusError) as empty:
        await node.service.user_revert(revert(node, main), a_call())
    assert detail_of(empty.value, UserRevertError).HasField("changes_already_applied")
    root = await node.git("rev-list", "--max-parents=0", "main")
    await node.service.user_revert(revert(node, root), a_call())
    assert await node.git("ls-tree", "--name-only", "main") == ""
    with pytest.raises(PraefectError) as missing:
        await node.service.user_revert(revert(node, "a" * 40), a_call())
    assert (code_of(missing.value), str(missing.value)) == (
        StatusCode.NOT_FOUND,
        "revert commit lookup: commit not found",
    )


async def test_revert_in_conflict_and_limited(node: OperationNode, work_tree: Path) -> None:
    main = await node.git("rev-parse", "main")
    await commit(work_tree, "b", "changed again\n")
    await run_git("push", "--quiet", str(node.path), "main", cwd=work_tree)
    with pytest.raises(StatusError) as conflicting:
        await node.service.user_revert(revert(node, main), a_call())
    assert conflicting.value.message == "revert: there are conflicting files"
    assert list(detail_of(conflicting.value, UserRevertError).merge_conflict.conflicting_files) == [b"b"]
    node.hooks.door.answer("/allowed", {}, 429)
    with pytest.raises(PraefectError) as limited:
        await node.service.user_revert(revert(node, await node.git("rev-parse", "main")), a_call())
    assert code_of(limited.value) is StatusCode.RESOURCE_EXHAUSTED


async def rebase_requests(node: OperationNode, branch: str) -> list[UserRebaseConfirmableRequest]:
    header = UserRebaseConfirmableRequest.Header(
        repository=node.hooks.repository.message(),
        user=USER,
        branch=branch.encode(),
        branch_sha=await node.git("rev-parse", branch),
        remote_repository=node.hooks.repository.message(),
        remote_branch=b"main",
    )
    header.timestamp.FromJsonString(NEW_YEAR)
    return [UserRebaseConfirmableRequest(header=header), UserRebaseConfirmableRequest(apply=True)]


async def test_rebase_equals_what_git_does(node: OperationNode, work_tree: Path) -> None:
    await run_git("checkout", "--quiet", "topic", cwd=work_tree)
    await commit(work_tree, "b", "2\n")  # what main has already
    await run_git("commit", "--quiet", "--allow-empty", "-m", "meant to be empty", cwd=work_tree)
    await commit(work_tree, "c", "3\n")
    await run_git("push", "--quiet", str(node.path), "topic", cwd=work_tree)
    call = a_call(transaction="primary")
    requests = await rebase_requests(node, "topic")
    answers = node.service.user_rebase_confirmable(stream_of(requests), call)
    first, second = await drive(answers, call, UserRebaseConfirmableResponse)
    assert first.rebase_sha == await node.git("rev-parse", "topic")
    assert second.rebase_applied
    assert (await node.git("log", "--format=%s", "main..topic")).splitlines() == [
        "write c",
        "meant to be empty",
        "write topic",
    ]
    assert await node.git("ls-tree", "--name-only", "topic") == "a\nb\nc\ntopic"
    await node.git("fsck", "--strict")


async def test_rebase_in_conflict(node: OperationNode) -> None:
    call = a_call()
    answers = node.service.user_rebase_confirmable(stream_of(await rebase_requests(node, "conflict")), call)
    with pytest.raises(StatusError) as caught:
        await drive(answers, call, UserRebaseConfirmableResponse)
    assert caught.value.code is StatusCode.FAILED_PRECONDITION
    conflict = detail_of(caught.value, UserRebaseConfirmableError).rebase_conflict
    assert list(conflict.conflicting_files) == [b"b"]


async def test_rebase_from_elsewhere_needs_its_address(node: OperationNode) -> None:
    requests = await rebase_requests(node, "topic")
    requests[0].header.remote_repository.relative_path = "other.git"
    call = a_call()
    with pytest.raises(PraefectError) as caught:
        await drive(
            node.service.user_rebase_confirmable(stream_of(requests), call), call, UserRebaseConfirmableResponse
        )
    assert (code_of(caught.value), str(caught.value)) == (
        StatusCode.INTERNAL,
        "remote repository: empty gitaly-servers metadata",
    )


async def test_rebase_to_a_reference(node: OperationNode) -> None:
    topic = await node.git("rev-parse", "topic")
    request = UserRebaseToRefRequest(
        repository=node.hooks.repository.message(),
        user=USER,
        source_sha=topic,
        first_parent_ref=b"refs/heads/main",
        target_ref=b"refs/merge-requests/1/train",
    )
    request.timestamp.FromJsonString(NEW_YEAR)
    response = await node.service.user_rebase_to_ref(request, a_call(transaction="primary"))
    assert await node.git("rev-parse", "refs/merge-requests/1/train") == response.commit_id
    assert [phase for phase, _ in node.hooks.voters.votes] == [Phase.PREPARED, Phase.COMMITTED]
    request.source_sha = await node.git("rev-parse", "conflict")
    with pytest.raises(PraefectError) as caught:
        await node.service.user_rebase_to_ref(request, a_call())
    main = await node.git("rev-parse", "main")
    assert str(caught.value) == (
        f"failed to rebase {request.source_sha} on {main} while preparing refs/merge-requests/1/train due to conflict"
    )


async def squash(node: OperationNode, start: str, end: str) -> UserSquashRequest:
    request = UserSquashRequest(
        repository=node.hooks.repository.message(),
        user=USER,
        author=USER,
        start_sha=await node.git("rev-parse", start),
        end_sha=await node.git("rev-parse", end),
        commit_message=b"squashed",
    )
    request.timestamp.FromJsonString(NEW_YEAR)
    return request


async def test_squash_votes_on_the_commit(node: OperationNode) -> None:
    response = await node.service.user_squash(await squash(node, "main", "topic"), a_call(transaction="primary"))
    vote = vote_hash(response.squash_sha.encode())
    assert node.hooks.voters.votes == [
        (Phase.PREPARING, vote),
        (Phase.PREPARED, vote),
        (Phase.COMMITTED, vote),
    ]
    assert await node.git("log", "-1", "--format=%P", response.squash_sha) == await node.git("rev-parse", "main")
    assert await node.git("ls-tree", "--name-only", response.squash_sha) == "a\nb\ntopic"


async def test_squashes_that_fail(node: OperationNode) -> None:
    with pytest.raises(StatusError) as conflicting:
        await node.service.user_squash(await squash(node, "main", "conflict"), a_call())
    assert conflicting.value.message == "squashing commits: merge: there are conflicting files"
    assert list(detail_of(conflicting.value, UserSquashError).rebase_conflict.conflicting_files) == [b"b"]
    request = await squash(node, "main", "topic")
    request.start_sha = "a" * 40
    with pytest.raises(StatusError) as missing:
        await node.service.user_squash(request, a_call())
    assert missing.value.message == "resolving start revision: reference not found"
    assert detail_of(missing.value, UserSquashError).resolve_revision.revision == b"a" * 40
    before = count_objects(node.path)
    node.hooks.voters.failures[1] = TransactionAbortedError()
    with pytest.raises(PraefectError) as aborted:
        await node.service.user_squash(await squash(node, "main", "topic"), a_call(transaction="primary"))
    assert (code_of(aborted.value), str(aborted.value)) == (
        StatusCode.ABORTED,
        "prepared vote on squashed commit: transaction was aborted",
    )
    assert count_objects(node.path) == before


async def apply_patch(node: OperationNode, patches: bytes, branch: bytes = b"main") -> str:
    header = UserApplyPatchRequest.Header(repository=node.hooks.repository.message(), user=USER, target_branch=branch)
    header.timestamp.FromJsonString(NEW_YEAR)
    pieces = [patches[start : start + 100] for start in range(0, len(patches), 100)]
    requests = [UserApplyPatchRequest(header=header), *(UserApplyPatchRequest(patches=piece) for piece in pieces)]
    response = await node.service.user_apply_patch(stream_of(requests), a_call())
    return response.branch_update.commit_id


async def test_patches_are_applied(node: OperationNode, work_tree: Path) -> None:
    patch = (await run_git("format-patch", "--stdout", "main~1..topic", cwd=work_tree)).stdout.encode()
    commit_id = await apply_patch(node, patch)
    assert commit_id == await node.git("rev-parse", "main")
    assert await node.git("log", "-1", "--format=%s %cn %ct", "main") == "write topic Jane 1767225600"
    new = await apply_patch(node, patch.replace(b"topic", b"other"), b"fresh")
    assert new == await node.git("rev-parse", "fresh")
    assert not (node.path / "gitlab-worktree").exists()
    assert not (node.path / "worktrees").exists()
    conflicting = (await run_git("format-patch", "--stdout", "-1", "conflict", cwd=work_tree)).stdout.encode()
    with pytest.raises(PraefectError) as caught:
        await apply_patch(node, conflicting)
    assert code_of(caught.value) is StatusCode.FAILED_PRECONDITION
    assert str(caught.value).startswith("Patch failed at 0001 write b")
    assert not (node.path / "gitlab-worktree").exists()


async def test_submodule_moves(node: OperationNode, work_tree: Path) -> None:
    await run_git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},lib/sub", cwd=work_tree)
    await run_git("commit", "--quiet", "-m", "submodule", cwd=work_tree)
    await run_git("push", "--quiet", str(node.path), "main", cwd=work_tree)
    request = UserUpdateSubmoduleRequest(
        repository=node.hooks.repository.message(),
        user=USER,
        branch=b"main",
        submodule=b"lib/sub",
        commit_sha="2" * 40,
        commit_message=b"move it",
    )
    request.timestamp.FromJsonString(NEW_YEAR)
    response = await node.service.user_update_submodule(request, a_call())
    assert response.branch_update.commit_id == await node.git("rev-parse", "main")
    assert await node.git("rev-parse", "main:lib/sub") == "2" * 40
    with pytest.raises(StatusError) as already:
        await node.service.user_update_submodule(request, a_call())
    assert already.value.message == f"The submodule lib/sub is already at {'2' * 40}"
    kind = detail_of(already.value, UserUpdateSubmoduleError).path_error.error_type
    assert kind == PathError.ERROR_TYPE_PATH_EXISTS
    request.submodule = b"a"
    with pytest.raises(StatusError) as invalid:
        await node.service.user_update_submodule(request, a_call())
    assert invalid.value.message == "Invalid submodule path"
