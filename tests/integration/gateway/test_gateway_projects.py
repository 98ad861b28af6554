"""The project API: creating, undoing, finishing what a crash left, deleting; and the status as JSON."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from praefect.config.gateway import GatewayStorageConfig
from praefect.domain.errors import InternalError, PermissionDeniedError, PraefectError, UnavailableError
from praefect.gateway.projects import open_projects
from tests.support.eventually import eventually
from tests.support.gateway_site import (
    GUEST,
    ROOT,
    GatewayClient,
    PretendedNode,
    Site,
    serve_gateway,
    serve_pretended,
    serve_site,
)
from tests.support.raw_http import exchange


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serve_site(tmp_path, "default") as running:
        yield running


def states(directory: Path) -> list[str]:
    """Return the states of all rows in the gateway's file."""
    connection = sqlite3.connect(directory / "gateway.db")
    try:
        return [row[0] for row in connection.execute("SELECT state FROM projects ORDER BY id")]
    finally:
        connection.close()


async def test_a_project_is_created_listed_shown_and_deleted(site: Site) -> None:
    client = site.client
    form = {"name": "My app", "path": "app", "namespace_path": "team", "initialize_with_readme": "true"}
    status, created = await client.api("POST", "/api/v4/projects", data=form)
    assert status == 201
    assert created["name"] == "My app"
    assert created["path_with_namespace"] == "team/app"
    assert created["http_url_to_repo"] == f"{client.url}/team/app.git"
    assert created["repository_storage"] == "default"
    repositories = list(site.nodes[0].storage.glob("@hashed/*/*/*.git"))
    assert len(repositories) == 1

    assert await client.api("GET", "/api/v4/projects") == (200, [created])
    assert await client.api("GET", f"/api/v4/projects/{created['id']}") == (200, created)
    assert await client.api("GET", "/api/v4/projects/team%2Fapp") == (200, created)
    assert (await client.api("DELETE", f"/api/v4/projects/{created['id']}"))[0] == 202
    assert await client.api("GET", f"/api/v4/projects/{created['id']}") == (404, {"message": "404 Project Not Found"})
    assert not repositories[0].exists()


async def test_nobody_else_may_read_the_file_or_what_stands_beside_it(tmp_path: Path) -> None:
    async with open_projects(tmp_path / "gateway.db"):
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"gateway.db": 0o600, "gateway.db-wal": 0o600, "gateway.db-shm": 0o600}


async def test_a_path_is_given_once(site: Site) -> None:
    await site.client.create("app")
    for path in ("app", "APP"):
        status, body = await site.client.api("POST", "/api/v4/projects", json={"path": path})
        assert (status, body) == (409, {"message": f'project "{path}" has already been taken'})


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({}, "name must have"),
        ({"path": "api/x"}, "must not begin"),
        ({"path": "a/../b"}, 'path segment ".."'),
        ({"path": "a.git"}, 'not end in ".", ".git"'),
        ({"path": "a", "repository_storage": "nowhere"}, 'storage "nowhere" is not configured; known: default'),
    ],
)
async def test_what_cannot_be_a_project_is_refused(site: Site, body: dict[str, Any], part: str) -> None:
    status, answer = await site.client.api("POST", "/api/v4/projects", json=body)
    assert status == 400
    assert part in answer["message"]
    assert await site.client.projects() == []


async def test_a_body_that_is_no_object_is_refused(site: Site) -> None:
    for data in (b"[]", b"{", b"\xff"):
        status, _ = await site.client.api(
            "POST", "/api/v4/projects", data=data, headers={"Content-Type": "application/json"}
        )
        assert status == 400


async def test_who_may_not_is_told_so(site: Site) -> None:
    for token in (None, "wrong"):
        for method, path in (
            ("GET", "projects"),
            ("POST", "projects"),
            ("GET", "projects/1"),
            ("DELETE", "projects/1"),
        ):
            assert await site.client.api(method, f"/api/v4/{path}", token=token) == (
                401,
                {"message": "401 Unauthorized"},
            )
    assert await site.client.api("POST", "/api/v4/projects", token=GUEST, json={"path": "a"}) == (
        403,
        {"message": "403 Forbidden"},
    )
    assert await site.client.api("GET", "/api/v4/projects", token=GUEST) == (200, [])
    assert await site.client.api(
        "GET", "/api/v4/projects", token=None, headers={"Authorization": f"Bearer {GUEST}"}
    ) == (
        200,
        [],
    )


# --- failures ---


@pytest.fixture
async def pretended() -> PretendedNode:
    return PretendedNode()


@pytest.fixture
async def broken(pretended: PretendedNode, tmp_path: Path) -> AsyncIterator[GatewayClient]:
    """A gateway before a pretended node."""
    async with (
        serve_pretended(pretended, tmp_path) as storage,
        serve_gateway(tmp_path / "gateway", [storage]) as client,
    ):
        yield client


@pytest.mark.parametrize(
    ("failing", "error", "status", "message"),
    [
        ("CreateRepository", UnavailableError("no healthy nodes"), 503, "14:no healthy nodes"),
        ("UserCommitFiles", InternalError("disk on fire"), 500, "13:disk on fire"),
    ],
)
async def test_a_failed_creation_is_undone(
    broken: GatewayClient,
    pretended: PretendedNode,
    tmp_path: Path,
    failing: str,
    error: UnavailableError | InternalError,
    status: int,
    message: str,
) -> None:
    pretended.failures[failing] = error
    answer = await broken.api("POST", "/api/v4/projects", json={"path": "a", "initialize_with_readme": True})
    assert (answer[0], answer[1]["message"]) == (status, message)
    assert [call for call in pretended.calls if call != "ServerInfo"][-1] == "RemoveRepository"
    assert states(tmp_path / "gateway") == []
    pretended.failures.clear()
    await broken.create("a")


