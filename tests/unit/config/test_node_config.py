from datetime import timedelta
from pathlib import Path

import pytest

from praefect.config.node import ConfigError, NodeConfig, VoteDialect, load


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    (tmp_path / "repositories").mkdir()
    return tmp_path / "repositories"


def good(storage: Path, more: str = "") -> str:
    return f'socket_path = "/s"\n[[storage]]\nname = "one"\npath = "{storage}"\n{more}\n'


def read(tmp_path: Path, text: str) -> NodeConfig:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(str(path))


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    prefix = f'failed to configure Gitaly: load config: config_path "{tmp_path}/config.toml": '
    assert str(caught.value).startswith(prefix)
    return str(caught.value).removeprefix(prefix)


def test_defaults(tmp_path: Path, storage: Path) -> None:
    config = read(tmp_path, good(storage))
    assert [(one.name, one.path) for one in config.storages] == [("one", str(storage))]
    assert config.graceful_restart_timeout == timedelta(minutes=1)
    assert config.votes.dialect is VoteDialect.DEV
    assert config.git.executable == "git"
    assert config.pack_objects_cache.dir == f"{storage}/+gitaly/PackObjectsCache"
    assert config.archive_cache.dir == f"{storage}/+gitaly/ArchiveCache"
    assert not config.archive_cache.backpressure
    daily = config.daily_maintenance
    assert (daily.start_hour, daily.duration, daily.storages) == (12, timedelta(minutes=10), ("one",))
    assert config.gitlab.http_settings.read_timeout == 300
    assert config.warnings == ()


def test_what_the_node_uses(tmp_path: Path, storage: Path) -> None:
    text = good(
        storage,
        """
        [gitlab]
        url = "http://localhost:1"
        secret_file = "/secret"
        [gitlab.http-settings]
        user = "u"
        [hooks]
        custom_hooks_dir = "/hooks"
        [git]
        executable = "/usr/bin/git"
        [[git.config]]
        key = "pack.threads"
        value = "1"
        [[concurrency]]
        rpc = "/gitaly.SSHService/SSHUploadPack"
        max_per_repo = 3
        max_queue_wait = "1m"
        [pack_objects_limiting]
        max_queue_length = 7
        [daily_maintenance]
        disabled = true
        [votes]
        dialect = "r18.9"
        """,
    )
    config = read(tmp_path, text)
    assert config.gitlab.secret_file == "/secret"
    assert config.gitlab.http_settings.user == "u"
    assert config.git.config[0].key == "pack.threads"
    assert config.concurrency[0].limit == 3
    assert config.concurrency[0].max_queue_size == 500
    assert config.pack_objects_limiting.max_queue_size == 7
    assert config.daily_maintenance.disabled
    assert config.votes.dialect is VoteDialect.R18_9


def test_gitlab_shell_gives_defaults(tmp_path: Path, storage: Path) -> None:
    config = read(tmp_path, good(storage, f'[gitlab-shell]\ndir = "{tmp_path}"'))
    assert config.gitlab.secret_file == f"{tmp_path}/.gitlab_shell_secret"
    assert config.hooks.custom_hooks_dir == f"{tmp_path}/hooks"


def test_sections_of_upstreams_own_machinery_are_silent_and_others_are_warned_of(tmp_path: Path, storage: Path) -> None:
    more = '[cgroups]\nmountpoint = "/x"\n[raft]\nenabled = true\n[bogus]\n[git]\nbin_path = "/g"'
    config = read(tmp_path, good(storage, more))
    assert config.warnings == (
        'unknown key "bogus" is ignored',
        'unknown key "git.bin_path" is ignored: replaced by git.executable',
    )


def test_paths_are_cleaned(tmp_path: Path, storage: Path) -> None:
    assert read(tmp_path, good(storage).replace(str(storage), f"{storage}/../repositories/")).storages[0].path == str(
        storage
    )


