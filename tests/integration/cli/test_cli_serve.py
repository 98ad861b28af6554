"""The server as a process: what it says when it cannot start, and how it stops."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from praefect.config.praefect import DatabaseConfig
from praefect.datastore.migrations import load_migrations
from tests.support.postgres import Rows
from tests.support.praefect_cli import Installation, Result, run_praefect, write_config

JSON_LOG = '[logging]\nformat = "json"\n'


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


async def shutdown_error(*words: str) -> str:
    """Run a server that cannot start; return the cause it logs last."""
    result = await run_praefect(*words)
    assert (result.code, result.stderr) == (1, "")
    last = lines(result.stdout)[-1]
    assert (last["level"], last["msg"]) == ("error", "Praefect shutdown")
    assert isinstance(last["error"], str)
    return last["error"]


def config(tmp_path: Path, database: DatabaseConfig | None = None, more: str = "", address: str = "tcp://s:1") -> Path:
    nodes = {"gitaly-1": (address, "")}
    return write_config(tmp_path / "config.toml", database=database, nodes=nodes, more=JSON_LOG + more)


@asynccontextmanager
async def serving(path: Path, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the server until it listens; kill it if the test did not stop it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "praefect.cli.main", "-config", str(path), *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            async for line in process.stdout:
                if json.loads(line)["msg"] == "listening at address":
                    break
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("words", [[], ["serve"]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_the_server(nodes: Installation, words: list[str], number: signal.Signals) -> None:
    nodes.path.write_text(f"{nodes.path.read_text()}{JSON_LOG}")
    async with serving(nodes.path, *words) as process:
        assert (await nodes("verify", "-virtual-storage", "default")).ok() == "0 replicas marked unverified\n"
        process.send_signal(number)
        stdout, stderr = await process.communicate()
    assert (process.returncode, stderr) == (0, b"")
    messages = [line["msg"] for line in lines(stdout.decode())]
    assert messages[-1] == "Praefect shutdown"
    assert "starting grace period" in messages


async def test_warnings_are_logged_and_the_server_goes_on(nodes: Installation) -> None:
    text = nodes.path.read_text().replace("internal-secret", "external-secret")
    nodes.path.write_text(f"{text}[bogus]\nkey = 1\n{JSON_LOG.replace('json', 'text')}")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "praefect.cli.main", "-config", str(nodes.path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    output = ""
    async for line in process.stdout:
        output += line.decode()
        if "listening at address" in output:
            break
    process.terminate()
    await process.communicate()
    assert "level=warning msg=configuration pid=" in output
    assert 'problem="unknown key \\"bogus\\" is ignored"' in output
    assert output.count("equals auth.token: give clients and nodes different secrets") == 3
    assert "external-secret" not in output


async def test_a_database_of_another_version_is_warned_of_and_served(nodes: Installation, connection: Rows) -> None:
    nodes.path.write_text(f"{nodes.path.read_text()}{JSON_LOG}")
    newest = load_migrations()[-1].migration_id
    await connection.run("UPDATE schema_migrations SET id = '20990101000000_new' WHERE id = %s", newest)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *("-m", "praefect.cli.main", "-config", str(nodes.path)), stdout=-1, stderr=-1
    )
    assert process.stdout is not None
    said: dict[str, dict[str, Any]] = {}
    async with asyncio.timeout(60):
        async for line in process.stdout:
            said[json.loads(line)["msg"]] = json.loads(line)
            if "listening at address" in said:
                break
    process.terminate()
    await process.communicate()
    lacks = said["the database lacks migrations, praefect sql-migrate applies them"]
    assert (lacks["level"], lacks["migrations"]) == ("warning", [newest])
    more = said["the database has migrations that this version does not know, run a version that does"]
    assert (more["level"], more["migrations"]) == ("warning", ["20990101000000_new"])


async def test_no_logger_can_be_made(tmp_path: Path) -> None:
    path = config(tmp_path)
    path.write_text(path.read_text().replace('"json"', '"x"'))
    expected = 'configuring logger: configuring logger: invalid logger format "x"\n'
    assert await run_praefect("-config", str(path)) == Result(1, "", expected)


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (
            "[prometheus]\ngrpc_latency_buckets = [1.0, 0.5]\n",
            "histogram buckets must be in increasing order: 1.000000 >= 0.500000",
        ),
        ("[failover]\nread_error_threshold_count = 1\n", "threshold window not set"),
    ],
)
async def test_a_file_that_only_the_server_refuses(tmp_path: Path, more: str, error: str) -> None:
    assert await shutdown_error("-config", str(config(tmp_path, more=more))) == error


async def test_no_database(tmp_path: Path) -> None:
    away = DatabaseConfig(host="127.0.0.1", port=1)
    error = await shutdown_error("-config", str(config(tmp_path, away)))
    assert error.startswith("send ping: ")
    assert "refused" in error


async def test_an_address_that_nobody_understands(tmp_path: Path, database: DatabaseConfig) -> None:
    error = await shutdown_error("-config", str(config(tmp_path, database, address="gitaly-1:8075")))
    assert error == 'dial nodes: dial "default"/"gitaly-1": invalid connection string: "gitaly-1:8075"'


async def test_a_port_in_use(nodes: Installation) -> None:
    nodes.path.write_text(f"{nodes.path.read_text()}{JSON_LOG}")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        nodes.path.write_text(f'listen_addr = "{address}"\n{nodes.path.read_text()}')
        error = await shutdown_error("-config", str(nodes.path))
    reason = f"can't create new listener: listen tcp {address}: bind: address already in use"
    assert error == f"unable to start the bootstrap: {reason}"


async def test_a_directory_that_is_not_there(nodes: Installation) -> None:
    text = nodes.path.read_text().replace("/praefect.socket", "/none/praefect.socket")
    nodes.path.write_text(f"{text}{JSON_LOG}")
    error = await shutdown_error("-config", str(nodes.path))
    assert error.startswith("unable to start the bootstrap: can't create new listener: listen unix ")
    assert error.endswith("no such file or directory")


async def test_two_settings_for_one_address(nodes: Installation) -> None:
    text = f'listen_addr = "127.0.0.1:9"\ntls_listen_addr = "tcp://127.0.0.1:9"\n{nodes.path.read_text()}{JSON_LOG}'
    nodes.path.write_text(text)
    error = await shutdown_error("-config", str(nodes.path))
    assert error == 'same address can\'t be used for different schemas "127.0.0.1:9"'


async def test_a_certificate_that_is_not_there(nodes: Installation) -> None:
    text = f'tls_listen_addr = "127.0.0.1:0"\n{nodes.path.read_text()}{JSON_LOG}'
    nodes.path.write_text(f'{text}[tls]\ncertificate_path = "/none/cert"\nkey_path = "/none/key"\n')
    error = await shutdown_error("-config", str(nodes.path))
    reason = "load certificate key pair: loading x509 keypair: open /none/cert: no such file or directory"
    assert error == f"create gRPC server: {reason}"
