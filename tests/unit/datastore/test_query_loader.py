"""Named statements are read from their files, with a line each on what they do and on locks."""

import re
from importlib.resources import files

import pytest

from praefect.datastore.queries import load_queries, query_modules

HEADINGS = [
    (module, heading)
    for module in query_modules()
    for heading in re.findall(
        r"^-- name: .*\n(?:--.*\n)*",
        files("praefect.datastore.queries").joinpath(f"{module}.sql").read_text(),
        flags=re.MULTILINE,
    )
]


def test_statements_come_without_their_headings() -> None:
    assert load_queries("health")["healthy_storages"] == (
        "SELECT virtual_storage, storage FROM healthy_storages ORDER BY virtual_storage, storage"
    )


@pytest.mark.parametrize("module", query_modules())
def test_each_file_has_statements_and_nothing_else(module: str) -> None:
    statements = load_queries(module)
    assert statements
    for statement in statements.values():
        assert statement.split(None, 1)[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "CREATE"}
        assert ";" not in statement


@pytest.mark.parametrize(("module", "heading"), HEADINGS)
def test_each_statement_is_explained(module: str, heading: str) -> None:
    assert len(heading.splitlines()) >= 2, f"{module}.sql: {heading}"


def test_an_unknown_file_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        load_queries("nothing")
