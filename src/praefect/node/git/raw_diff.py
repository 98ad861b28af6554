"""The raw form of a diff: which files differ, without their contents."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RawChange:
    """One changed file.

    Attributes:
        status: git's letter: A, C, D, M, R, T, U or X.
        score: similarity of renames and copies in percent, else 0.
        old_path: where the file was; of an added file, where it is.
        commit: the commit of a listing of several, else empty.
    """

    old_mode: int
    new_mode: int
    old_oid: str
    new_oid: str
    status: str
    score: int
    old_path: bytes
    new_path: bytes
    commit: str = ""


def parse_raw_diff(output: bytes) -> list[RawChange]:
    """Read the output of ``--raw -z``; ids that stand alone between entries are the commits of what follows.

    Source: git-diff-tree(1), "RAW OUTPUT FORMAT".
    """
    fields = iter(output.split(b"\0"))
    changes = []
    commit = ""
    for each in fields:
        # A pair of trees is a line of its own, a commit ends with NUL.
        before, newline, field = each.rpartition(b"\n") if b"\n:" in each else (b"", b"", each)
        if newline:
            commit = before.strip().decode("ascii", "replace")
        if not field.startswith(b":"):
            commit = field.strip().decode("ascii", "replace") or commit
            continue
        old_mode, new_mode, old_oid, new_oid, status = field[1:].split(b" ", 4)
        old_path = next(fields)
        new_path = next(fields) if status[:1] in (b"R", b"C") else old_path
        changes.append(
            RawChange(
                old_mode=int(old_mode, 8),
                new_mode=int(new_mode, 8),
                old_oid=old_oid.decode(),
                new_oid=new_oid.decode(),
                status=status[:1].decode(),
                score=int(status[1:] or b"0"),
                old_path=old_path,
                new_path=new_path,
                commit=commit,
            )
        )
    return changes
