"""What a command line prints and how it exits, as far as nothing outside the process is asked."""

from __future__ import annotations

import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from praefect.cli.command import FORMAT, Command
from praefect.cli.commands import PROGRAM
from praefect.cli.main import run
from tests.unit.config.config_table import GOOD


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    stdout: str
    stderr: str


class Praefect:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str) -> Result:
        code = run(list(words))
        captured = self._capsys.readouterr()
        return Result(code, captured.out, captured.err)


@pytest.fixture
def praefect(capsys: pytest.CaptureFixture[str]) -> Iterator[Praefect]:
    handler = signal.getsignal(signal.SIGINT)
    yield Praefect(capsys)
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.toml"
    path.write_text(GOOD)
    return str(path)


NO_FILE = "error reading config file: open : no such file or directory\n"
TABLE_HEADER = " VIRTUAL_STORAGE  NODE      ADDRESS             \n"


# --- documents ---

OTHER_OUTPUT = {"serve", "configuration", "reconfigure", "secrets", "demo"}
"""A log, JSON anyway, or what another flag says."""


def test_every_command_can_print_a_document() -> None:
    without = {command.name for command in PROGRAM.children if FORMAT not in command.flags}
    assert without == OTHER_OUTPUT


def test_a_document_says_what_is_and_what_went_wrong(praefect: Praefect, config: str) -> None:
    good = praefect("-config", config, "list-storages", "-format", "json")
    assert (good.code, good.stderr, good.stdout.count("\n")) == (0, "", 1)
    storage = {"virtual_storage": "default", "storage": "gitaly-1", "address": "tcp://gitaly-1:8075"}
    document = json.loads(good.stdout)
    assert (document["command"], document["ok"], document["result"]["storages"][0]) == ("list-storages", True, storage)
    bad = praefect("list-storages", "-format=json")
    assert (bad.code, bad.stderr) == (1, NO_FILE)
    error = NO_FILE.removesuffix("\n")
    assert json.loads(bad.stdout) == {"command": "list-storages", "ok": False, "error": error, "result": {}}
    unknown = praefect("-config", config, "list-storages", "-format", "json", "-virtual-storage", "x")
    assert json.loads(unknown.stdout)["hints"] == ['known virtual storages: "default"']


def test_other_formats_are_refused(praefect: Praefect, config: str) -> None:
    text = 'invalid value "xml" for flag -format: must be text or json'
    expected = f"Incorrect Usage: {text}\n\n{text}\n"
    assert praefect("-config", config, "list-storages", "-format", "xml") == Result(1, "", expected)


# --- spelling ---


@pytest.mark.parametrize(
    "words",
    [
        ["-config", "FILE", "list-storages"],
        ["--config", "FILE", "list-storages"],
        ["-config=FILE", "list-storages"],
        ["--config=FILE", "list-storages"],
        ["list-storages", "-config", "FILE"],
        ["list-storages", "--config=FILE"],
        ["-config", "/nowhere", "list-storages", "-config", "FILE"],
        ["-config", "FILE", "--", "list-storages"],
        ["-config", "FILE", "list-storages", "-version"],
        ["-config", "FILE", "list-storages", "-v"],
        ["-config", "FILE", "list-storages", "--"],
    ],
)
def test_config_stands_anywhere(praefect: Praefect, config: str, words: list[str]) -> None:
    result = praefect(*(word.replace("FILE", config) for word in words))
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith(TABLE_HEADER)


def test_a_string_takes_the_next_word_whatever_it_looks_like(praefect: Praefect, config: str) -> None:
    result = praefect("-config", config, "list-storages", "--virtual-storage", "-x")
    assert result == Result(0, "No virtual storages named -x.\n", 'known virtual storages: "default"\n')


