"""Programs that cannot listen where they are told to: one line says why, and nothing was begun."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.node_process import node_process, run_program
from tests.support.node_process import write_config as write_node_config
from tests.support.postgres import Rows
from tests.support.praefect_cli import Installation, Result, run_praefect

TOO_LONG = "s" * 108


@contextmanager
def taken_port() -> Iterator[str]:
    """Listen; yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def closed_directory(tmp_path: Path) -> Path:
    """A directory in which nobody who runs this can make files."""
    if os.getuid() == 0:  # whom permissions do not stop
        return Path("/sys/kernel")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    return closed


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory with a short path, for sockets."""
    with tempfile.TemporaryDirectory(prefix="start-") as directory:
        yield Path(directory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A praefect that ended at once."""

    error: str
    messages: list[str]


async def refused(path: Path, *settings: str, pid_file: Path) -> Refused:
    """Start praefect with further top-level settings; it must end without a word on stderr, as upstream's does."""
    config = path.with_name("refused.toml")
    text = "\n".join([*settings, path.read_text(), '[logging]\nformat = "json"\n'])
    config.write_text(text)
    environment = {**os.environ, "GITALY_PID_FILE": str(pid_file), "GITALY_UPGRADES_ENABLED": "true"}
    result = await run_praefect("-config", str(config), environment=environment)
    assert (result.code, result.stderr) == (1, "")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert (lines[-1]["level"], lines[-1]["msg"]) == ("error", "Praefect shutdown")
    return Refused(error=lines[-1]["error"], messages=[line["msg"] for line in lines])


def because(reason: str) -> str:
    return f"unable to start the bootstrap: can't create new listener: {reason}"


@pytest.mark.parametrize("key", ["listen_addr", "prometheus_listen_addr"])
async def test_praefect_finds_a_port_in_use(nodes: Installation, connection: Rows, tmp_path: Path, key: str) -> None:
    with taken_port() as address:
        ended = await refused(nodes.path, f'{key} = "{address}"', pid_file=tmp_path / "pid")
    assert ended.error == because(f"listen tcp {address}: bind: address already in use")
    assert ended.messages == ["Starting Praefect", "Praefect shutdown"]
    await nothing_was_begun(connection, tmp_path)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("{tmp_path}/none/s", "no such file or directory"),
        ("{closed}/s", "permission denied"),
        ("{tmp_path}/" + TOO_LONG, "invalid argument"),
        ("{tmp_path}/config.toml", "address already in use"),
    ],
    ids=["no directory", "closed directory", "too long", "other file"],
)
async def test_praefect_cannot_make_its_socket(
    nodes: Installation, connection: Rows, tmp_path: Path, closed_directory: Path, place: str, reason: str
) -> None:
    path = place.format(tmp_path=tmp_path, closed=closed_directory)
    before = nodes.path.read_text()
    nodes.path.write_text(before.replace(f"{tmp_path}/praefect.socket", path))
    ended = await refused(nodes.path, pid_file=tmp_path / "pid")
    assert ended.error == because(f"listen unix {path}: bind: {reason}")
    assert ended.messages == ["Starting Praefect", "Praefect shutdown"]
    assert not Path(path).is_socket()
    assert (tmp_path / "config.toml").read_text().startswith("socket_path")
    await nothing_was_begun(connection, tmp_path)


async def nothing_was_begun(connection: Rows, directory: Path) -> None:
    assert await connection.run("SELECT count(*)::int FROM node_status") == [(0,)]
    assert await connection.run("SELECT count(*)::int FROM praefect_own.leases") == [(0,)]
    assert not (directory / "pid").exists()
    assert not (directory / "praefect.socket").exists()


async def test_praefect_takes_nothing_from_a_running_one(praefect: Installation, tmp_path: Path) -> None:
    file = tmp_path / "praefect.socket"
    before, pid_file = file.lstat().st_ino, tmp_path / "pid"
    pid_file.write_text("1")
    with taken_port() as address:
        await refused(praefect.path, f'prometheus_listen_addr = "{address}"', pid_file=pid_file)
    assert file.lstat().st_ino == before
    assert pid_file.read_text() == "1"
    assert (await praefect("verify", "-virtual-storage", "default")).ok() == "0 replicas marked unverified\n"


