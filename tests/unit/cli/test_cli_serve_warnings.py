from praefect.cli.serve import oddities
from praefect.config.praefect import parse_config
from tests.unit.config.config_table import GOOD, section


def warnings(text: str) -> list[tuple[str, dict[str, str]]]:
    return list(oddities(parse_config(text.encode()).config))


def test_a_good_file_is_met_with_silence() -> None:
    assert warnings(GOOD) == []


def test_a_strategy_without_failover() -> None:
    assert warnings(section("[failover]\nenabled = false")) == [
        (
            "ignoring configured election strategy as failover is disabled",
            {"election_strategy": "per_repository"},
        )
    ]


def test_two_nodes_of_a_virtual_storage_at_one_address() -> None:
    assert warnings(GOOD.replace("gitaly-2:8075", "gitaly-1:8075")) == [
        ("more than one backend node is hosted at same address", {"conflicting_address": "tcp://gitaly-1:8075"}),
        ("your Praefect configuration may not offer actual redundancy", {}),
    ]


def test_nodes_of_different_virtual_storages_may_share_an_address() -> None:
    other = '[[virtual_storage]]\nname = "other"\n[[virtual_storage.node]]\nstorage = "s"\n'
    assert warnings(f'{GOOD}\n{other}address = "tcp://gitaly-1:8075"\n') == []
