"""The demo without a terminal: lines as it starts, a crash somebody can read, nothing left behind; and its set-up."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from praefect.app.layout import Layout
from tests.support.eventually import eventually
from tests.support.processes import wait_for_no_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SETUP = Path(__file__).parents[2] / "scripts" / "setup"


@asynccontextmanager
async def running_demo(directory: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "praefect.cli.main", "demo", "-data-dir", str(directory)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def read_until(process: asyncio.subprocess.Process, pattern: str) -> list[str]:
    """Return the lines up to the first that matches."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(120):
        async for line in process.stdout:
            lines.append(line.decode().rstrip("\n"))
            if re.search(pattern, lines[-1]):
                return lines
    raise AssertionError("\n".join(lines))


async def test_a_demo_in_a_log_file(tmp_path: Path) -> None:
    directory = tmp_path / ("long-" * 12)
    layout = Layout(directory, nodes=3)
    runtime = layout.node_runtime("gitaly-1").parent
    async with running_demo(directory) as demo:
        lines = await read_until(demo, "Ctrl-C")
        started = [match[1] for line in lines if (match := re.fullmatch(r" *\d+\.\d s  (.*)", line))]
        assert started[:2] == ["PostgreSQL runs", "the database is migrated"]
        assert sorted(started[2:6]) == ["gitaly-1 serves", "gitaly-2 serves", "gitaly-3 serves", "the gateway serves"]
        assert started[6:] == ["praefect serves"]
        assert runtime.parent != directory
        assert runtime.is_dir()

        os.kill(json.loads(layout.processes.read_text())["gitaly-2"], signal.SIGKILL)
        crash = await read_until(demo, "started again")
        assert crash[0] == f"gitaly-2 was killed by signal 9; the end of {layout.log('gitaly-2')}:"
        assert any(re.match(r"  \S+Z info listening at address address=127", line) for line in crash)
        assert not any(line.lstrip().startswith("{") for line in crash)

        demo.send_signal(signal.SIGINT)
        assert await demo.wait() == 0
    assert not runtime.exists()


async def test_a_part_that_was_started_again_does_not_outlive_a_killed_demo(tmp_path: Path) -> None:
    layout = Layout(tmp_path, nodes=3)

    async def listens_again() -> bool:
        return layout.log("gitaly-2").read_text().count("listening at address") == 2

    async with running_demo(tmp_path) as demo:
        await read_until(demo, "Ctrl-C")
        os.kill(json.loads(layout.processes.read_text())["gitaly-2"], signal.SIGKILL)
        await read_until(demo, "started again")
        await eventually(listens_again, within_seconds=60)
        demo.kill()
        await demo.wait()
    async with running_demo(tmp_path) as demo:
        await read_until(demo, "Ctrl-C")
        demo.send_signal(signal.SIGINT)
        assert await demo.wait() == 0
    await wait_for_no_process(layout.node_config("gitaly-2"))


async def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{")
    async with running_demo(tmp_path) as demo:
        (line,) = await read_until(demo, ".")
        assert line == (
            f"praefect demo: {tmp_path}/ports.json is damaged; remove it, and free ports are chosen at the next start"
        )
        assert await demo.wait() == 1


def program(directory: Path, name: str, script: str) -> Path:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


async def run_setup(directory: Path, python: Path) -> tuple[int, str]:
    """Run the set-up where nothing is installed but what lies in the directory."""
    for name in ("sh", "cat"):
        found = shutil.which(name)
        assert found is not None
        (directory / name).symlink_to(found)
    process = await asyncio.create_subprocess_exec(
        SETUP, str(python), str(directory / "venv"), env={"PATH": str(directory)}, stdout=-1, stderr=-1
    )
    stdout, stderr = await process.communicate()
    assert stdout == b""
    assert process.returncode is not None
    return process.returncode, stderr.decode()


@pytest.mark.parametrize(
    ("python", "error"),
    [
        (None, r"setup: \S+/python not found; install it: apt-get install python3 python3-venv\n"),
        (
            'case "$*" in *version_info*) exit 1;; --version) echo Python 3.9.2;; esac',
            r"setup: Python 3.9.2 is too old; Python 3.11 or newer is needed .*\n",
        ),
        (
            'case "$*" in *ensurepip*) exit 1;; esac',
            r"setup: \S+/python has no venv module; install it: apt-get install python3-venv\n",
        ),
        ("exit 0", r"setup: git not found; install it: apt-get install git\n"),
    ],
    ids=["no python", "old python", "no venv", "no git"],
)
async def test_the_set_up_names_what_is_missing(tmp_path: Path, python: str | None, error: str) -> None:
    path = tmp_path / "python" if python is None else program(tmp_path, "python", python)
    code, stderr = await run_setup(tmp_path, path)
    assert code == 1
    assert re.fullmatch(error, stderr), stderr


async def test_a_demo_that_is_stopped_while_it_starts(tmp_path: Path) -> None:
    async with running_demo(tmp_path) as demo:
        await read_until(demo, "PostgreSQL runs")
        demo.send_signal(signal.SIGINT)
        last = await read_until(demo, "interrupted while starting")
        assert not any("praefect serves" in line for line in last)
        assert await demo.wait() == 0
    await wait_for_no_process(tmp_path)