def test_the_empty_string_is_a_value(praefect: Praefect, config: str) -> None:
    assert praefect("-config", config, "list-storages", "-virtual-storage", "").stdout.startswith(TABLE_HEADER)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["sql-ping", "-bogus"], "flag provided but not defined: -bogus"),
        (["sql-ping", "--bogus=1"], "flag provided but not defined: -bogus"),
        (["sql-ping", "-h", "-bogus"], "flag provided but not defined: -bogus"),
        (["sql-ping", "-bogus", "-h"], "flag provided but not defined: -bogus"),
        (["sql-ping", "-conf", "x"], "flag provided but not defined: -conf"),
        (["sql-migrate-down", "-x"], "flag provided but not defined: -x"),
        (["list-storages", "--virtual-storage"], "flag needs an argument: --virtual-storage"),
        (["list-storages", "--virtual-storage="], "flag needs an argument: --virtual-storage="),
        (["remove-repository", "-apply="], "flag needs an argument: -apply="),
        (["sql-ping", "-config"], "flag needs an argument: -config"),
        (
            ["metadata", "-repository-id", "abc"],
            'invalid value "abc" for flag -repository-id: strconv.ParseInt: parsing "abc": invalid syntax',
        ),
        (
            ["metadata", "--repository-id=99999999999999999999"],
            (
                'invalid value "99999999999999999999" for flag -repository-id: '
                'strconv.ParseInt: parsing "99999999999999999999": value out of range'
            ),
        ),
        (
            ["set-replication-factor", "-replication-factor", "-1"],
            'invalid value "-1" for flag -replication-factor: strconv.ParseUint: parsing "-1": invalid syntax',
        ),
        (
            ["dial-nodes", "-timeout", "5"],
            'invalid value "5" for flag -timeout: time: missing unit in duration "5"',
        ),
        (
            ["dial-nodes", "-timeout", "abc"],
            'invalid value "abc" for flag -timeout: time: invalid duration "abc"',
        ),
        (["remove-repository", "-apply=maybe"], 'invalid value "maybe" for flag -apply: parse error'),
    ],
)
def test_usage_errors_of_commands(praefect: Praefect, words: list[str], text: str) -> None:
    assert praefect(*words) == Result(1, "", f"Incorrect Usage: {text}\n\n{text}\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-bogus"], "flag provided but not defined: -bogus"),
        (["-c", "x"], "flag provided but not defined: -c"),
        (["unknown", "-someflag"], "flag provided but not defined: -someflag"),
        (["-config"], "flag needs an argument: -config"),
        (["-config="], "flag needs an argument: -config="),
    ],
)
def test_usage_errors_before_a_command_print_the_programs_help(praefect: Praefect, words: list[str], text: str) -> None:
    result = praefect(*words)
    assert result == Result(1, praefect("-h").stdout, f"Incorrect Usage: {text}\n\n{text}\n")


# --- what runs ---


def test_nothing_at_all(praefect: Praefect) -> None:
    for words in ([], ["-config", ""]):
        result = praefect(*words)
        assert result.code == 2
        assert result.stdout == praefect("help", "serve").stdout
        assert re.fullmatch(r'\d{4}/\d\d/\d\d \d\d:\d\d:\d\d Required flag "config" not set\n', result.stderr)


def test_serve_without_a_file(praefect: Praefect) -> None:
    result = praefect("serve")
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.endswith(' Required flag "config" not set\n')


@pytest.mark.parametrize("words", [["bogus"], ["-config", "x", "bogus"], ["version"], ["bogus", "serve"]])
def test_unknown_words(praefect: Praefect, words: list[str]) -> None:
    assert praefect(*words) == Result(1, "", "praefect doesn't accept positional arguments\n")


def test_a_command_without_a_file_opens_the_empty_path(praefect: Praefect) -> None:
    assert praefect("sql-ping") == Result(1, "", NO_FILE)


