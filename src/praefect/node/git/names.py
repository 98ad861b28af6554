"""What may be a reference name or a revision; checked before git sees a value."""

from __future__ import annotations

import re

from praefect.domain.errors import InvalidArgumentError
from praefect.domain.references import is_reference_name

_WHITESPACE = re.compile(rb"\s")

HEAD = b"HEAD"
HEADS_PREFIX = b"refs/heads/"
TAGS_PREFIX = b"refs/tags/"


class InvalidRevisionError(InvalidArgumentError):
    """A value is no revision; the text says which rule it breaks."""


class InvalidReferenceNameError(InvalidArgumentError):
    """A value is no full name of a reference; the text says which rule it breaks."""


def check_revision(revision: bytes, *, allow_empty: bool = False, allow_path: bool = False) -> bytes:
    """Return ``revision`` if it may be given to git.

    Raises:
        InvalidRevisionError: it may not.
    """
    if not revision:
        if allow_empty:
            return revision
        raise InvalidRevisionError("empty revision")
    if revision.startswith(b"-"):
        raise InvalidRevisionError("revision can't start with '-'")
    if _WHITESPACE.search(revision if not allow_path else revision.partition(b":")[0]):
        raise InvalidRevisionError("revision can't contain whitespace")
    if b"\0" in revision:
        raise InvalidRevisionError("revision can't contain NUL")
    if b":" in revision and not allow_path:
        raise InvalidRevisionError("revision can't contain ':'")
    if b"\\" in revision:
        raise InvalidRevisionError("revision can't contain '\\'")
    return revision


_PSEUDO_REVISIONS = (b"--not", b"--all", b"--branches", b"--tags", b"--remotes", b"--glob=", b"--exclude=")


def check_pseudo_revision(revision: bytes, *, allow_path: bool = False) -> bytes:
    """Return ``revision`` if it may be given to ``rev-list --stdin``, where some options select revisions.

    Raises:
        InvalidRevisionError: it may not.
    """
    if revision.startswith(b"--"):
        for pseudo in _PSEUDO_REVISIONS:
            if revision == pseudo or (revision.startswith(pseudo.rstrip(b"=") + b"=") and b"\n" not in revision):
                return revision
    return check_revision(revision, allow_path=allow_path)


def check_reference_name(name: bytes) -> bytes:
    """Return ``name`` if it is a full name below ``refs/``.

    Raises:
        InvalidReferenceNameError: it is not.
    """
    if not name.startswith(b"refs/"):
        raise InvalidReferenceNameError("reference is not fully qualified")
    if b".." in name:
        raise InvalidReferenceNameError("reference must not contain double dots")
    if not is_reference_name(name):
        raise InvalidReferenceNameError("invalid reference format")
    return name


def branch_reference(name: bytes) -> bytes:
    """Return the full name of a branch."""
    return HEADS_PREFIX + name


def tag_reference(name: bytes) -> bytes:
    """Return the full name of a tag."""
    return TAGS_PREFIX + name
