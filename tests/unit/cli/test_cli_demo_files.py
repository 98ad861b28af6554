"""What the demo makes of its files: logs for people to read, and files that somebody has damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from praefect.app.layout import DemoDirectoryError, Layout
from praefect.app.processes import TAIL_BYTES, ProcessCrashedError, readable, tail


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '{"level":"info","msg":"Starting","time":"2026-01-01T00:00:00Z","pid":1}',
            "2026-01-01T00:00:00Z info Starting",
        ),
        (
            '{"msg":"m","error":"a b","n":1,"ok":true,"none":null,"empty":""}',
            'm error="a b" n=1 ok=true none=null empty=""',
        ),
        ('{"msg":"m","list":["a", 1]}', 'm list="[\\"a\\", 1]"'),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ('{"msg": "cut', '{"msg": "cut'),
        ("[1]", "[1]"),
    ],
)
def test_log_lines_are_readable(line: str, expected: str) -> None:
    assert readable(line) == expected


def test_a_crash_shows_the_end_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "gitaly-1.log"
    log.write_text("".join(f'{{"msg":"line {number}","time":"t","level":"error"}}\n' for number in range(1000)))
    assert log.stat().st_size > TAIL_BYTES
    lines = str(ProcessCrashedError("gitaly-1", -9, log)).splitlines()
    assert lines[0] == f"gitaly-1 was killed by signal 9; the end of {log}:"
    assert lines[1:] == [f"  t error line {number}" for number in range(988, 1000)]


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == "  (no log: No such file or directory)"
    (tmp_path / "empty.log").touch()
    assert tail(tmp_path / "empty.log") == "  (empty)"


@pytest.mark.parametrize("content", ["", "{", "[]", "1", '{"praefect": 1}', '{"external_token": 5}', "\udc80"])
@pytest.mark.parametrize("name", ["secrets.json", "ports.json"])
def test_damaged_files_are_named_with_what_helps(tmp_path: Path, name: str, content: str) -> None:
    layout = Layout(tmp_path, nodes=3)
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DemoDirectoryError) as refused:
        layout.secrets() if name == "secrets.json" else layout.ports()
    helps = {
        "secrets.json": "new secrets are made at the next start",
        "ports.json": "free ports are chosen at the next start",
    }
    assert str(refused.value) == f"{tmp_path}/{name} is damaged; remove it, and {helps[name]}"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").mkdir()
    with pytest.raises(DemoDirectoryError, match=r"cannot read .*/secrets.json: Is a directory; remove it, and "):
        Layout(tmp_path, nodes=3).secrets()


def test_secrets_are_kept(tmp_path: Path) -> None:
    made = Layout(tmp_path, nodes=3).secrets()
    assert Layout(tmp_path, nodes=3).secrets() == made
    assert made.sql_password not in repr(made)
