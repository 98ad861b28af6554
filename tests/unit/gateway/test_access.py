"""Who somebody is, and which pushes are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from praefect.config.gateway import ProtectionConfig, UserConfig
from praefect.gateway.access import Access, PushRefusedError, User
from praefect.gateway.projects import InvalidProjectPathError, Project, ProjectId, ProjectState, check_path

OLD, NEW = "0" * 40, "a" * 40
ACCESS = Access(
    [
        UserConfig(username="root", token="secret-1"),
        UserConfig(username="guest", token="secret-2", read_only=True),
    ],
    [ProtectionConfig(project="team/*", branch="release-*", message="Releases are frozen.")],
)
ROOT = User(id=1, username="root", read_only=False)
PROJECT = Project(
    id=ProjectId(1),
    path="team/app",
    name="app",
    storage="default",
    default_branch="main",
    state=ProjectState.READY,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("username", "token", "expected"),
    [
        ("root", "secret-1", "root"),
        (None, "secret-1", "root"),
        ("oauth2", "secret-2", "guest"),
        ("guest", "secret-1", None),
        ("root", "secret-2", None),
        ("root", "", None),
        ("root", "secret-1\udcff", None),
    ],
)
def test_token_and_name_must_belong_together(username: str | None, token: str, expected: str | None) -> None:
    user = ACCESS.authenticate(username, token)

    assert (user.username if user else None) == expected


def test_hooks_name_users_by_number() -> None:
    assert ACCESS.user_of("user-1") == ROOT
    assert ACCESS.user_of("user-9") is None
    assert ACCESS.user_of("key-1") is None


def test_push_to_a_protected_branch_is_refused_with_its_message() -> None:
    with pytest.raises(PushRefusedError, match=r"Releases are frozen\."):
        ACCESS.check_push(ROOT, PROJECT, f"{OLD} {NEW} refs/heads/main\n{OLD} {NEW} refs/heads/release-1\n")


def test_other_branches_and_tags_may_be_pushed() -> None:
    ACCESS.check_push(ROOT, PROJECT, f"{OLD} {NEW} refs/heads/main\n{OLD} {NEW} refs/tags/release-1\n")


@pytest.mark.parametrize("changes", ["nonsense", f"{OLD} {NEW}", f"{OLD} {NEW} "])
def test_malformed_changes_are_refused(changes: str) -> None:
    with pytest.raises(PushRefusedError):
        ACCESS.check_push(ROOT, PROJECT, changes)


def test_readers_do_not_push() -> None:
    guest = ACCESS.user_of("user-2")
    assert guest is not None
    with pytest.raises(PushRefusedError, match="not allowed to push"):
        ACCESS.check_push(guest, PROJECT, f"{OLD} {NEW} refs/heads/main\n")


@pytest.mark.parametrize("path", ["a", "team/app", "Team_1/my-app.2"])
def test_project_paths(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "../a", "a/..", "a..b", ".a", "-a", "a.git", "api/x", "-/x", "a b", "a\n", "a" * 2000],
)
def test_paths_that_name_no_project(path: str) -> None:
    with pytest.raises(InvalidProjectPathError):
        check_path(path)
