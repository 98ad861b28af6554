"""UserCommitFiles against real git: the same bytes everywhere, the rules of actions, hooks, votes and refusals."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from praefect.domain.errors import InternalError, InvalidArgumentError, PraefectError
from praefect.node.voting import Phase, TransactionAbortedError, vote_hash
from praefect.proto.errors_pb2 import IndexError as IndexErrorDetail
from praefect.proto.operations_pb2 import (
    UserCommitFilesAction,
    UserCommitFilesActionHeader,
    UserCommitFilesError,
    UserCommitFilesRequest,
    UserCommitFilesRequestHeader,
    UserCommitFilesResponse,
)
from praefect.transport.grpc.status import StatusCode, StatusError, code_of, first_detail
from tests.support.hook_node import count_objects
from tests.support.operation_node import USER, OperationNode, a_call, operation_node, stream_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Action = UserCommitFilesActionHeader
GOLDEN_COMMIT = "683afe63083181f0daa46e8875db4604136b237c"
ZERO = "0" * 40


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OperationNode]:
    async with operation_node(tmp_path) as node:
        yield node


def header(node: OperationNode, **fields: object) -> UserCommitFilesRequest:
    header = UserCommitFilesRequestHeader(
        repository=node.hooks.repository.message(), user=USER, branch_name=b"main", commit_message=b"m"
    )
    header.timestamp.FromJsonString("2026-01-01T00:00:00Z")
    for name, value in fields.items():
        setattr(header, name, value)
    return UserCommitFilesRequest(header=header)


def action(
    kind: Action.ActionType, path: str, content: bytes | None = None, **fields: object
) -> list[UserCommitFilesRequest]:
    action_header = Action(action=kind, file_path=path.encode())
    for name, value in fields.items():
        setattr(action_header, name, value)
    requests = [UserCommitFilesRequest(action=UserCommitFilesAction(header=action_header))]
    if content is not None:
        requests.append(UserCommitFilesRequest(action=UserCommitFilesAction(content=content)))
    return requests


async def commit_files(
    node: OperationNode, *actions: list[UserCommitFilesRequest], transaction: object = "", **fields: object
) -> UserCommitFilesResponse:
    requests = [header(node, **fields), *(request for each in actions for request in each)]
    return await node.service.user_commit_files(stream_of(requests), a_call(transaction=str(transaction)))


async def listing(node: OperationNode, revision: str = "main") -> dict[str, str]:
    lines = (await node.git("ls-tree", "-r", revision)).splitlines()
    return {line.split("\t")[1]: line.split(" ")[0] for line in lines}


async def test_the_golden_commit(node: OperationNode) -> None:
    response = await commit_files(node, action(Action.CREATE, "a", b"1\n"), transaction="primary")
    assert response.branch_update.commit_id == GOLDEN_COMMIT
    assert response.branch_update.repo_created
    assert response.branch_update.branch_created
    change = vote_hash(f"{ZERO} {GOLDEN_COMMIT} refs/heads/main\n".encode())
    assert node.hooks.voters.votes == [
        (Phase.SYNCHRONIZED, vote_hash(b"synchronize pre-receive hook")),
        (Phase.SYNCHRONIZED, vote_hash(b"synchronize update hook")),
        (Phase.PREPARING, change),
        (Phase.PREPARED, change),
        (Phase.COMMITTED, change),
        (Phase.SYNCHRONIZED, vote_hash(b"synchronize post-receive hook")),
    ]
    assert node.hooks.door.paths() == ["/allowed", "/pre_receive", "/post_receive"]
    allowed = node.hooks.door.last("/allowed").values
    assert allowed["protocol"] == "web"
    assert allowed["changes"] == f"{ZERO} {GOLDEN_COMMIT} refs/heads/main\n"
    assert "+gitaly/tmp/quarantine-" in str(allowed["env"])
    await node.git("fsck", "--strict")
    assert not list(node.hooks.repository.root.temporary_directory.glob("[!.]*"))


async def test_all_kinds_of_actions(node: OperationNode) -> None:
    await commit_files(
        node,
        action(Action.CREATE, "keep", b"keep"),
        action(Action.CREATE, "run", b"#!", execute_filemode=True),
        action(Action.CREATE, "dir/sub/deep", b"deep"),
        action(Action.CREATE, "dir/other", b"other"),
        action(Action.CREATE_DIR, "empty"),
    )
    assert await listing(node) == {
        "keep": "100644",
        "run": "100755",
        "dir/sub/deep": "100644",
        "dir/other": "100644",
        "empty/.gitkeep": "100644",
    }
    response = await commit_files(
        node,
        action(Action.UPDATE, "run", b"#!/bin/sh"),
        action(Action.CHMOD, "keep", execute_filemode=True),
        action(Action.MOVE, "moved/kept", previous_path=b"dir/sub/deep", infer_content=True),
        action(Action.MOVE, "moved/rewritten", b"new", previous_path=b"dir/other"),
        action(Action.DELETE, "empty/.gitkeep"),
    )
    assert not response.branch_update.branch_created
    assert not response.branch_update.repo_created
    assert await listing(node) == {
        "keep": "100755",
        "run": "100755",
        "moved/kept": "100644",
        "moved/rewritten": "100644",
    }
    assert await node.git("show", "main:run") == "#!/bin/sh"
    assert await node.git("show", "main:moved/kept") == "deep"
    assert await node.git("show", "main:moved/rewritten") == "new"
    assert await node.git("rev-list", "--count", "main") == "2"
    await node.git("fsck", "--strict")


async def test_content_in_pieces_and_in_base64(node: OperationNode) -> None:
    content = bytes(range(256)) * 700
    encoded = base64.encodebytes(content)
    requests = action(Action.CREATE, "a", None, base64_content=True)
    pieces = [encoded[start : start + 1000] for start in range(0, len(encoded), 1000)]
    requests += [UserCommitFilesRequest(action=UserCommitFilesAction(content=piece)) for piece in pieces]
    await commit_files(node, requests, action(Action.CREATE, "b"))
    assert int(await node.git("cat-file", "-s", "main:a")) == len(content)
    assert await node.git("rev-parse", "main:b") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


async def test_broken_base64_is_refused(node: OperationNode) -> None:
    with pytest.raises(InternalError, match="illegal base64"):
        await commit_files(node, action(Action.CREATE, "a", b"abc", base64_content=True))


async def test_a_directory_gives_way_to_a_file(node: OperationNode) -> None:
    await commit_files(node, action(Action.CREATE, "x/y", b"1"))
    await commit_files(node, action(Action.CREATE, "x", b"2"))
    assert await listing(node) == {"x": "100644"}


async def test_no_action_makes_an_empty_commit(node: OperationNode) -> None:
    await commit_files(node, action(Action.CREATE, "a", b"1"))
    await commit_files(node)
    assert await node.git("rev-list", "--count", "main") == "2"
    assert await node.git("diff", "--name-only", "main~1", "main") == ""


@pytest.mark.parametrize(
    ("kind", "path", "code", "text", "reason"),
    [
        (Action.CREATE, "file", StatusCode.ALREADY_EXISTS, "A file with this name already exists", "FILE_EXISTS"),
        (
            Action.CREATE_DIR,
            "dir",
            StatusCode.ALREADY_EXISTS,
            "A directory with this name already exists",
            "DIRECTORY_EXISTS",
        ),
        (Action.CREATE_DIR, "file", StatusCode.ALREADY_EXISTS, "A file with this name already exists", "FILE_EXISTS"),
        (Action.UPDATE, "none", StatusCode.NOT_FOUND, "A file with this name doesn't exist", "FILE_NOT_FOUND"),
        (Action.DELETE, "none", StatusCode.NOT_FOUND, "A file with this name doesn't exist", "FILE_NOT_FOUND"),
        (Action.CHMOD, "none", StatusCode.NOT_FOUND, "A file with this name doesn't exist", "FILE_NOT_FOUND"),
        (Action.CREATE, "", StatusCode.INVALID_ARGUMENT, "You must provide a file path", "EMPTY_PATH"),
        (Action.CREATE, "a//b", StatusCode.INVALID_ARGUMENT, 'invalid path: "a//b"', "INVALID_PATH"),
        (
            Action.CREATE,
            "../x",
            StatusCode.INVALID_ARGUMENT,
            "Path cannot include directory traversal",
            "DIRECTORY_TRAVERSAL",
        ),
    ],
)
async def test_actions_that_cannot_be_done(
    node: OperationNode, kind: Action.ActionType, path: str, code: StatusCode, text: str, reason: str
) -> None:
    await commit_files(node, action(Action.CREATE, "file", b"1"), action(Action.CREATE, "dir/x", b"1"))
    before = count_objects(node.path)
    with pytest.raises(StatusError) as caught:
        await commit_files(node, action(kind, path, b"2"))
    assert (caught.value.code, caught.value.message) == (code, text)
    detail = first_detail(caught.value.details, UserCommitFilesError)
    assert isinstance(detail, UserCommitFilesError)
    assert IndexErrorDetail.ErrorType.Name(detail.index_update.error_type) == f"ERROR_TYPE_{reason}"
    assert detail.index_update.path == path.encode()
    assert count_objects(node.path) == before


@pytest.mark.parametrize("path", [".git/x", "a/.GIT/config", ".git"])
async def test_git_directories_are_refused(node: OperationNode, path: str) -> None:
    with pytest.raises(InternalError) as caught:
        await commit_files(node, action(Action.CREATE, path, b"1"))
    assert str(caught.value) == f"invalid path: '{path}'"
    assert count_objects(node.path) == 0


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"commit_message": b""}, "empty CommitMessage"),
        ({"branch_name": b""}, "empty BranchName"),
        (
            {"expected_old_oid": "x"},
            'invalid expected old object ID: invalid object ID: "x", expected length 40, got 1',
        ),
        ({"expected_old_oid": "a" * 40}, "cannot resolve expected old object ID: reference not found"),
        (
            {"commit_author_name": b" ", "commit_author_email": b"x"},
            "commit: failed to parse signature - Signature cannot have an empty name or email",
        ),
    ],
)
async def test_bad_headers(node: OperationNode, fields: dict[str, object], text: str) -> None:
    with pytest.raises(PraefectError) as caught:
        await commit_files(node, action(Action.CREATE, "a", b"1"), **fields)
    assert code_of(caught.value) is StatusCode.INVALID_ARGUMENT
    assert str(caught.value) == text


async def test_header_comes_first(node: OperationNode) -> None:
    with pytest.raises(InvalidArgumentError, match="empty UserCommitFilesRequestHeader"):
        await node.service.user_commit_files(stream_of(action(Action.CREATE, "a")), a_call())


async def test_user_is_needed(node: OperationNode) -> None:
    request = header(node)
    request.header.ClearField("user")
    with pytest.raises(InvalidArgumentError, match=r"^empty User$"):
        await node.service.user_commit_files(stream_of([request]), a_call())


async def test_new_branch_from_another(node: OperationNode) -> None:
    await commit_files(node, action(Action.CREATE, "a", b"1"))
    response = await commit_files(
        node, action(Action.CREATE, "b", b"2"), branch_name=b"topic", start_branch_name=b"main"
    )
    assert response.branch_update.branch_created
    assert not response.branch_update.repo_created
    assert await node.git("rev-parse", "topic~1") == await node.git("rev-parse", "main")


async def test_missing_start_branch(node: OperationNode) -> None:
    await commit_files(node, action(Action.CREATE, "a", b"1"))
    with pytest.raises(PraefectError) as caught:
        await commit_files(node, branch_name=b"topic", start_branch_name=b"x")
    assert code_of(caught.value) is StatusCode.INTERNAL
    assert str(caught.value).startswith('resolve parent commit: resolving refish "refs/heads/x^{commit}" in ')


async def test_branch_that_moved_is_left_alone(node: OperationNode) -> None:
    first = (await commit_files(node, action(Action.CREATE, "a", b"1"))).branch_update.commit_id
    second = (await commit_files(node, action(Action.CREATE, "b", b"1"))).branch_update.commit_id
    with pytest.raises(PraefectError) as caught:
        await commit_files(node, action(Action.CREATE, "c", b"1"), start_sha=first)
    assert code_of(caught.value) is StatusCode.FAILED_PRECONDITION
    assert str(caught.value) == "reference update: reference does not point to expected object"
    assert await node.git("rev-parse", "main") == second
    forced = await commit_files(node, action(Action.CREATE, "c", b"1"), start_sha=first, force=True)
    assert await node.git("rev-parse", "main") == forced.branch_update.commit_id


async def test_front_door_refuses(node: OperationNode) -> None:
    node.hooks.door.refuse("no pushes today")
    with pytest.raises(StatusError) as caught:
        await commit_files(node, action(Action.CREATE, "a", b"1"), transaction="primary")
    assert caught.value.code is StatusCode.PERMISSION_DENIED
    assert caught.value.message == (
        "denied by access checks: update reference: running pre-receive hooks: GitLab: no pushes today"
    )
    detail = first_detail(caught.value.details, UserCommitFilesError)
    assert isinstance(detail, UserCommitFilesError)
    assert detail.access_check.error_message == "no pushes today"
    assert detail.access_check.user_id == "user-7"
    assert detail.access_check.protocol == "web"
    assert detail.access_check.changes.startswith(f"{ZERO} ".encode())
    assert detail.access_check.changes.endswith(b" refs/heads/main\n")
    assert node.hooks.voters.stops == 1
    assert count_objects(node.path) == 0


async def test_custom_hook_refuses(node: OperationNode) -> None:
    node.hooks.install_hook("pre-receive", "echo out; echo reason >&2; exit 1")
    with pytest.raises(StatusError) as caught:
        await commit_files(node, action(Action.CREATE, "a", b"1"))
    assert caught.value.code is StatusCode.PERMISSION_DENIED
    assert caught.value.message == ("denied by custom hooks: update reference: running pre-receive hooks: reason\n")
    detail = first_detail(caught.value.details, UserCommitFilesError)
    assert isinstance(detail, UserCommitFilesError)
    assert (detail.custom_hook.stdout, detail.custom_hook.stderr) == (b"out\n", b"reason\n")
    assert detail.custom_hook.hook_type == detail.custom_hook.HOOK_TYPE_PRERECEIVE
    assert count_objects(node.path) == 0


async def test_silent_custom_hook_is_named(node: OperationNode) -> None:
    node.hooks.install_hook("pre-receive", "exit 1")
    with pytest.raises(StatusError) as caught:
        await commit_files(node, action(Action.CREATE, "a", b"1"))
    program = node.path / "custom_hooks" / "pre-receive"
    assert caught.value.message.endswith(f'executing custom hooks: error executing "{program}": exit status 1')


async def test_failing_custom_post_receive_hook_does_not_fail_the_commit(node: OperationNode) -> None:
    node.hooks.install_hook("post-receive", "exit 1")
    response = await commit_files(node, action(Action.CREATE, "a", b"1"), transaction="primary")
    assert response.branch_update.commit_id == await node.git("rev-parse", "main")
    assert node.hooks.voters.stops == 1


async def test_front_door_that_refuses_after_the_change_refuses_no_commit(node: OperationNode) -> None:
    node.hooks.door.answer("/post_receive", {"message": "no"}, 401)
    with pytest.raises(PraefectError) as caught:
        await commit_files(node, action(Action.CREATE, "a", b"1"))
    assert code_of(caught.value) is StatusCode.INTERNAL
    assert str(caught.value) == "update reference: running post-receive hooks: GitLab: no"
    assert await node.hooks.references()


@pytest.mark.parametrize(
    ("index", "text"),
    [
        (0, "update reference: running pre-receive hooks: synchronizing pre-receive hook: vote failed: "),
        (1, "update reference: running update hooks: synchronizing update hook: vote failed: "),
        (2, "update reference: executing pre-locked reference-transaction hook: error voting on transaction: "),
        (3, "update reference: executing preparatory reference-transaction hook: error voting on transaction: "),
        (4, "update reference: executing committing reference-transaction hook: error voting on transaction: "),
        (5, "update reference: running post-receive hooks: synchronizing post-receive hook: vote failed: "),
    ],
)
async def test_refused_votes(node: OperationNode, index: int, text: str) -> None:
    node.hooks.voters.failures[index] = TransactionAbortedError()
    with pytest.raises(PraefectError) as caught:
        await commit_files(node, action(Action.CREATE, "a", b"1"), transaction="primary")
    assert code_of(caught.value) is StatusCode.INTERNAL
    assert str(caught.value) == f"{text}transaction was aborted"
    assert bool(await node.hooks.references()) == (index >= 4)
    assert not list(node.path.rglob("*.lock"))


async def test_time_zone_of_the_user(node: OperationNode) -> None:
    user = type(USER)()
    user.CopyFrom(USER)
    user.timezone = "Asia/Kolkata"
    request = header(node)
    request.header.user.CopyFrom(user)
    await node.service.user_commit_files(stream_of([request]), a_call())
    assert await node.git("log", "-1", "--format=%ad", "--date=iso", "main") == "2026-01-01 05:30:00 +0530"
    request.header.user.timezone = "Mars/X"
    with pytest.raises(InvalidArgumentError, match=r"^unknown time zone Mars/X$"):
        await node.service.user_commit_files(stream_of([request]), a_call())


async def test_sha256_repository(tmp_path: Path) -> None:
    async with operation_node(tmp_path, object_format="sha256") as node:
        await commit_files(node, action(Action.CREATE, "a/b", b"1"), action(Action.CREATE, "c", b"2"))
        response = await commit_files(node, action(Action.UPDATE, "a/b", b"3"))
        assert len(response.branch_update.commit_id) == 64
        assert await node.git("show", "main:a/b") == "3"
        await node.git("fsck", "--strict")