@pytest.mark.parametrize(
    ("creation", "server", "hint"),
    [
        (PermissionDeniedError("permission denied"), PermissionDeniedError("permission denied"), "gitaly_token in the"),
        (PermissionDeniedError("permission denied"), None, "a node refuses the token"),
        (PermissionDeniedError("permission denied"), InternalError("disk on fire"), None),
        (PermissionDeniedError("GitLab: the branch is frozen"), None, None),
        (UnavailableError("away"), UnavailableError("away"), "does not run, or cannot be reached"),
        (UnavailableError("away"), None, "reaches none of the nodes"),
        (InternalError("disk on fire"), None, None),
    ],
)
async def test_a_failed_creation_hints_at_what_is_to_be_mended(
    broken: GatewayClient,
    pretended: PretendedNode,
    creation: PraefectError,
    server: PraefectError | None,
    hint: str | None,
) -> None:
    pretended.failures["CreateRepository"] = creation
    if server is not None:
        pretended.failures["ServerInfo"] = server
    _, answer = await broken.api("POST", "/api/v4/projects", json={"path": "a"})
    if hint is None:
        assert "hint" not in answer
    else:
        assert hint in answer["hint"]
        assert 'storage "default" at unix:' in answer["hint"]


async def test_a_project_on_a_storage_that_is_no_longer_configured(pretended: PretendedNode, tmp_path: Path) -> None:
    async with serve_pretended(pretended, tmp_path) as storage:
        async with serve_gateway(tmp_path / "gateway", [storage]) as client:
            await client.create("app")
        other = dataclasses.replace(storage, name="other")
        async with serve_gateway(tmp_path / "gateway", [other]) as client:
            message = '3:storage "default" is not configured; known: other'
            answer = await exchange(
                client.url,
                b"GET",
                b"/app.git/info/refs?service=git-upload-pack",
                headers=[(b"Authorization", aiohttp.encode_basic_auth("root", ROOT).encode())],
            )
            assert (answer.status, answer.body.decode()) == (500, f"{message}\n")
            assert await client.api("DELETE", "/api/v4/projects/1") == (500, {"message": message})


async def test_what_cannot_be_undone_is_hidden_and_undone_later(pretended: PretendedNode, tmp_path: Path) -> None:
    pretended.failures = {name: UnavailableError("away") for name in ("UserCommitFiles", "RemoveRepository")}
    async with serve_pretended(pretended, tmp_path) as storage:
        async with serve_gateway(tmp_path / "gateway", [storage]) as client:
            status, _ = await client.api("POST", "/api/v4/projects", json={"path": "a", "initialize_with_readme": True})
            assert (status, await client.projects()) == (503, [])
            del pretended.failures["UserCommitFiles"]
            await client.create("a")
        assert states(tmp_path / "gateway") == ["deleting", "ready"]
        pretended.failures.clear()
        async with serve_gateway(tmp_path / "gateway", [storage]) as client:

            async def clean() -> bool:
                return states(tmp_path / "gateway") == ["ready"]

            await eventually(clean)
            assert await client.projects() == ["a"]


async def test_what_a_crash_left_half_created_is_removed_at_the_next_start(
    pretended: PretendedNode, tmp_path: Path
) -> None:
    directory = tmp_path / "gateway"
    directory.mkdir()
    async with open_projects(directory / "gateway.db") as projects:
        await projects.add(path="a", name="a", storage="default", default_branch="main")
    async with serve_pretended(pretended, tmp_path) as storage, serve_gateway(directory, [storage]) as client:

        async def clean() -> bool:
            return states(directory) == []

        await eventually(clean)
        assert pretended.calls == ["RemoveRepository"]
        await client.create("a")


async def test_a_client_that_goes_away_leaves_nothing_half_created(
    broken: GatewayClient, pretended: PretendedNode, tmp_path: Path
) -> None:
    asked = asyncio.Event()
    pretended.on_call = lambda name: asked.set() if name == "CreateRepository" else None
    async with asyncio.TaskGroup() as tasks:
        creation = tasks.create_task(broken.create("a"), name="create")
        await asked.wait()
        creation.cancel()

    async def ready() -> bool:
        return states(tmp_path / "gateway") == ["ready"]

    await eventually(ready)
    assert pretended.calls == ["CreateRepository", "UserCommitFiles"]


# --- status ---


async def test_the_status_says_what_storages_and_replicas_are(site: Site) -> None:
    await site.client.create("app")
    status, body = await site.client.api("GET", "/-/status.json", token=None)
    assert status == 200
    [storage] = body["storages"]
    assert (storage["name"], storage["ok"], storage["problem"]) == ("default", True, None)
    [project] = body["projects"]
    assert (project["path"], project["storage"], project["problem"]) == ("app", "default", None)
    assert body["hidden_projects"] == 0


async def test_the_status_says_what_is_wrong(tmp_path: Path) -> None:
    storages = [GatewayStorageConfig(name="default", gitaly_address=f"unix:{tmp_path}/nobody", gitaly_token="t")]
    async with serve_gateway(tmp_path / "gateway", storages) as client:
        _, body = await client.api("GET", "/-/status.json", token=None)
    assert body["storages"][0]["ok"] is False
    assert body["storages"][0]["problem"].startswith("14:")


async def test_a_storage_of_another_name_is_pointed_out(broken: GatewayClient) -> None:
    _, body = await broken.api("GET", "/-/status.json", token=None)
    assert body["storages"][0]["problem"].startswith('14:the server does not report a storage "default"')
