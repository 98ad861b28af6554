"""The client of the internal API on real sockets: headers, kinds of URLs, answers good and bad."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from praefect.node.hooks.gitlab_api import GitlabApi, InternalApiSettings, make_token
from praefect.node.hooks.internal_api import (
    AllowedRequest,
    InternalApiError,
    NotAllowedError,
    PostReceiveRequest,
    RateLimitedError,
)
from praefect.node.hooks.messages import Message, MessageKind
from praefect.observability.correlation import correlation_id
from tests.support.internal_api import SECRET, FrontDoor, serve_front_door
from tests.support.tls_certificates import make_authority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

REQUEST = AllowedRequest(
    gl_repository="project-1",
    repository_path="/storage/it's.git",
    relative_path="it's.git",
    changes=b"0 1 refs/heads/<a&b>\n",
    protocol="http",
    gl_id="key-12",
    object_directory="objects/tmp_objdir-incoming-x",
    alternate_object_directories=["objects"],
    client_context=b"\x01\x02",
    remote_ip="192.0.2.9",
)


@pytest.fixture
async def door() -> AsyncIterator[FrontDoor]:
    async with serve_front_door() as door:
        yield door


@pytest.fixture
async def api(door: FrontDoor) -> AsyncIterator[GitlabApi]:
    async with GitlabApi(InternalApiSettings(url=door.url, secret=f"  {SECRET}\n")) as api:
        yield api


async def test_request_as_upstream_sends_it(door: FrontDoor, api: GitlabApi) -> None:
    correlation_id.set("corr-1")
    await api.allowed(REQUEST)
    request = door.last("/allowed")
    assert list(request.values) == [
        "action",
        "gl_repository",
        "project",
        "relative_path",
        "changes",
        "protocol",
        "env",
        "key_id",
        "gitaly_client_context_bin",
    ]
    assert request.values["project"] == "/storage/its.git"
    assert request.values["key_id"] == "12"
    assert request.values["gitaly_client_context_bin"] == "AQI="
    assert json.loads(str(request.values["env"])) == {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES_RELATIVE": ["objects"],
        "GIT_OBJECT_DIRECTORY_RELATIVE": "objects/tmp_objdir-incoming-x",
    }
    assert b"refs/heads/\\u003ca\\u0026b\\u003e" in request.body
    headers = request.headers
    header, claims, _ = headers["Gitlab-Shell-Api-Request"].split(".")
    assert header == make_token(SECRET, 0).split(".")[0]
    assert claims
    assert headers["Content-Type"] == "application/json"
    assert headers["Accept-Encoding"] == "gzip"
    assert headers["Connection"] == "close"
    assert headers["User-Agent"].startswith("gitaly/")
    assert headers["X-Request-ID"] == "corr-1"
    assert headers["X-Forwarded-For"] == "192.0.2.9"
    assert headers["Content-Length"] == str(len(request.body))
    assert "Authorization" not in headers


async def test_basic_authentication_if_configured(door: FrontDoor) -> None:
    async with GitlabApi(InternalApiSettings(url=door.url, secret=SECRET, user="u", password="p")) as api:
        await api.allowed(REQUEST)
    assert door.last("/allowed").headers["Authorization"] == "Basic dTpw"


@pytest.mark.parametrize(
    ("gl_id", "key"), [("user-3", "user_id"), ("key-3", "key_id"), ("username-jane-d", "username")]
)
async def test_who_pushes(door: FrontDoor, api: GitlabApi, gl_id: str, key: str) -> None:
    await api.pre_receive("project-1")
    values = AllowedRequest(
        gl_repository="project-1",
        repository_path="/r",
        relative_path="r",
        changes=b"x",
        protocol="ssh",
        gl_id=gl_id,
    )
    await api.allowed(values)
    assert door.last("/allowed").values[key] == gl_id.partition("-")[2]


@pytest.mark.parametrize("gl_id", ["", "user-", "user-x", "key-١", "group-1"])
async def test_unknown_ids_are_refused_without_asking(door: FrontDoor, api: GitlabApi, gl_id: str) -> None:
    request = AllowedRequest(
        gl_repository="p", repository_path="/r", relative_path="r", changes=b"x", protocol="ssh", gl_id=gl_id
    )
    with pytest.raises(NotAllowedError) as caught:
        await api.allowed(request)
    assert caught.value.text == f'gl_id="{gl_id}" is invalid'
    assert door.requests == []


def plain(status: int, text: str, content_type: str = "text/html") -> Callable[[], web.Response]:
    return lambda: web.Response(status=status, text=text, content_type=content_type)


def gzipped(values: object) -> Callable[[], web.Response]:
    body = gzip.compress(json.dumps(values).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    return lambda: web.Response(body=body, headers=headers)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (plain(200, '{"status":true}'), "/allowed endpoint respond with unsupported content type: text/html"),
        (plain(204, ""), "gitlab api is not accessible: 204"),
        (plain(302, ""), "gitlab api is not accessible: 302"),
        (plain(500, "oops"), "Internal API error (500)"),
        (plain(403, '{"message":"go away"}', "application/json"), "go away"),
        (plain(404, '{"other":1}', "application/json"), "Internal API error (404)"),
        (plain(200, '{"status":false,"message":"no"}', "application/json"), "no"),
        (plain(300, '{"status":false,"message":"custom action"}', "application/json"), "custom action"),
        (gzipped({"status": False, "message": "compressed"}), "compressed"),
    ],
)
async def test_answers_that_refuse(
    door: FrontDoor, api: GitlabApi, answer: Callable[[], web.Response], text: str
) -> None:
    door.answers["/allowed"] = answer
    with pytest.raises(NotAllowedError) as caught:
        await api.allowed(REQUEST)
    assert caught.value.text == text
    assert str(caught.value) == f"GitLab: {text}"


async def test_answer_300_allows(door: FrontDoor, api: GitlabApi) -> None:
    door.answer("/allowed", {"status": True}, 300)
    await api.allowed(REQUEST)


async def test_rate_limit(door: FrontDoor, api: GitlabApi) -> None:
    door.answers["/allowed"] = plain(429, "")
    with pytest.raises(RateLimitedError):
        await api.allowed(REQUEST)


async def test_front_door_away(door: FrontDoor) -> None:
    async with GitlabApi(InternalApiSettings(url="http://127.0.0.1:1", secret=SECRET)) as api:
        with pytest.raises(NotAllowedError) as caught:
            await api.allowed(REQUEST)
        assert caught.value.text == "Internal API unreachable"
        with pytest.raises(InternalApiError, match="Internal API unreachable"):
            await api.check()


async def test_front_door_that_does_not_answer(door: FrontDoor) -> None:
    never = asyncio.Event()

    async def wait() -> None:
        await never.wait()

    door.before["/allowed"] = wait
    async with GitlabApi(InternalApiSettings(url=door.url, secret=SECRET, read_timeout_seconds=1)) as api:
        with pytest.raises(NotAllowedError, match="Internal API unreachable"):
            await api.allowed(REQUEST)
    never.set()


async def test_check(api: GitlabApi) -> None:
    info = await api.check()
    assert (info.version, info.api_version, info.is_redis_reachable) == ("18.9.0", "v4", True)


async def test_report_and_messages(door: FrontDoor, api: GitlabApi) -> None:
    messages = [{"type": "alert", "message": "careful"}]
    door.answer("/post_receive", {"reference_counter_decreased": True, "messages": messages})
    answer = await api.post_receive(PostReceiveRequest(gl_repository="p", gl_id="user-1", changes=b"c\n"))
    assert answer.is_counter_decreased
    assert answer.messages == [Message(kind=MessageKind.ALERT, text="careful")]
    assert door.last("/post_receive").body == (
        b'{"gl_repository":"p","identifier":"user-1","changes":"c\\n",'
        b'"push_options":null,"gitaly_client_context_bin":null}'
    )


async def test_unix_socket_with_a_relative_root(tmp_path: Path) -> None:
    async with serve_front_door(socket_path=tmp_path / "door.sock") as door:
        settings = InternalApiSettings(url=door.url, secret=SECRET, relative_url_root="/gitlab/")
        async with GitlabApi(settings) as api:
            await api.allowed(REQUEST)
        assert door.paths() == ["/allowed"]


async def test_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    certificate = authority.issue("127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate_path, certificate.key_path)
    async with serve_front_door(tls=context) as door:
        trusting = InternalApiSettings(url=door.url, secret=SECRET, ca_file=authority.certificate_path)
        async with GitlabApi(trusting) as api:
            await api.allowed(REQUEST)
        async with GitlabApi(InternalApiSettings(url=door.url, secret=SECRET)) as stranger:
            with pytest.raises(NotAllowedError, match="Internal API unreachable"):
                await stranger.allowed(REQUEST)
