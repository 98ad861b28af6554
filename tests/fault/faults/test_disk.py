"""Small disks: full until emptied, and seen by nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fault.faults.disk import enter_command

TRY = """
import asyncio, sys
from pathlib import Path
from tests.fault.faults.disk import small_disk

async def main(directory):
    async with small_disk(directory) as disk:
        (directory / "kept").write_bytes(b"x")
        await disk.fill()
        try:
            (directory / "more").write_bytes(b"x" * 10_000)
        except OSError as exc:
            print(exc.strerror)
        disk.empty()
        (directory / "more").write_bytes(b"x" * 10_000)
        print(sorted(path.name for path in directory.iterdir()))

asyncio.run(main(Path(sys.argv[1])))
"""


def test_disk_is_full_until_emptied_and_private(tmp_path: Path) -> None:
    command = enter_command()
    if command is None:
        pytest.skip("no right to mount a tmpfs in a private mount namespace")
    directory = tmp_path / "disk"
    ran = subprocess.run(
        [*command, sys.executable, "-c", TRY, str(directory)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["No space left on device", "['kept', 'more']"]
    assert list(directory.iterdir()) == []