def test_a_refused_file_is_named_on_the_first_line(praefect: Praefect, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("")
    result = praefect("-config", f"{tmp_path}/bad.toml", "sql-ping")
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr.split("\n") == [
        "validating config: no listen address or socket path configured",
        "  virtual_storage: no virtual storages configured",
        "",
    ]


# --- order of checks ---


def test_positional_arguments_are_refused_before_missing_flags(praefect: Praefect) -> None:
    result = praefect("set-replication-factor", "extra")
    assert result == Result(
        1,
        praefect("help", "set-replication-factor").stdout,
        "set-replication-factor doesn't accept positional arguments\n",
    )


@pytest.mark.parametrize("command", ["serve", "accept-dataloss"])
def test_two_commands_refuse_them_without_help(praefect: Praefect, command: str) -> None:
    assert praefect(command, "extra") == Result(1, "", f"{command} doesn't accept positional arguments\n")


def test_the_bare_word_help_is_one_of_them(praefect: Praefect) -> None:
    result = praefect("sql-ping", "help")
    assert result == Result(1, praefect("help", "sql-ping").stdout, "sql-ping doesn't accept positional arguments\n")


def test_a_value_behind_a_bool_is_one_of_them(praefect: Praefect) -> None:
    assert praefect("sql-migrate", "-verbose", "false").stderr == "sql-migrate doesn't accept positional arguments\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["accept-dataloss"],
            'Required flags "virtual-storage, relative-path, authoritative-storage" not set',
        ),
        (
            ["set-replication-factor", "-replication-factor", "1", "-virtual-storage", "v"],
            'Required flag "relative-path" not set',
        ),
        (["track-repositories"], 'Required flag "input-path" not set'),
    ],
)
def test_missing_flags(praefect: Praefect, words: list[str], text: str) -> None:
    assert praefect(*words) == Result(1, praefect("help", words[0]).stdout, f"{text}\n")


def test_an_empty_value_counts_as_given(praefect: Praefect) -> None:
    assert praefect("track-repositories", "-input-path", "") == Result(1, "", NO_FILE)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "sql-migrate-down requires a single positional argument"),
        (["1", "2"], "sql-migrate-down accepts only single positional argument"),
    ],
)
def test_migrations_down_wants_one_number(praefect: Praefect, words: list[str], text: str) -> None:
    assert praefect("sql-migrate-down", *words) == Result(1, praefect("help", "sql-migrate-down").stdout, f"{text}\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["x"], 'strconv.Atoi: parsing "x": invalid syntax'),
        (["0"], "number of migrations to roll back must be 1 or more"),
        (["-1"], "number of migrations to roll back must be 1 or more"),
        (["--", "-1"], "number of migrations to roll back must be 1 or more"),
        (["-f", "-1"], "number of migrations to roll back must be 1 or more"),
    ],
)
def test_migrations_down_looks_at_its_number_after_the_file(
    praefect: Praefect, config: str, words: list[str], text: str
) -> None:
    assert praefect("-config", config, "sql-migrate-down", *words) == Result(1, "", f"{text}\n")
    assert praefect("sql-migrate-down", *words) == Result(1, "", NO_FILE)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "repository ID or virtual storage and relative path required"),
        (["-repository-id", "0"], "repository ID or virtual storage and relative path required"),
        (["-virtual-storage", "v"], "relative path is required with virtual storage"),
        (["-relative-path", "p"], "virtual storage is required with relative path"),
        (
            ["-repository-id", "1", "-relative-path", "p"],
            "virtual storage and relative path can't be provided with a repository ID",
        ),
    ],
)
def test_metadata_wants_one_way_to_name_a_repository(
    praefect: Praefect, config: str, words: list[str], text: str
) -> None:
    assert praefect("-config", config, "metadata", *words) == Result(1, "", f"{text}\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "(repository id), (virtual storage) or (virtual storage, storage) required"),
        (["-storage", "s"], "virtual storage must be passed with storage"),
        (
            ["-repository-id", "-3", "-virtual-storage", "v"],
            "virtual storage and storage can't be provided with a repository ID",
        ),
    ],
)
def test_verify_wants_one_selector(praefect: Praefect, config: str, words: list[str], text: str) -> None:
    assert praefect("-config", config, "verify", *words) == Result(1, "", f"{text}\n")


def test_the_storage_to_track_is_asked_for_after_the_file(praefect: Praefect, config: str) -> None:
    words = ["track-repository", "-virtual-storage", "v", "-relative-path", "r", "-replica-path", "p"]
    assert praefect(*words) == Result(1, "", NO_FILE)
    assert praefect("-config", config, *words) == Result(1, "", 'Required flag "authoritative-storage" not set\n')


