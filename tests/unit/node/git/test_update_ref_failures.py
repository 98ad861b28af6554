"""What git says when it refuses, old and new wordings, and what it is taken for."""

from __future__ import annotations

import pytest

from praefect.node.git.update_ref import (
    FileDirectoryConflictError,
    InTransactionConflictError,
    InvalidReferenceFormatError,
    MultipleUpdatesError,
    NonCommitTargetError,
    PackedReferencesLockedError,
    ReferenceExistsError,
    ReferenceLockedError,
    ReferenceMismatchError,
    ReferenceUpdateError,
    TargetMissingError,
    classify_failure,
)

OID = b"1" * 40
CASES: list[tuple[bytes, type[ReferenceUpdateError], bytes]] = [
    (
        b"fatal: prepare: cannot lock ref 'refs/heads/x': Unable to create '/r/refs/heads/x.lock': File exists.",
        ReferenceLockedError,
        b"refs/heads/x",
    ),
    (b"fatal: prepare: Unable to create '/r/packed-refs.lock': File exists.", PackedReferencesLockedError, b""),
    (b"fatal: invalid ref format: refs/heads/a..b", InvalidReferenceFormatError, b"refs/heads/a..b"),
    (
        b"fatal: cannot lock ref 'refs/heads/a/b': 'refs/heads/a' exists; cannot create 'refs/heads/a/b'",
        FileDirectoryConflictError,
        b"refs/heads/a",
    ),
    (
        (
            b"fatal: prepare: cannot lock ref 'refs/heads/a/b': "
            b"cannot process 'refs/heads/a' and 'refs/heads/a/b' at the same time"
        ),
        InTransactionConflictError,
        b"refs/heads/a",
    ),
    (
        b"fatal: prepare: cannot lock ref 'refs/heads/x': reference already exists",
        ReferenceExistsError,
        b"refs/heads/x",
    ),
    (
        b"fatal: prepare: cannot update ref 'refs/heads/x': trying to write ref 'refs/heads/x' with nonexistent object "
        + OID,
        TargetMissingError,
        b"refs/heads/x",
    ),
    (
        b"fatal: cannot update ref 'refs/heads/x': trying to write non-commit object "
        + OID
        + b" to branch 'refs/heads/x'",
        NonCommitTargetError,
        b"refs/heads/x",
    ),
    (b"fatal: multiple updates for ref 'refs/heads/x' not allowed", MultipleUpdatesError, b"refs/heads/x"),
    (
        b"fatal: prepare: cannot lock ref 'refs/heads/x': is at " + OID + b" but expected " + b"2" * 40,
        ReferenceMismatchError,
        b"refs/heads/x",
    ),
    (
        b"fatal: prepare: cannot lock ref 'refs/heads/x': unable to resolve reference 'refs/heads/x'",
        ReferenceMismatchError,
        b"refs/heads/x",
    ),
]


@pytest.mark.parametrize(("stderr", "error", "reference"), CASES)
def test_failure_is_recognised(stderr: bytes, error: type[ReferenceUpdateError], reference: bytes) -> None:
    found = classify_failure(stderr)
    assert type(found) is error
    assert found is not None
    assert found.reference == reference


def test_mismatch_tells_both_values() -> None:
    found = classify_failure(b"cannot lock ref 'refs/heads/x': is at " + OID + b" but expected " + b"2" * 40)
    assert isinstance(found, ReferenceMismatchError)
    assert (found.actual, found.expected) == (OID, b"2" * 40)


def test_expected_absence_is_an_existing_reference() -> None:
    found = classify_failure(b"cannot lock ref 'refs/heads/x': is at " + OID + b" but expected " + b"0" * 40)
    assert isinstance(found, ReferenceExistsError)


def test_unknown_failure_is_not_guessed() -> None:
    assert classify_failure(b"fatal: disk is on fire") is None
