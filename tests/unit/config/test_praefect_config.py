from datetime import timedelta
from pathlib import Path

import pytest

from praefect.config.collected_rules import collected_faults
from praefect.config.faults import DecodeError
from praefect.config.praefect import ConfigError, load, parse_config
from tests.unit.config.config_table import GOOD, ROWS, Row, section

TOKEN = "the-external-secret"


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return str(path)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    return str(caught.value)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_start_up_says_what_upstream_says(row: Row, tmp_path: Path) -> None:
    if row.reading is not None:
        assert refusal(tmp_path, row.text).startswith(f"error reading config file: {row.reading}")
    elif row.startup is not None:
        assert refusal(tmp_path, row.text).split("\n")[0] == f"validating config: {row.startup}"
    else:
        config = load(write(tmp_path, row.text))
        if row.holds is not None:
            assert eval(row.holds, {"config": config, "timedelta": timedelta, "len": len})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_all_problems_are_collected(row: Row) -> None:
    if row.decode is not None:
        with pytest.raises(DecodeError) as caught:
            parse_config(row.text.encode())
        place = caught.value.position
        prefix = f"line {place.line} column {place.column}: " if place else ""
        assert f"{prefix}{caught.value}".startswith(row.decode)
    else:
        faults = collected_faults(parse_config(row.text.encode()).config)
        assert [(".".join(fault.path), fault.message) for fault in faults] == row.collected


def test_table_is_wide() -> None:
    assert len(ROWS) >= 60


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"{tmp_path}/none.toml")
    assert str(caught.value) == f"error reading config file: open {tmp_path}/none.toml: no such file or directory"


def test_no_file_at_all() -> None:
    with pytest.raises(ConfigError) as caught:
        load("")
    assert str(caught.value) == "error reading config file: open : no such file or directory"


def test_further_faults_follow_with_their_keys(tmp_path: Path) -> None:
    text = section(
        '[yamux]\naccept_backlog = 0\n[reconciliation]\nscheduling_interval = "-1s"\n[replication]\nbatch_size = 0'
    )
    assert refusal(tmp_path, text).split("\n") == [
        "validating config: replication batch size was 0 but must be >=1",
        "  yamux.accept_backlog: yamux.accept_backlog must be at least 1 but it was 0",
        "  reconciliation.scheduling_interval: not in range: -1s is not greater than or equal to 0s",
    ]


def test_what_only_the_collecting_validator_sees_is_a_warning(tmp_path: Path) -> None:
    config = load(write(tmp_path, section('[reconciliation]\nscheduling_interval = "-1s"')))
    assert config.warnings == (
        "reconciliation.scheduling_interval: not in range: -1s is not greater than or equal to 0s",
    )


def test_equal_external_and_internal_tokens_are_a_warning(tmp_path: Path) -> None:
    text = section(f'[auth]\ntoken = "{TOKEN}"').replace(
        'address = "tcp://gitaly-2', f'token = "{TOKEN}"\naddress = "tcp://gitaly-2'
    )
    (warning,) = load(write(tmp_path, text)).warnings
    key = "virtual_storage.[0].node.[1].token"
    expected = f'token of node "gitaly-2" ({key}) equals auth.token: give clients and nodes different secrets'
    assert warning == expected


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    text = section(
        f'[auth]\ntoken = "{TOKEN}1"\n[database]\npassword = "{TOKEN}2"\n'
        f'[database.session_pooled]\npassword = "{TOKEN}3"\n'
        f'[sentry]\nsentry_dsn = "{TOKEN}4"\n[tls]\nkey = "{TOKEN}5"\n'
    ).replace('address = "tcp://gitaly-2', f'token = "{TOKEN}6"\naddress = "tcp://gitaly-2')
    config = load(write(tmp_path, text))
    assert config.database.direct().password == f"{TOKEN}3"
    assert TOKEN not in repr(config)


def test_token_file_fills_the_token(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(f"  {TOKEN}\n")
    secret.chmod(0o400)
    config = load(write(tmp_path, section(f'[auth]\ntoken_file = "{secret}"')))
    assert config.auth.token == TOKEN


@pytest.mark.parametrize(
    ("mode", "keys", "startup", "path"),
    [
        (
            0o600,
            'token = "x"\n',
            "token.token_file: token and token_file are mutually exclusive",
            "auth.token.token_file",
        ),
        (
            0o644,
            "",
            "token_file: file permission 0644 is too permissive, should be 0600 or 0400",
            "auth.token_file",
        ),
    ],
)
def test_token_file_that_is_refused(tmp_path: Path, mode: int, keys: str, startup: str, path: str) -> None:
    secret = tmp_path / "token"
    secret.write_text(TOKEN)
    secret.chmod(mode)
    text = section(f'[auth]\n{keys}token_file = "{secret}"')
    assert refusal(tmp_path, text) == f"validating config: {startup}"
    (fault,) = collected_faults(parse_config(text.encode()).config)
    assert str(fault) == f"{path}: {startup.partition(': ')[2]}"


def test_token_file_that_does_not_exist(tmp_path: Path) -> None:
    text = section(f'[auth]\ntoken = "x"\ntoken_file = "{tmp_path}/none"')
    expected = f"reading token file: open {tmp_path}/none: no such file or directory"
    assert refusal(tmp_path, text) == f"error reading config file: {expected}"
    with pytest.raises(ConfigError, match="reading token file: open"):
        parse_config(text.encode())


def test_token_file_that_is_a_directory(tmp_path: Path) -> None:
    text = section(f'[auth]\ntoken_file = "{tmp_path}"')
    assert refusal(tmp_path, text) == f"error reading config file: reading token file: read {tmp_path}: is a directory"


def test_text_that_is_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(GOOD.encode() + b'socket_path = "\xff"\n')
    with pytest.raises(ConfigError, match="error reading config file: toml: invalid utf8"):
        load(str(path))


def test_defaults_are_upstreams(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD))
    assert config.replication.batch_size == 10
    assert config.reconciliation.scheduling_interval == timedelta(minutes=5)
    assert config.background_verification.verification_interval == timedelta(days=7)
    assert config.background_verification.delete_invalid_records
    assert config.repositories_cleanup.run_interval == timedelta(hours=24)
    assert config.database.outage_reads_max_age == timedelta(minutes=15)
    assert config.virtual_storages[0].minimum_copies == 1
    assert not config.failover.manual
    assert config.warnings == ()
