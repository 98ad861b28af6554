"""A storage node as a process of its own, by its command line."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from praefect.transport.dial import open_channel

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from praefect.transport.grpc.channel import Channel

TOKEN = "node secret"
PROGRAM = Path(sys.executable).with_name("praefect-node")


@dataclass(slots=True, kw_only=True)
class NodeProcess:
    """A running ``praefect-node serve``."""

    process: Process
    channel: Channel
    address: str
    log: Path

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


def write_config(directory: Path, **settings: str) -> Path:
    """Write a configuration with one storage below ``directory``; settings are further top-level lines."""
    for name in ("storage", "run"):
        (directory / name).mkdir(exist_ok=True)
    lines = {
        "socket_path": f'"{directory}/node.sock"',
        "runtime_dir": f'"{directory}/run"',
        **settings,
    }
    text = "".join(f"{key} = {value}\n" for key, value in lines.items())
    text += f'[auth]\ntoken = "{TOKEN}"\n[[storage]]\nname = "default"\npath = "{directory}/storage"\n'
    config = directory / "config.toml"
    config.write_text(text)
    return config


@asynccontextmanager
async def node_process(directory: Path) -> AsyncIterator[NodeProcess]:
    """Start a node in ``directory``, wait until it serves, and end it at the end of the block."""
    config = write_config(directory)
    log = directory / "node.log"
    address = f"unix:{directory}/node.sock"
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "serve", config, stdout=output, stderr=output, stdin=asyncio.subprocess.DEVNULL
        )
    try:
        async with open_channel(address, token=TOKEN, reconnect_limit_seconds=0.05) as channel:
            await _wait_until_serving(process, channel, log)
            yield NodeProcess(process=process, channel=channel, address=address, log=log)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _wait_until_serving(process: Process, channel: Channel, log: Path) -> None:
    from praefect.domain.errors import PraefectError
    from praefect.proto import health_pb2

    async with asyncio.timeout(20):
        while True:
            assert process.returncode is None, log.read_text()
            try:
                await channel.unary(
                    "/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(), health_pb2.HealthCheckResponse
                )
            except PraefectError:
                channel.retry_now()
                await asyncio.sleep(0.02)
            else:
                return


async def run_program(*words: str | Path) -> tuple[int, str, str]:
    """Run the program to its end; return exit code, standard output and error."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *words, stdout=-1, stderr=-1, env={**os.environ, "COLUMNS": "120"}
    )
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stdout.decode(), stderr.decode()
