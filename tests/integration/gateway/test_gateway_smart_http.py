"""Smart HTTP: stock git clones, fetches and pushes; errors have their status; broken calls break the connection."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from praefect.config.gateway import GatewayStorageConfig
from praefect.domain.errors import NotFoundError, PermissionDeniedError, UnavailableError
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
from tests.support.git_client import commit_file, git

UPLOAD, RECEIVE = "git-upload-pack", "git-receive-pack"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serve_site(tmp_path, "default") as running:
        await running.client.create("team/app")
        yield running


@pytest.fixture
async def pretended() -> PretendedNode:
    return PretendedNode()


@pytest.fixture
async def broken(pretended: PretendedNode, tmp_path: Path) -> AsyncIterator[GatewayClient]:
    """A gateway before a pretended node, with a project "app"."""
    async with (
        serve_pretended(pretended, tmp_path) as storage,
        serve_gateway(tmp_path / "gateway", [storage]) as client,
    ):
        await client.create("app")
        pretended.calls.clear()
        yield client


def session(client: GatewayClient, token: str = ROOT) -> aiohttp.ClientSession:
    headers = {"Authorization": aiohttp.encode_basic_auth("oauth2", token)}
    return aiohttp.ClientSession(client.url, headers=headers, trust_env=False)


async def read(client: GatewayClient, method: str, path: str, **arguments: object) -> tuple[int, str]:
    async with session(client) as http, http.request(method, path, **arguments) as response:  # type: ignore[arg-type]  # aiohttp's own
        return response.status, await response.text(errors="replace")


def own_tasks() -> list[str]:
    """Return the names of the tasks that serve git requests."""
    return [task.get_name() for task in asyncio.all_tasks() if "-pack " in task.get_name()]


async def no_tasks() -> bool:
    return own_tasks() == []


# --- stock git ---


@pytest.mark.parametrize("version", ["0", "1", "2"])
async def test_git_clones_fetches_and_pushes(site: Site, tmp_path: Path, version: str) -> None:
    config = (f"protocol.version={version}",)
    url = site.client.clone_url("team/app")
    for name in ("one", "two"):
        (await git(tmp_path, "clone", "-q", url, name, config=config)).ok()
    head = await commit_file(tmp_path / "one", "file.txt", "text\n")
    (await git(tmp_path / "one", "push", "-q", "origin", "main", config=config)).ok()
    (await git(tmp_path / "two", "pull", "-q", config=config)).ok()
    assert (await git(tmp_path / "two", "rev-parse", "HEAD")).ok().output == head
    assert own_tasks() == []


async def test_a_large_push_and_clone_arrive_whole(site: Site, tmp_path: Path) -> None:
    url = site.client.clone_url("team/app")
    (await git(tmp_path, "clone", "-q", url, "one")).ok()
    (tmp_path / "one" / "big.bin").write_bytes(os.urandom(8 << 20))
    (await git(tmp_path / "one", "add", ".")).ok()
    (await git(tmp_path / "one", "commit", "-q", "-m", "big")).ok()
    (await git(tmp_path / "one", "push", "-q", "origin", "main")).ok()
    (await git(tmp_path, "clone", "-q", url, "two")).ok()
    assert (tmp_path / "one" / "big.bin").read_bytes() == (tmp_path / "two" / "big.bin").read_bytes()


async def test_a_reader_clones_and_does_not_push(site: Site, tmp_path: Path) -> None:
    url = site.client.clone_url("team/app", username="guest", token=GUEST)
    (await git(tmp_path, "clone", "-q", url, "work")).ok()
    await commit_file(tmp_path / "work", "file.txt", "text\n")
    result = await git(tmp_path / "work", "push", "origin", "main")
    assert result.code != 0
    assert "You are not allowed to push code to this project." in result.errors or "403" in result.errors


async def test_a_push_against_the_rules_shows_why(site: Site, tmp_path: Path) -> None:
    (await git(tmp_path, "clone", "-q", site.client.clone_url("team/app"), "work")).ok()
    result = await git(tmp_path / "work", "push", "origin", "HEAD:frozen")
    assert result.code != 0
    assert "Frozen until spring." in result.errors
    assert "remote rejected" in result.errors


async def test_the_advertisement_is_read_with_gzip_or_without(site: Site) -> None:
    path = f"/team/app.git/{UPLOAD}"
    want = await _main(site.client)
    body = f"0032want {want}\n00000009done\n".encode()
    headers = {"Content-Type": f"application/x-{UPLOAD}-request"}
    status, plain = await read(site.client, "POST", path, data=body, headers=headers)
    assert (status, "PACK" in plain) == (200, True)
    status, packed = await read(
        site.client, "POST", path, data=gzip.compress(body), headers={**headers, "Content-Encoding": "gzip"}
    )
    assert (status, "PACK" in packed) == (200, True)


async def _main(client: GatewayClient) -> str:
    _, text = await read(client, "GET", f"/team/app.git/info/refs?service={UPLOAD}")
    return next(line for line in text.splitlines() if line.endswith("refs/heads/main"))[4:44]


async def test_the_advertisement_is_not_cached(site: Site) -> None:
    async with (
        session(site.client) as http,
        http.get("/team/app.git/info/refs", params={"service": UPLOAD}) as response,
    ):
        assert response.content_type == f"application/x-{UPLOAD}-advertisement"
        assert "no-cache" in response.headers["Cache-Control"]
        assert (await response.text()).startswith(f"001e# service={UPLOAD}\n0000")


# --- refusals ---


async def test_who_gives_no_token_is_asked_for_one(site: Site) -> None:
    for authorization in ("", "Bearer x", "Basic ???", "Basic eDp5", "Basic /w=="):
        async with (
            aiohttp.ClientSession(site.client.url, trust_env=False) as http,
            http.get(
                "/team/app.git/info/refs?service=git-upload-pack", headers={"Authorization": authorization}
            ) as answer,
        ):
            assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Basic realm="praefect-gateway"')


async def test_an_unknown_project_is_not_found(site: Site) -> None:
    for method, rest in (("GET", f"info/refs?service={UPLOAD}"), ("POST", UPLOAD), ("POST", RECEIVE)):
        status, text = await read(site.client, method, f"/nowhere.git/{rest}")
        assert (status, "could not be found" in text) == (404, True)


@pytest.mark.parametrize("query", ["", "?service=", "?service=git-upload-archive"])
async def test_only_smart_http_is_served(site: Site, query: str) -> None:
    status, text = await read(site.client, "GET", f"/team/app.git/info/refs{query}")
    assert (status, "only smart HTTP is served" in text) == (403, True)


async def test_a_storage_that_is_away_is_unavailable(tmp_path: Path) -> None:
    node = PretendedNode()
    async with serve_pretended(node, tmp_path) as storage, serve_gateway(tmp_path / "gateway", [storage]) as client:
        await client.create("app")
    away = GatewayStorageConfig(name="default", gitaly_address=f"unix:{tmp_path}/nobody", gitaly_token="t")
    async with serve_gateway(tmp_path / "gateway", [away]) as client:
        for method, rest in (("GET", f"info/refs?service={UPLOAD}"), ("POST", UPLOAD), ("POST", RECEIVE)):
            status, text = await read(client, method, f"/app.git/{rest}", data=b"0000" if method == "POST" else None)
            assert (status, "14:" in text) == (200 if method == "POST" else 503, True)
        result = await git(tmp_path, "clone", client.clone_url("app"), "work")
        assert "14:" in result.errors
        await eventually(no_tasks)


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (PermissionDeniedError("permission denied"), 500, "7:permission denied"),
        (NotFoundError("repository not found"), 404, "5:repository not found"),
        (UnavailableError("no healthy nodes"), 503, "14:no healthy nodes"),
    ],
)
async def test_an_error_before_the_first_byte_is_told(
    broken: GatewayClient,
    pretended: PretendedNode,
    error: PermissionDeniedError | NotFoundError | UnavailableError,
    status: int,
    text: str,
) -> None:
    names = ("InfoRefsUploadPack", "PostUploadPackWithSidechannel", "PostReceivePack")
    pretended.failures = dict.fromkeys(names, error)
    assert await read(broken, "GET", f"/app.git/info/refs?service={UPLOAD}") == (status, f"{text}\n")
    # Of a POST git shows the number of the status only: the words go into its own protocol.
    refusal = packet(f"ERR {text}")
    assert await read(broken, "POST", f"/app.git/{UPLOAD}", data=b"0000") == (200, refusal)
    report = packet(f"unpack {text}\n") + "0000"
    assert await read(broken, "POST", f"/app.git/{RECEIVE}", data=b"0000") == (200, report)
    command = packet(f"{'0' * 40} {'1' * 40} refs/heads/x\0 report-status side-band-64k") + "0000"
    multiplexed = packet(f"\x01{report}") + "0000"
    assert await read(broken, "POST", f"/app.git/{RECEIVE}", data=command.encode()) == (200, multiplexed)
    assert await no_tasks()


def packet(text: str) -> str:
    return f"{4 + len(text):04x}{text}"


@pytest.mark.parametrize("size", [10, 4 << 20], ids=["one request", "probed first"])
async def test_git_shows_why_a_push_failed(
    broken: GatewayClient, pretended: PretendedNode, tmp_path: Path, size: int
) -> None:
    (await git(tmp_path, "init", "-q", "-b", "main", "work")).ok()
    (tmp_path / "work" / "big.bin").write_bytes(os.urandom(size))
    (await git(tmp_path / "work", "add", ".")).ok()
    (await git(tmp_path / "work", "commit", "-q", "-m", "change")).ok()
    pretended.advertisement = (
        packet(f"# service={RECEIVE}\n")
        + "0000"
        + packet(f"{'0' * 40} capabilities^{{}}\0report-status side-band-64k\n")
        + "0000"
    ).encode()
    pretended.failures["PostReceivePack"] = UnavailableError("primary gitaly is not healthy:\ndo this")
    result = await git(tmp_path / "work", "push", broken.clone_url("app"), "main")
    assert result.code == 1
    assert "error: remote unpack failed: 14:primary gitaly is not healthy: do this\n" in result.errors
    # Whether the references have changed is not known here, and not claimed.
    assert "[remote failure]" in result.errors
    assert "rejected" not in result.errors
    assert await no_tasks()


@pytest.mark.parametrize("version", ["0", "2"])
async def test_git_shows_why_a_fetch_failed(
    broken: GatewayClient, pretended: PretendedNode, tmp_path: Path, version: str
) -> None:
    first = "version 2\n" if version == "2" else f"{'1' * 40} HEAD\0multi_ack_detailed\n"
    rest = packet("ls-refs\n") + packet("fetch\n") if version == "2" else ""
    pretended.advertisement = (packet(f"# service={UPLOAD}\n") + "0000" + packet(first) + rest + "0000").encode()
    pretended.failures["PostUploadPackWithSidechannel"] = UnavailableError("no healthy nodes")
    config = (f"protocol.version={version}",)
    result = await git(tmp_path, "clone", broken.clone_url("app"), "work", config=config)
    assert (result.code, "remote error: 14:no healthy nodes" in result.errors) == (128, True), result.errors
    assert await no_tasks()


# --- broken calls ---


async def test_a_push_that_fails_after_its_first_byte_breaks_the_connection(
    broken: GatewayClient, pretended: PretendedNode
) -> None:
    pretended.answer = b"0008unpack ok"
    pretended.failures["PostReceivePack"] = UnavailableError("gone")
    async with session(broken) as http, http.post(f"/app.git/{RECEIVE}", data=b"0000") as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    await eventually(no_tasks)


async def test_a_fetch_that_ends_ok_without_a_byte_is_an_error(broken: GatewayClient, pretended: PretendedNode) -> None:
    pretended.calls.append("UploadPackWithoutSidechannel")
    status, text = await read(broken, "POST", f"/app.git/{UPLOAD}", data=b"0000")
    assert (status, text) == (200, packet("ERR 13:the server did not open the sidechannel"))
    assert await no_tasks()


@pytest.mark.parametrize("service", [UPLOAD, RECEIVE])
async def test_a_client_that_goes_away_cancels_the_call(
    broken: GatewayClient, pretended: PretendedNode, service: str
) -> None:
    async with asyncio.TaskGroup() as tasks:
        request = tasks.create_task(read(broken, "POST", f"/app.git/{service}", data=b"0000"), name="client")
        async with asyncio.timeout(10):
            await pretended.began.wait()
            request.cancel()
            await pretended.ended.wait()
    await eventually(no_tasks)


async def test_a_client_that_goes_away_in_its_own_body_cancels_the_push(
    broken: GatewayClient, pretended: PretendedNode
) -> None:
    host, _, port = broken.url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    authorization = aiohttp.encode_basic_auth("root", ROOT)
    writer.write(
        f"POST /app.git/{RECEIVE} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n4\r\n0000\r\n".encode()
    )
    async with asyncio.timeout(10):
        await pretended.began.wait()
        writer.transport.abort()
        await pretended.ended.wait()
    await eventually(no_tasks)


async def test_a_killed_clone_ends_the_nodes_work(site: Site, tmp_path: Path) -> None:
    (await git(tmp_path, "clone", "-q", site.client.clone_url("team/app"), "work")).ok()
    (tmp_path / "work" / "big.bin").write_bytes(os.urandom(16 << 20))
    (await git(tmp_path / "work", "add", ".")).ok()
    (await git(tmp_path / "work", "commit", "-q", "-m", "big")).ok()
    (await git(tmp_path / "work", "push", "-q", "origin", "main")).ok()
    body = f"0032want {await _main(site.client)}\n00000009done\n".encode()
    async with session(site.client) as http:
        response = await http.post(f"/team/app.git/{UPLOAD}", data=body)
        await response.content.readany()
        assert own_tasks()
        response.close()
    await eventually(no_tasks)