def test_an_empty_path_is_the_working_directory(tmp_path: Path) -> None:
    assert read(tmp_path, 'socket_path = "/s"\n[[storage]]\nname = "one"\n').storages[0].path == "."


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or directory"):
        load(f"{tmp_path}/none")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "invalid config: at least one of socket_path, listen_addr or tls_listen_addr must be set\n  not set"),
        ('socket_path = "/s"\n', "invalid config: not set"),
        ("listen_addr = 5\n", "load toml: cannot decode TOML integer into struct field"),
        ('socket_path = "/s"\n[[storage]]\npath = "/"\n', "invalid config: [0].name: not set"),
        (
            'socket_path = "/s"\n[[storage]]\nname = "a"\npath = "/nowhere"\n',
            'invalid config: [0].path: doesn\'t exist: "/nowhere"',
        ),
        (
            'socket_path = "/s"\n[[storage]]\nname = "a"\npath = "/etc/passwd"\n',
            'invalid config: [0].path: not a dir: "/etc/passwd"',
        ),
        (
            'socket_path = "/s"\n[[storage]]\nname = "a"\npath = "/etc"\n[[storage]]\nname = "a"\npath = "/tmp"\n',
            'invalid config: [1].name: not unique: "a"',
        ),
        (
            'socket_path = "/s"\n[[storage]]\nname = "a"\npath = "/tmp"\n[[storage]]\nname = "b"\npath = "/tmp/"\n',
            'invalid config: [1].path: not unique: "/tmp"',
        ),
        (
            'socket_path = "/s"\n[[storage]]\nname = "a"\npath = "/usr"\n[[storage]]\nname = "b"\npath = "/usr/lib"\n',
            'invalid config: [1].path: can\'t nest: "/usr/lib" and "/usr"',
        ),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    assert refusal(tmp_path, text).startswith(expected)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('[[git.config]]\nkey = ""', 'invalid configuration key "": key: not set'),
        ('[[git.config]]\nkey = "a=b"', 'invalid configuration key "a=b": key: key "a=b" cannot contain "="'),
        ('[[git.config]]\nkey = "a"', 'invalid configuration key "a": key: key "a" must contain at least one section'),
        (
            '[[git.config]]\nkey = ".a"',
            'invalid configuration key ".a": key: key ".a" must not start or end with a dot',
        ),
        (
            '[[git.config]]\nkey = "a.b c"',
            'invalid configuration key "a.b c": key: key "a.b c" failed regexp validation',
        ),
        ("[daily_maintenance]\nstart_hour = 24", "daily maintenance specified hour '24' outside range (0-23)"),
        ("[daily_maintenance]\nstart_minute = 60", "daily maintenance specified minute '60' outside range (0-59)"),
        (
            '[daily_maintenance]\nduration = "25h"',
            "daily maintenance specified duration 25h0m0s must be less than 24 hours",
        ),
        (
            '[daily_maintenance]\nstorages = ["x"]',
            'daily maintenance specified storage "x" does not exist in configuration',
        ),
        ('[pack_objects_cache]\nenabled = true\nmax_age = "-1s"', "pack_objects_cache.max_age cannot be negative"),
        (
            '[pack_objects_cache]\nenabled = true\ndir = "x"',
            "pack_objects_cache: storage directory must be absolute path",
        ),
        (
            '[pack_objects_cache]\nenabled = true\ndir = "/"',
            "pack_objects_cache: the specified cache directory cannot be the same or a parent of the storage path",
        ),
        ('[gitlab-shell]\ndir = "/nowhere"', 'gitlab-shell.dir: doesn\'t exist: "/nowhere"'),
        (
            '[auth]\ntoken = "a"\ntoken_file = "/etc/passwd"',
            "token.token_file: token and token_file are mutually exclusive",
        ),
    ],
)
def test_sections_that_are_refused(tmp_path: Path, storage: Path, more: str, expected: str) -> None:
    assert refusal(tmp_path, good(storage, more)).split("\n")[0] == f"invalid config: {expected}"


def test_runtime_dir_must_exist(tmp_path: Path, storage: Path) -> None:
    text = f'runtime_dir = "/nowhere"\n{good(storage)}'
    assert refusal(tmp_path, text) == 'invalid config: runtime_dir: path doesn\'t exist: "/nowhere"'


def test_dialect_must_be_known(tmp_path: Path, storage: Path) -> None:
    text = good(storage, '[votes]\ndialect = "x"')
    assert refusal(tmp_path, text) == 'load toml: unsupported vote dialect: "x"'


def test_secrets_are_in_no_repr(tmp_path: Path, storage: Path) -> None:
    more = '[auth]\ntoken = "s3cret"\n[gitlab]\nsecret = "s3cret"\n[gitlab.http-settings]\npassword = "s3cret"'
    assert "s3cret" not in repr(read(tmp_path, good(storage, more)))
