"""The internal API: only who knows the secret is answered, and pushes are judged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from praefect.config.gateway import GatewayStorageConfig
from tests.support.gateway_site import GatewayClient, PretendedNode, internal_token, serve_gateway, serve_pretended

CHANGES = f"{'0' * 40} {'a' * 40} refs/heads/main"


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[GatewayClient]:
    async with (
        serve_pretended(PretendedNode(), tmp_path) as storage,
        serve_gateway(tmp_path / "gateway", [storage]) as running,
    ):
        yield running


def push(project: int, *, user: str = "1", changes: str = CHANGES, **more: Any) -> dict[str, Any]:
    return {"gl_repository": f"project-{project}", "user_id": user, "changes": changes, **more}


@pytest.mark.parametrize(
    "token",
    [
        "",
        "no token",
        internal_token(secret="another secret, which is long enough to sign with"),
        internal_token(lasts=-60),
        internal_token(issuer="somebody"),
        internal_token(algorithm="none"),
        internal_token(algorithm="HS512"),
    ],
    ids=["none", "garbage", "wrong secret", "expired", "wrong issuer", "unsigned", "wrong algorithm"],
)
async def test_who_does_not_know_the_secret_is_refused(client: GatewayClient, token: str) -> None:
    for method, path in (
        ("POST", "allowed"),
        ("POST", "pre_receive"),
        ("POST", "post_receive"),
        ("GET", "check"),
        ("GET", "gitaly/object_pool_members"),
    ):
        answer = await client.internal(path, {}, token=token, method=method)
        assert answer == (401, {"message": "the shared secret does not fit"})


async def test_a_token_that_expired_just_now_is_within_the_clocks_tolerance(client: GatewayClient) -> None:
    status, _ = await client.internal("check", token=internal_token(lasts=-10), method="GET")
    assert status == 200


async def test_a_push_is_allowed(client: GatewayClient) -> None:
    number = await client.create("app")
    status, body = await client.internal("allowed", push(number))
    assert (status, body["status"], body["gl_id"], body["gl_username"]) == (200, True, "user-1", "root")


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"user": "2"}, 403, "You are not allowed to push code to this project."),
        ({"user": "3"}, 403, "The user is unknown."),
        ({"changes": f"{'0' * 40} {'a' * 40} refs/heads/frozen"}, 403, "Frozen until spring."),
        ({"changes": "rubbish"}, 403, "The list of changes is malformed."),
        ({"gl_repository": "wiki-1"}, 404, "The project you were looking for could not be found."),
        ({"gl_repository": "project-99"}, 404, "The project you were looking for could not be found."),
    ],
)
async def test_a_push_is_refused(client: GatewayClient, change: dict[str, str], status: int, message: str) -> None:
    number = await client.create("app")
    assert await client.internal("allowed", push(number) | push(number, **change)) == (
        status,
        {"status": False, "message": message},
    )


async def test_references_that_change_are_noted(client: GatewayClient) -> None:
    number = await client.create("app")
    body = {"gl_repository": f"project-{number}", "identifier": "user-1", "changes": CHANGES}
    assert await client.internal("pre_receive", body) == (200, {"reference_counter_increased": True})
    assert await client.internal("post_receive", body) == (200, {"reference_counter_decreased": True, "messages": []})


async def test_a_body_that_is_no_object_is_refused(client: GatewayClient) -> None:
    header = {"Gitlab-Shell-Api-Request": internal_token(), "Content-Type": "application/json"}
    for data in (b"[]", b"{", b"\xff"):
        status, _ = await client.api("POST", "/api/v4/internal/allowed", token=None, headers=header, data=data)
        assert status == 400


async def test_nobody_shares_a_pool(client: GatewayClient) -> None:
    path = "gitaly/object_pool_members?disk_paths[]=a.git&disk_paths[]=b.git"
    assert await client.internal(path, method="GET") == (200, {"a.git": [], "b.git": []})


async def test_a_gateway_without_a_storage_that_answers_answers_hooks(tmp_path: Path) -> None:
    storage = GatewayStorageConfig(name="default", gitaly_address=f"unix:{tmp_path}/nobody", gitaly_token="t")
    async with serve_gateway(tmp_path / "gateway", [storage]) as client:
        status, body = await client.internal("check", method="GET")
    assert (status, body["api_version"]) == (200, "v4")
