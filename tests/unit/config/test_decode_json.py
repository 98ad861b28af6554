from datetime import timedelta
from typing import Any

import pytest

from praefect.config.decode import JsonDecoder
from praefect.config.faults import ConfigError
from praefect.config.praefect import PraefectConfig, parse_config
from tests.unit.config.config_table import GOOD

BASE = parse_config(GOOD.encode()).config


def merge(value: Any) -> PraefectConfig:
    return JsonDecoder().merge(BASE, value)


def test_lists_merge_by_position() -> None:
    config = merge({"virtual_storage": [{"node": [{"token": "a"}, {"token": "b"}]}]})
    assert [(node.storage, node.token) for node in config.virtual_storages[0].nodes] == [
        ("gitaly-1", "a"),
        ("gitaly-2", "b"),
    ]


def test_a_shorter_list_drops_elements() -> None:
    assert [node.storage for node in merge({"virtual_storage": [{"node": [{}]}]}).virtual_storages[0].nodes] == [
        "gitaly-1"
    ]


def test_a_longer_list_adds_elements() -> None:
    config = merge({"virtual_storage": [{}, {"name": "more"}]})
    assert [virtual.name for virtual in config.virtual_storages] == ["default", "more"]
    assert config.virtual_storages[1].minimum_copies == 1


def test_null_empties_lists_and_resets_nothing_else() -> None:
    config = merge({"virtual_storage": None, "listen_addr": None, "auth": None})
    assert config.virtual_storages == ()
    assert config.listen_addr == BASE.listen_addr


def test_null_in_a_list_leaves_the_element() -> None:
    assert merge({"virtual_storage": [None]}) == BASE


def test_the_empty_string_resets() -> None:
    assert merge({"listen_addr": ""}).listen_addr == ""


def test_keys_match_in_any_case_and_unknown_ones_are_ignored() -> None:
    assert merge({"LISTEN_ADDR": "x:1", "bogus": 1}).listen_addr == "x:1"


def test_two_keys_have_other_names_than_in_toml() -> None:
    config = merge({"tls": {"cert_path": "c", "certificate_path": "d"}, "auth": {"tokenfile": "t", "token_file": "u"}})
    assert (config.tls.certificate_path, config.auth.token_file) == ("c", "t")


def test_durations_are_strings() -> None:
    assert merge({"graceful_stop_timeout": "5s"}).graceful_stop_timeout == timedelta(seconds=5)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "json: cannot unmarshal array into Go value of type config.Config"),
        ({"listen_addr": 5}, "json: cannot unmarshal number 5 into Go struct field Config.listen_addr of type string"),
        ({"graceful_stop_timeout": 5}, "json: cannot unmarshal number 5 into Go struct field Config.graceful_stop"),
        ({"graceful_stop_timeout": "5"}, 'time: missing unit in duration "5"'),
        (
            {"replication": {"batch_size": -1}},
            "json: cannot unmarshal number -1 into Go struct field Config.replication.",
        ),
        ({"virtual_storage": {}}, "json: cannot unmarshal object into Go struct field Config.virtual_storage"),
        ({"auth": "x"}, "json: cannot unmarshal string into Go struct field Config.auth of type config.Auth"),
    ],
)
def test_wrong_kinds_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        merge(value)
    assert str(caught.value).startswith(message)


def test_nothing_is_merged_from_null() -> None:
    assert merge(None) == BASE
