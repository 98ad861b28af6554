"""``praefect check`` warns where the secret of clients opens nodes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from praefect.config.praefect_sections import DatabaseConfig
from tests.support.praefect_cli import (
    EXTERNAL_TOKEN,
    INTERNAL_TOKEN,
    FakeNode,
    Result,
    run_praefect,
    serve_node,
    storage_status,
    write_config,
)

CONSEQUENCE = "clients that call nodes directly change repositories behind Praefect's back, which loses data"


async def check(
    directory: Path, database: DatabaseConfig, *, told: tuple[str, str], wanted: tuple[str, str]
) -> tuple[Result, list[str]]:
    """Run ``check`` with two nodes, the tokens Praefect is told and those the nodes want."""
    async with AsyncExitStack() as stack:
        nodes = {}
        for number in (0, 1):
            name = f"gitaly-{number + 1}"
            node = FakeNode(statuses=[storage_status(name)])
            address = await stack.enter_async_context(serve_node(node, token=wanted[number]))
            nodes[name] = (address, told[number])
        path = write_config(directory / "config.toml", database=database, nodes=nodes)
        result = await run_praefect("-config", str(path), "check", "-q")
    return result, [address for address, _ in nodes.values()]


async def test_equal_tokens_are_pointed_out(tmp_path: Path, database: DatabaseConfig) -> None:
    tokens = (INTERNAL_TOKEN, EXTERNAL_TOKEN)
    result, addresses = await check(tmp_path, database, told=tokens, wanted=tokens)
    assert result.stdout.splitlines()[-4:] == [
        (
            "Checking different tokens...Failed (warning) error: "
            "auth.token, the secret of clients, is also the token of "
            f'"gitaly-2": {CONSEQUENCE}'
        ),
        (
            "Checking nodes closed to clients...Failed (warning) error: "
            "auth.token, the secret of clients, is accepted by "
            f"{addresses[1]}: {CONSEQUENCE}"
        ),
        "",
        "2 check(s) failed, but none are fatal.",
    ]
    assert (result.code, EXTERNAL_TOKEN in result.stdout + result.stderr) == (0, False)


@pytest.mark.parametrize("wanted", [EXTERNAL_TOKEN, ""], ids=["clients' token", "any token"])
async def test_a_node_that_clients_can_call_is_pointed_out(
    tmp_path: Path, database: DatabaseConfig, wanted: str
) -> None:
    result, addresses = await check(
        tmp_path, database, told=(INTERNAL_TOKEN, INTERNAL_TOKEN), wanted=(INTERNAL_TOKEN, wanted)
    )
    assert "nodes closed to clients...Failed (warning) error: auth.token, the secret of clients, is accepted by " in (
        result.stdout
    )
    assert addresses[1] in result.stdout.split("nodes closed to clients")[1]
    assert addresses[0] not in result.stdout.split("nodes closed to clients")[1]
    assert "different tokens" not in result.stdout


async def test_nothing_is_said_of_tokens_that_are_well(tmp_path: Path, database: DatabaseConfig) -> None:
    tokens = (INTERNAL_TOKEN, INTERNAL_TOKEN)
    result, _ = await check(tmp_path, database, told=tokens, wanted=tokens)
    assert result.ok().endswith("\n\nAll checks passed.\n")
    assert "clients" not in result.stdout