# --- help and version ---


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["help"], ["h"], ["-help"]])
def test_help_of_the_program(praefect: Praefect, words: list[str]) -> None:
    result = praefect(*words)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith("NAME:\n   praefect - ")
    assert "\n\nUSAGE:\n   praefect [global options] [command [command options]]\n\nVERSION:\n" in result.stdout
    listed = re.findall(r"^   (\S.*?)  ", result.stdout.split("COMMANDS:\n")[1].split("\n\n")[0], re.MULTILINE)
    assert listed == [
        *("serve", "configuration", "accept-dataloss", "check", "dataloss", "dial-nodes", "list-storages"),
        *("list-untracked-repositories", "track-repository", "track-repositories", "verify", "metadata", "sql-ping"),
        *("sql-migrate", "sql-migrate-down", "sql-migrate-status", "pool", "remove-repository"),
        *("set-replication-factor", "failover", "doubts", "explain", "reconfigure", "secrets", "demo", "help, h"),
    ]
    options = result.stdout.partition("\n\nGLOBAL OPTIONS:\n")[2]
    assert re.fullmatch(
        r"   --config FILE  .+\n   --help, -h     show help\n   --version, -v  print the version\n", options
    )


def test_help_of_a_command_has_two_layouts(praefect: Praefect) -> None:
    short = praefect("help", "list-untracked-repositories").stdout
    assert short.endswith(
        "\n\nOPTIONS:\n"
        '   --delimiter string     print this behind each repository (default: "\\n")\n'
        "   --older-than duration  leave out repositories modified within this time (default: 6h0m0s)\n"
        '   --format text|json     print lines, or one JSON document at the end (default: "text")\n'
        "   --help, -h             show help\n"
    )
    assert "\nUSAGE:\n   praefect list-untracked-repositories\n" in short
    assert praefect("-h", "list-untracked-repositories").stdout == short
    long = praefect("list-untracked-repositories", "-h").stdout
    usage = "\nUSAGE:\n   praefect list-untracked-repositories [command [command options]]\n"
    assert usage in long
    assert re.search(r"\n\nGLOBAL OPTIONS:\n   --config FILE  .+\n$", long)
    assert long.replace(" [command [command options]]", "").split("\nGLOBAL OPTIONS:")[0] == short


def test_defaults_in_help(praefect: Praefect) -> None:
    assert "(default: 0)" in praefect("metadata", "-h").stdout
    assert "(default: 0s)" in praefect("dial-nodes", "-h").stdout
    assert "   -f                  take them back (default: false)" in praefect("sql-migrate-down", "-h").stdout
    assert re.search(r"--ignore-unknown  .*\(default: true\)", praefect("sql-migrate", "-h").stdout)
    assert "--replication-factor uint " in praefect("set-replication-factor", "-h").stdout


def test_help_wins_over_everything_but_usage_errors(praefect: Praefect) -> None:
    assert praefect("accept-dataloss", "-h").code == 0
    assert praefect("-config", "/nowhere", "sql-ping", "-h").code == 0


@pytest.mark.parametrize(
    ("words", "code", "topic"),
    [
        (["sql-ping", "extra", "-h"], 1, "extra"),
        (["-h", "bogus"], 1, "bogus"),
        (["help", "bogus"], 3, "bogus"),
        (["configuration", "bogus"], 3, "bogus"),
        (["configuration", "help", "bogus"], 3, "bogus"),
    ],
)
def test_help_on_nothing(praefect: Praefect, words: list[str], code: int, topic: str) -> None:
    assert praefect(*words) == Result(code, "", f"No help topic for '{topic}'\n")


@pytest.mark.parametrize(
    "words",
    [
        ["configuration"],
        ["configuration", "help"],
        ["configuration", "-h"],
        ["help", "configuration"],
        ["help", "configuration", "validate"],
    ],
)
def test_help_of_a_command_with_children(praefect: Praefect, words: list[str]) -> None:
    result = praefect(*words)
    assert (result.code, result.stderr) == (0, "")
    assert "\nUSAGE:\n   praefect configuration [command [command options]] \n" in result.stdout
    assert re.search(r"\n\nCOMMANDS:\n   validate  .+\n   help, h   .+\n\nOPTIONS:\n", result.stdout)
    assert "GLOBAL OPTIONS" not in result.stdout


def test_help_of_a_child(praefect: Praefect) -> None:
    short = praefect("configuration", "help", "validate").stdout
    assert short.startswith("NAME:\n   praefect configuration validate - ")
    assert praefect("configuration", "validate", "-h").stdout.endswith("from this TOML file\n")


