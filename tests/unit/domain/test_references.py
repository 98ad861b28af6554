"""Names of references and branches, beside git's own judgement in the node's tests."""

from __future__ import annotations

import pytest

from praefect.domain.references import is_branch_name


@pytest.mark.parametrize("name", ["main", "a/b", "ümlaut", "x-", "a.b", "@", "a@b", "head"])
def test_names_of_branches(name: str) -> None:
    assert is_branch_name(name.encode())


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "-x",
            "a..b",
            "a b",
            "a\tb",
            "a\0b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a/",
            "/a",
            "a//b",
            ".a",
        ),
        *("a/.b", "a.lock", "a.lock/b", "a.", "a@{b", "HEAD", "a\x7f"),
    ],
)
def test_what_is_no_name_of_a_branch(name: str) -> None:
    assert not is_branch_name(name.encode())