# --- nodes ---


async def test_a_node_finds_a_port_in_use(short_path: Path) -> None:
    with taken_port() as address:
        config = write_node_config(short_path, prometheus_listen_addr=f'"{address}"')
        code, _, stderr = await run_program("serve", config)
    assert (code, stderr) == (1, f"praefect-node: listen tcp {address}: bind: address already in use\n")
    nothing_of_a_node(short_path)


@pytest.mark.parametrize(
    ("place", "reason"),
    [("{closed}/s", "permission denied"), ("{short_path}/" + TOO_LONG, "invalid argument")],
    ids=["closed directory", "too long"],
)
async def test_a_node_cannot_make_its_socket(short_path: Path, closed_directory: Path, place: str, reason: str) -> None:
    path = place.format(short_path=short_path, closed=closed_directory)
    code, _, stderr = await run_program("serve", write_node_config(short_path, socket_path=f'"{path}"'))
    assert (code, stderr) == (1, f"praefect-node: listen unix {path}: bind: {reason}\n")
    nothing_of_a_node(short_path)


def nothing_of_a_node(directory: Path) -> None:
    assert not (directory / "node.sock").exists()
    assert list((directory / "run").iterdir()) == []
    assert list((directory / "storage").iterdir()) == []


async def test_a_node_takes_nothing_from_a_running_one(short_path: Path) -> None:
    async with node_process(short_path) as node:
        file = short_path / "node.sock"
        before, own = file.lstat().st_ino, list((short_path / "run").iterdir())
        with taken_port() as address:
            code, _, stderr = await run_program(
                "serve", write_node_config(short_path, prometheus_listen_addr=f'"{address}"')
            )
        assert (code, stderr.count("\n")) == (1, 1)
        assert file.lstat().st_ino == before
        assert list((short_path / "run").iterdir()) == own
        assert node.process.returncode is None
        await node.channel.connect()


# --- the gateway ---


async def run_gateway(config: Path) -> Result:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *("-m", "praefect.cli.gateway", "serve", str(config)), stdout=-1, stderr=-1
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Result(process.returncode, stdout.decode(), stderr.decode())


def gateway_config(directory: Path, address: str, more: str = "") -> Path:
    path = directory / "gateway.toml"
    path.write_text(
        f'listen_addr = "{address}"\nsecret = "{"s" * 32}"\n{more}\n'
        '[[storage]]\nname = "default"\ngitaly_address = "tcp://127.0.0.1:1"\ngitaly_token = "t"\n'
        '[[user]]\nusername = "root"\ntoken = "token"\n'
    )
    return path


@asynccontextmanager
async def running_gateway(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a gateway until it listens."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *("-m", "praefect.cli.gateway", "serve", str(config)), stdout=-1, stderr=-1
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            async for line in process.stdout:
                if b"listening at address" in line:
                    break
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def test_the_gateway_finds_a_port_in_use(tmp_path: Path) -> None:
    with taken_port() as address:
        result = await run_gateway(gateway_config(tmp_path, address))
    assert result == Result(1, "", f"praefect-gateway: listen tcp {address}: bind: address already in use\n")
    assert not (tmp_path / "gateway.db").exists()


async def test_a_second_gateway_leaves_the_first_alone(tmp_path: Path) -> None:
    with taken_port() as address:
        pass
    config = gateway_config(tmp_path, address)
    async with running_gateway(config) as first:
        database = {path.name for path in tmp_path.iterdir()}
        result = await run_gateway(config)
        assert result == Result(1, "", f"praefect-gateway: listen tcp {address}: bind: address already in use\n")
        assert {path.name for path in tmp_path.iterdir()} == database
        assert first.returncode is None


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ('database_path = "none/gateway.db"', "open project database {tmp_path}/none/gateway.db: "),
        (
            '[tls]\ncertificate_path = "/none/cert"\nkey_path = "/none/key"',
            "load certificate /none/cert: ",
        ),
    ],
    ids=["no directory", "no certificate"],
)
async def test_the_gateway_names_what_it_cannot_use(tmp_path: Path, more: str, error: str) -> None:
    result = await run_gateway(gateway_config(tmp_path, "127.0.0.1:0", more))
    assert (result.code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith(f"praefect-gateway: {error.format(tmp_path=tmp_path)}")
