"""``praefect reconfigure`` and ``praefect secrets``."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from praefect.cli.main import run
from praefect.cli.secrets import NAMES
from praefect.config import praefect as praefect_config

PAGE = Path(__file__).parents[1] / "config" / "omnibus" / "files" / "page_praefect.rb"


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def gitlab_rb(tmp_path: Path) -> Path:
    path = tmp_path / "gitlab.rb"
    path.write_text(PAGE.read_text())
    return path


def words(gitlab_rb: Path, *more: str, role: str = "praefect") -> list[str]:
    return ["reconfigure", "-gitlab-rb", str(gitlab_rb), "-role", role, "-output", str(gitlab_rb.parent), *more]


def test_reconfigure_tells_what_it_did(gitlab_rb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gitlab_rb.write_text(gitlab_rb.read_text() + "praefect['listen_adr'] = 'x'\npraefect['colour'] = 'x'\n")
    last = gitlab_rb.read_text().count("\n")
    assert run(words(gitlab_rb)) == 0
    output = capsys.readouterr()
    place = gitlab_rb.parent / "config.toml"
    lines = output.out.splitlines()
    assert lines[0] == f"{place}: written"
    assert '  + listen_addr = "0.0.0.0:2305"' in lines
    assert "  + auth.token = (secret)" in lines
    unknown = lines.index("Not known, without effect:")
    assert lines[unknown + 1 : unknown + 4] == [
        f"  {gitlab_rb}:{last - 1}: praefect['listen_adr']; praefect['listen_addr'] is known",
        f"  {gitlab_rb}:{last}: praefect['colour']",
        "Ignored on purpose:",
    ]
    assert lines[-1].startswith("  about other services: postgresql, redis, nginx, ")
    assert not re.search("external-|internal-|sql-", output.out)
    assert output.err == ""
    assert praefect_config.load(str(place)).auth.token == "external-aaaa"


def test_reconfigure_names_what_changed(gitlab_rb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(words(gitlab_rb))
    assert run(words(gitlab_rb)) == 0
    changed = gitlab_rb.read_text().replace("external-aaaa", "external-new").replace("5432", "5433")
    gitlab_rb.write_text(changed.replace("praefect['database_user'] = 'praefect'\n", ""))
    capsys.readouterr()
    assert run(words(gitlab_rb)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == [
        "  ~ auth.token = (secret), another one",
        "  ~ database.port = 5433, before 5432",
        '  - database.user = "praefect"',
    ]
    run(words(gitlab_rb))
    assert capsys.readouterr().out.splitlines()[:2] == [f"{gitlab_rb.parent}/config.toml: unchanged", "Note:"]


def test_reconfigure_tells_programs(gitlab_rb: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gitlab_rb.write_text(gitlab_rb.read_text() + "praefect['listen_adr'] = 'x'\n")
    assert run(words(gitlab_rb, "--format=json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["outcome"] == "written"
    assert {"key": "auth.token", "before": None, "after": "(secret)"} in told["changes"]
    line = gitlab_rb.read_text().count("\n")
    assert told["unknown"] == [
        {
            "file": str(gitlab_rb),
            "line": line,
            "setting": "praefect['listen_adr']",
            "suggestion": "praefect['listen_addr']",
        }
    ]
    assert told["ignored"]["about other services"][0] == "postgresql"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1", ':1: local variable "x" is not supported: the file is read, not run\n'),
        ("\nx['y'] = `id`", ":2: command in backticks is not supported: the file is read, not run\n"),
        (
            "praefect['listen_addr'] = 'x:1'",
            ": makes no usable configuration of a praefect:\n  virtual_storage: no virtual storages configured\n",
        ),
    ],
)
def test_reconfigure_says_why_it_did_nothing(
    gitlab_rb: Path, capsys: pytest.CaptureFixture[str], text: str, fault: str
) -> None:
    gitlab_rb.write_text(text)
    assert run(words(gitlab_rb)) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"{gitlab_rb}{fault}")
    assert not (gitlab_rb.parent / "config.toml").exists()


@pytest.mark.parametrize(
    ("more", "role", "fault"),
    [
        ((), "rails", 'role "rails" is none of praefect, gitaly, gitlab'),
        (("-format", "yaml"), "praefect", 'format "yaml" is none of text, json'),
        (("-storage", "gitaly-1"), "praefect", "-storage goes with -role gitaly only"),
    ],
)
def test_reconfigure_refuses_flags(
    gitlab_rb: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], role: str, fault: str
) -> None:
    assert run(words(gitlab_rb, *more, role=role)) == 1
    assert capsys.readouterr().err == f"{fault}\n"


def test_reconfigure_needs_its_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reconfigure"]) == 1
    assert capsys.readouterr().err == 'Required flags "gitlab-rb, role, output" not set\n'


def test_secrets_for_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["secrets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [re.fullmatch(r"(\w+)='([0-9a-f]{64})'", line) for line in lines]
    assert [match[1] for match in found if match] == list(NAMES)
    assert len({match[2] for match in found if match}) == 4


def test_secrets_for_programs_are_new_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    made = []
    for _ in range(2):
        assert run(["secrets", "-format", "json"]) == 0
        made.append(json.loads(capsys.readouterr().out))
    assert list(made[0]) == list(NAMES)
    assert len({*made[0].values(), *made[1].values()}) == 8


def test_secrets_in_another_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["secrets", "-format", "yaml"]) == 1
    assert capsys.readouterr().err == 'format "yaml" is none of shell, json\n'
