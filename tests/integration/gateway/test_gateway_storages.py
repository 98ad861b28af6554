"""Two storages at once, where new projects go, and ``praefect-gateway check``."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from praefect.config.faults import ConfigError
from praefect.config.gateway import GatewayStorageConfig, load
from praefect.gateway.storages import open_storages
from tests.support.gateway_site import Site, serve_site
from tests.support.git_client import commit_file, git
from tests.support.running_node import TOKEN

NAMES = ("default", "praefect")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with serve_site(tmp_path, *NAMES) as running:
        yield running


def write_config(directory: Path, site: Site, *, tokens: tuple[str, str] = (TOKEN, TOKEN)) -> Path:
    storages = "".join(
        f'[[storage]]\nname = "{node.name}"\ngitaly_address = "{node.address}"\ngitaly_token = "{token}"\n'
        for node, token in zip(site.nodes, tokens, strict=True)
    )
    path = directory / "gateway.toml"
    path.write_text(f'secret = "secret"\n[[user]]\nusername = "root"\ntoken = "t"\n{storages}')
    return path


async def check(path: Path) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "praefect.cli.gateway", "check", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


async def test_a_project_is_on_the_storage_it_was_asked_for(site: Site, tmp_path: Path) -> None:
    for name in NAMES:
        form = {"path": f"on/{name}", "repository_storage": name, "initialize_with_readme": True}
        status, created = await site.client.api("POST", "/api/v4/projects", json=form)
        assert (status, created["repository_storage"]) == (201, name)
        (await git(tmp_path, "clone", "-q", site.client.clone_url(f"on/{name}"), f"work-{name}")).ok()
        await commit_file(tmp_path / f"work-{name}", "file.txt", "text\n")
        (await git(tmp_path / f"work-{name}", "push", "-q", "origin", "main")).ok()
    for node in site.nodes:
        assert len(list(node.storage.glob("@hashed/*/*/*.git"))) == 1
    _, body = await site.client.api("GET", "/-/status.json", token=None)
    assert [(one["name"], one["ok"]) for one in body["storages"]] == [("default", True), ("praefect", True)]
    assert {one["storage"] for one in body["projects"]} == set(NAMES)


@pytest.mark.parametrize(
    ("weights", "share"), [((0, 100), 1.0), ((100, 0), 0.0), ((50, 50), 0.5), ((100, 50), 0.33), ((5, 20), 0.8)]
)
async def test_new_projects_are_shared_out_by_weight(weights: tuple[int, int], share: float) -> None:
    configs = [
        GatewayStorageConfig(name=name, gitaly_address="tcp://127.0.0.1:1", gitaly_token="t", weight=weight)
        for name, weight in zip(NAMES, weights, strict=True)
    ]
    async with open_storages(configs, tls=None) as storages:
        chosen = Counter(storages.choose().name for _ in range(4000))
    assert chosen["praefect"] / 4000 == pytest.approx(share, abs=0.06)


def test_weights_that_leave_no_place_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        'secret = "s"\n[[storage]]\nname = "a"\ngitaly_address = "tcp://a:1"\nweight = 0\n'
        '[[storage]]\nname = "b"\ngitaly_address = "tcp://b:1"\nweight = 101\n'
    )
    with pytest.raises(ConfigError, match=r"storage\[1\]\.weight: 101 is not between 0 and 100"):
        load(str(path))
    path.write_text(path.read_text().replace("101", "0"))
    with pytest.raises(ConfigError, match="every weight is 0, so no new project has a place"):
        load(str(path))


async def test_check_says_that_all_storages_can_be_reached(site: Site, tmp_path: Path) -> None:
    first, second = site.nodes
    assert await check(write_config(tmp_path, site)) == (
        0,
        f"default ({first.address}) ... OK\npraefect ({second.address}) ... OK\n",
        "",
    )


async def test_check_says_which_storage_cannot_be_reached_and_why(site: Site, tmp_path: Path) -> None:
    first, second = site.nodes
    path = write_config(tmp_path, site, tokens=(TOKEN, "wrong"))
    code, output, errors = await check(path)
    assert (code, errors) == (1, "")
    assert output.startswith(f"default ({first.address}) ... OK\npraefect ({second.address}) ... 7:permission denied")
    path.write_text(path.read_text().replace(f'"{first.address}"', '"tcp://127.0.0.1:1"'))
    code, output, _ = await check(path)
    assert code == 1
    assert output.startswith("default (tcp://127.0.0.1:1) ... 14:")


async def test_check_names_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("")
    code, output, errors = await check(path)
    assert (code, output) == (1, "")
    assert errors.startswith(f"praefect-gateway: {path}: secret: neither")
