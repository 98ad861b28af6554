"""Every named statement fits the migrated schema."""

import re

import psycopg
import pytest

from praefect.datastore.queries import load_queries, query_modules
from tests.support.postgres import Rows


def numbered(statement: str) -> str:
    """Return a statement with the server's own placeholders."""
    numbers: dict[str, int] = {}
    return re.sub(
        r"%\((\w+)\)s", lambda match: f"${numbers.setdefault(match[1], len(numbers) + 1)}", statement
    ).replace("%%", "%")


@pytest.mark.parametrize("module", query_modules())
async def test_statements_can_be_planned(connection: Rows, module: str) -> None:
    refused = {}
    for name, statement in load_queries(module).items():
        is_utility = statement.startswith("CREATE")
        try:
            await connection.run(statement if is_utility else f"PREPARE planned_{name} AS {numbered(statement)}")
        except psycopg.Error as exc:
            refused[name] = str(exc)
    assert refused == {}


async def test_a_misspelt_column_is_found(connection: Rows) -> None:
    statement = numbered("SELECT repository_idd FROM repositories WHERE repository_id = %(id)s")
    with pytest.raises(psycopg.errors.UndefinedColumn):
        await connection.run(f"PREPARE wrong AS {statement}")
