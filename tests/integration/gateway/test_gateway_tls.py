"""TLS everywhere, with an authority of one's own; and a node that does not know where the front door is."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from praefect.app.gateway import run_gateway
from praefect.app.layout import free_ports
from praefect.app.node import run_node
from praefect.app.node_check import run_checks
from praefect.config.gateway import GatewayConfig, GatewayStorageConfig
from praefect.config.node import AuthConfig, GitlabConfig, HttpSettingsConfig, NodeConfig, StorageConfig
from praefect.config.sections import TlsConfig
from praefect.runtime.signals import Stop
from tests.support.gateway_site import PROTECTIONS, ROOT, SECRET, USERS, serve_gateway
from tests.support.git_client import commit_file, git
from tests.support.running_node import TOKEN, running_node
from tests.support.tls_certificates import Authority, make_authority


def files(authority: Authority) -> TlsConfig:
    pair = authority.issue("127.0.0.1")
    return TlsConfig(certificate_path=str(pair.certificate_path), key_path=str(pair.key_path))


@asynccontextmanager
async def tls_only_node(directory: Path, authority: Authority, gitlab: GitlabConfig) -> AsyncIterator[NodeConfig]:
    """Run a node that listens with TLS and in no other way."""
    storage = directory / "storage"
    storage.mkdir()
    runtime = tempfile.mkdtemp(prefix="node-")
    [port] = free_ports(1)
    config = NodeConfig(
        tls_listen_addr=f"127.0.0.1:{port}",
        tls=files(authority),
        runtime_dir=runtime,
        auth=AuthConfig(token=TOKEN),
        storages=(StorageConfig(name="default", path=str(storage)),),
        gitlab=gitlab,
    )
    try:
        async with run_node(config, Stop()) as addresses:
            assert [address.dial_address for address in addresses] == [f"tls://127.0.0.1:{port}"]
            yield config
    finally:
        shutil.rmtree(runtime)


async def test_everything_speaks_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    authority = make_authority(tmp_path)
    stranger_directory = tmp_path / "stranger"
    stranger_directory.mkdir()
    stranger = make_authority(stranger_directory, "somebody else")
    [port] = free_ports(1)
    gitlab = GitlabConfig(
        url=f"https://127.0.0.1:{port}",
        secret=SECRET,
        http_settings=HttpSettingsConfig(ca_file=str(authority.certificate_path)),
    )
    async with tls_only_node(tmp_path, authority, gitlab) as node:
        gateway = GatewayConfig(
            listen_addr=f"127.0.0.1:{port}",
            tls=files(authority),
            secret=SECRET,
            storages=(
                GatewayStorageConfig(
                    name="default", gitaly_address=f"tls://{node.tls_listen_addr}", gitaly_token=TOKEN
                ),
            ),
            users=USERS,
            protections=PROTECTIONS,
            ca_file=str(authority.certificate_path),
        )
        async with run_gateway(gateway, tmp_path) as url:
            assert url == f"https://127.0.0.1:{port}"
            assert [result.problem for result in await run_checks(node) if "internal API" in result.name] == [""]
            trust = (f"http.sslCAInfo={authority.certificate_path}",)
            address = url.replace("https://", f"https://root:{ROOT.replace(' ', '%20')}@")
            await _create(url, authority)
            (await git(tmp_path, "clone", "-q", f"{address}/app.git", "work", config=trust)).ok()
            await commit_file(tmp_path / "work", "file.txt", "text\n")
            (await git(tmp_path / "work", "push", "-q", "origin", "main", config=trust)).ok()

            settings = replace(gitlab.http_settings, ca_file=str(stranger.certificate_path))
            distrusting = replace(node, gitlab=replace(gitlab, http_settings=settings))
            [problem] = [result.problem for result in await run_checks(distrusting) if "internal API" in result.name]
            assert problem.startswith("Internal API unreachable: ")
            assert "certificate verify failed" in problem
    assert faults == []


async def _create(url: str, authority: Authority) -> None:
    import ssl

    import aiohttp

    context = ssl.create_default_context(cafile=str(authority.certificate_path))
    form = {"path": "app", "initialize_with_readme": True}
    async with (
        aiohttp.ClientSession(url, headers={"PRIVATE-TOKEN": ROOT}, trust_env=False) as session,
        session.post("/api/v4/projects", json=form, ssl=context) as response,
    ):
        assert response.status == 201, await response.text()


async def test_a_push_to_a_node_without_an_internal_api_names_the_setting(tmp_path: Path) -> None:
    async with running_node(tmp_path / "storage") as node:
        storage = GatewayStorageConfig(name="default", gitaly_address=node.address, gitaly_token=TOKEN)
        async with serve_gateway(tmp_path / "gateway", [storage]) as client:
            await client.create("app", readme=False)
            (await git(tmp_path, "clone", "-q", client.clone_url("app"), "work")).ok()
            await commit_file(tmp_path / "work", "file.txt", "text\n")
            result = await git(tmp_path / "work", "push", "origin", "HEAD:main")
            status, body = await client.api("POST", "/api/v4/projects", json={"path": "b", "initialize_with_readme": 1})
    assert result.code != 0
    assert "its configuration has no gitlab.url" in result.errors
    assert "remote rejected" in result.errors
    assert status == 500
    assert "gitlab.url" in body["message"]
