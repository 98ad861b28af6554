"""``-format json``: one document per command, of one shape, from a real server, nodes and PostgreSQL."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.postgres import Rows
from tests.support.praefect_cli import LONG_AGO, Installation

pytestmark = pytest.mark.timeout(300)  # many processes, one after the other

PATH = "a/b.git"
REPOSITORY = ["-virtual-storage", "default", "-relative-path", PATH]
TRACK = ["track-repository", *REPOSITORY, "-replica-path", "disk/b", "-authoritative-storage", "gitaly-1"]
STORAGES = ["gitaly-1", "gitaly-2", "gitaly-3"]


async def document(praefect: Installation, *words: str, fails: bool = False) -> dict[str, Any]:
    """Run a command that prints a document; return its result."""
    result = await praefect(*words, "-format", "json")
    assert result.stdout.count("\n") == 1, result
    found = json.loads(result.stdout)
    assert (found["command"], found["ok"], result.code) == (words[0], not fails, int(fails)), result
    if fails:
        assert result.stderr == "".join(f"{line}\n" for line in [found["error"], *found.get("hints", [])])
    else:
        assert (result.stderr, "error" in found) == ("", False)
    assert isinstance(found["result"], dict)
    return found["result"]


async def test_documents_of_a_cluster(praefect: Installation) -> None:
    assert await document(praefect, "sql-ping") == {}
    assert await document(praefect, "sql-migrate") == {"migrations": []}
    status = (await document(praefect, "sql-migrate-status"))["migrations"]
    assert {tuple(row) for row in status} == {("migration", "known", "applied_at")}
    assert all(row["known"] and row["applied_at"] for row in status)
    rollback = await document(praefect, "sql-migrate-down", "2")
    assert rollback == {"migrations": [row["migration"] for row in status[:-3:-1]], "reverted": 0}
    storages = (await document(praefect, "list-storages"))["storages"]
    assert [row["storage"] for row in storages] == STORAGES
    nodes = (await document(praefect, "dial-nodes"))["nodes"]
    assert sorted(nodes, key=lambda node: STORAGES.index(next(iter(node["storages"])))) == [
        {"address": praefect.addresses[name], "storages": {name: ["default"]}, "healthy": True, "errors": []}
        for name in STORAGES
    ]
    checks = (await document(praefect, "check"))["checks"]
    assert [check["name"] for check in checks][:2] == ["praefect migrations", "gitaly node connectivity & disk access"]
    assert all(check["passed"] for check in checks)
    pools = (await document(praefect, "pool"))["virtual_storages"]
    assert pools == [{"virtual_storage": "default", "members": 0, "nodes": 0}]
    assert await document(praefect, "doubts") == {"doubts": []}


async def test_documents_of_a_repository(praefect: Installation, connection: Rows) -> None:
    praefect.nodes["gitaly-1"].repositories |= {"disk/b": LONG_AGO, "disk/lost": LONG_AGO}
    lost = {"relative_path": "disk/lost", "storage": "gitaly-1", "virtual_storage": "default"}
    tracked = (await document(praefect, *TRACK, "-replicate-immediately"))["repositories"]
    assert tracked == [
        {"virtual_storage": "default", "relative_path": PATH, "repository_id": 1, "replicated": STORAGES[1:]}
    ]
    assert lost in (await document(praefect, "list-untracked-repositories"))["repositories"]
    metadata = (await document(praefect, "metadata", *REPOSITORY))["repository"]
    assert [metadata[key] for key in ("repository_id", "replica_path", "primary", "generation")] == [
        1,
        "disk/b",
        "gitaly-1",
        0,
    ]
    assert metadata["replicas"][2].items() >= {"storage": "gitaly-3", "generation": 0, "valid_primary": True}.items()
    assert await document(praefect, "set-replication-factor", *REPOSITORY, "-replication-factor", "3") == {
        "assignments": STORAGES
    }
    accepted = await document(praefect, "accept-dataloss", *REPOSITORY, "-authoritative-storage", "gitaly-1")
    assert accepted["authoritative_storage"] == "gitaly-1"
    (found,) = (await document(praefect, "dataloss", "-partially-unavailable"))["virtual_storages"]
    assert (found["virtual_storage"], found["repositories"][0]["relative_path"]) == ("default", PATH)
    assert found["repositories"][0]["storages"][1]["behind_by"] == 1
    assert "replicas_marked" in await document(praefect, "verify", "-repository-id", "1")
    move = await document(praefect, "failover", "-virtual-storage", "default", "-to", "gitaly-2", fails=True)
    assert (move["applied"], move["refused"], move["repositories"][0]["moves"]) == (False, 1, False)
    explained = (await document(praefect, "explain", "-repository", PATH))["explanation"]
    assert explained[0] == f"Repository: {PATH} of virtual storage default"
    removed = await document(praefect, "remove-repository", *REPOSITORY, "-apply")
    assert removed == {"found": True, "records_removed": True, "replicas_removed": True, "events_removed": True}
    assert await document(praefect, "remove-repository", *REPOSITORY, fails=True) == {
        "found": False,
        "records_removed": False,
        "replicas_removed": False,
        "events_removed": False,
    }
    assert await connection.run("SELECT * FROM repositories") == []


@pytest.mark.parametrize("complete", [True, False])
async def test_documents_of_many_repositories(nodes: Installation, *, complete: bool) -> None:
    nodes.nodes["gitaly-1"].repositories["disk/b"] = LONG_AGO
    entry = {
        "relative_path": PATH,
        "replica_path": "disk/b",
        "virtual_storage": "default",
        "authoritative_storage": "gitaly-1",
    }
    file = nodes.path.with_name("input")
    file.write_text(json.dumps(entry if complete else {**entry, "authoritative_storage": "x"}))
    result = await document(nodes, "track-repositories", "-input-path", str(file), fails=not complete)
    if complete:
        assert [each["queued"] for each in result["repositories"]] == [STORAGES[1:]]
    else:
        problems = ['checking repository on disk: node "x" not found']
        assert result["invalid"] == [{"line": 1, "relative_path": PATH, "replica_path": "disk/b", "problems": problems}]