def test_removing_has_a_usage_block_of_its_own(praefect: Praefect) -> None:
    for words in (["remove-repository", "-h"], ["help", "remove-repository"]):
        assert "[command [command options]]" not in praefect(*words).stdout


def test_the_version_is_one_line(praefect: Praefect) -> None:
    for words in (["-version"], ["--version"], ["-v"], ["-version", "sql-ping"]):
        result = praefect(*words)
        assert re.fullmatch(r"Praefect, version \S+\n", result.stdout)
        assert (result.code, result.stderr) == (0, "")


def commands(command: Command) -> Iterator[Command]:
    yield command
    for child in command.children:
        yield from commands(child)


def test_every_command_is_told_about_as_the_others() -> None:
    for command in commands(PROGRAM):
        assert command.summary[0].islower()
        assert not command.summary.endswith(".")
        assert (command.run is not None) != bool(command.children)
        if command.run is not None and not command.usage:
            assert "\n\nExample: praefect " in command.description
        for flag in command.flags:
            assert not flag.text.endswith(".")
        for line in command.description.split("\n"):
            assert len(line) < 110


# --- list-storages ---


def test_storages_are_listed_in_padded_columns(praefect: Praefect, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        'socket_path = "/s"\n[[virtual_storage]]\nname = "virtual-storage-1"\n'
        '[[virtual_storage.node]]\nstorage = "storage-1"\naddress = "tcp://1.2.3.4"\n'
        '[[virtual_storage]]\nname = "v2"\n'
        '[[virtual_storage.node]]\nstorage = "s"\naddress = "unix:///path/to/gitaly.socket"\n'
    )
    assert praefect("-config", str(path), "list-storages").stdout == (
        " VIRTUAL_STORAGE    NODE       ADDRESS                       \n"
        " virtual-storage-1  storage-1  tcp://1.2.3.4                 \n"
        " v2                 s          unix:///path/to/gitaly.socket \n"
    )
    assert praefect("-config", str(path), "list-storages", "-virtual-storage", "v2").stdout.count("\n") == 2


# --- configuration validate ---


class Stdin:
    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


def validate(praefect: Praefect, monkeypatch: pytest.MonkeyPatch, text: str) -> Result:
    monkeypatch.setattr(sys, "stdin", Stdin(text.encode()))
    return praefect("configuration", "validate")


def test_a_valid_file_is_met_with_silence(praefect: Praefect, monkeypatch: pytest.MonkeyPatch) -> None:
    assert validate(praefect, monkeypatch, GOOD) == Result(0, "", "")


def test_problems_are_printed_as_json(praefect: Praefect, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = """\
{
  "errors": [
    {
      "message": "none of \\"socket_path\\", \\"listen_addr\\" or \\"tls_listen_addr\\" is set"
    },
    {
      "key": [
        "virtual_storage"
      ],
      "message": "not set"
    }
  ]
}
"""
    assert validate(praefect, monkeypatch, "") == Result(2, expected, "")


def test_a_wrong_type_is_printed_with_its_place(praefect: Praefect, monkeypatch: pytest.MonkeyPatch) -> None:
    result = validate(praefect, monkeypatch, "listen_addr = 5\n")
    assert result.code == 2
    assert '"message": "line 1 column 15: toml: cannot decode TOML integer into struct field' in result.stdout


def test_html_is_escaped(praefect: Praefect, monkeypatch: pytest.MonkeyPatch) -> None:
    result = validate(praefect, monkeypatch, f'{GOOD}[failover]\nelection_strategy = "<&>é"\n')
    assert '"not supported: \\"\\u003c\\u0026\\u003eé\\""' in result.stdout


def test_what_has_no_place_goes_to_standard_error(praefect: Praefect, monkeypatch: pytest.MonkeyPatch) -> None:
    result = validate(praefect, monkeypatch, f"listen_addr = 'a'\n{GOOD}")
    assert result == Result(1, "", "processing input data: toml: key listen_addr is already defined")


def test_validating_takes_no_arguments(praefect: Praefect) -> None:
    result = praefect("configuration", "validate", "x")
    assert result == Result(1, praefect("configuration", "help", "validate").stdout, "invalid argument(s)\n")
