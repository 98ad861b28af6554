"""Branches and tags of users: created, moved and deleted, with the texts and details that clients decide on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from praefect.domain.errors import PraefectError
from praefect.node.voting import Phase
from praefect.proto.operations_pb2 import (
    UserCreateBranchError,
    UserCreateBranchRequest,
    UserCreateTagError,
    UserCreateTagRequest,
    UserDeleteBranchError,
    UserDeleteBranchRequest,
    UserDeleteTagRequest,
    UserUpdateBranchRequest,
)
from praefect.transport.grpc.status import StatusCode, StatusError, code_of, first_detail
from tests.support.hook_node import commit, make_work_tree, run_git
from tests.support.operation_node import USER, OperationNode, a_call, operation_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ZERO = "0" * 40
VOTED_PHASES = [
    Phase.SYNCHRONIZED,
    Phase.SYNCHRONIZED,
    Phase.PREPARING,
    Phase.PREPARED,
    Phase.COMMITTED,
    Phase.SYNCHRONIZED,
]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[OperationNode]:
    async with operation_node(tmp_path) as node:
        work_tree = await make_work_tree(tmp_path / "work")
        await commit(work_tree, "b", "2\n")
        await run_git("push", "--quiet", str(node.path), "main", cwd=work_tree)
        yield node


def create_branch(node: OperationNode, name: str, start: str = "main") -> UserCreateBranchRequest:
    return UserCreateBranchRequest(
        repository=node.hooks.repository.message(), user=USER, branch_name=name.encode(), start_point=start.encode()
    )


def delete_branch(node: OperationNode, name: str, **fields: str) -> UserDeleteBranchRequest:
    return UserDeleteBranchRequest(
        repository=node.hooks.repository.message(), user=USER, branch_name=name.encode(), **fields
    )


def create_tag(node: OperationNode, name: str, target: str = "main", message: str = "") -> UserCreateTagRequest:
    request = UserCreateTagRequest(
        repository=node.hooks.repository.message(),
        user=USER,
        tag_name=name.encode(),
        target_revision=target.encode(),
        message=message.encode(),
    )
    request.timestamp.FromJsonString("2026-01-01T00:00:00Z")
    return request


async def test_branch_is_created_with_votes(node: OperationNode) -> None:
    call = a_call(transaction="secondary")
    response = await node.service.user_create_branch(create_branch(node, "topic", "main~1"), call)
    assert response.branch.name == b"topic"
    assert response.branch.target_commit.id == await node.git("rev-parse", "main~1")
    assert response.branch.target_commit.subject == b"write a"
    assert await node.git("rev-parse", "topic") == response.branch.target_commit.id
    assert [phase for phase, _ in node.hooks.voters.votes] == VOTED_PHASES
    assert node.hooks.door.paths() == []


async def test_existing_branch_is_refused_after_the_hooks(node: OperationNode) -> None:
    with pytest.raises(PraefectError) as caught:
        await node.service.user_create_branch(create_branch(node, "main"), a_call(transaction="primary"))
    assert code_of(caught.value) is StatusCode.FAILED_PRECONDITION
    assert str(caught.value) == "reference update: reference already exists"
    assert [phase for phase, _ in node.hooks.voters.votes] == VOTED_PHASES[:3]


@pytest.mark.parametrize(
    ("name", "start", "code", "text"),
    [
        ("", "main", StatusCode.INVALID_ARGUMENT, "empty branch name"),
        ("x", "", StatusCode.INVALID_ARGUMENT, "empty start point"),
        ("x", "nowhere", StatusCode.FAILED_PRECONDITION, "revspec 'nowhere' not found"),
        ("x", "--all", StatusCode.FAILED_PRECONDITION, "revspec '--all' not found"),
        ("a..b", "main", StatusCode.FAILED_PRECONDITION, "reference update: invalid reference format"),
    ],
)
async def test_branches_that_cannot_be_created(
    node: OperationNode, name: str, start: str, code: StatusCode, text: str
) -> None:
    with pytest.raises(PraefectError) as caught:
        await node.service.user_create_branch(create_branch(node, name, start), a_call())
    assert (code_of(caught.value), str(caught.value)) == (code, text)


async def test_refused_branches_say_who_refused(node: OperationNode) -> None:
    node.hooks.install_hook("update", "echo never >&2; exit 1")
    with pytest.raises(StatusError) as caught:
        await node.service.user_create_branch(create_branch(node, "x"), a_call())
    assert caught.value.code is StatusCode.PERMISSION_DENIED
    assert caught.value.message == "creation denied by custom hooks: running update hooks: never\n"
    detail = first_detail(caught.value.details, UserCreateBranchError)
    assert isinstance(detail, UserCreateBranchError)
    assert detail.custom_hook.hook_type == detail.custom_hook.HOOK_TYPE_UPDATE
    node.hooks.door.refuse("no")
    with pytest.raises(PraefectError) as denied:
        await node.service.user_create_branch(create_branch(node, "x"), a_call())
    assert code_of(denied.value) is StatusCode.INTERNAL
    assert str(denied.value) == "running pre-receive hooks: GitLab: no"
    node.hooks.door.answer("/allowed", {}, 429)
    with pytest.raises(PraefectError) as limited:
        await node.service.user_create_branch(create_branch(node, "x"), a_call())
    assert code_of(limited.value) is StatusCode.RESOURCE_EXHAUSTED
    assert str(limited.value) == "running pre-receive hooks: GitLab: rate limited"


async def test_repository_without_a_name_at_the_front_door(node: OperationNode) -> None:
    request = create_branch(node, "x")
    request.repository.gl_repository = ""
    with pytest.raises(PraefectError) as caught:
        await node.service.user_create_branch(request, a_call())
    assert code_of(caught.value) is StatusCode.INTERNAL
    assert str(caught.value) == "running pre-receive hooks: repository not set"


async def test_branch_moves_between_commits(node: OperationNode) -> None:
    old, new = await node.git("rev-parse", "main"), await node.git("rev-parse", "main~1")
    request = UserUpdateBranchRequest(
        repository=node.hooks.repository.message(),
        user=USER,
        branch_name=b"main",
        newrev=new.encode(),
        oldrev=old.encode(),
    )
    response = await node.service.user_update_branch(request, a_call())
    assert response.pre_receive_error == ""
    assert await node.git("rev-parse", "main") == new
    with pytest.raises(PraefectError) as caught:
        await node.service.user_update_branch(request, a_call())
    assert code_of(caught.value) is StatusCode.FAILED_PRECONDITION
    assert str(caught.value) == "Could not update main. Please refresh and try again."
    request.newrev = b"x"
    with pytest.raises(PraefectError) as unreadable:
        await node.service.user_update_branch(request, a_call())
    assert code_of(unreadable.value) is StatusCode.INTERNAL
    assert str(unreadable.value) == 'could not parse newrev: invalid object ID: "x", expected length 40, got 1'


async def test_custom_hook_that_refuses_a_move_is_an_answer(node: OperationNode) -> None:
    node.hooks.install_hook("pre-receive", "echo no; exit 1")
    request = UserUpdateBranchRequest(
        repository=node.hooks.repository.message(),
        user=USER,
        branch_name=b"main",
        newrev=(await node.git("rev-parse", "main~1")).encode(),
        oldrev=(await node.git("rev-parse", "main")).encode(),
    )
    response = await node.service.user_update_branch(request, a_call())
    assert response.pre_receive_error == "no\n"
    assert await node.git("rev-list", "--count", "main") == "2"


async def test_branch_is_deleted_with_votes(node: OperationNode) -> None:
    await node.git("branch", "topic", "main")
    await node.git("pack-refs", "--all")
    await node.service.user_delete_branch(delete_branch(node, "topic"), a_call(transaction="primary"))
    assert await node.git("for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert [phase for phase, _ in node.hooks.voters.votes] == VOTED_PHASES
    with pytest.raises(PraefectError) as caught:
        await node.service.user_delete_branch(delete_branch(node, "topic"), a_call())
    assert code_of(caught.value) is StatusCode.FAILED_PRECONDITION
    assert str(caught.value) == 'branch not found: "topic"'


async def test_branch_with_another_value_is_not_deleted(node: OperationNode) -> None:
    await node.git("branch", "topic", "main")
    expected = await node.git("rev-parse", "main~1")
    with pytest.raises(StatusError) as caught:
        await node.service.user_delete_branch(delete_branch(node, "topic", expected_old_oid=expected), a_call())
    assert caught.value.code is StatusCode.FAILED_PRECONDITION
    detail = first_detail(caught.value.details, UserDeleteBranchError)
    assert isinstance(detail, UserDeleteBranchError)
    assert detail.reference_update.reference_name == b"refs/heads/topic"
    assert detail.reference_update.old_oid == expected
    assert detail.reference_update.new_oid == ZERO
    assert await node.git("rev-parse", "topic")


async def test_deletion_that_is_refused(node: OperationNode) -> None:
    node.hooks.door.refuse("protected")
    with pytest.raises(StatusError) as caught:
        await node.service.user_delete_branch(delete_branch(node, "main"), a_call())
    assert caught.value.code is StatusCode.PERMISSION_DENIED
    assert caught.value.message == ("deletion denied by access checks: running pre-receive hooks: GitLab: protected")
    detail = first_detail(caught.value.details, UserDeleteBranchError)
    assert isinstance(detail, UserDeleteBranchError)
    assert detail.access_check.error_message == "protected"


async def test_lightweight_and_annotated_tags(node: OperationNode) -> None:
    head = await node.git("rev-parse", "main")
    light = await node.service.user_create_tag(create_tag(node, "v1"), a_call())
    assert (light.tag.name, light.tag.id, light.tag.message) == (b"v1", head, b"")
    assert light.tag.target_commit.id == head
    annotated = await node.service.user_create_tag(create_tag(node, "v2", message="second"), a_call())
    assert annotated.tag.message == b"second"
    assert annotated.tag.target_commit.id == head
    assert annotated.tag.tagger.name == b"Jane"
    assert await node.git("cat-file", "-t", "v2") == "tag"
    assert annotated.tag.id == await node.git("rev-parse", "v2")
    assert "tagger Jane <j@x.org> 1767225600 +0000" in await node.git("cat-file", "tag", "v2")
    peeled = await node.service.user_create_tag(create_tag(node, "v3", "v2"), a_call())
    assert peeled.tag.id == head
    nested = await node.service.user_create_tag(create_tag(node, "v4", "v2", "on a tag"), a_call())
    assert nested.tag.target_commit.id == head
    assert f"object {annotated.tag.id}\ntype tag" in await node.git("cat-file", "tag", "v4")


async def test_tags_that_cannot_be_created(node: OperationNode) -> None:
    head = await node.git("rev-parse", "main")
    await node.git("tag", "v1")
    with pytest.raises(StatusError) as exists:
        await node.service.user_create_tag(create_tag(node, "v1"), a_call())
    assert (exists.value.code, exists.value.message) == (StatusCode.ALREADY_EXISTS, "tag reference exists already")
    detail = first_detail(exists.value.details, UserCreateTagError)
    assert isinstance(detail, UserCreateTagError)
    assert detail.reference_exists.reference_name == b"refs/tags/v1"
    assert detail.reference_exists.oid == head
    with pytest.raises(StatusError) as bad:
        await node.service.user_create_tag(create_tag(node, "a..b"), a_call())
    assert bad.value.code is StatusCode.FAILED_PRECONDITION
    assert bad.value.message == "reference update failed: reference update: invalid reference format"
    with pytest.raises(PraefectError) as worse:
        await node.service.user_create_tag(create_tag(node, "a..b", message="m"), a_call())
    assert code_of(worse.value) in {StatusCode.NOT_FOUND, StatusCode.FAILED_PRECONDITION}
    with pytest.raises(PraefectError) as nowhere:
        await node.service.user_create_tag(create_tag(node, "v9", "nowhere"), a_call())
    assert code_of(nowhere.value) is StatusCode.FAILED_PRECONDITION
    with pytest.raises(PraefectError) as nul:
        await node.service.user_create_tag(create_tag(node, "v9", message="a\0b"), a_call())
    assert (code_of(nul.value), str(nul.value)) == (
        StatusCode.INVALID_ARGUMENT,
        "tag message contains NUL byte",
    )


async def test_tag_is_deleted(node: OperationNode) -> None:
    await node.git("tag", "v1")
    request = UserDeleteTagRequest(repository=node.hooks.repository.message(), user=USER, tag_name=b"v1")
    node.hooks.install_hook("pre-receive", "echo keep it >&2; exit 1")
    assert (await node.service.user_delete_tag(request, a_call())).pre_receive_error == "keep it\n"
    node.hooks.install_hook("pre-receive", "exit 0")
    assert (await node.service.user_delete_tag(request, a_call())).pre_receive_error == ""
    with pytest.raises(PraefectError) as caught:
        await node.service.user_delete_tag(request, a_call())
    assert (code_of(caught.value), str(caught.value)) == (StatusCode.FAILED_PRECONDITION, "tag not found: v1")
