"""Git processes that outlived their node are ended; those of the living, and people's, are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from praefect.node.orphans import end_orphans
from tests.support.eventually import eventually

PARENT = """
import os, subprocess, sys
repository, mark, reading = sys.argv[1:]
name, _, value = mark.partition("=")
child = subprocess.Popen(
    ["git", "--git-dir", repository, "cat-file", "--batch"],
    stdin=int(reading), stdout=subprocess.DEVNULL, start_new_session=True, env={**os.environ, name: value},
)
print(child.pid, flush=True)
os._exit(0)
"""


def _orphan(repository: Path, mark: str) -> tuple[int, int]:
    """Start git and let its parent die; return its process id and the end of a pipe that keeps it waiting."""
    reading, writing = os.pipe()
    command = [sys.executable, "-c", PARENT, str(repository), mark, str(reading)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, pass_fds=[reading]).stdout
    os.close(reading)
    return int(output), writing


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    path = tmp_path / "storage" / "a.git"
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    return path


async def test_git_of_a_killed_node_is_ended(repository: Path) -> None:
    pid, pipe = _orphan(repository, "GIT_CONFIG_SYSTEM=/dev/null")
    try:
        if _parent(pid) != 1:
            pytest.skip("orphans of this machine are adopted by somebody else than process 1")
        assert end_orphans(repository.parent) == 1

        async def ended() -> bool:
            return not _is_running(pid)

        await eventually(ended)
    finally:
        os.close(pipe)


async def test_git_that_a_person_left_running_is_left_alone(repository: Path) -> None:
    pid, pipe = _orphan(repository, "SOMETHING=else")
    try:
        assert end_orphans(repository.parent) == 0
        assert _is_running(pid)
    finally:
        os.close(pipe)


def test_git_of_a_living_parent_and_of_another_storage_is_left_alone(repository: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "GIT_CONFIG_SYSTEM": "/dev/null"}
    with subprocess.Popen(
        ["git", "--git-dir", str(repository), "cat-file", "--batch"],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env=environment,
    ) as process:
        assert end_orphans(repository.parent) == 0
        assert end_orphans(tmp_path / "elsewhere") == 0
        assert process.poll() is None
        process.communicate()
