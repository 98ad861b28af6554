"""What custom hooks refuse, and which of their versions may be there in the end."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.fault.checks.hooks import must_be_refused, possible_versions, version_of
from tests.fault.model.history import Answer, HookChange, Reference, Write
from tests.fault.traffic.hooks import archive


def _write(new: str, method: str = "git push") -> Write:
    return Write(
        reference=Reference("r", "refs/heads/a"),
        old="",
        new=new,
        answer=Answer.ACKNOWLEDGED,
        began=0.0,
        ended=1.0,
        praefect="praefect",
        method=method,
    )


def _changes(*answers: Answer) -> list[HookChange]:
    return [
        HookChange(repository="r", version=number, answer=answer, began=0.0, ended=1.0, praefect="praefect")
        for number, answer in enumerate(answers, start=1)
    ]


@pytest.mark.parametrize("digit", "0123456789abcdef")
def test_hooks_refuse_what_the_check_expects(tmp_path: Path, digit: str) -> None:
    oid = "a" * 39 + digit
    with tarfile.open(fileobj=io.BytesIO(archive(3))) as tar:
        tar.extractall(tmp_path, filter="data")
    hooks = tmp_path / "custom_hooks"
    before = subprocess.run([hooks / "pre-receive"], input=f"{'b' * 40} {oid} refs/heads/a\n".encode(), check=False)
    update = subprocess.run([hooks / "update", "refs/heads/a", "b" * 40, oid], check=False)

    assert version_of(tmp_path) == 3
    assert must_be_refused(_write(oid)) == bool(before.returncode or update.returncode)
    assert not must_be_refused(_write(oid, "WriteRef"))


@pytest.mark.parametrize(
    ("answers", "versions"),
    [
        ([], {0}),
        ([Answer.ACKNOWLEDGED, Answer.REFUSED], {1}),
        ([Answer.ACKNOWLEDGED, Answer.IN_DOUBT, Answer.REFUSED], {1, 2}),
        ([Answer.IN_DOUBT, Answer.ACKNOWLEDGED], {1, 2}),
        ([Answer.REFUSED], {0}),
    ],
)
def test_versions_follow_the_answers(answers: list[Answer], versions: set[int]) -> None:
    assert possible_versions(_changes(*answers)) == versions


def test_mixture_is_no_version(tmp_path: Path) -> None:
    for version in (1, 2):
        with tarfile.open(fileobj=io.BytesIO(archive(version))) as tar:
            chosen = [one for one in tar.getmembers() if version == 1 or one.name.endswith("update")]
            tar.extractall(tmp_path, members=chosen, filter="data")

    assert version_of(tmp_path) == 0
