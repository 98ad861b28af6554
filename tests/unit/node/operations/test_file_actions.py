"""Paths of file actions: what they become, and which are refused."""

from __future__ import annotations

import pytest

from praefect.domain.errors import InternalError
from praefect.node.operations.file_actions import FileActionError, check_path


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        (b"a", b"a"),
        (b"a/b", b"a/b"),
        (b"/a", b"a"),
        (b"./a/./b", b"a/b"),
        (b"a/../b", b"b"),
        (b"a/", b"a"),
        (b"\xff", b"\xff"),
        (b".github/x", b".github/x"),
        (b"a.git/x", b"a.git/x"),
    ],
)
def test_paths_that_are_taken(path: bytes, cleaned: bytes) -> None:
    assert check_path(path) == cleaned


@pytest.mark.parametrize("path", [b"", b"a//b", b"..", b"../a", b"a/../../b", b"/../a"])
def test_paths_that_are_refused_with_a_detail(path: bytes) -> None:
    with pytest.raises(FileActionError):
        check_path(path)


@pytest.mark.parametrize(
    "path", [b".", b"/", b".git", b".GIT/config", b"a/.git/hooks", b".git. /x", b"git~1/x", b"a\0b"]
)
def test_paths_into_gits_own_directory(path: bytes) -> None:
    with pytest.raises(InternalError, match="invalid path"):
        check_path(path)
