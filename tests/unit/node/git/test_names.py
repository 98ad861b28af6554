from __future__ import annotations

import re

import pytest

from praefect.domain.references import is_reference_name
from praefect.node.git.names import (
    InvalidReferenceNameError,
    InvalidRevisionError,
    check_pseudo_revision,
    check_reference_name,
    check_revision,
)
from praefect.node.git.object_format import InvalidObjectIdError, ObjectFormat
from praefect.node.git.references import decode_page_token, encode_page_token, ref_pattern


@pytest.mark.parametrize(
    ("revision", "text"),
    [
        (b"", "empty revision"),
        (b"-a", "revision can't start with '-'"),
        (b"a b", "revision can't contain whitespace"),
        (b"a\nb", "revision can't contain whitespace"),
        (b"a\0b", "revision can't contain NUL"),
        (b"a:b", "revision can't contain ':'"),
        (b"a\\b", "revision can't contain '\\'"),
    ],
)
def test_bad_revision(revision: bytes, text: str) -> None:
    with pytest.raises(InvalidRevisionError, match=f"^{re.escape(text)}$"):
        check_revision(revision)


@pytest.mark.parametrize("revision", [b"main", b"HEAD~2^{tree}", b"refs/heads/\xff", b"a@{1}"])
def test_good_revision(revision: bytes) -> None:
    assert check_revision(revision) == revision


def test_paths_are_allowed_where_asked_for() -> None:
    assert check_revision(b"main:a b", allow_path=True) == b"main:a b"
    assert check_revision(b"", allow_empty=True) == b""


@pytest.mark.parametrize("revision", [b"--all", b"--not", b"--branches", b"--branches=x*", b"--glob=refs/x", b"^main"])
def test_pseudo_revisions(revision: bytes) -> None:
    assert check_pseudo_revision(revision) == revision


@pytest.mark.parametrize("revision", [b"--output=/etc/passwd", b"--allx", b"--stdin", b"-x", b"--glob=a\n--output=b"])
def test_other_options_are_no_revisions(revision: bytes) -> None:
    with pytest.raises(InvalidRevisionError):
        check_pseudo_revision(revision)


@pytest.mark.parametrize("name", [b"refs/heads/main", b"refs/heads/-x", b"refs/heads/HEAD", b"refs/heads/\xc3\xa4"])
def test_good_reference(name: bytes) -> None:
    assert check_reference_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        b"main",
        b"HEAD",
        b"refs/heads/",
        b"refs/heads/a..b",
        b"refs/heads/.a",
        b"refs/heads/a.lock",
        b"refs/heads/a.lock/b",
        b"refs//a",
        b"refs/heads/a b",
        b"refs/heads/a\x7f",
        b"refs/heads/a@{b",
        b"refs/heads/a.",
        b"refs/heads/a~b",
    ],
)
def test_bad_reference(name: bytes) -> None:
    assert not is_reference_name(name)
    with pytest.raises(InvalidReferenceNameError):
        check_reference_name(name)


def test_object_id_has_the_repositorys_length() -> None:
    assert ObjectFormat.SHA1.check_id("a" * 40) == b"a" * 40
    with pytest.raises(InvalidObjectIdError, match=r'^invalid object ID: "zz", expected length 40, got 2$'):
        ObjectFormat.SHA1.check_id("zz")
    with pytest.raises(InvalidObjectIdError):
        ObjectFormat.SHA1.check_id("A" * 40)
    with pytest.raises(InvalidObjectIdError):
        ObjectFormat.SHA256.check_id("a" * 40)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        (b"refs/heads/", b"refs/heads/a", True),
        (b"refs/heads", b"refs/heads/a/b", True),
        (b"refs/hea", b"refs/heads/a", False),
        (b"refs/heads/a", b"refs/heads/a", True),
        (b"refs/heads/a", b"refs/heads/ab", False),
        (b"refs/heads/*", b"refs/heads/a", True),
        (b"refs/heads/*", b"refs/heads/a/b", False),
        (b"refs/**", b"refs/heads/a/b", True),
        (b"refs/heads/?", b"refs/heads/a", True),
        (b"refs/heads/[ab]", b"refs/heads/c", False),
    ],
)
def test_patterns_match_as_for_each_ref_does(pattern: bytes, name: bytes, matches: bool) -> None:
    assert (ref_pattern(pattern).match(name) is not None) is matches


def test_page_token_is_encoded_or_raw() -> None:
    token = encode_page_token("ref_name", "refs/heads/a")
    assert decode_page_token(token, "ref_name") == "refs/heads/a"
    assert decode_page_token("refs/heads/a", "ref_name") == "refs/heads/a"
