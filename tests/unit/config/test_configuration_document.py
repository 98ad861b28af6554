"""The document of all keys is what the models say, and the models say all that it needs."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from praefect.config.gateway import GatewayConfig
from praefect.config.node_sections import NodeConfig
from praefect.config.praefect_sections import PraefectConfig
from praefect.config.schema import Key, keys

ROOT = Path(__file__).parents[3]
SECTIONS = (PraefectConfig, NodeConfig, GatewayConfig)


def walk(section: type[Any], above: str = "") -> Iterator[tuple[str, Key]]:
    for key in keys(section):
        inner = key.type if key.is_section else key.element
        if inner in (None, str, float):
            yield f"{above}{key.toml}", key
        else:
            yield from walk(inner, f"{above}{key.toml}{'' if key.is_section else '[]'}.")


@pytest.fixture(scope="module")
def generated() -> str:
    script = runpy.run_path(str(ROOT / "scripts" / "generate-configuration-docs"))
    text = script["render"]()
    assert isinstance(text, str)
    return text


def test_the_committed_document_is_up_to_date(generated: str) -> None:
    committed = (ROOT / "docs" / "configuration.md").read_text()
    assert committed == generated, "run scripts/generate-configuration-docs"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_in_it(generated: str, section: type[Any]) -> None:
    for name, _key in walk(section):
        assert f"\n| `{name}` | " in generated


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_described(section: type[Any]) -> None:
    for name, key in walk(section):
        assert key.setting.doc.endswith("."), name
        if key.type is int or key.element is float:
            assert key.setting.unit, name
