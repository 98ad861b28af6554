import stat
from pathlib import Path

import pytest

from praefect.config.praefect import ConfigError, load
from tests.unit.config.config_table import GOOD


@pytest.fixture
def command(tmp_path: Path) -> Path:
    return tmp_path / "secrets.sh"


def write(command: Path, body: str) -> str:
    command.write_text(f"#!/bin/sh\n{body}\n")
    command.chmod(stat.S_IRWXU)
    path = command.parent / "config.toml"
    path.write_text(f'config_command = "{command}"\n{GOOD}')
    return str(path)


def refusal(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value)


def test_output_is_merged(command: Path) -> None:
    path = write(
        command, """test $# = 0 && echo '{"auth":{"token":"t"},"virtual_storage":[{"node":[{"token":"a"},{}]}]}'"""
    )
    config = load(path)
    assert config.auth.token == "t"
    assert [node.token for node in config.virtual_storages[0].nodes] == ["a", ""]


def test_failure_shows_status_and_standard_error(command: Path) -> None:
    path = write(command, "echo 'no \"secret\"' >&2; exit 3")
    expected = 'running config command: exit status 3, stderr: "no \\"secret\\"\\n"'
    assert refusal(path) == f"error reading config file: {expected}"


def test_silent_failure(command: Path) -> None:
    path = write(command, "exit 1")
    assert refusal(path) == 'error reading config file: running config command: exit status 1, stderr: ""'


def test_death_by_a_signal(command: Path) -> None:
    path = write(command, "kill -9 $$")
    assert refusal(path) == 'error reading config file: running config command: signal: killed, stderr: ""'


def test_no_output(command: Path) -> None:
    path = write(command, ":")
    assert refusal(path) == "error reading config file: unmarshalling generated config: unexpected end of JSON input"


def test_a_second_document(command: Path) -> None:
    path = write(command, "echo '{}{}'")
    expected = "unmarshalling generated config: invalid character '{' after top-level value"
    assert refusal(path) == f"error reading config file: {expected}"


def test_a_wrong_kind(command: Path) -> None:
    path = write(command, "echo '{\"auth\":1}'")
    assert "unmarshalling generated config: json: cannot unmarshal number 1 into Go struct field" in refusal(path)


def test_missing_executable(command: Path) -> None:
    path = write(command, ":")
    command.unlink()
    expected = f"running config command: fork/exec {command}: no such file or directory"
    assert refusal(path) == f"error reading config file: {expected}"


def test_bare_name_that_is_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'config_command = "no-such-command-at-all"\n{GOOD}')
    assert "executable file not found in $PATH" in refusal(str(path))


def test_bare_name_is_looked_up(command: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(write(command, 'echo \'{"listen_addr":"y:2"}\''))
    path.write_text(path.read_text().replace(str(command), command.name))
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    assert load(str(path)).listen_addr == "y:2"
