from __future__ import annotations

import pytest

from praefect.node.git.command import (
    EMPTY_TREE_SHA1,
    NO_HOOKS,
    Command,
    InvalidConfigOptionError,
    MissingHooksError,
    config_of,
    parse_config_options,
)
from praefect.node.git.environment import base_environment, config_environment, protocol_environment
from praefect.node.git.errors import UnsafeArgumentError


def test_positional_arguments_stand_behind_end_of_options() -> None:
    command = Command(name="for-each-ref", flags=["--format=x"], arguments=["refs/heads/"])
    assert command.argv() == [b"for-each-ref", b"--format=x", b"--end-of-options", b"refs/heads/"]


def test_subcommands_that_do_not_know_it_get_no_end_of_options() -> None:
    command = Command(name="archive", flags=["--format=tar"], arguments=[b"main"], paths=[b"-p"])
    assert command.argv() == [b"archive", b"--format=tar", b"main", b"--", b"-p"]


@pytest.mark.parametrize("argument", ["-x", "--upload-pack=evil", b"-o"])
def test_argument_that_looks_like_an_option_is_refused(argument: str | bytes) -> None:
    with pytest.raises(UnsafeArgumentError):
        Command(name="show", arguments=[argument]).argv()


def test_nul_is_refused_everywhere() -> None:
    for command in (
        Command(name="show", arguments=[b"a\0b"]),
        Command(name="show", paths=[b"a\0b"]),
        Command(name="show", flags=["--x=\0"]),
    ):
        with pytest.raises(UnsafeArgumentError):
            command.argv()


@pytest.mark.parametrize("name", ["update-ref", "fetch", "clone", "receive-pack", "worktree", "am"])
def test_command_that_may_write_references_must_say_which_hooks_run(name: str) -> None:
    with pytest.raises(MissingHooksError):
        Command(name=name).require_hooks()
    Command(name=name, hooks=NO_HOOKS).require_hooks()


def test_reading_commands_need_no_hooks() -> None:
    Command(name="cat-file").require_hooks()


def test_hooks_become_configuration() -> None:
    pairs = config_of(Command(name="update-ref", hooks=NO_HOOKS), empty_tree=EMPTY_TREE_SHA1)
    assert ("core.hooksPath", "/dev/null") in pairs
    assert pairs[-1] == ("attr.tree", "HEAD")


def test_receive_pack_hides_internal_references() -> None:
    pairs = config_of(Command(name="receive-pack", hooks=NO_HOOKS), empty_tree=EMPTY_TREE_SHA1)
    hidden = {value for key, value in pairs if key == "receive.hideRefs"}
    assert hidden == {
        "refs/keep-around/",
        "refs/remotes/",
        "refs/tmp/",
        "refs/environments/",
        "refs/merge-requests/",
        "refs/pipelines/",
    }
    assert ("gc.auto", "0") in pairs
    assert pairs[-1] == ("attr.tree", EMPTY_TREE_SHA1)


def test_config_options_are_split_at_the_first_equals_sign() -> None:
    assert parse_config_options(["a.b=c=d"]) == [("a.b", "c=d")]
    with pytest.raises(InvalidConfigOptionError, match='cannot convert invalid config key: "foo"'):
        parse_config_options(["foo"])


def test_environment_is_an_allow_list() -> None:
    environment = base_environment({"PATH": "/bin", "SECRET": "x", "GIT_DIR": "/elsewhere", "HOME": "/root"})
    assert environment["PATH"] == "/bin"
    assert "SECRET" not in environment
    assert "GIT_DIR" not in environment
    assert environment["GIT_CONFIG_SYSTEM"] == "/dev/null"


def test_secret_config_travels_in_the_environment() -> None:
    assert config_environment([("a.b", "c")]) == {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "a.b",
        "GIT_CONFIG_VALUE_0": "c",
    }
    assert config_environment([]) == {}
    assert "secret" not in repr(Command(name="fetch", secret_config=[("a", "secret")], environment={"B": "secret"}))


def test_only_known_protocol_versions_reach_git() -> None:
    assert protocol_environment("version=2") == {"GIT_PROTOCOL": "version=2"}
    assert protocol_environment("version=2:evil") == {}
