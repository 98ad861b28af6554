"""The steps of the container files, one by one in an empty directory, with processes in place of containers."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from praefect.app.processes import Child
from praefect.datastore.embedded import EmbeddedPostgres
from tests.support.compose import Machine, Service, make_machine, services
from tests.support.distribution import Installation, build, install
from tests.support.eventually import eventually
from tests.support.git_client import commit_file, git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = "change-me: the access token of git clients"


def _build_and_install(directory: Path) -> Installation:
    """Do what the Containerfile does, dependencies apart."""
    directory.mkdir()
    return install(build(directory).wheel, directory / "venv")


async def test_cluster_of_the_compose_file_serves_git(tmp_path: Path) -> None:
    installed = await asyncio.to_thread(_build_and_install, tmp_path / "image")
    async with EmbeddedPostgres(tmp_path / "postgres") as postgres, AsyncExitStack() as stack:
        machine = make_machine(tmp_path / "machine", Path(stack.enter_context(tempfile.TemporaryDirectory())))
        machine.directory.mkdir()
        await postgres.provision(role="praefect", password="outside", database="praefect_production")
        environment = {
            "PGHOST": postgres.host,
            "PGPORT": str(postgres.port),
            "PGUSER": "praefect",
            "PGPASSWORD": "outside",
            "PGDATABASE": "praefect_production",
        }
        found = {service.name: service for service in services()}
        assert list(found) == ["migrate", "praefect", "gitaly-1", "gitaly-2", "gitaly-3", "gateway"]
        started: dict[str, Child] = {}
        for name in ("migrate", "gitaly-1", "gitaly-2", "gitaly-3", "praefect", "gateway"):
            child = started[name] = _child(installed, machine, found[name], environment)
            await child.start()
            stack.push_async_callback(child.stop)
            if name == "migrate":
                assert await child.wait() == 0, child.log.read_text()
        await _clone_and_push(f"http://127.0.0.1:{machine.ports['gateway', 8080]}", started, tmp_path)


def _child(installed: Installation, machine: Machine, service: Service, environment: dict[str, str]) -> Child:
    program, *arguments = machine.command(service)
    return Child(
        name=service.name,
        arguments=(str(installed.program(program)), *arguments),
        log=machine.directory / f"{service.name}.log",
        environment=environment,
    )


async def _clone_and_push(url: str, started: dict[str, Child], directory: Path) -> None:
    async with aiohttp.ClientSession(headers={"PRIVATE-TOKEN": TOKEN}, trust_env=False) as session:

        async def is_created() -> bool:
            for name, child in started.items():
                assert name == "migrate" or child.running, child.log.read_text()
            try:
                async with session.post(
                    f"{url}/api/v4/projects", json={"name": "first", "path": "first", "initialize_with_readme": True}
                ) as response:
                    return response.status == 201
            except aiohttp.ClientError:
                return False

        await eventually(is_created, within_seconds=60)
    remote = url.replace("http://", "http://root:change-me%3A%20the%20access%20token%20of%20git%20clients@")
    (await git(directory, "clone", "-q", f"{remote}/first.git", "work")).ok()
    await commit_file(directory / "work", "file.txt", "content\n")
    (await git(directory / "work", "push", "-q", "origin", "HEAD:main")).ok()
